"""Dropped files that were in in_progress/ before, and may have arrived in REDCap: a person moved them back.

Such a file is known by the bytes that were sent, where the ledger has their SHA-256 (so is a copy of it), else by its inode, size
and mtime; where inodes are not to be relied on by size and mtime, if they are those of one such job only.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass

from dropcap.files.digest import sha256_of
from dropcap.files.tree import Tree
from dropcap.intake import walk
from dropcap.intake.reconcile import lies_there
from dropcap.intake.settle import Sight
from dropcap.ledger.job import OPEN, Back, TakenAway


@dataclass(frozen=True, slots=True)
class Returned:
    """What is known of one file. `still_open` are jobs of this file that are not over yet, so that it cannot be told; `elsewhere`
    those among them that belong to another folder, from which the very file has surely been moved.
    """

    back: Back | None = None
    still_open: tuple[TakenAway, ...] = ()
    elsewhere: tuple[int, ...] = ()


_NOT = Returned()


class TakenAwayFiles:
    """The files of jobs that are not in in_progress/ any more, or perhaps not. For one batch of claims."""

    def __init__(self, tree: Tree, folder: str, files: Sequence[TakenAway]) -> None:
        self._tree = tree
        self._folder = folder
        self._by_size: dict[int, list[TakenAway]] = {}
        self._by_times: dict[tuple[int, int], list[TakenAway]] = {}
        for file in files:
            self._by_size.setdefault(file.size, []).append(file)
            self._by_times.setdefault((file.size, file.mtime_ns), []).append(file)
        self._known: dict[int, list[TakenAway]] = {}  # by size: those whose bytes are known, looked for once
        self._away: dict[int, bool] = {}  # by job, looked at once

    def known(self, path: str, name: str, sight: Sight) -> Returned:
        """What is known of the file at `path`, dropped as `name`.

        Raises:
            OSError: it cannot be read, so that nothing is known.
        """
        by_bytes = self._with_known_bytes(sight.size)
        alike = _alike(self._by_times.get((sight.size, sight.mtime_ns), ()), sight)
        blind = [file for file in alike if not file.sent_sha256 and self._may_be_away(file)]
        if not (by_bytes or blind):
            return _NOT
        digest = sha256_of(self._tree, path)
        same = [file for file in by_bytes if file.sent_sha256 == digest] + blind
        same.sort(key=lambda file: file.job, reverse=True)  # the newest first
        still_open = tuple(file for file in same if file.state in OPEN)
        if still_open:
            moved = sight.inode and self._tree.lstat(path).st_nlink == 1
            others = [f.job for f in still_open if moved and f.folder != self._folder and f.inode == sight.inode]
            return Returned(still_open=still_open, elsewhere=tuple(others))
        if not same:
            return _NOT
        own = next((file for file in same if (file.folder, file.name) == (self._folder, name)), None)
        old = own or same[0]
        more = tuple(file.job for file in same if file is not old)
        return Returned(Back(old.job, digest, own is not None, more))

    def _with_known_bytes(self, size: int) -> list[TakenAway]:
        """The files of this size that may be away, and of which the ledger knows which bytes were sent."""
        if size not in self._known:
            files = self._by_size.get(size, ())
            self._known[size] = [file for file in files if file.sent_sha256 and self._may_be_away(file)]
        return self._known[size]

    def _may_be_away(self, file: TakenAway) -> bool:
        """Whether a job is over or its file missing. Another folder's is looked at by its own thread alone: a share may hang, and
        until that thread has told, what was dropped here may be that file, moved or copied.
        """
        if file.state not in OPEN or file.folder != self._folder:
            return True
        if file.job not in self._away:
            self._away[file.job] = not lies_there(self._tree, [f"{walk.IN_PROGRESS}/{file.name}"])
        return self._away[file.job]


def is_away(tree: Tree, name: str) -> bool:
    """Whether nothing lies in in_progress/ under `name`, for all that can be told."""
    with contextlib.suppress(OSError):
        return not lies_there(tree, [f"{walk.IN_PROGRESS}/{name}"])
    return False


def _alike(times: Sequence[TakenAway], sight: Sight) -> list[TakenAway]:
    """Those of files of the same size and mtime that may be the one that was seen."""
    if sight.inode:
        same = [file for file in times if file.inode == sight.inode]
        if same:
            return same
    blind = [file for file in times if not (sight.inode and file.inode)]
    return blind if len(blind) == 1 else []
