"""Moving a file to done/ or failed/, also to another file system, and finding it again after a crash."""

from __future__ import annotations

import contextlib
import errno
import grp
import hashlib
import os
import stat
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from types import MappingProxyType

import structlog

from dropcap.config.model import Folder
from dropcap.display import shown
from dropcap.files import names
from dropcap.files.regular import fsync
from dropcap.files.tree import PLAIN, CrossDeviceMove, Staged, Tree, remove_original, sha256, sha256_of
from dropcap.filing.preserve import DIRECTORY, Keep
from dropcap.filing.why import Failure, is_ours, why_names, why_text
from dropcap.ledger.job import Job, Stored
from dropcap.naming.doctor import examples

_CHUNK = 1024 * 1024


def finish(tree: Tree, source: str, temporary: str, final: str, sha256: str | None = None) -> bool:
    """Whether the file `source` has arrived as `final`, which was free when the copy began; if so, `source` is gone afterwards.

    `sha256` are the bytes that must have arrived; those of the source if it is None. What is half copied is removed, and so is
    the source, but only if the copy is proven to be the same: if somebody has written to it since, it stays for intake.

    Raises:
        OSError: it cannot be told now, or another host may work there; nothing was removed that was not proven to be there twice.
    """
    tree.be_ours()
    if _remove_temporary(tree, temporary):
        return False  # the copy had not got its name yet
    try:
        copied = sha256_of(tree, final)
    except (FileNotFoundError, NotADirectoryError):
        return False
    try:
        before = tree.lstat(source)
        original = sha256_of(tree, source)
    except (FileNotFoundError, NotADirectoryError):
        return sha256 in (None, copied)
    if copied != (sha256 or original):
        _remove_half(tree, source, final)
        return False
    directory, leaf = names.split(final)
    with tree.directory(directory) as fd:
        fsync(fd, leaf)
    if original == copied:
        with tree.parent(source) as (fd, leaf):
            tree.be_ours()  # the bytes of both may have taken long
            remove_original(tree, fd, leaf, before, copied)
        tree.remove_empty(names.split(source)[0])
    return True


def _remove_temporary(tree: Tree, temporary: str) -> bool:
    if not names.is_temporary(names.split(temporary)[1]):
        return False
    try:
        with tree.parent(temporary) as (fd, leaf):
            os.unlink(leaf, dir_fd=fd)
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True


def _remove_half(tree: Tree, source: str, final: str) -> None:
    """Remove `final` if it is no more than the beginning of `source`, as after a power cut; else it is somebody's own."""
    before, begins = tree.lstat(final), hashlib.sha256()
    with os.fdopen(tree.open(source), "rb") as whole, os.fdopen(tree.open(final), "rb") as half:
        while chunk := half.read(_CHUNK):
            if whole.read(len(chunk)) != chunk:
                return
            begins.update(chunk)
        if not whole.read(1):
            return
    with tree.parent(final) as (fd, leaf):
        tree.be_ours()
        remove_original(tree, fd, leaf, before, begins.hexdigest())


IN_PROGRESS = "in_progress"
DONE = "done"
FAILED = "failed"

_NO_CROSS_DEVICE_MOVES: Mapping[str, CrossDeviceMove] = MappingProxyType({})

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Filed:
    """A file has arrived: `name` is its name now, relative to the drop folder, `why` that of the text beside it."""

    name: str
    why: str | None = None


