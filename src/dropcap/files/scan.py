"""Listing a folder, however large."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Callable, Iterator
from typing import Literal

from dropcap.files import names
from dropcap.files.root import Root

Kind = Literal["file", "dir", "link", "other"]


class _Listing:
    """The directory that is being listed; `fd` is -1 once it is closed."""

    __slots__ = ("fd", "root")

    def __init__(self, root: Root, fd: int) -> None:
        self.root = root
        self.fd = fd


class Entry:
    """One thing in a folder: its `name` relative to the drop folder, its `kind`, and its `stat` when asked for.

    `error` is set for a subdirectory that could not be read.
    """

    __slots__ = ("_found", "_listing", "_stat", "error", "kind", "leaf", "name")

    def __init__(
        self,
        listing: _Listing,
        name: str,
        leaf: str,
        kind: Kind,
        found: os.DirEntry[str] | None = None,
        error: OSError | None = None,
    ) -> None:
        self._listing = listing
        self._found = found  # good while the directory is being listed
        self._stat: os.stat_result | None = None
        self.name = name
        self.leaf = leaf
        self.kind: Kind = kind
        self.error = error

    @property
    def stat(self) -> os.stat_result | None:
        """What lstat(2) says, asked at the first look and kept; None if the thing is gone meanwhile. Raises OSError."""
        if self._stat is None:
            try:
                if self._found is not None and self._listing.fd >= 0:
                    self._stat = self._found.stat(follow_symlinks=False)
                else:
                    self._stat = self._listing.root.lstat(self.name)
            except (FileNotFoundError, NotADirectoryError):
                return None
        return self._stat

    def __repr__(self) -> str:
        return f"Entry({self.name!r}, {self.kind!r})"


def scan(root: Root, relative: str, recursive: bool, enter: Callable[[str], bool] | None) -> Iterator[Entry]:
    """See `Tree.scan`. One descriptor is open at a time, however deep the folder is."""
    pending = [Entry(_Listing(root, -1), relative, "", "dir")]
    while pending:
        asked = pending.pop()
        try:
            for entry in _list(root, asked.name):
                yield entry
                if entry.kind == "dir" and recursive and (enter is None or enter(entry.name)):
                    pending.append(entry)
        except OSError as error:
            if asked.name == relative:
                raise
            if error.errno not in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):  # gone or replaced meanwhile
                yield Entry(asked._listing, asked.name, asked.leaf, "other", error=error)


def _list(root: Root, relative: str) -> Iterator[Entry]:
    with root.directory(relative) if relative else _opened_anew(root.fd) as fd:
        listing = _Listing(root, fd)
        prefix = names.join(relative, "")
        try:
            with os.scandir(fd) as found:
                for item in found:
                    kind: Kind
                    if item.is_file(follow_symlinks=False):
                        kind = "file"
                    elif item.is_dir(follow_symlinks=False):
                        kind = "dir"
                    else:
                        kind = "link" if item.is_symlink() else "other"
                    leaf = item.name
                    yield Entry(listing, prefix + leaf, leaf, kind, item)
        finally:
            listing.fd = -1


@contextlib.contextmanager
def _opened_anew(directory: int) -> Iterator[int]:
    """smbnetfs lists what was there when the directory was opened, and the drop folder itself stays open for long."""
    fd = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=directory)
    try:
        yield fd
    finally:
        os.close(fd)
