"""A directory that is held open: everything beneath it is reached by descriptors, and no link is followed."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import stat
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Literal

from dropcap.files import names
from dropcap.files.regular import NotRegular, fsync

_RENAME_NOREPLACE = 1
_LACKS = {errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP}
# EPERM: no hard links here, or none to somebody else's file (fs.protected_hardlinks); EMLINK: it has too many already.
_NO_LINK = _LACKS | {errno.EPERM, errno.EMLINK, errno.EACCES}

#: (source directory, source, destination directory, destination)
RenameMethod = Callable[[int, str, int, str], None]


class NoSuchRenameMethod(Exception):  # noqa: N818
    """This file system lacks this way of renaming."""


_renameat2 = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)


def by_renameat2(source_dir: int, source: str, target_dir: int, target: str) -> None:
    if _renameat2 is None:
        raise NoSuchRenameMethod
    if _renameat2(source_dir, os.fsencode(source), target_dir, os.fsencode(target), _RENAME_NOREPLACE) == 0:
        return
    number = ctypes.get_errno()
    if number in _LACKS:
        raise NoSuchRenameMethod
    raise OSError(number, os.strerror(number), source, None, target)


def by_link_told_by_times(source_dir: int, source: str, target_dir: int, target: str) -> None:
    """`by_link` where one file may show two inode numbers."""
    by_link(source_dir, source, target_dir, target, stable_inodes=False)


def by_link(source_dir: int, source: str, target_dir: int, target: str, stable_inodes: bool = True) -> None:
    before = os.stat(source, dir_fd=source_dir, follow_symlinks=False)
    try:
        os.link(source, target, src_dir_fd=source_dir, dst_dir_fd=target_dir, follow_symlinks=False)
    except OSError as error:
        if error.errno in _NO_LINK:
            raise NoSuchRenameMethod from None
        raise
    after = os.stat(source, dir_fd=source_dir, follow_symlinks=False)
    if os.path.samestat(before, after) if stable_inodes else _times(before) == _times(after):
        os.unlink(source, dir_fd=source_dir)


def _times(status: os.stat_result) -> tuple[int, int]:
    return status.st_size, status.st_mtime_ns


def by_look(source_dir: int, source: str, target_dir: int, target: str) -> None:
    try:
        os.stat(target, dir_fd=target_dir, follow_symlinks=False)
    except FileNotFoundError:
        os.rename(source, target, src_dir_fd=source_dir, dst_dir_fd=target_dir)
    else:
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), source, None, target)


RENAME_METHODS: tuple[RenameMethod, ...] = (by_renameat2, by_link, by_look)
RENAME_METHODS_WITHOUT_INODES: tuple[RenameMethod, ...] = (by_renameat2, by_link_told_by_times, by_look)


def rename_new(
    source_dir: int, source: str, target_dir: int, target: str, rename_methods: Sequence[RenameMethod] = RENAME_METHODS
) -> None:
    """Rename `source` to `target`, which must not exist.

    Raises FileExistsError if it does, and OSError as rename(2) does (EXDEV across file systems).
    """
    for method in rename_methods:
        try:
            method(source_dir, source, target_dir, target)
        except NoSuchRenameMethod:
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


#: Seconds for which a directory that is held open is taken for the one of its name.
_KEPT_FOR = 0.3
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class Root:
    """A directory, held open by a descriptor: what `Tree` stands on, and all that listing, moving and staging need of it.

    Names are relative `str` as `os.fsdecode` gives them, with `/` between parts. Every part is opened with O_NOFOLLOW,
    so no link is followed, not even one that stands for `in_progress/` itself. Nothing is kept between two calls, but within
    `batch`: a directory that was replaced is noticed at once. All methods raise OSError as the system calls beneath them do, and
    may be called from several threads; only `close` must come after all others.
    """

    #: Whether nobody else may work in it at this moment; asked right before anything is moved or removed.
    holds: Callable[[], bool] = staticmethod(lambda: True)

    def __init__(self, path: Path, rename_methods: Sequence[RenameMethod] | None = None, *, stable_inodes: bool = True) -> None:
        """Open `path`, which may be reached through links but must not itself be one. Raises OSError.

        `stable_inodes`: whether a file keeps its inode number for as long as it is there. Where it does not, size and mtime
        tell whether two looks saw one file. It may be set anew at any time.
        """
        self.fd = -1  # __del__ comes also after an open that failed
        self.path = path
        self.stable_inodes = stable_inodes
        self._rename_methods = rename_methods
        self._kept = _Kept()
        self.fd = os.open(path, _DIRECTORY)
        self._status = os.fstat(self.fd)

    @property
    def rename_methods(self) -> Sequence[RenameMethod]:
        """How to rename here."""
        return self._rename_methods or (RENAME_METHODS if self.stable_inodes else RENAME_METHODS_WITHOUT_INODES)

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

    def be_ours(self) -> None:
        """Raise OSError (ESTALE) if another host may work in it."""
        if not self.holds():
            raise OSError(errno.ESTALE, "another host may work in the folder by now", str(self.path))

    def still_there(self) -> bool:
        """Whether `path` still leads to this very directory (and not to a bare mount point, say).

        Without stable inodes it is only known to lie on the same file system.
        """
        try:
            status = os.stat(self.path, follow_symlinks=False)
        except OSError:
            return False
        return self._identity(status) == self.identity

    def directory(self, relative: str = "", create: bool = False) -> _Opened:
        """A descriptor of the directory `relative` for a `with`, made if `create`. ENOTDIR if a part is a link."""
        return _Opened(self, relative, create)

    @contextlib.contextmanager
    def batch(self) -> Iterator[None]:
        """For a batch: what `directory` and `parent` open for this thread within the `with` serves those that follow as well.

        For a moment only: a directory that is replaced meanwhile is worked in all the same, wherever it was moved to.
        """
        kept = self._kept
        if kept.fds is not None:
            yield
            return
        kept.fds, kept.opened, kept.until = {}, [], time.monotonic() + _KEPT_FOR
        try:
            yield
        finally:
            kept.fds = None
            for fd in kept.opened:
                os.close(fd)

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

    def scan(self, relative: str = "", recursive: bool = True) -> Iterator[Entry]:
        """Everything beneath `relative`, in no order, as it is come across; see `Entry`.

        One descriptor is open at a time, however deep the folder is. A subdirectory that cannot be read comes a second time, as
        an entry of kind `other` that carries the error.
        """
        pending = [Entry(_Listing(self, -1), relative, "", "dir")]
        while pending:
            asked = pending.pop()
            try:
                for entry in _list(self, asked.name):
                    yield entry
                    if entry.kind == "dir" and recursive and entry.enter:
                        pending.append(entry)
            except OSError as error:
                if asked.name == relative:
                    raise
                if error.errno not in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):  # gone or replaced meanwhile
                    yield Entry(asked._listing, asked.name, asked.leaf, "other", error=error)

    def parent(self, name: str) -> _Parent:
        """The directory of `name` for a `with`, and the last part of the name."""
        return _Parent(self, name)

    def give_group(self, fd: int) -> None:
        """Give an open file or directory the folder's group, where we may."""
        group = os.fstat(self.fd).st_gid
        if os.fstat(fd).st_gid != group:
            with contextlib.suppress(OSError):  # only a member of the group may, and not on every file system
                os.fchown(fd, -1, group)

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


