"""A directory that is held open: files beneath it are reached by descriptors, moved and removed.

Nothing is replaced, and across file systems a file is copied, compared and only then removed.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import stat
import sys
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Self

from dropcap.files import names
from dropcap.files.regular import Lease, NotRegular, fsync, held, hold, open_regular, read_regular, writer_free
from dropcap.files.root import Entry, Root, rename_new

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


def remove(root: Root, name: str, is_it: Callable[[int], bool]) -> str | None:
    """Remove the file `name` if `is_it` says so of its descriptor. None: it is removed; else where it lies now.

    While it is looked at, it lies in its directory under a name that dropcap alone uses and that tells its own: `put_all_back`
    puts it back after a crash. Not durable before the directory is synced. Raises OSError: it is not removed, or was not there
    (FileNotFoundError).
    """
    root.be_ours()
    directory_name = names.split(name)[0]
    with root.parent(name) as (directory, leaf):
        aside = names.aside(leaf)
        rename_new(directory, leaf, directory, aside, root.rename_methods)
        try:
            fd, before = open_regular(directory, aside)
            try:
                right = is_it(fd)
            finally:
                os.close(fd)  # some file systems remove nothing that is open
            if right:
                root.be_ours()
                now = os.stat(aside, dir_fd=directory, follow_symlinks=False)
                if _fingerprint(now, root.stable_inodes) == _fingerprint(before, root.stable_inodes):
                    os.unlink(aside, dir_fd=directory)
                    return None
        except NotRegular:
            pass
        except BaseException:
            with contextlib.suppress(OSError):
                back(root, directory, aside, directory, leaf)
            raise
        return names.join(directory_name, back(root, directory, aside, directory, leaf))


def put_all_back(root: Root, within: str = "") -> None:
    """Put back what a crash, or a share that broke off, has left aside beneath `within`. Raises OSError."""
    for name in [entry.name for entry in root.scan(within) if entry.kind == "file" and names.set_aside(entry.leaf)]:
        put_back(root, name)


def put_back(root: Root, name: str) -> None:
    """Put back one file that lies aside, under its own name or the next one that is free. Raises OSError."""
    with root.parent(name) as (directory, aside), contextlib.suppress(FileNotFoundError):
        back(root, directory, aside, directory, names.set_aside(aside) or aside)


def back(root: Root, now_in: int, now: str, directory: int, leaf: str) -> str:
    """Move a file to where it was, past `holds`: it is another than was meant. Its name there. Raises OSError."""
    for candidate in names.candidates(leaf):
        with contextlib.suppress(FileExistsError):
            rename_new(now_in, now, directory, candidate, root.rename_methods)
            fsync(directory, candidate)
            return candidate
    raise AssertionError("there is no end of names")


def _fingerprint(status: os.stat_result, stable_inodes: bool) -> tuple[int, ...]:
    """What changes when somebody writes to a file, or puts another one in its place."""
    seen = (status.st_mode, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
    return (status.st_dev, status.st_ino, *seen) if stable_inodes else seen


#: So often a directory may be removed as empty beneath a move; each removal follows the filing of a file.
_ATTEMPTS = 10
_ANOTHER = "another host works in the folder by now, and has put another file there"


class CrossDeviceMove:
    """How a file goes to another file system, and which one is meant. `sha256` (in hex) is what its bytes must be, if known."""

    def __init__(self, sha256: str | None = None) -> None:
        self.sha256 = sha256

    def before_copy(self, temporary: str, final: str) -> None:
        """Before anything is written: under which name the copy grows, and which one it is to have."""

    def is_it(self, status: os.stat_result, stable_inodes: bool) -> bool:
        """Whether that is the file. Asked where another host may have put another one in its place by the time that this process,
        which was stopped, moves it."""
        return True


#: Nothing is known and nobody keeps a journal.
PLAIN = CrossDeviceMove()


def move(root: Root, source: str, destination: str, cross_device: CrossDeviceMove = PLAIN, *, free: bool = False) -> str:
    """Move a file to its destination, which is returned; `free`: else to the next name of `names.candidates` that is free.

    Directories are made as needed. Never replaces: raises FileExistsError if it is taken, else OSError: ESTALE if another host
    has put another file there, which lies where it was. Not durable before both directories are synced; across file systems it
    is at once.
    """
    for attempt in range(_ATTEMPTS):
        try:
            # The first time without making directories: most often they are there, and for nothing they are not made.
            return _once(root, source, destination, cross_device, free=free, create=attempt > 0)
        except FileNotFoundError:
            # Either the source has gone, as this look tells, or the destination's directory is missing or was just removed.
            root.lstat(source)
            if attempt == _ATTEMPTS - 1:
                raise
    raise AssertionError("the last attempt returns or raises")


def _once(root: Root, source: str, destination: str, cross_device: CrossDeviceMove, *, free: bool, create: bool) -> str:
    directory, wanted = names.split(destination)
    with root.parent(source) as (source_dir, leaf), root.directory(directory, create) as target_dir:
        try:
            taken = _rename(root, source_dir, leaf, target_dir, names.candidates(wanted) if free else (wanted,), cross_device)
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
            candidates = names.candidates(wanted) if free else (wanted,)
            taken = _across(root, source_dir, leaf, target_dir, directory, candidates, cross_device)
    return names.join(directory, taken)


def _rename(
    root: Root, source_dir: int, source: str, target_dir: int, candidates: Iterable[str], cross_device: CrossDeviceMove
) -> str:
    for candidate in candidates:
        try:
            rename_new(source_dir, source, target_dir, candidate, root.rename_methods)
        except FileExistsError as error:
            taken = error
        else:
            with contextlib.suppress(FileNotFoundError):  # another run that works there now has moved it on
                if not root.holds() and not cross_device.is_it(
                    os.stat(candidate, dir_fd=target_dir, follow_symlinks=False), root.stable_inodes
                ):
                    back(root, target_dir, candidate, source_dir, source)
                    raise OSError(errno.ESTALE, _ANOTHER, source)
            return candidate
    raise taken


def _across(
    root: Root,
    source_dir: int,
    source: str,
    target_dir: int,
    directory: str,
    candidates: Iterable[str],
    cross_device: CrossDeviceMove,
) -> str:
    temporary = names.temporary()
    before: os.stat_result | None = None
    try:
        for candidate in candidates:
            taken = candidate
            if _exists(target_dir, candidate):
                continue
            cross_device.before_copy(names.join(directory, temporary), names.join(directory, candidate))
            if before is None:
                _, before, sha256 = copy_verified(source_dir, source, target_dir, temporary, cross_device.sha256)
                if not root.holds() and not cross_device.is_it(before, root.stable_inodes):
                    raise OSError(errno.ESTALE, _ANOTHER, source)
            _must_be(source_dir, source, before, sha256)
            try:
                rename_new(target_dir, temporary, target_dir, candidate, root.rename_methods)
            except FileExistsError:
                continue
            break
        else:
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), names.join(directory, taken))
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary, dir_fd=target_dir)
        raise
    fsync(target_dir, taken)
    remove_original(root, source_dir, source, before, sha256)
    return taken


def remove_original(root: Root, directory: int, leaf: str, before: os.stat_result, sha256: str) -> None:
    """Remove, durably, what was copied, as `before` tells, with the bytes of `sha256` (in hex). Nothing is removed that somebody
    has written to since, or writes to now, nor what another host or a person has put there in this very moment.

    Raises OSError: EBUSY or ESTALE then.
    """
    aside = names.aside(leaf)  # should it end right here, `Tree.remove_temporaries` puts it back
    fd, _ = open_regular(directory, leaf)
    try:
        lease = hold(fd)
        if lease is Lease.WRITER or not still(fd, before, sha256):
            raise busy(leaf)
        if root.stable_inodes:  # a share without moves nothing that is open
            rename_new(directory, leaf, directory, aside, root.rename_methods)
            if lease is Lease.FREE and not held(fd):
                back(root, directory, aside, directory, leaf)
                raise busy(leaf)
    finally:
        os.close(fd)
    if not root.stable_inodes:
        rename_new(directory, leaf, directory, aside, root.rename_methods)
    if not unchanged(directory, aside, before, root.stable_inodes):
        back(root, directory, aside, directory, leaf)
        raise OSError(errno.ESTALE, _ANOTHER, leaf)
    os.unlink(aside, dir_fd=directory)
    fsync(directory, leaf)


def _exists(directory: int, leaf: str) -> bool:
    try:
        os.stat(leaf, dir_fd=directory, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True


def _must_be(directory: int, leaf: str, before: os.stat_result, sha256: str) -> None:
    fd, _ = open_regular(directory, leaf)
    try:
        if not still(fd, before, sha256):
            raise busy(leaf)
    finally:
        os.close(fd)


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
                rename_new(self._directory, self._leaf, fd, leaf, self._root.rename_methods)
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
        """Whether there is anything under that name, even a link to nowhere."""
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

    def move_free(self, source: str, destination: str, cross_device: CrossDeviceMove = PLAIN) -> str:
        """Like `move`, but to the first free name of `NAME.ext`, `NAME (2).ext`, `NAME (3).ext`…, which it returns."""
        self.be_ours()
        return move(self, source, destination, cross_device, free=True)

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
_READ_AT_ONCE = 256 * 1024


def sha256(fd: int) -> str:
    """The SHA-256 of an open file, in hex; it is read from its beginning, and its position is left alone. Raises OSError."""
    digest, position = hashlib.sha256(), 0
    chunk = min(os.fstat(fd).st_size + 1, _READ_AT_ONCE)  # of a small file no more than it takes
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
