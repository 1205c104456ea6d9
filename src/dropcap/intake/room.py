"""Was there room while a file was written? Whoever meets a full disk leaves what it could write."""

from __future__ import annotations

import math
import os
import time

from dropcap.files.tree import Tree
from dropcap.intake.settle import RestTime, Sight

#: What was seen so lately is not asked for again in a walk (seconds).
_KNOWN = 0.2


class Room:
    """The file system of one opened folder. For its thread."""

    def __init__(self, tree: Tree) -> None:
        self._tree = tree
        self._known = (-math.inf, True)  # when it was asked (monotonic), and whether there was a free block
        self._seen: float | None = None  # the wall clock when there was one

    def lacked(self, name: str, sight: Sight, pace: RestTime, *, closely: bool) -> bool:
        """Whether there is no free block now that the file is seen as `sight`, so that its writer may have got stuck.

        A file that had rested while there was room is as its writer left it. `closely`: ask the file system in any case.
        """
        if self._has_block(os.path.dirname(name), closely=closely):
            return False
        changed = max(sight.mtime_ns, sight.ctime_ns) / 1e9
        return not (pace.local and self._seen is not None and changed + pace.quiet <= self._seen)

    def _has_block(self, directory: str, *, closely: bool) -> bool:
        now = time.monotonic()
        if closely or now - self._known[0] > _KNOWN:
            try:
                free = self._tree.free_bytes(directory) > 0
            except OSError:
                free = True  # not to be told
            self._known = (now, free)
            if free:
                self._seen = time.time()
        return self._known[1]
