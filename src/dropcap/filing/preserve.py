"""Copies of what REDCap held: where they are kept, for their owner's eyes alone, how they are made, found and fetched."""

from __future__ import annotations

import bisect
import contextlib
import errno
import hashlib
import json
import os
import re
import stat
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar, TypeVarTuple

from dropcap.display import shown
from dropcap.files import names
from dropcap.files.regular import fsync
from dropcap.files.tree import NotRegular, Staged, Tree, put_all_back, sha256
from dropcap.reasons import Reason
from dropcap.threads import SerialExecutor

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


_TOLD = ".json"
_LARGEST = 64 * 1024
_SHA256 = re.compile("[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Copy:
    """One copy; `name` is relative to the tree in which it lies, or should lie."""

    name: str
    project: str
    job: int
    record: str
    event: str | None
    field: str
    instance: int | None
    original_name: str
    size: int
    sha256: str
    preserved_at: str  # RFC 3339

    def intact(self, tree: Tree) -> bool:
        """Whether the copy is there and has the bytes that it had when it was made. Raises OSError if it cannot be read."""
        try:
            fd = tree.open(self.name)
        except (FileNotFoundError, NotRegular):
            return False
        try:
            return self.is_it(fd)
        finally:
            os.close(fd)

    @property
    def sidecar(self) -> str:
        """The name of the file that tells of it."""
        return self.name + _TOLD

    def is_it(self, fd: int) -> bool:
        """Whether an open file has the bytes that the copy had when it was made. Raises OSError."""
        return os.fstat(fd).st_size == self.size and sha256(fd) == self.sha256

    def used(self, tree: Tree) -> float:
        """When it was kept, or relied on last (seconds since the epoch). Raises OSError, ValueError."""
        return max(datetime.fromisoformat(self.preserved_at).timestamp(), tree.lstat(self.sidecar).st_mtime)

    def touch(self, tree: Tree) -> None:
        """A job relies on it from now on. Raises OSError."""
        with tree.parent(self.sidecar) as (directory, leaf):
            os.utime(leaf, dir_fd=directory, follow_symlinks=False)


def names_of_copies(tree: Tree) -> list[str]:
    """The names of all copies that are told of, in their order. Raises OSError if the place cannot be listed."""
    return sorted(name.removesuffix(_TOLD) for name in _told_of(tree, ""))


def copy_of(tree: Tree, name: str) -> Copy | None:
    """What is told of the copy called `name`."""
    return _read(tree, name + _TOLD)


def copies(tree: Tree, within: str = "") -> Iterator[Copy]:
    """What is told of copies beneath `within`, in the order of their days and names.

    Also of copies that are not there: `Copy.intact` looks. Raises OSError if the place cannot be listed.
    """
    return (copy for name in sorted(_told_of(tree, within)) if (copy := _read(tree, name)) is not None)


class Index:
    """The names of the copies in a tree, for one thread: the tree is listed once, and `add` told of what comes in."""

    def __init__(self, tree: Tree) -> None:
        self._tree = tree
        self._names = sorted((names.split(name)[1], name) for name in _told_of(tree, ""))

    def add(self, name: str) -> None:
        """There is a copy called `name` now."""
        told = name + _TOLD
        bisect.insort(self._names, (names.split(told)[1], told))

    def beginning(self, text: str) -> Iterator[Copy]:
        """What is told of copies whose names, without their day, begin so. Some may be gone."""
        for leaf, name in self._names[bisect.bisect_left(self._names, (text, "")) :]:
            if not leaf.startswith(text):
                return
            copy = _read(self._tree, name)
            if copy is not None:
                yield copy


def _told_of(tree: Tree, within: str) -> Iterator[str]:
    found = {entry.name for entry in tree.scan(within) if entry.kind == "file"}
    # Beside a copy of a file that is JSON itself there is another one.
    return (name for name in found if name.endswith(_TOLD) and name + _TOLD not in found)


def _read(tree: Tree, name: str) -> Copy | None:
    try:
        with os.fdopen(tree.open(name), "rb") as file:
            told = json.loads(file.read(_LARGEST))
    except (OSError, ValueError, RecursionError):
        return None
    return _parsed(name.removesuffix(_TOLD), told)


def _parsed(name: str, told: Any) -> Copy | None:
    kinds = {
        "project": str, "job": int, "record": str, "event": str | None, "field": str, "instance": int | None,
        "original_name": str, "size": int, "sha256": str, "preserved_at": str,
    }  # fmt: skip
    if not isinstance(told, dict) or not all(isinstance(told.get(key), kind) for key, kind in kinds.items()):
        return None
    if told["size"] < 0 or not _SHA256.fullmatch(told["sha256"]):
        return None  # on a share anybody may have written it
    return Copy(name, **{key: told[key] for key in kinds})


T = TypeVar("T")
Given = TypeVarTuple("Given")

#: Bytes that stay free for the ledger, where copies lie on its file system.
FOR_THE_LEDGER = 1024**3
#: Seconds that one act in the place may take. Less than those after which a drop folder is taken to hang.
_PATIENCE = 20.0
#: Bytes a second that the slowest place is granted.
_SLOWEST = 2 * 1024**2
#: Seconds for which the start of a folder waits for the place.
_AT_START = 5.0
#: Seconds for which it is taken to be as private as it was.
_LOOKED = 1.0
#: Seconds for which a job is taken to need the copy that it needed. REDCap can hold another file by then, or none.
_BELIEVED = 600.0


class NoCopy(Exception):  # noqa: N818 - a state of the place more than an error
    """A copy cannot be kept now: what needs one waits. `reason` is `no_space` or `no_copy`."""

    def __init__(self, reason: Reason, message: str, remedy: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.remedy = remedy


class _NotPrivate(Exception):  # noqa: N818
    """Others could get at copies there; the message says how."""


class Keep:
    """The place of one folder's copies. Safe to use from several threads; what hangs in it is waited for only so long.

    `path` lies in a directory that is there, or that is made if `make_above`. `exposed` looks who else could get at `path`,
    and says how (OSError: it cannot be looked at).
    """

    def __init__(
        self, path: Path, min_free: int, state_dir: Path, exposed: Callable[[], str | None], *, make_above: bool = False
    ) -> None:
        self.path = path
        self._min_free = min_free
        self._state_dir = state_dir
        self._exposed = exposed
        self._make_above = make_above
        self._executor = SerialExecutor(f"copies {path.name}")
        self._tree: PrivateTree | None = None
        self._index: Index | None = None
        self._looked = -_LOOKED
        self._short: dict[int, tuple[int, float]] = {}  # jobs that no copy could be kept for: the bytes that it had, and when
        self._lock = threading.Lock()

    def exposure(self) -> str | None:
        """Who could get at the copies, and what to do, for the start of the folder; None if nobody can, or if that cannot be
        found out now: then what needs a copy waits."""
        try:
            self._executor.run(_AT_START, self._open)
        except _NotPrivate as error:
            return f"copies of what REDCap held would not be safe in {shown(str(self.path))}: {error}; {_PRIVATE}"
        except OSError:
            pass
        return None

    def clean(self) -> None:
        """Remove what a crash left half written, if the place is to be had."""
        with contextlib.suppress(OSError, _NotPrivate):
            self._executor.run(_PATIENCE, self._clean)

    def let_go(self) -> None:
        """Another one works in this place from now on: the directory is closed. Waits for nothing."""
        self.later(self._close)

    def expect(self, job: int) -> None:
        """Whether a copy for `job`, that could not be kept before, could be now. Raises NoCopy if not."""
        with self._lock:
            size, when = self._short.get(job, (0, -_BELIEVED))
        if time.monotonic() - when < _BELIEVED:
            self.do(0, self.room, size)

    def failed(self, job: int, size: int | None) -> None:
        """A copy of so many bytes could not be kept for `job`; or it could be (None)."""
        with self._lock:
            if size is None:
                self._short.pop(job, None)
            else:
                self._short[job] = (size, time.monotonic())

    def do(self, size: int, act: Callable[[PrivateTree, *Given], T], *given: *Given) -> T:
        """What `act`, which reads or writes so many bytes, makes of the place and of what it is given. Raises NoCopy in place of
        OSError."""
        try:
            return self._executor.run(_PATIENCE + size / _SLOWEST, lambda: act(self._opened(), *given))
        except (OSError, _NotPrivate) as error:
            raise self._in_words(error) from error

    def later(self, act: Callable[[], object]) -> None:
        """Tidy up, after whatever is being done in the place."""
        self._executor.submit(_PATIENCE, act)

    def room(self, tree: PrivateTree, size: int) -> None:
        """Make sure that `size` more bytes leave free what is to stay free. Raises OSError (ENOSPC)."""
        for_ledger = os.fstat(tree.fd).st_dev == self._state_dir.stat().st_dev
        stays = max(self._min_free, FOR_THE_LEDGER if for_ledger else 0)
        free = tree.free_bytes()
        if free - size < stays:
            whose = "for the ledger" if stays > self._min_free else "by min_free"
            raise OSError(errno.ENOSPC, f"{_mib(free)} MiB are free there, and {_mib(stays)} MiB stay free {whose}")

    def _in_words(self, error: OSError | _NotPrivate) -> NoCopy:
        """What a person is told of an error in the place."""
        path = shown(str(self.path))
        if isinstance(error, _NotPrivate):
            # The message stands on the status page, which need not tell those who drop how they could get at copies.
            message = "a copy of what REDCap holds would not be safe from others"
            return NoCopy(Reason.NO_COPY, message, f"{path}: {error}; {_PRIVATE}")
        said = error.strerror or str(error)
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            message = f"no room for a copy of what REDCap holds ({said})"
            return NoCopy(Reason.NO_SPACE, message, f"make room in {path}; dropcap goes on by itself")
        if isinstance(error, TimeoutError) and not error.errno:
            said = "its disk or share does not answer"
        return NoCopy(
            Reason.NO_COPY, f"no copy of what REDCap holds can be kept ({said})", f"check {path}; dropcap goes on by itself"
        )

    # -- in the executor's thread only

    def _clean(self) -> None:
        if self.path.is_dir():
            self._open().remove_temporaries(recursive=False)

    def _close(self) -> None:
        self._tree = self._index = None

    @property
    def index(self) -> Index:
        """What lies in the place."""
        assert self._index is not None
        return self._index

    def _opened(self) -> PrivateTree:
        tree = self._open()
        if self._index is None:
            put_all_back(tree)  # what a crash came between
            self._index = Index(tree)
        return tree

    def _open(self) -> PrivateTree:
        """The place, made if it is not there, and looked at anew each time: what protects it can change."""
        if time.monotonic() - self._looked > _LOOKED:
            if (why := self._exposed()) is not None:
                raise _NotPrivate(why)
            self._looked = time.monotonic()
        if self._tree is not None and not self._tree.still_there():
            self._tree = self._index = None  # closed with the last copy that still uses it
        if self._tree is None:
            for directory in (self.path.parent, self.path) if self._make_above else (self.path,):
                if not directory.is_dir():
                    make_private(directory, self._state_dir.stat())
            tree = PrivateTree(self.path)
            if not keeps_modes(tree.fd):
                raise _NotPrivate("its file system keeps no modes, so everybody may read there")
            self._tree = tree
        # Of what was opened, not of its name: somebody may have put it there a moment ago.
        status = os.fstat(self._tree.fd)
        if open_to_others(status) or (os.geteuid() != 0 and status.st_uid != os.geteuid()):
            raise _NotPrivate("it is not dropcap's own, or others may read it")
        return self._tree


_PRIVATE = "put it right as `dropcap check` says, or name another place with preserve_in"


def _mib(size: int) -> str:
    return f"{size / 1024**2:,.0f}"


#: Where copies lay in drop folders once, and the directory in `state_dir` where they lie now.
DIRECTORY = "preserved"
#: Room in a name for ` (NNNNN)` and `.json`.
_ROOM = 16
_UNWANTED = frozenset('/\\<>:"|?*')


@dataclass(frozen=True, slots=True)
class Origin:
    """Where the bytes that are preserved came from; `when` has a time zone, and its day names the directory."""

    project: str
    job: int
    record: str
    field: str
    original_name: str
    when: datetime
    event: str | None = None
    instance: int | None = None


class PreserveSink:
    """Takes the bytes as they come from REDCap; `commit` keeps them.

    Whether they need to be kept is known only once all have come: until `commit`, no trouble in the place is anybody's.
    """

    def __init__(self, keep: Keep, job: int) -> None:
        self._keep = keep
        self._job = job
        self._begun = False
        self._staged: Staged | None = None  # the place's own thread alone works with it
        self._trouble: NoCopy | None = None
        self._digest = hashlib.sha256()
        self.size = 0

    @property
    def sha256(self) -> str:
        """The SHA-256 of what was written so far, in hex."""
        return self._digest.hexdigest()

    def write(self, data: bytes) -> None:
        """Add bytes. Never raises."""
        self._digest.update(data)
        self.size += len(data)
        if self._trouble is None:
            self._begun = True
            try:
                self._keep.do(len(data), self._write, data)
            except NoCopy as trouble:
                self._trouble = trouble
                self.close()  # half a file takes room

    def commit(self, origin: Origin) -> str:
        """Make the copy durable under its own name, with a `.json` beside it; returns its path. Raises NoCopy.

        The same bytes of the same place that were kept before are not kept again.
        """
        self._begun = True
        try:
            kept = self._keep.do(self.size, self._commit, origin)
        except NoCopy:
            self._keep.failed(self._job, self.size)
            raise
        self._keep.failed(self._job, None)
        return str(self._keep.path / kept)

    def close(self) -> None:
        """Let go of what was not committed; it leaves nothing behind."""
        if self._begun:
            self._keep.later(self._drop)

    # -- by the thread that works in the place

    def _write(self, tree: PrivateTree, data: bytes) -> None:
        self._keep.room(tree, len(data))
        if self._staged is None:
            self._staged = tree.stage()
        self._staged.write(data)

    def _drop(self) -> None:
        staged, self._staged = self._staged, None
        if staged is not None:
            staged.__exit__(None, None, None)

    def _commit(self, tree: PrivateTree, origin: Origin) -> str:
        return self._kept(tree, origin) or self._place(tree, origin)

    def _kept(self, tree: PrivateTree, origin: Origin) -> str | None:
        """The copy of these bytes from this place that is there already."""
        for copy in self._keep.index.beginning(_beginning(origin)):
            if (copy.sha256, copy.size) != (self.sha256, self.size) or not _same_place(copy, origin):
                continue
            if not copy.intact(tree):
                if tree.exists(copy.name):
                    continue
                self._whole(tree).place(copy.name)  # a crash came between what tells of it and itself, or a person took it away
            copy.touch(tree)
            return copy.name
        return None

    def _whole(self, tree: PrivateTree) -> Staged:
        """The bytes, all of them on the disk. Raises NoCopy if there was no keeping them."""
        if self._trouble is not None:
            raise self._trouble
        if self._staged is None:
            self._write(tree, b"")  # REDCap holds an empty file
        assert self._staged is not None
        self._staged.seal()
        return self._staged

    def _place(self, tree: PrivateTree, origin: Origin) -> str:
        whole = self._whole(tree)
        directory = origin.when.date().isoformat()
        with tree.stage() as beside:
            beside.write(json.dumps(_told(origin, self.size, self.sha256), indent=2).encode() + b"\n")
            for leaf in names.candidates(preserved_name(origin)):
                name = names.join(directory, leaf)
                if tree.exists(name):
                    continue
                try:
                    beside.place(name + ".json")
                except FileExistsError:
                    continue
                break
        # What tells of the copy is there first, so that a copy never lies there unexplained.
        whole.place(name)
        self._keep.index.add(name)
        return name


@contextlib.contextmanager
def preserve_sink(keep: Keep, job: int) -> Iterator[PreserveSink]:
    """A sink for what `job` is to replace. What is not committed leaves nothing behind.

    Raises NoCopy, before anything is asked of REDCap, if a copy could not be kept for this job and still cannot be.
    """
    keep.expect(job)
    sink = PreserveSink(keep, job)
    try:
        yield sink
    finally:
        sink.close()


def preserved_name(origin: Origin) -> str:
    """`RECORD_FIELD[_EVENT][_INSTANCE]_ORIGINALNAME`, without what a share or a shell could stumble over."""
    stem, extension = os.path.splitext(_plain(origin.original_name) or "file")
    if len(os.fsencode(extension)) > names.LONGEST // 4:
        stem, extension = stem + extension, ""
    return names.fitted(f"{_target(origin)}_{stem}".lstrip(".~"), extension, names.LONGEST - _ROOM)


def _target(origin: Origin) -> str:
    target = [origin.record, origin.field, origin.event or "", "" if origin.instance is None else str(origin.instance)]
    return "_".join(_plain(part) for part in target if part)


def _beginning(origin: Origin) -> str:
    """What the names of all copies from this place begin with, however they were cut."""
    return f"{_target(origin)}_".lstrip(".~")[:40]


def _plain(text: str) -> str:
    return "".join("_" if c in _UNWANTED or shown(c) != c else c for c in text).strip(" .")


def _same_place(copy: Copy, origin: Origin) -> bool:
    there = (copy.project, copy.record, copy.event, copy.field, copy.instance)
    return there == (origin.project, origin.record, origin.event, origin.field, origin.instance)


def _told(origin: Origin, size: int, sha256: str) -> dict[str, object]:
    return {
        "project": origin.project,
        "job": origin.job,
        "record": origin.record,
        "event": origin.event,
        "field": origin.field,
        "instance": origin.instance,
        "original_name": origin.original_name,
        "size": size,
        "sha256": sha256,
        "preserved_at": origin.when.isoformat(timespec="milliseconds"),
    }


_CHUNK = 1024**2


class Differs(Exception):  # noqa: N818 - a finding
    """A copy has not the bytes any more that it was told to have."""


def fetch(place: Path, copy: Copy, into: Tree) -> str:
    """Copy `copy`, which lies in `place`, to a free name in `into`, with mode 0600; returns that name.

    Raises Differs, and OSError as the system calls beneath do; nothing is left behind then.
    """
    source = Tree(place)
    try:
        with os.fdopen(source.open(copy.name), "rb") as file, into.stage(mode=0o600) as staged:
            digest = hashlib.sha256()
            while data := file.read(_CHUNK):
                digest.update(data)
                staged.write(data)
            if digest.hexdigest() != copy.sha256:
                raise Differs("its bytes are not those that were kept: compare with a backup")
            for leaf in names.candidates(names.split(copy.name)[1]):
                try:
                    staged.place(leaf)
                except FileExistsError:
                    continue
                return leaf
            raise AssertionError("candidates never end")
    finally:
        source.close()