class _Kept(threading.local):
    """The directories that a thread holds open, by name; None if it holds none. `opened` are all that it is to close."""

    fds: dict[str, int] | None = None
    opened: list[int]
    until: float


class _Opened:
    """A directory, open for the length of a `with`; the root's own descriptor for the topmost one."""

    __slots__ = ("_create", "_fd", "_owned", "_relative", "_root")

    def __init__(self, root: Root, relative: str, create: bool = False) -> None:
        self._root = root
        self._relative = relative
        self._create = create

    def __enter__(self) -> int:
        root, relative, kept = self._root, self._relative, self._root._kept
        self._owned = False
        if not relative:
            self._fd = root.fd
        elif kept.fds is None or time.monotonic() > kept.until:
            self._fd = root.open_directory(relative, self._create)
            self._owned = True
        elif relative in kept.fds and not self._create:
            self._fd = kept.fds[relative]
        else:
            self._fd = kept.fds[relative] = root.open_directory(relative, self._create)
            kept.opened.append(self._fd)
        return self._fd

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._owned:
            os.close(self._fd)


class _Parent(_Opened):
    """The directory that a file lies in; errors that name the file's last part alone are made to name all of it."""

    __slots__ = ("_leaf", "_name")

    def __init__(self, root: Root, name: str) -> None:
        directory, self._leaf = names.split(name)
        super().__init__(root, directory)
        self._name = name

    def __enter__(self) -> tuple[int, str]:  # type: ignore[override]
        return super().__enter__(), self._leaf

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        super().__exit__(kind, error, trace)
        if isinstance(error, OSError) and not isinstance(error, NotRegular) and error.filename == self._leaf:
            error.filename = self._name


Kind = Literal["file", "dir", "link", "other"]


class _Listing:
    """The directory that is being listed; `fd` is -1 once it is closed."""

    __slots__ = ("fd", "root")

    def __init__(self, root: Root, fd: int) -> None:
        self.root = root
        self.fd = fd


class Entry:
    """One thing in a folder: its `name` relative to the drop folder, its `kind`, and its `stat` when asked for.

    `error` is set for a subdirectory that could not be read. `enter`: whether a scan that is recursive looks into a directory;
    who says no says so before asking for the next entry.
    """

    __slots__ = ("_found", "_listing", "_stat", "enter", "error", "kind", "leaf", "name")

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
        self.enter = True

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
