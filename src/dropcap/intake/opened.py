"""A drop folder that is there and ours: looking into it, claiming what has settled."""

from __future__ import annotations

import math
import os
import sqlite3
import stat as modes
import time
from collections.abc import Callable, Sequence

import structlog

from dropcap.config.model import Folder
from dropcap.display import shown
from dropcap.files.tree import Entry, Tree
from dropcap.intake import claim, marker, walk
from dropcap.intake.claim import Gone, Later, Moved, NameTaken, Outcome, Refused, Taken
from dropcap.intake.mounts import Mounts
from dropcap.intake.pending import Pending, Waiting
from dropcap.intake.port import IntakeLedger
from dropcap.intake.reconcile import FailedFiles, compare, lies_there
from dropcap.intake.settle import Pace, Sight
from dropcap.intake.watch import Watch
from dropcap.ledger.model import NewFile
from dropcap.routing.ignored import ignored

_log = structlog.get_logger()

BATCH = 500
#: Files at once; more do not make a disk flush faster (bench/intake.py).
THREADS = 4
#: A job whose file is missing is withdrawn when it is missing for so long (seconds): delivery may just be filing it.
MISSING_FOR = 2.0
#: How soon a file is looked at again that waits for its name, for room, for a job to the same target (seconds).
NAME_LOOK = 2.0
ROOM_LOOK = 10.0
LEDGER_LOOK = 10.0

Claimed = Callable[[list[int]], None]
ForgetWhy = Callable[[Tree, str], object]


