"""A file that is written under a temporary name and appears under its own only when it is whole."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Callable
from types import TracebackType
from typing import Self

from dropcap.files import names
from dropcap.files.durable import fsync
from dropcap.files.regular import NotRegular, read_regular
from dropcap.files.rename import rename_new
from dropcap.files.root import Root

#: Files of ours that are replaced (why.txt, status page) are far smaller; a larger one is somebody else's.
_OURS_AT_MOST = 8 * 1024 * 1024

#: Says of a file's content whether dropcap wrote it.
Ours = Callable[[bytes], bool]


class Staged:
    """Made by `Tree.stage`, used in a `with`: `write`, then `place`. What is not placed is removed at the end.

    `status` is what fstat(2) said of it when it was sealed.
    """

    status: os.stat_result

    def __init__(self, root: Root, directory: str, mode: int) -> None:
        self._root = root
        self._leaf = names.temporary()
        self._mode = mode
        self._placed = False
        self._sealed = False
        self._directory = root.open_directory(directory, create=True)
        try:
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            self._fd = os.open(self._leaf, flags, 0o600, dir_fd=self._directory)
        except BaseException:
            os.close(self._directory)
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if not self._sealed:
            os.close(self._fd)
        if not self._placed:
            with contextlib.suppress(OSError):
                os.unlink(self._leaf, dir_fd=self._directory)
        os.close(self._directory)

    def write(self, data: bytes) -> None:
        """Add `data`. Raises OSError (ENOSPC, say)."""
        view = memoryview(data)
        while view:
            view = view[os.write(self._fd, view) :]

    def seal(self) -> None:
        """Give the file its group and mode and bring its content to the disk: from here on only renaming is left."""
        if not self._sealed:
            self._root.give_group(self._fd)
            with contextlib.suppress(OSError):  # CIFS and FUSE fix the mode by mount option
                os.fchmod(self._fd, self._mode)
            fsync(self._fd, self._leaf)
            self.status = os.fstat(self._fd)
            self._sealed = True
            os.close(self._fd)  # some network file systems rename no file that is open

    def place(self, name: str, ours: Ours | None = None) -> None:
        """Let the file appear, durably, as `name` (relative to the tree, its directory is made).

        Raises FileExistsError if the name is taken, unless `ours` says of the present file that it may be replaced; OSError
        (ESTALE) if another host may work there by now.
        """
        self.seal()
        self._root.be_ours()  # bringing the bytes to the disk may have taken long
        directory, leaf = names.split(name)
        with self._root.directory(directory, create=True) as fd:
            if ours is not None and read_ours(fd, leaf, ours) is not None:
                os.rename(self._leaf, leaf, src_dir_fd=self._directory, dst_dir_fd=fd)
            else:
                rename_new(self._directory, self._leaf, fd, leaf, self._root.ways)
            self._placed = True
            fsync(fd, name)


def read_ours(directory: int, leaf: str, ours: Ours) -> os.stat_result | None:
    """The stat of `leaf` if it is ours, None if it is absent; FileExistsError if it is somebody else's (a link, say)."""
    try:
        content, status = read_regular(directory, leaf, _OURS_AT_MOST)
    except FileNotFoundError:
        return None
    except (NotRegular, PermissionError):
        pass
    else:
        if len(content) <= _OURS_AT_MOST and ours(content):
            return status
    raise FileExistsError(errno.EEXIST, "Somebody else's file has this name; rename it", leaf)
