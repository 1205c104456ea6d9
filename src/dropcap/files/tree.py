"""A folder that is held open, and how its files are read, written, moved and hashed."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import stat
import sys
from collections.abc import Callable
from types import TracebackType
from typing import Self

from dropcap.files import names
from dropcap.files.durable import NotRegular, fsync, open_regular, read_regular
from dropcap.files.move import PLAIN, Crossing, move, put_back, unchanged
from dropcap.files.root import Entry, Root, rename_new

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


__all__ = ["Entry", "NotRegular", "Staged", "Tree"]


class Tree(Root):
    """A drop folder: a `Root` with all that is done to the files beneath it."""

    def free_bytes(self, relative: str = "") -> int:
        """Bytes that may still be written on the file system of the directory `relative`; no end of them if it does not say."""
        with self.directory(relative) as fd:
            system = os.fstatvfs(fd)
        if system.f_blocks == 0:  # smbnetfs and others of FUSE
            return sys.maxsize
        return system.f_bavail * system.f_frsize

    # -- looking

    def exists(self, name: str) -> bool:
        """Whether there is anything under that name, be it a link to nowhere."""
        try:
            self.lstat(name)
        except FileNotFoundError:
            return False
        return True

    def open(self, name: str, *, write: bool = False) -> int:
        """A descriptor for reading the regular file `name`, or for writing it as well; never blocks. Raises NotRegular for
        anything else."""
        return self.open_seen(name, write=write)[0]

    def open_seen(self, name: str, *, write: bool = False) -> tuple[int, os.stat_result]:
        """The same, with what fstat(2) says of it."""
        with self.parent(name) as (fd, leaf):
            return open_regular(fd, leaf, name, write=write)

    # -- moving

    def move(self, source: str, destination: str) -> None:
        """Move a file, making the directories it needs. Never replaces: raises FileExistsError.

        Not durable before `sync` on both directories; across file systems it is at once.
        """
        self.be_ours()
        move(self, source, destination)

    def move_free(self, source: str, destination: str, crossing: Crossing = PLAIN) -> str:
        """Like `move`, but to the first free name of `NAME.ext`, `NAME (2).ext`, `NAME (3).ext`…, which it returns."""
        self.be_ours()
        return move(self, source, destination, crossing, free=True)

    def remove_empty(self, relative: str) -> None:
        """Remove the directory `relative` and those above it as far as they are empty, but never the topmost one."""
        parts = names.parts(relative)
        with contextlib.suppress(OSError):  # not empty, gone, or not ours to remove
            for depth in range(len(parts), 1, -1):
                with self.directory("/".join(parts[: depth - 1])) as fd:
                    os.rmdir(parts[depth - 1], dir_fd=fd)

    # -- writing

    def stage(self, directory: str = "", mode: int | None = None) -> Staged:
        """A new file that is to appear beneath this tree, its bytes lying in `directory` meanwhile; see `Staged`.

        `mode` is the folder's own without the x bits, if it is None.
        """
        return Staged(self, directory, self.file_mode() if mode is None else mode)

    def write_new(self, name: str, data: bytes, mode: int | None = None) -> None:
        """Write a new file, whole and durable or not at all. Raises FileExistsError if the name is taken."""
        self.be_ours()
        with self.stage(names.split(name)[0], mode) as staged:
            staged.write(data)
            staged.place(name)

    def write_over(self, name: str, data: bytes, ours: Ours, mode: int | None = None) -> None:
        """Like `write_new`, but replaces a present file if `ours` says of its content that it is dropcap's.

        Raises FileExistsError if there is something else under that name; a link counts as something else.
        """
        self.be_ours()
        with self.stage(names.split(name)[0], mode) as staged:
            staged.write(data)
            staged.place(name, ours)

    def remove_if(self, name: str, ours: Ours) -> bool:
        """Remove the file `name` if `ours` says of its content that it is dropcap's; returns whether it did."""
        self.be_ours()
        try:
            with self.parent(name) as (fd, leaf):
                present = read_ours(fd, leaf, ours)
                if present is None or not unchanged(fd, leaf, present, self.stable_inodes):
                    return False
                os.unlink(leaf, dir_fd=fd)
                fsync(fd, name)
        except (FileNotFoundError, FileExistsError, NotADirectoryError):
            return False
        return True

    def remove_temporaries(self, relative: str = "", recursive: bool = True) -> int:
        """Remove what a crash left half written beneath `relative`, and put back what was being removed then; returns how many.

        What this process is writing or removing at the moment is let be.
        """
        self.be_ours()
        files = [entry for entry in self.scan(relative, recursive) if entry.kind == "file"]
        aside = [entry.name for entry in files if names.is_left_aside(entry.leaf)]
        leftovers = [entry.name for entry in files if names.is_leftover(entry.leaf)]
        for name in aside:
            with contextlib.suppress(OSError):
                put_back(self, name)
        for name in leftovers:
            with self.parent(name) as (fd, leaf), contextlib.suppress(OSError):
                os.unlink(leaf, dir_fd=fd)
        return len(aside) + len(leftovers)

    def file_mode(self) -> int:
        """The mode of files that dropcap writes: who may read and write in the folder may read and write them."""
        return stat.S_IMODE(os.fstat(self.fd).st_mode) & 0o666 | 0o600

    def sync(self, *relatives: str) -> None:
        """fsync these directories ("" is the folder itself), so that what was renamed in them stays renamed."""
        for relative in relatives:
            with self.directory(relative) as fd:
                fsync(fd, relative)

    def sync_file(self, fd: int) -> None:
        """fsync an open file; a file system that refuses fsync is put up with and noted once."""
        fsync(fd, str(self.path))


#: Bytes read at a time.
_CHUNK = 256 * 1024


def sha256(fd: int) -> str:
    """The SHA-256 of an open file, in hex; it is read from its beginning, and its position is left alone. Raises OSError."""
    digest, position = hashlib.sha256(), 0
    chunk = min(os.fstat(fd).st_size + 1, _CHUNK)  # of a small file no more than it takes
    while data := os.pread(fd, chunk, position):
        digest.update(data)
        position += len(data)
    return digest.hexdigest()


def sha256_of(tree: Tree, name: str) -> str:
    """The same of a file in a folder. Raises OSError: it cannot be read; NotRegular: it is no file."""
    fd = tree.open(name)
    try:
        return sha256(fd)
    finally:
        os.close(fd)