class OpenedFolder:
    """One folder from its opening until it goes away. For one thread; the public attributes may be read by others.

    Raises:
        marker.Away: it is not ours to work in.
        OSError: it cannot be opened.
    """

    def __init__(
        self, folder: Folder, ledger: IntakeLedger, watch: Watch | None, on_claimed: Claimed, forget_why: ForgetWhy
    ) -> None:
        self._folder = folder
        self._ledger = ledger
        self.watch = watch
        self._on_claimed = on_claimed
        self._forget_why = forget_why
        self._log = _log.bind(folder=folder.name)
        self._pending = Pending()
        self._missing: dict[int, float] = {}
        self._failed_due = math.inf
        self._local: dict[int, bool] = {}
        self._directories: set[str] = set()
        self.full = False
        self.not_taken: dict[str, str] = {}
        self.tree = Tree(folder.path)
        try:
            self._own()
            self.tree.remove_temporaries(walk.IN_PROGRESS) if self.tree.exists(walk.IN_PROGRESS) else 0
        except BaseException:
            self.close()
            raise

    def _own(self) -> None:
        path = os.path.realpath(self._folder.path)
        self._mounts = Mounts.now()
        self._local.clear()
        self._path = path
        self.mount = self._mounts.of(path, self.tree.identity[0])
        self._marker = marker.own(self.tree, self._folder.name, str(self._folder.path), self.mount, self._ledger)

    def close(self) -> None:
        """Let go of it."""
        if self.watch is not None:
            self.watch.close()
        self.tree.close()

    # Looking ----------------------------------------------------------------------------------------------------------

    def walk(self) -> None:
        """Look at everything.

        Raises:
            marker.Away: it is not the folder any more, or not ours.
            OSError: it does not answer as it should.
        """
        if not self.tree.still_there():
            raise marker.Away(f"another directory has taken its place at {shown(str(self._folder.path))}")
        self._own()
        self._directories = set()
        if self.watch is not None:
            self.watch.begin()
        found = self._look_beneath("")
        self._pending.drop_beneath("", found | {name for name in self._pending.since() if walk.top(name) in walk.OWN})
        self.not_taken = {name: why for name, why in self.not_taken.items() if name in found}
        self._look_at_in_progress()
        self._look_at_failed()
        if self.watch is not None:
            self.watch.keep(self._directories)

    def look(self, name: str) -> None:
        """Something happened to `name`: a file or a directory, there or not."""
        if walk.top(name) == walk.FAILED:
            # Filing itself works there, two files a job: let them come together.
            self._failed_due = min(self._failed_due, time.monotonic() + 1.0)
            return
        if walk.top(name) in walk.OWN or ignored(name, self._folder.ignore) is not None:
            return
        if "/" in name and not self._folder.subfolders:
            return
        try:
            status = self.tree.lstat(name)
        except (FileNotFoundError, NotADirectoryError):
            self._forget(name)
            return
        if modes.S_ISDIR(status.st_mode):
            self._pending.drop_beneath(name, self._look_beneath(name))
        else:
            kind = "file" if modes.S_ISREG(status.st_mode) else "link" if modes.S_ISLNK(status.st_mode) else "other"
            self._see(name, kind, status, hinted=True)

    def _look_beneath(self, start: str) -> set[str]:
        """Look at all files beneath `start`; their names."""
        found = set()
        for entry in walk.dropped(self.tree, self._folder, self._on_directory, start):
            if entry.error is not None:
                self._refuse(entry.name, claim.reason(entry.error))
            elif entry.kind == "dir" or (status := _stat(entry)) is None:
                continue
            else:
                self._see(entry.name, entry.kind, status, hinted=False)
            found.add(entry.name)
        return found

    def _see(self, name: str, kind: str, status: os.stat_result, *, hinted: bool) -> None:
        if kind != "file":
            what = "a link; put the file itself here" if kind == "link" else "not a file"
            self._refuse(name, f"it is {what}; it is left where it is")
        elif self._folder.first_start != "leave" or status.st_ctime_ns > self._marker.since_ns:
            self._pending.see(name, Sight.of(status), self._pace(name, status.st_dev), hinted=hinted)

    def _on_directory(self, name: str, fd: int) -> None:
        self._directories.add(name)
        if self.watch is not None:
            self.watch.add(name, fd)

    def _pace(self, name: str, device: int) -> Pace:
        local = self._local.get(device)
        if local is None:
            local = self._local[device] = self._mounts.of(f"{self._path}/{name}", device).local
        return Pace(self._folder.settle_closed, self._folder.settle_quiet, local)

    def _forget(self, name: str) -> None:
        self._pending.drop(name)
        self._pending.drop_beneath(name, ())
        self.not_taken = {other: why for other, why in self.not_taken.items() if other != name}

    def _refuse(self, name: str, why: str) -> None:
        if self.not_taken.get(name) != why:
            self.not_taken = {**self.not_taken, name: why}
            self._log.warning("entry_ignored", file=shown(name), message=why)

    # People in dropcap's own directories ------------------------------------------------------------------------------

    def _look_at_in_progress(self) -> None:
        # The directory first, the ledger afterwards: what delivery has filed in between is no stranger then.
        present, devices = self._files_in(walk.IN_PROGRESS)
        compared = compare(present, self._ledger.open_files(self._folder.name))
        for name, (old, job) in compared.renamed.items():
            if self._ledger.rename_open(job, name):
                self._log.info("claimed", job=job, file=shown(name), renamed_from=shown(old))
                self._on_claimed([job])
        for name, sight in compared.strangers.items():
            path = f"{walk.IN_PROGRESS}/{name}"
            self._pending.see(path, sight, self._pace(path, devices[name]), hinted=False)
        self._pending.drop_beneath(walk.IN_PROGRESS, {f"{walk.IN_PROGRESS}/{name}" for name in compared.strangers})
        self._withdraw(compared.missing)

    def _withdraw(self, missing: dict[str, int]) -> None:
        now = time.monotonic()
        self._missing = {job: self._missing.get(job, now) for job in missing.values()}
        late = {name: job for name, job in missing.items() if now - self._missing[job] >= MISSING_FOR}
        back = lies_there(self.tree, [f"{walk.IN_PROGRESS}/{name}" for name in late])
        if late and self.tree.still_there():
            for name, job in late.items():
                if f"{walk.IN_PROGRESS}/{name}" in back:
                    continue
                del self._missing[job]
                if self._ledger.withdraw(job):
                    self._log.info("withdrawn", job=job, file=shown(name))

    def _look_at_failed(self) -> None:
        self._failed_due = math.inf
        present, devices = self._files_in(walk.FAILED)
        failed = FailedFiles(self._ledger.failed_files(self._folder.name))
        found = set()
        for name, sight in present.items():
            path = f"{walk.FAILED}/{name}"
            if name.endswith(walk.WHY) or path in failed or failed.moved_to(self.tree, sight) is None:
                continue
            found.add(path)
            self._pending.see(path, sight, self._pace(path, devices[name]), hinted=False)
        self._pending.drop_beneath(walk.FAILED, found)

    def _files_in(self, own: str) -> tuple[dict[str, Sight], dict[str, int]]:
        present: dict[str, Sight] = {}
        devices: dict[str, int] = {}
        for entry in walk.kept(self.tree, own, self._on_directory if own == walk.FAILED else None):
            if entry.error is not None:
                raise entry.error  # half a listing must not pass for missing files
            if entry.kind == "file" and (status := entry.stat) is not None:
                name = entry.name.partition("/")[2]
                present[name], devices[name] = Sight.of(status), status.st_dev
        return present, devices

    # Claiming ---------------------------------------------------------------------------------------------------------

    def work(self, beat: Callable[[], object]) -> None:
        """Claim what is due. `beat` is called between batches."""
        if time.monotonic() >= self._failed_due:
            self._look_at_failed()
        if any(time.monotonic() - since >= MISSING_FOR for since in self._missing.values()):
            self._look_at_in_progress()
        due = self._pending.due()
        for start in range(0, len(due), BATCH):
            beat()
            batch = due[start : start + BATCH]
            if not self._room():
                for _, waiting in due[start:]:
                    waiting.at = time.monotonic() + ROOM_LOOK
                return
            self._claim(batch)
        if not due and self.full:
            self._room()

    def next(self) -> float:
        """When there is something to do again (monotonic)."""
        missing = min(self._missing.values(), default=math.inf) + MISSING_FOR
        return min(self._pending.next(), self._failed_due, missing)

    @property
    def waits(self) -> bool:
        """Whether anything is there that may still be claimed or has to be looked at again."""
        return bool(self._missing) or self._failed_due < math.inf or (len(self._pending) > 0 and not self.full)

    def unsettled(self) -> dict[str, tuple[float, str]]:
        """What waits, since when (seconds since the epoch), and for what."""
        return self._pending.since()

    def _room(self) -> bool:
        free = self.tree.free_bytes()
        full = free < self._folder.min_free
        if full and not self.full:
            self._log.warning(
                "folder_full",
                free=free,
                min_free=self._folder.min_free,
                message="too little space is left: nothing is taken until there is more",
                remedy="make room on this file system, or lower min_free",
            )
        self.full = full
        return not full

    def _claim(self, batch: Sequence[tuple[str, Waiting]]) -> None:
        taken_names = set(self._ledger.open_files(self._folder.name))
        tries: list[tuple[str, Waiting, str]] = []
        for name, waiting in batch:
            plain = _plain(name)
            if plain in taken_names:
                self._later(waiting, NAME_LOOK, "a file of this name is on its way")
            else:
                taken_names.add(plain)  # failed/x and x may both be due
                tries.append((name, waiting, f"{walk.IN_PROGRESS}/{plain}"))
        if not tries:
            return
        threads = THREADS if len(tries) > THREADS else 1
        outcomes = claim.in_threads(lambda one: claim.take(self.tree, one[0], one[2], one[1].seen, one[1].pace), tries, threads)
        entered: list[tuple[str, NewFile]] = []
        failed = FailedFiles(self._ledger.failed_files(self._folder.name))
        for (name, waiting, target), outcome in zip(tries, outcomes, strict=True):
            new = self._judge(name, waiting, target, outcome, failed)
            if new is not None:
                entered.append((name, new))
        moved = {(_parent(name), f"{walk.IN_PROGRESS}/{new.name}".rpartition("/")[0]) for name, new in entered}
        self.tree.sync(*sorted({directory for pair in moved for directory in pair if self._exists(directory)}))
        self._enter([new for _, new in entered])

    def _exists(self, directory: str) -> bool:
        return not directory or self.tree.exists(directory)

    def _judge(self, name: str, waiting: Waiting, target: str, outcome: Outcome, failed: FailedFiles) -> NewFile | None:
        match outcome:
            case Later(seen, at, note):
                waiting.seen, waiting.at, waiting.note = seen, at, note
            case NameTaken():
                self._later(waiting, NAME_LOOK, "in_progress/ has a file of this name")
            case Refused(why, _):
                self._refuse(name, why)
                self._pending.drop(name)
            case Gone():
                self._forget(name)
            case Moved():
                self._forget(name)
                self._see_moved(target)
            case Taken(sight):
                self._forget(name)
                return self._new(name, sight, failed)
        return None

    def _see_moved(self, target: str) -> None:
        try:
            status = self.tree.lstat(target)
        except FileNotFoundError:
            return
        self._pending.see(target, Sight.of(status), self._pace(target, status.st_dev), hinted=True)

    def _new(self, name: str, sight: Sight, failed: FailedFiles) -> NewFile:
        again_of = None
        # A file that was in in_progress/ before may have been sent by a dropcap whose ledger is lost.
        found = walk.top(name) == walk.IN_PROGRESS
        match = failed.moved_to(self.tree, sight)
        if match is not None:
            path, file = match
            again_of = file.job
            self._forget_why(self.tree, path)
        return NewFile(_plain(name), sight.size, sight.mtime_ns, sight.inode, again_of, found_after_loss=found)

    def _enter(self, files: Sequence[NewFile]) -> None:
        if not files:
            return
        try:
            jobs = self._ledger.claim(self._folder.name, files)
        except sqlite3.IntegrityError:
            # One of them is in the way of another job; the others must not wait for it.
            if len(files) > 1:
                half = len(files) // 2
                self._enter(files[:half])
                self._enter(files[half:])
            else:
                self._put_off(files, "another job for the same place is under way")
            return
        except sqlite3.Error:
            self._log.exception("internal_error", where="claim")
            self._put_off(files, "the ledger cannot be written")
            return
        for job, file in zip(jobs, files, strict=True):
            self._log.info("claimed", job=job, file=shown(file.name), size=file.size)
            if file.again_of is not None:
                self._log.info("again", job=job, file=shown(file.name), again_of=file.again_of)
        self._on_claimed(jobs)

    def _put_off(self, files: Sequence[NewFile], note: str) -> None:
        for file in files:
            path = f"{walk.IN_PROGRESS}/{file.name}"
            self._see_moved(path)
            self._pending.put_off(path, LEDGER_LOOK, note)

    @staticmethod
    def _later(waiting: Waiting, seconds: float, note: str) -> None:
        waiting.at, waiting.note = time.monotonic() + seconds, note


def _plain(name: str) -> str:
    """The name without dropcap's own directory."""
    return name.partition("/")[2] if walk.top(name) in walk.OWN else name


def _parent(name: str) -> str:
    return name.rpartition("/")[0]


def _stat(entry: Entry) -> os.stat_result | None:
    return entry.stat
