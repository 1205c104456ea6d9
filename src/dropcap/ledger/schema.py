"""What the schemas of both engines have in common."""

from __future__ import annotations

#: The open states as SQL. The indexes of open jobs are used only by a query that says this, word for word.
OPEN_STATES = "('waiting', 'held', 'sending', 'unknown', 'stored', 'refused')"

#: The schema that this dropcap reads and writes: its tables are the same in both engines.
VERSION = 8
