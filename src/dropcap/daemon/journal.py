"""systemd's journal at the other end of a stream: each line begins with its priority then, `<3>` for an error, which the journal
takes off again (sd-daemon(3)), so that `journalctl -p err` finds it.
"""

from __future__ import annotations

import os
from typing import TextIO

_PRIORITIES = {"debug": 7, "info": 6, "warning": 4, "error": 3, "exception": 3, "critical": 2}


def reads(stream: TextIO) -> bool:
    """Whether what is written to `stream` goes to the journal: JOURNAL_STREAM names it by its device and inode, since what a
    service starts inherits the variable, though its output may go elsewhere.
    """
    named = os.environ.get("JOURNAL_STREAM")
    if not named:
        return False
    try:
        status = os.fstat(stream.fileno())
    except (OSError, ValueError):  # closed, or no file at all
        return False
    return named == f"{status.st_dev}:{status.st_ino}"


def with_priority(text: str, level: str) -> str:
    """`text`, each of its lines with the priority of a log level."""
    mark = f"<{_PRIORITIES.get(level, 6)}>"
    return "\n".join(mark + line for line in text.split("\n"))
