"""A copy on another file system that can stand for its original."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import stat

from dropcap.files import names
from dropcap.files.durable import fsync
from dropcap.files.lease import Lease, writer_free
from dropcap.files.regular import open_regular

_CHUNK = 1024 * 1024


def copy_verified(
    source_dir: int, source: str, target_dir: int, temporary: str | None = None, sha256: str | None = None
) -> tuple[str, os.stat_result, str]:
    """Copy `source` into `target_dir` under a temporary name, fsynced and read again.

    Returns that name, the source's stat and its SHA-256 (in hex). `sha256` says what that must be.
    Owner, mode, times, extended attributes and ACL go along as far as the other file system and our rights allow.
    Raises OSError: EBUSY if somebody writes to the source or has done so meanwhile, or it is not what it must be, EIO if the copy
    differs; nothing is left behind then.
    """
    temporary = temporary or names.temporary()
    original, _ = open_regular(source_dir, source)
    try:
        if writer_free(original) is Lease.WRITER:
            raise busy(source)
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        copy = os.open(temporary, flags, 0o600, dir_fd=target_dir)
        try:
            before = os.fstat(original)
            sent = _pour(original, copy)
            if sha256 is not None and sent.hex() != sha256:
                raise busy(source)
            _dress(original, copy, before)
            fsync(copy, source)
            if not still(original, before, sent.hex()):
                raise busy(source)
            if os.fstat(copy).st_size != before.st_size or _digest(copy) != sent:
                raise OSError(errno.EIO, "The copy differs from its original; look after the disk", source)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(temporary, dir_fd=target_dir)
            raise
        finally:
            os.close(copy)
    finally:
        os.close(original)
    return temporary, before, sent.hex()


def still(fd: int, before: os.stat_result, sha256: str) -> bool:
    """Whether an open file is as it was when it was copied: its size and mtime as `before` tells, its bytes those of `sha256`.

    Size and mtime can be put back, so the bytes are read again if the ctime has moved.
    """
    now = os.fstat(fd)
    if not _alike(now, before):
        return False
    if now.st_ctime_ns == before.st_ctime_ns:
        return True
    return _digest(fd).hex() == sha256 and os.fstat(fd).st_ctime_ns == now.st_ctime_ns


def busy(name: str) -> OSError:
    """The error that says that somebody writes to a file."""
    return OSError(errno.EBUSY, "Somebody writes to the file, or changed it while it was copied; wait until nobody does", name)


def unchanged(directory: int, leaf: str, before: os.stat_result, stable_inodes: bool = True) -> bool:
    """Whether `leaf` is still the file, and still has the size and time, that `before` tells of.

    Without stable inodes size and time have to do.
    """
    now = os.stat(leaf, dir_fd=directory, follow_symlinks=False)
    if stable_inodes and (now.st_dev, now.st_ino) != (before.st_dev, before.st_ino):
        return False
    return stat.S_ISREG(now.st_mode) and _alike(now, before)


def _alike(one: os.stat_result, other: os.stat_result) -> bool:
    return (one.st_size, one.st_mtime_ns) == (other.st_size, other.st_mtime_ns)


def _pour(original: int, copy: int) -> bytes:
    digest = hashlib.sha256()
    while chunk := os.read(original, _CHUNK):
        digest.update(chunk)
        view = memoryview(chunk)
        while view:
            view = view[os.write(copy, view) :]
    return digest.digest()


def _digest(fd: int) -> bytes:
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)  # what was just fsynced is to come from the disk, not from memory
    os.lseek(fd, 0, os.SEEK_SET)
    digest = hashlib.sha256()
    while chunk := os.read(fd, _CHUNK):
        digest.update(chunk)
    return digest.digest()


def _dress(original: int, copy: int, status: os.stat_result) -> None:
    with contextlib.suppress(OSError):
        os.fchown(copy, status.st_uid, status.st_gid)
    with contextlib.suppress(OSError):
        os.fchmod(copy, status.st_mode & 0o777)
    with contextlib.suppress(OSError):
        for name in os.listxattr(original):
            if name.startswith(("user.", "system.")):  # what security modules attach belongs to the place, not the file
                with contextlib.suppress(OSError):
                    os.setxattr(copy, name, os.getxattr(original, name))
    with contextlib.suppress(OSError):
        os.utime(copy, ns=(status.st_atime_ns, status.st_mtime_ns))
