"""Drop folders that a person wants let go of, so that a share can be unmounted: until `dropcap resume`, also over a restart."""

from __future__ import annotations

import contextlib
import gc
import os
import time
from collections.abc import Callable
from pathlib import Path

from dropcap.ledger.query import Query
from dropcap.ledger.store import Ledger

#: Seconds that a folder has until nothing of it is open any more; an upload that is under way may take longer.
LASTS = 20.0
_BETWEEN_LOOKS = 0.1
_RELEASED = "released "


def release(ledger: Ledger, folder: str, released: bool) -> None:
    """Let go of a folder from now on, or no longer."""
    if (folder in released_of(ledger.query)) != released:
        ledger.set_meta(f"{_RELEASED}{folder}", "yes" if released else "")


def released_of(query: Query) -> frozenset[str]:
    """All folders that are to be let go of, be they in the configuration or not. Raises DatabaseError."""
    return frozenset(folder for folder, said in query.metas(_RELEASED).items() if said)


def still_open(path: Path, within: float, look: Callable[[], object]) -> list[str]:
    """What this process has open beneath `path` after so many seconds at most. Touches no file system but /proc.

    `look` has those who work there see that the folder is away: they close it then.
    """
    end = time.monotonic() + within
    look()
    gc.collect()  # what intake had opened refers to itself
    while (found := _open_beneath(os.path.realpath(path))) and time.monotonic() < end:
        time.sleep(_BETWEEN_LOOKS)
        look()
        gc.collect()
    return found


def _open_beneath(path: str) -> list[str]:
    found = []
    for number in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):  # closed meanwhile
            target = os.readlink(f"/proc/self/fd/{number}")
            if target == path or target.startswith(path + "/"):
                found.append(target)
    return sorted(set(found))