class Filing:
    """Moves the files of one drop folder to where they stay. Safe to call from several threads for different files."""

    def __init__(self, folder: Folder, tree: Tree, contact: str, keep: Keep) -> None:
        """`keep` is where copies of what REDCap holds go."""
        self.folder = folder
        self._examples = examples(folder.rules, folder.name)
        self.keep = keep
        self._tree = tree
        self._contact = contact
        self._told: set[str] = set()
        self._group = self._group_id()

    def to_done(
        self, files: Sequence[str], day: date, cross_device_moves: Mapping[str, CrossDeviceMove] = _NO_CROSS_DEVICE_MOVES
    ) -> list[Filed | OSError]:
        """Move `in_progress/NAME` to `done/DAY/NAME` for each name, durably. `cross_device_moves`: how to copy, by name.

        In the place of each name stands what came of it. After an error the file lies whole where it was, or has arrived
        and only its durability is in doubt (a failed fsync): `locate` tells.
        """
        return self._file_all(files, cross_device_moves, day)

    def to_failed(
        self, failures: Sequence[Failure], cross_device_moves: Mapping[str, CrossDeviceMove] = _NO_CROSS_DEVICE_MOVES
    ) -> list[Filed | OSError]:
        """Move `in_progress/NAME` to `failed/NAME` for each failure, with a why.txt beside it. Errors as in `to_done`."""
        return self._file_all(failures, cross_device_moves)

    def finish_copy(self, name: str, temporary: str, final: str, sha256: str | None) -> bool:
        """Whether `in_progress/NAME` has arrived as `final` by a copy that was cut off; see `finish`. Raises OSError."""
        arrived = finish(self._tree, names.join(IN_PROGRESS, name), temporary, final, sha256)
        if arrived:
            self._dress(final)
        return arrived

    def explain(self, failed_name: str, failure: Failure) -> str:
        """Write the why.txt beside a file that lies in `failed/` already; returns the text's name.

        This is what recovery does after a crash between the two. Raises OSError.
        """
        with self._tree.stage(FAILED, self.folder.mode) as text:
            self._write(text, failure)
            return self._place_why(text, failed_name)

    def clean(self) -> None:
        """Remove what a crash left half written. Meant for the start; what is being written now is let be."""
        self._tree.remove_temporaries(recursive=False)
        # done/ can be huge, and what a copy to it has left is removed when its job goes on (`finish_copy`).
        today = datetime.now().astimezone().date()
        days = [f"{DONE}/{(today - timedelta(days=ago)).isoformat()}" for ago in (0, 1)]
        for directory in (IN_PROGRESS, FAILED, DIRECTORY, *days):
            with contextlib.suppress(FileNotFoundError, NotADirectoryError):
                self._tree.remove_temporaries(directory)
        self.keep.clean()

    def locate(
        self,
        inode: int,
        size: int,
        name: str,
        day: date | None = None,
        sha256: str | None = None,
        within: Sequence[str] = (IN_PROGRESS, FAILED, DONE),
        mtime_ns: int | None = None,
        since: date | None = None,
    ) -> str | None:
        """Where the claimed file `name` lies now, relative to the drop folder, or None.

        Looked for under the names that `to_done` and `to_failed` give, in the directories `within`; in `done/` first on
        `day` and the days beside it, then on the others since the day `since`, the last ones first. A file that went across
        file systems has another inode: it is known by its size and `sha256`, if that is given; a namesake with the same bytes
        would be taken for it, so say by `within` where it can be. Where inodes are not to be relied on, size and `mtime_ns`
        do if only one file has them.
        """
        by_inode = inode != 0 and self._tree.stable_inodes
        copies = []
        alike = []
        for directory in self._places(within, day, since):
            for found, status in self._namesakes(directory, name):
                if status.st_size != size:
                    continue
                if by_inode and status.st_ino == inode:
                    return found
                copies.append(found)
                if status.st_mtime_ns == mtime_ns:
                    alike.append(found)
        if not by_inode and len(alike) == 1:
            return alike[0]
        if sha256 is None:
            return None
        return next((found for found in copies if self._sha256(found) == sha256), None)

    # -- moving

    def _file_all(
        self, items: Sequence[str] | Sequence[Failure], cross_device_moves: Mapping[str, CrossDeviceMove], day: date | None = None
    ) -> list[Filed | OSError]:
        """Move each to failed/, or to done/ of the `day`; the fsyncs follow for all of them together."""
        results: list[Filed | OSError] = []
        sources: set[str] = set()
        arrived: dict[str, list[int]] = {}  # directory -> places in `results`
        for item in items:
            name = item.name if isinstance(item, Failure) else item
            source, cross_device = names.join(IN_PROGRESS, name), cross_device_moves.get(name, PLAIN)
            try:
                if isinstance(item, Failure):
                    filed = self._fail(item, source, cross_device)
                else:
                    filed = Filed(self._tree.move_free(source, f"{DONE}/{day}/{name}", cross_device))
                    self._dress(filed.name)
            except OSError as error:
                results.append(_in_words(error))
            else:
                sources.add(names.split(source)[0])
                arrived.setdefault(names.split(filed.name)[0], []).append(len(results))
                results.append(filed)
        for directory, places in arrived.items():
            try:
                self._settle_directory(directory)
            except OSError as error:
                for place in places:
                    results[place] = error
        for source in sources:
            # Should the old name come back with a power cut, the file still has its new one too, or is found by its inode.
            with self._tolerated():
                self._tree.sync(source)
            self._tree.remove_empty(source)
        return results

    def _fail(self, failure: Failure, source: str, cross_device: CrossDeviceMove) -> Filed:
        with self._tree.stage(FAILED, self.folder.mode) as text:
            # The text is on the disk before the file moves: a full disk leaves the file where it is. The file moves
            # before the text appears: only then is the name known beside which it belongs.
            self._write(text, failure)
            filed = self._tree.move_free(source, names.join(FAILED, failure.name), cross_device)
            try:
                why = self._place_why(text, filed)
            except OSError:
                self._tree.move(filed, source)
                raise
        self._dress(filed)
        return Filed(filed, why)

    def _write(self, text: Staged, failure: Failure) -> None:
        text.write(why_text(failure, self.folder.name, self._contact, self.folder.language, self._examples))
        text.seal()

    def _place_why(self, text: Staged, failed_name: str) -> str:
        for name in why_names(failed_name):
            try:
                text.place(name, is_ours)
            except FileExistsError:
                continue
            self._dress(name)
            return name
        raise AssertionError("why_names never ends")

    # -- group and mode

    def _group_id(self) -> int | None:
        group = self.folder.group
        if group is None:
            return None
        try:
            return grp.getgrnam(group).gr_gid
        except KeyError:
            if group.isdigit():
                return int(group)
            self._tell(f"there is no group {shown(group)} on this machine", "correct `group`, or create it")
            return None

    def _dress(self, name: str) -> None:
        """Give a file that has arrived the folder's `group` and `mode`."""
        if self._group is None and self.folder.mode is None:
            return
        with self._tolerated():
            fd = self._tree.open(name)
            try:
                self._give_group(fd)
                if self.folder.mode is not None:
                    os.fchmod(fd, self.folder.mode)
            finally:
                os.close(fd)

    def _settle_directory(self, directory: str) -> None:
        """fsync a directory in which files have arrived; it and those above it get the folder's group."""
        with self._tree.directory(directory) as fd:
            fsync(fd, directory)
        if self._group is not None:
            parts = names.parts(directory)
            for depth in range(1, len(parts) + 1):
                with self._tree.directory("/".join(parts[:depth])) as fd, self._tolerated():
                    self._give_group(fd)

    def _give_group(self, fd: int) -> None:
        if self._group is not None and os.fstat(fd).st_gid != self._group:
            os.fchown(fd, -1, self._group)

    @contextlib.contextmanager
    def _tolerated(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            self._tell(
                f"the file was moved, but {error.strerror or error} stopped what follows (group, mode, fsync)",
                "give dropcap's user the right to it, or leave `group` and `mode` out",
            )

    def _tell(self, message: str, remedy: str) -> None:
        if message not in self._told:
            self._told.add(message)
            _log.warning("check_problem", folder=self.folder.name, message=message, remedy=remedy)

    # -- finding

    def _places(self, within: Sequence[str], day: date | None, since: date | None) -> Iterator[str]:
        yield from (directory for directory in within if directory != DONE)
        if DONE not in within:
            return
        near = [] if day is None else [f"{DONE}/{(day + timedelta(days=step)).isoformat()}" for step in (0, -1, 1)]
        yield from near
        try:
            days = {entry.name for entry in self._tree.scan(DONE, recursive=False) if entry.kind == "dir"}
        except (FileNotFoundError, NotADirectoryError):
            return
        first = "" if since is None else f"{DONE}/{(since - timedelta(days=1)).isoformat()}"
        yield from sorted((name for name in days.difference(near) if name >= first), reverse=True)

    def _namesakes(self, directory: str, name: str) -> Iterator[tuple[str, os.stat_result]]:
        """The regular files beneath `directory` that have one of the names a filed `name` can get."""
        beneath, leaf = names.split(names.join(directory, name))
        try:
            for entry in self._tree.scan(beneath, recursive=False):
                if entry.kind == "file" and names.is_candidate(entry.leaf, leaf) and (status := entry.stat) is not None:
                    yield entry.name, status
        except (FileNotFoundError, NotADirectoryError):
            return

    def _sha256(self, name: str) -> str | None:
        try:
            return sha256_of(self._tree, name)
        except OSError:
            return None


def _in_words(error: OSError) -> OSError:
    """The error that says what to do, where a person has put something else in the place of a directory."""
    if error.errno not in (errno.ENOTDIR, errno.ELOOP) or not isinstance(error.filename, str):
        return error
    said = f"{shown(error.filename)}, or what it lies in, is not a directory: rename what has that name, since dropcap needs it"
    return OSError(error.errno, said, error.filename)


def what_is_sent(job: Job, instance: int | None, fd: int) -> dict[str, object]:
    """What of a job is to be entered before its bytes go to an instance that was chosen for being new: should a person move the
    file back, or a copy of it, it is known again, and makes no second instance. Raises OSError.
    """
    own = sha256(fd)
    news: dict[str, object] = {"sent_sha256": own} if own != job.sent_sha256 else {}
    if instance != job.instance:
        news["instance"] = instance
    if job.may_have_arrived:
        news["may_have_arrived"] = False  # it was looked for
    return news


def as_sent(now: os.stat_result, ctime_ns: int | None, fd: int, sent: str) -> bool:
    """Whether a file of unchanged size and mtime still has the bytes of the SHA-256 `sent`. Raises OSError: it cannot be read.

    They are looked at if the ctime has moved since, or is not known.
    """
    return now.st_ctime_ns == ctime_ns or sha256(fd) == sent


def changed_since(tree: Tree, name: str, job: Job, stored: Stored) -> bool:
    """Whether somebody has written to a file, or put another in its place, since REDCap has it.

    Raises:
        OSError: its bytes cannot be read.
    """
    try:
        status = tree.lstat(name)
    except OSError:
        return False  # filing it tells
    if not same_times(status, job):
        return True
    if status.st_ctime_ns == stored.ctime_ns or not stat.S_ISREG(status.st_mode):
        return False
    fd = tree.open(name)
    try:
        return not as_sent(os.fstat(fd), stored.ctime_ns, fd, stored.sha256)
    finally:
        os.close(fd)


def same_times(status: os.stat_result, job: Job) -> bool:
    """Whether a file has the size and mtime that it had when it was taken."""
    return (status.st_size, status.st_mtime_ns) == (job.size, job.mtime_ns)


def is_file_of(job: Job, status: os.stat_result, stable_inodes: bool) -> bool:
    """Whether a file is the one that was taken, and nobody has written to it."""
    return same_times(status, job) and (not stable_inodes or job.inode in (0, status.st_ino))
