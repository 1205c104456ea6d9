"""The copies that lie in a place, each told of by the `.json` beside it."""

from __future__ import annotations

import bisect
import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from dropcap.files import names
from dropcap.files.digest import sha256
from dropcap.files.tree import NotRegular, Tree

_TOLD = ".json"
_LARGEST = 64 * 1024
_SHA256 = re.compile("[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Copy:
    """One copy; `name` is relative to the tree in which it lies, or should lie."""

    name: str
    project: str
    job: int
    record: str
    event: str | None
    field: str
    instance: int | None
    original_name: str
    size: int
    sha256: str
    preserved_at: str  # RFC 3339

    def intact(self, tree: Tree) -> bool:
        """Whether the copy is there and has the bytes that it had when it was made. Raises OSError if it cannot be read."""
        try:
            fd = tree.open(self.name)
        except (FileNotFoundError, NotRegular):
            return False
        try:
            return self.is_it(fd)
        finally:
            os.close(fd)

    @property
    def told(self) -> str:
        """The name of the file that tells of it."""
        return self.name + _TOLD

    def is_it(self, fd: int) -> bool:
        """Whether an open file has the bytes that the copy had when it was made. Raises OSError."""
        return os.fstat(fd).st_size == self.size and sha256(fd) == self.sha256

    def used(self, tree: Tree) -> float:
        """When it was kept, or relied on last (seconds since the epoch). Raises OSError, ValueError."""
        return max(datetime.fromisoformat(self.preserved_at).timestamp(), tree.lstat(self.told).st_mtime)

    def touch(self, tree: Tree) -> None:
        """A job relies on it from now on. Raises OSError."""
        with tree.parent(self.told) as (directory, leaf):
            os.utime(leaf, dir_fd=directory, follow_symlinks=False)


def names_of_copies(tree: Tree) -> list[str]:
    """The names of all copies that are told of, in their order. Raises OSError if the place cannot be listed."""
    return sorted(name.removesuffix(_TOLD) for name in _told_of(tree, ""))


def copy_of(tree: Tree, name: str) -> Copy | None:
    """What is told of the copy called `name`."""
    return _read(tree, name + _TOLD)


def copies(tree: Tree, within: str = "") -> Iterator[Copy]:
    """What is told of copies beneath `within`, in the order of their days and names.

    Also of copies that are not there: `Copy.intact` looks. Raises OSError if the place cannot be listed.
    """
    return (copy for name in sorted(_told_of(tree, within)) if (copy := _read(tree, name)) is not None)


class Index:
    """The names of the copies in a tree, for one thread: the tree is listed once, and `add` told of what comes in."""

    def __init__(self, tree: Tree) -> None:
        self._tree = tree
        self._names = sorted((names.split(name)[1], name) for name in _told_of(tree, ""))

    def add(self, name: str) -> None:
        """There is a copy called `name` now."""
        told = name + _TOLD
        bisect.insort(self._names, (names.split(told)[1], told))

    def beginning(self, text: str) -> Iterator[Copy]:
        """What is told of copies whose names, without their day, begin so. Some may be gone."""
        for leaf, name in self._names[bisect.bisect_left(self._names, (text, "")) :]:
            if not leaf.startswith(text):
                return
            copy = _read(self._tree, name)
            if copy is not None:
                yield copy


def _told_of(tree: Tree, within: str) -> Iterator[str]:
    found = {entry.name for entry in tree.scan(within) if entry.kind == "file"}
    # Beside a copy of a file that is JSON itself there is another one.
    return (name for name in found if name.endswith(_TOLD) and name + _TOLD not in found)


def _read(tree: Tree, name: str) -> Copy | None:
    try:
        with os.fdopen(tree.open(name), "rb") as file:
            told = json.loads(file.read(_LARGEST))
    except (OSError, ValueError, RecursionError):
        return None
    return _parsed(name.removesuffix(_TOLD), told)


def _parsed(name: str, told: Any) -> Copy | None:
    kinds = {
        "project": str, "job": int, "record": str, "event": str | None, "field": str, "instance": int | None,
        "original_name": str, "size": int, "sha256": str, "preserved_at": str,
    }  # fmt: skip
    if not isinstance(told, dict) or not all(isinstance(told.get(key), kind) for key, kind in kinds.items()):
        return None
    if told["size"] < 0 or not _SHA256.fullmatch(told["sha256"]):
        return None  # on a share anybody may have written it
    return Copy(name, **{key: told[key] for key in kinds})
