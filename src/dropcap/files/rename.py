"""Renaming that never replaces, on whatever file system.

There are three ways, tried one after the other where a file system lacks the better one: `renameat2` with RENAME_NOREPLACE
(local file systems, CIFS), a hard link with the old name removed afterwards (NFS), and a look before a plain rename
(FUSE without links; the only one in which somebody quick can come between).
"""

from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Callable, Sequence

_RENAME_NOREPLACE = 1
_LACKS = {errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP}
# EPERM: no hard links here, or none to somebody else's file (fs.protected_hardlinks); EMLINK: it has too many already.
_NO_LINK = _LACKS | {errno.EPERM, errno.EMLINK, errno.EACCES}

#: (source directory, source, destination directory, destination)
Way = Callable[[int, str, int, str], None]


class NoSuchWay(Exception):  # noqa: N818
    """This file system lacks this way of renaming."""


_renameat2 = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)


def by_renameat2(source_dir: int, source: str, target_dir: int, target: str) -> None:
    if _renameat2 is None:
        raise NoSuchWay
    if _renameat2(source_dir, os.fsencode(source), target_dir, os.fsencode(target), _RENAME_NOREPLACE) == 0:
        return
    number = ctypes.get_errno()
    if number in _LACKS:
        raise NoSuchWay
    raise OSError(number, os.strerror(number), source, None, target)


def by_link(source_dir: int, source: str, target_dir: int, target: str) -> None:
    _by_link(source_dir, source, target_dir, target, lambda status: (status.st_dev, status.st_ino))


def by_link_told_by_times(source_dir: int, source: str, target_dir: int, target: str) -> None:
    """`by_link` where one file may show two inode numbers."""
    _by_link(source_dir, source, target_dir, target, lambda status: (status.st_size, status.st_mtime_ns))


def _by_link(
    source_dir: int, source: str, target_dir: int, target: str, identity: Callable[[os.stat_result], tuple[int, int]]
) -> None:
    before = os.stat(source, dir_fd=source_dir, follow_symlinks=False)
    try:
        os.link(source, target, src_dir_fd=source_dir, dst_dir_fd=target_dir, follow_symlinks=False)
    except OSError as error:
        if error.errno in _NO_LINK:
            raise NoSuchWay from None
        raise
    after = os.stat(source, dir_fd=source_dir, follow_symlinks=False)
    if identity(before) == identity(after):
        os.unlink(source, dir_fd=source_dir)


def by_look(source_dir: int, source: str, target_dir: int, target: str) -> None:
    try:
        os.stat(target, dir_fd=target_dir, follow_symlinks=False)
    except FileNotFoundError:
        os.rename(source, target, src_dir_fd=source_dir, dst_dir_fd=target_dir)
    else:
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), source, None, target)


WAYS: tuple[Way, ...] = (by_renameat2, by_link, by_look)
WAYS_WITHOUT_INODES: tuple[Way, ...] = (by_renameat2, by_link_told_by_times, by_look)


def rename_new(source_dir: int, source: str, target_dir: int, target: str, ways: Sequence[Way] = WAYS) -> None:
    """Rename `source` to `target`, which must not exist.

    Raises FileExistsError if it does, and OSError as rename(2) does (EXDEV across file systems).
    """
    for way in ways:
        try:
            way(source_dir, source, target_dir, target)
        except NoSuchWay:
            continue
        except FileExistsError:
            if _halfway(source_dir, source, target_dir, target):
                os.unlink(source, dir_fd=source_dir)
                return
            raise
        return
    raise OSError(errno.ENOTSUP, "This file system has no safe way to rename; use another one", source)


def _halfway(source_dir: int, source: str, target_dir: int, target: str) -> bool:
    """Whether both names are one file: a crash (or a lost NFS reply) cut off the second half of `by_link`."""
    old = os.stat(source, dir_fd=source_dir, follow_symlinks=False)
    new = os.stat(target, dir_fd=target_dir, follow_symlinks=False)
    return old.st_nlink > 1 and (old.st_dev, old.st_ino) == (new.st_dev, new.st_ino)
