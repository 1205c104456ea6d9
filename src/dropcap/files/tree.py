"""One drop folder, held open: everything dropcap does in it goes through here."""

from __future__ import annotations

import contextlib
import os
import stat
import sys
from collections.abc import Callable, Iterator

from dropcap.files import names
from dropcap.files.copy import unchanged
from dropcap.files.durable import fsync
from dropcap.files.move import PLAIN, Crossing, move
from dropcap.files.regular import NotRegular, open_regular
from dropcap.files.remove import put_back
from dropcap.files.root import Root
from dropcap.files.scan import Entry, scan
from dropcap.files.staged import Ours, Staged, read_ours

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
        self.be_ours()
        move(self, source, destination, lambda leaf: (leaf,))

    def move_free(self, source: str, destination: str, crossing: Crossing = PLAIN) -> str:
        """Like `move`, but to the first free name of `NAME.ext`, `NAME (2).ext`, `NAME (3).ext`…, which it returns."""
        self.be_ours()
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
