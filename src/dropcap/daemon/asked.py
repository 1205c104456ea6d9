"""How hosts that share a ledger learn that a person had something done to jobs on another one."""

from __future__ import annotations

#: The word of the installation that is another one after each such act.
ASKED = "asked"
