"""A directory that its owner alone may look into, and what is made in it."""

from __future__ import annotations

import contextlib
import os
import stat
from pathlib import Path

from dropcap.files import names
from dropcap.files.durable import fsync
from dropcap.files.tree import Tree

_ANYBODY = 0o077


class PrivateTree(Tree):
    """A tree with directories of mode 0700 and files of 0600, whatever the umask. What root makes is for the tree's owner."""

    def file_mode(self) -> int:
        """0600, whatever the directory's own mode."""
        return 0o600

    def give_group(self, fd: int) -> None:
        """Give an open file or directory to the owner of the tree, if we are root."""
        if os.geteuid() != 0:
            return
        owner, mine = os.fstat(self.fd), os.fstat(fd)
        if (mine.st_uid, mine.st_gid) != (owner.st_uid, owner.st_gid):
            with contextlib.suppress(OSError):  # a server may not let root do so
                os.fchown(fd, owner.st_uid, owner.st_gid)


def make_private(path: Path, owner: os.stat_result) -> None:
    """Make the directory `path`, durably, with mode 0700; if we are root, for the `owner` of another. Raises OSError."""
    parent = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        try:
            os.mkdir(path.name, 0o700, dir_fd=parent)
        except FileExistsError:
            return
        fd = os.open(path.name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
        try:
            if os.geteuid() == 0:
                os.fchown(fd, owner.st_uid, owner.st_gid)
            os.fchmod(fd, 0o700)  # the umask may have taken more, or a default ACL given a setgid bit's group more
        finally:
            os.close(fd)
        fsync(parent, str(path))
    finally:
        os.close(parent)


def open_to_others(status: os.stat_result) -> bool:
    """Whether anybody but the owner may read, write or go through what has this status."""
    return bool(stat.S_IMODE(status.st_mode) & _ANYBODY)


def keeps_modes(directory: int) -> bool:
    """Whether the file system of an open directory keeps the modes that files are given. Raises OSError if none can be made.

    One that does not (FAT, CIFS, much of FUSE) shows the same mode whatever it was told.
    """
    name = names.temporary()
    fd = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=directory)
    try:
        for mode in (0o640, 0o600):
            try:
                os.fchmod(fd, mode)
            except OSError:
                return False
            # Looked up anew: some show for an open file what they were told, and not what they kept.
            if stat.S_IMODE(os.stat(name, dir_fd=directory, follow_symlinks=False).st_mode) != mode:
                return False
        return True
    finally:
        os.close(fd)
        os.unlink(name, dir_fd=directory)
