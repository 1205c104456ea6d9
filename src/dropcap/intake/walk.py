"""The names of what lies in a drop folder."""

from __future__ import annotations

from dropcap.config.model import Folder
from dropcap.routing.route import ignored

IN_PROGRESS = "in_progress"
FAILED = "failed"
#: dropcap's own directories at the top of a drop folder. done/ can hold a million files and is never walked here.
OWN = frozenset({IN_PROGRESS, "done", FAILED, "preserved"})
WHY = ".why.txt"


def top(name: str) -> str:
    """The first part of a relative name."""
    return name.partition("/")[0]


def is_dropped(name: str, folder: Folder) -> bool:
    """Whether a file or directory of this name is neither dropcap's own nor ignored."""
    return top(name) not in OWN and ignored(name, folder.ignore) is None
