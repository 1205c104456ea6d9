"""One drop folder, held open: everything dropcap does in it goes through here."""

from __future__ import annotations

import contextlib
import os
import stat
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import TracebackType

from dropcap.files import names
from dropcap.files.copy import unchanged
from dropcap.files.durable import fsync
from dropcap.files.move import PLAIN, Crossing, move
from dropcap.files.regular import NotRegular, open_regular
from dropcap.files.rename import WAYS, WAYS_WITHOUT_INODES, Way
from dropcap.files.scan import Entry, scan
from dropcap.files.staged import Ours, Staged, read_ours

__all__ = ["Entry", "NotRegular", "Staged", "Tree"]

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class Tree:
    """A folder, held open by a descriptor.

    Names are relative `str` as `os.fsdecode` gives them, with `/` between parts. Every part is opened with O_NOFOLLOW,
    so no link is followed, not even one that stands for `in_progress/` itself. Nothing is kept between two calls: a
    directory that was replaced is noticed at once. All methods raise OSError as the system calls beneath them do, and
    may be called from several threads; only `close` must come after all others.
    """

    def __init__(self, path: Path, ways: Sequence[Way] | None = None, *, stable_inodes: bool = True) -> None:
        """Open `path`, which may be reached through links but must not itself be one. Raises OSError.

        `stable_inodes`: whether a file keeps its inode number for as long as it is there. Where it does not, size and mtime
        tell whether two looks saw one file. It may be set anew at any time.
        """
        self.fd = -1  # __del__ comes also after an open that failed
        self.path = path
        self.stable_inodes = stable_inodes
        self._ways = ways
        self.fd = os.open(path, _DIRECTORY)
        self._status = os.fstat(self.fd)

    @property
    def ways(self) -> Sequence[Way]:
        """How to rename here."""
        return self._ways or (WAYS if self.stable_inodes else WAYS_WITHOUT_INODES)

    @property
    def identity(self) -> tuple[int, int]:
        """What tells this directory from others: st_dev, and st_ino where that is to be relied on, else 0."""
        return self._identity(self._status)

    def _identity(self, status: os.stat_result) -> tuple[int, int]:
        return status.st_dev, status.st_ino if self.stable_inodes else 0

    def close(self) -> None:
        """Let go of the folder. May be called twice."""
        fd, self.fd = self.fd, -1
        if fd >= 0:
            os.close(fd)

    def __del__(self) -> None:
        self.close()

    def still_there(self) -> bool:
        """Whether `path` still leads to this very directory (and not to a bare mount point, say).

        Without stable inodes it is only known to lie on the same file system.
        """
        try:
            status = os.stat(self.path, follow_symlinks=False)
        except OSError:
            return False
        return self._identity(status) == self.identity

    def free_bytes(self, relative: str = "") -> int:
        """Bytes that may still be written on the file system of the directory `relative`; no end of them if it does not say."""
        with self.directory(relative) as fd:
            system = os.fstatvfs(fd)
        if system.f_blocks == 0:  # smbnetfs and others of FUSE
            return sys.maxsize
        return system.f_bavail * system.f_frsize

    # -- looking

    def directory(self, relative: str = "", create: bool = False) -> _Opened:
        """A descriptor of the directory `relative` for a `with`, made if `create`. ENOTDIR if a part is a link."""
        return _Opened(self, relative, create)

    def open_directory(self, relative: str, create: bool = False) -> int:
        """Like `directory`, but the caller closes the descriptor."""
        if not relative:
            return os.dup(self.fd)
        fd = self.fd
        try:
            for part in names.parts(relative):
                try:
                    child = os.open(part, _DIRECTORY, dir_fd=fd)
                except FileNotFoundError:
                    if not create:
                        raise
                    self._make_directory(fd, part)
                    child = os.open(part, _DIRECTORY, dir_fd=fd)
                fd, parent = child, fd
                if parent != self.fd:
                    os.close(parent)
        except BaseException as error:
            if fd != self.fd:
                os.close(fd)
            if isinstance(error, OSError):
                error.filename = relative
            raise
        return fd

    def lstat(self, name: str) -> os.stat_result:
        """What `name` is, without following a link. The empty name is the folder itself."""
        if not name:
            return os.fstat(self.fd)
        with self.parent(name) as (fd, leaf):
            return os.stat(leaf, dir_fd=fd, follow_symlinks=False)

    def exists(self, name: str) -> bool:
        """Whether there is anything under that name, be it a link to nowhere."""
        try:
            self.lstat(name)
        except FileNotFoundError:
            return False
        return True

    def open(self, name: str) -> int:
        """A descriptor for reading the regular file `name`; never blocks. Raises NotRegular for anything else."""
        with self.parent(name) as (fd, leaf):
            return open_regular(fd, leaf, name)

    def scan(self, relative: str = "", recursive: bool = True, enter: Callable[[str], bool] | None = None) -> Iterator[Entry]:
        """Everything beneath `relative`, in no order, as it is come across; see `Entry`.

        `enter(name)` says whether to look into a subdirectory (all, if it is None). A subdirectory that cannot be read
        comes a second time, as an entry of kind `other` that carries the error.
        """
        return scan(self, relative, recursive, enter)

    # -- moving

    def move(self, source: str, destination: str) -> None:
        """Move a file, making the directories it needs. Never replaces: raises FileExistsError.

        Not durable before `sync` on both directories; across file systems it is at once.
        """
        move(self, source, destination, lambda leaf: (leaf,))

    def move_free(self, source: str, destination: str, crossing: Crossing = PLAIN) -> str:
        """Like `move`, but to the first free name of `NAME.ext`, `NAME (2).ext`, `NAME (3).ext`…, which it returns."""
        return move(self, source, destination, names.candidates, crossing)

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
        with self.stage(names.split(name)[0], mode) as staged:
            staged.write(data)
            staged.place(name)

    def write_over(self, name: str, data: bytes, ours: Ours, mode: int | None = None) -> None:
        """Like `write_new`, but replaces a present file if `ours` says of its content that it is dropcap's.

        Raises FileExistsError if there is something else under that name; a link counts as something else.
        """
        with self.stage(names.split(name)[0], mode) as staged:
            staged.write(data)
            staged.place(name, ours)

    def remove_if(self, name: str, ours: Ours) -> bool:
        """Remove the file `name` if `ours` says of its content that it is dropcap's; returns whether it did."""
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
        """Remove what a crash left half written beneath `relative`; returns how many.

        What this process is writing at the moment is let be.
        """
        leftovers = [e.name for e in self.scan(relative, recursive) if e.kind == "file" and names.is_leftover(e.leaf)]
        for name in leftovers:
            with self.parent(name) as (fd, leaf), contextlib.suppress(OSError):
                os.unlink(leaf, dir_fd=fd)
        return len(leftovers)

    def file_mode(self) -> int:
        """The mode of files that dropcap writes: who may read and write in the folder may read and write them."""
        return stat.S_IMODE(os.fstat(self.fd).st_mode) & 0o666 | 0o600

    def give_group(self, fd: int) -> None:
        """Give an open file or directory the folder's group, where we may."""
        group = os.fstat(self.fd).st_gid
        if os.fstat(fd).st_gid != group:
            with contextlib.suppress(OSError):  # only a member of the group may, and not on every file system
                os.fchown(fd, -1, group)

    def sync(self, *relatives: str) -> None:
        """fsync these directories ("" is the folder itself), so that what was renamed in them stays renamed."""
        for relative in relatives:
            with self.directory(relative) as fd:
                fsync(fd, relative)

    def sync_file(self, fd: int) -> None:
        """fsync an open file; a file system that refuses fsync is put up with and noted once."""
        fsync(fd, str(self.path))

    # -- beneath

    def parent(self, name: str) -> _Parent:
        """The directory of `name` for a `with`, and the last part of the name."""
        return _Parent(self, name)

    def _make_directory(self, parent: int, leaf: str) -> None:
        try:
            os.mkdir(leaf, 0o700, dir_fd=parent)
        except FileExistsError:
            return  # somebody else was quicker
        fd = os.open(leaf, _DIRECTORY, dir_fd=parent)
        try:
            self.give_group(fd)
            with contextlib.suppress(OSError):  # CIFS and FUSE fix the mode by mount option
                os.fchmod(fd, stat.S_IMODE(os.fstat(self.fd).st_mode) & 0o3777 | 0o700)
        finally:
            os.close(fd)
        fsync(parent, leaf)


class _Opened:
    """A directory, open for the length of a `with`; the tree's own descriptor for the topmost one."""

    __slots__ = ("_create", "_fd", "_relative", "_tree")

    def __init__(self, tree: Tree, relative: str, create: bool = False) -> None:
        self._tree = tree
        self._relative = relative
        self._create = create

    def __enter__(self) -> int:
        self._fd = self._tree.open_directory(self._relative, self._create) if self._relative else self._tree.fd
        return self._fd

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._relative:
            os.close(self._fd)


class _Parent(_Opened):
    """The directory that a file lies in; errors that name the file's last part alone are made to name all of it."""

    __slots__ = ("_leaf", "_name")

    def __init__(self, tree: Tree, name: str) -> None:
        directory, self._leaf = names.split(name)
        super().__init__(tree, directory)
        self._name = name

    def __enter__(self) -> tuple[int, str]:  # type: ignore[override]
        return super().__enter__(), self._leaf

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        super().__exit__(kind, error, trace)
        if isinstance(error, OSError) and not isinstance(error, NotRegular) and error.filename == self._leaf:
            error.filename = self._name
