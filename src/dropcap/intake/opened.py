"""A drop folder that is there and ours: what lies in it, and what people did to it."""

from __future__ import annotations

import contextlib
import errno
import math
import os
import stat as modes
import time
from collections.abc import Callable, Iterable, Mapping

import structlog

from dropcap.config.model import Folder
from dropcap.display import shown
from dropcap.files.tree import Tree
from dropcap.filing.again import forget_why
from dropcap.intake import marker, walk
from dropcap.intake.backlog import Backlog
from dropcap.intake.claim import SHARE_GONE, Claims, Notes
from dropcap.intake.mounts import Mounts, open_tree
from dropcap.intake.pending import Pending
from dropcap.intake.port import IntakeLedger
from dropcap.intake.reconcile import FailedFiles, compare, lies_there
from dropcap.intake.settle import Pace, Sight
from dropcap.intake.take import reason
from dropcap.intake.watch import Watch
from dropcap.ledger.model import FailedFile, OpenFile
from dropcap.routing.ignored import ignored

_log = structlog.get_logger()

#: Files that are looked at closely at a time; those that wait behind them cost nothing but their names.
WINDOW = 1000
#: A job whose file is missing is withdrawn when it is missing for so long (seconds): delivery may just be filing it.
MISSING_FOR = 2.0
#: A failed file that is nowhere in the folder for so long was taken away by somebody (seconds).
FORGET_AFTER = 30.0
#: Filing itself works in failed/, two files a job: what happens there is looked at together after so long (seconds).
FAILED_LOOK = 1.0


class OpenedFolder:
    """One folder from its opening until it goes away. For one thread; the public attributes may be read by others.

    Raises:
        marker.Away: it is not ours to work in.
        OSError: it cannot be opened.
    """

    def __init__(
        self, folder: Folder, ledger: IntakeLedger, watch: Watch | None, on_claimed: Callable[[list[int]], None]
    ) -> None:
        self._folder = folder
        self._ledger = ledger
        self.watch = watch
        self._on_claimed = on_claimed
        self._log = _log.bind(folder=folder.name)
        self._pending = Pending()
        self._backlog = Backlog()
        self._missing: dict[int, float] = {}
        self._gone: dict[int, float] = {}  # failed jobs whose file is not in failed/ any more, and since when
        self._failed_due = math.inf
        self._paces: dict[int, Pace] = {}  # by device; one object for all files, of which there may be many
        self._directories: set[str] = set()
        self._not_taken = Notes(self._log)
        self.tree = open_tree(folder.path)
        try:
            # Delivery's own descriptor, opened here because this thread alone may hang on a dead share.
            self.lent = Tree(folder.path, stable_inodes=self.tree.stable_inodes)
            if self.lent.identity != self.tree.identity:
                raise OSError(errno.ESTALE, "The folder was replaced while it was opened", str(folder.path))
            self._own()
            if self.tree.exists(walk.IN_PROGRESS):
                self.tree.remove_temporaries(walk.IN_PROGRESS)  # of a copy that a crash cut off
        except BaseException:
            self.close()
            raise
        self._claims = Claims(self.tree, folder, ledger, self._pending, self._not_taken, self._pace, on_claimed)

    def _own(self) -> None:
        path = os.path.realpath(self._folder.path)
        self._mounts = Mounts.now()
        self._paces.clear()
        self._path = path
        self.mount = self._mounts.of(path, self.tree.identity[0])
        self.tree.stable_inodes = self.lent.stable_inodes = self._mounts.stable_inodes(path)
        self._marker = marker.own(self.tree, self._folder.name, str(self._folder.path), self.mount, self._ledger)

    def _stay(self) -> None:
        """Raise Away if the path leads to another directory than the one that is open."""
        same = self.tree.still_there()
        if same and not self.tree.stable_inodes:
            # The number of the directory itself tells nothing either; its marker does.
            there = Tree(self._folder.path)
            try:
                same = marker.read(there) == self._marker
            finally:
                there.close()
        if not same:
            raise marker.Away(f"another directory has taken its place at {shown(str(self._folder.path))}")

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
        self._stay()
        self._own()
        self._directories = set()
        if self.watch is not None:
            self.watch.begin()
        gone = set(self._pending) | self._not_taken.all.keys()
        self._backlog = Backlog()
        self._look_beneath("", gone)
        for name in gone:
            if walk.top(name) not in walk.OWN:
                self._pending.drop(name)
        self._not_taken.keep(self._not_taken.all.keys() - gone)  # what is wrong in dropcap's own directories is found anew below
        self._look_at_in_progress()
        self._look_at_failed()
        if self.watch is not None:
            self.watch.keep(self._directories)

    def look(self, name: str) -> None:
        """Something happened to `name`: a file or a directory, there or not."""
        if walk.top(name) == walk.FAILED:
            self._failed_due = min(self._failed_due, time.monotonic() + FAILED_LOOK)
            return
        if walk.top(name) in walk.OWN or ignored(name, self._folder.ignore) is not None:
            return
        if "/" in name and not self._folder.subfolders:
            return
        try:
            status = self.tree.lstat(name)
        except (FileNotFoundError, NotADirectoryError):
            self._pending.drop(name)
            if name in self._directories:
                self._pending.drop_beneath(name, ())
            self._not_taken.drop(name)
            return
        except OSError as error:
            self._trouble(name, error)
            return
        if modes.S_ISDIR(status.st_mode):
            gone = {other for other in self._pending if other.startswith(f"{name}/")}
            self._look_beneath(name, gone)
            for other in gone:
                self._pending.drop(other)
            return
        kind = "file" if modes.S_ISREG(status.st_mode) else "link" if modes.S_ISLNK(status.st_mode) else "other"
        if kind == "file" and self._backlog and name not in self._pending.names:
            self._backlog.add(name, status.st_ctime_ns)  # whoever comes later goes behind those who wait
        else:
            self._see(name, kind, status, hinted=True)

    def _look_beneath(self, start: str, gone: set[str]) -> None:
        """Look at all files beneath `start`. Those that are there are taken out of `gone`, those that are new wait in line."""
        pending, stable, backlog = self._pending, self.tree.stable_inodes, self._backlog
        for entry in walk.dropped(self.tree, self._folder, self._on_directory, start, pending.names):
            name = entry.name
            try:
                if entry.error is not None:
                    raise entry.error
                status = entry.stat
            except OSError as error:
                self._trouble(name, error)
                gone.discard(name)
                continue
            if entry.kind == "dir" or status is None:
                continue
            gone.discard(name)
            if entry.kind != "file" or name in pending.names:
                if entry.kind != "file" or not pending.unchanged(name, status, stable):
                    self._see(name, entry.kind, status, hinted=False)
            elif self._taken_from_here(status):
                backlog.add(name, status.st_ctime_ns)
        backlog.sort()
        self._refill()

    def _refill(self) -> None:
        """Look closely at the next in line, unless there is enough to do."""
        if self._backlog and self._pending.ready(WINDOW) < WINDOW:
            for name in self._backlog.take(WINDOW):
                try:
                    status = self.tree.lstat(name)
                except (FileNotFoundError, NotADirectoryError):
                    continue
                except OSError as error:
                    self._trouble(name, error)
                    continue
                if modes.S_ISREG(status.st_mode):
                    self._see(name, "file", status, hinted=False)

    def _trouble(self, name: str, error: OSError) -> None:
        """One file or subfolder that cannot be looked at must not stop the others; a share that is gone is another matter."""
        if error.errno in SHARE_GONE:
            raise error
        self._not_taken.put(name, reason(error))

    def _see(self, name: str, kind: str, status: os.stat_result, *, hinted: bool) -> None:
        if kind != "file":
            what = "a link; put the file itself here" if kind == "link" else "not a file"
            self._not_taken.put(name, f"it is {what}; it is left where it is")
        elif self._taken_from_here(status):
            self._pending.see(name, self._sight(status), self._pace(name, status.st_dev), hinted=hinted)

    def _taken_from_here(self, status: os.stat_result) -> bool:
        """Whether it is a file to take, and not one that is to be left where it lay at the first start."""
        return self._folder.first_start != "leave" or status.st_ctime_ns > self._marker.since_ns

    def _sight(self, status: os.stat_result) -> Sight:
        return Sight.of(status, self.tree.stable_inodes)

    def _on_directory(self, name: str, fd: int) -> None:
        self._directories.add(name)
        if self.watch is not None:
            self.watch.add(name, fd, self.tree.stable_inodes)

    def _pace(self, name: str, device: int) -> Pace:
        pace = self._paces.get(device)
        if pace is None:
            local = self._mounts.of(f"{self._path}/{name}", device).local
            pace = self._paces[device] = Pace(self._folder.settle_closed, self._folder.settle_quiet, local)
        return pace

    # People in dropcap's own directories ------------------------------------------------------------------------------

    def _look_at_in_progress(self) -> None:
        # The directory first, the ledger afterwards: what delivery has filed in between is no stranger then. Both can be
        # long, and nearly all of it is as it should be: nothing but names is kept of that.
        names, whole = self._names_in(walk.IN_PROGRESS)
        lost: dict[str, OpenFile] = {}
        for name, file in self._ledger.each_open(self._folder.name):
            if name in names:
                names.remove(name)
            else:
                lost[name] = file
        present, devices, all_seen = self._sights(walk.IN_PROGRESS, names)
        compared = compare(present, lost)
        for name, (old, job) in compared.renamed.items():
            if self._ledger.rename_open(job, name):
                self._log.info("claimed", job=job, file=shown(name), renamed_from=shown(old))
                self._on_claimed([job])
        for name, sight in compared.strangers.items():
            path = f"{walk.IN_PROGRESS}/{name}"
            self._pending.see(path, sight, self._pace(path, devices[name]), hinted=False)
        self._pending.drop_beneath(walk.IN_PROGRESS, {f"{walk.IN_PROGRESS}/{name}" for name in compared.strangers})
        if whole and all_seen:  # half a listing must not pass for missing files
            self._withdraw(compared.missing)

    def _withdraw(self, missing: dict[str, int]) -> None:
        now = time.monotonic()
        self._missing = {job: self._missing.get(job, now) for job in missing.values()}
        late = {name: job for name, job in missing.items() if now - self._missing[job] >= MISSING_FOR}
        back = lies_there(self.tree, [f"{walk.IN_PROGRESS}/{name}" for name in late])
        if late:
            self._stay()
        for name, job in late.items():
            if f"{walk.IN_PROGRESS}/{name}" not in back:
                del self._missing[job]
                if self._ledger.withdraw(job):
                    self._log.info("withdrawn", job=job, file=shown(name))

    def _look_at_failed(self) -> None:
        self._failed_due = math.inf
        names, whole = self._names_in(walk.FAILED)
        known = self._ledger.failed_files(self._folder.name)
        failed = FailedFiles(known)
        others = [name for name in names if not name.endswith(walk.WHY) and f"{walk.FAILED}/{name}" not in failed]
        present, devices, all_seen = self._sights(walk.FAILED, others)
        found = set()
        for name, sight in present.items():
            path = f"{walk.FAILED}/{name}"
            if failed.moved_to(self.tree, sight) is not None:
                found.add(path)
                self._pending.see(path, sight, self._pace(path, devices[name]), hinted=False)
        self._pending.drop_beneath(walk.FAILED, found)
        if whole and all_seen and not self._backlog:  # one that was moved may be in line
            self._forget(known, {f"{walk.FAILED}/{name}" for name in names})

    def _forget(self, known: Mapping[str, FailedFile], present: set[str]) -> None:
        """Failed files that somebody took away, and did not just move elsewhere in the folder, are dealt with."""
        if not known and not self._gone:
            return
        now = time.monotonic()
        moved = {sight.inode or (sight.size, sight.mtime_ns) for sight in self._pending.sights()}
        missing = {
            path: file.job
            for path, file in known.items()
            if path not in present and not moved & {file.inode, (file.size, file.mtime_ns)}
        }
        self._gone = {job: self._gone.get(job, now) for job in missing.values()}
        dealt_with = {path: job for path, job in missing.items() if now - self._gone[job] >= FORGET_AFTER}
        if dealt_with:
            self._ledger.forget_failed(list(dealt_with.values()))
            for path in dealt_with:
                with contextlib.suppress(OSError):  # a text that cannot be removed does no harm
                    forget_why(self.tree, path)

    def _names_in(self, own: str) -> tuple[set[str], bool]:
        """The names of the files in one of dropcap's own directories, without it, and whether those are all."""
        found: set[str] = set()
        whole = True
        for entry in walk.kept(self.tree, own, self._on_directory if own == walk.FAILED else None):
            if entry.error is not None:
                self._trouble(entry.name, entry.error)
                whole = False
            elif entry.kind == "file":
                found.add(entry.name.partition("/")[2])
        return found, whole

    def _sights(self, own: str, names: Iterable[str]) -> tuple[dict[str, Sight], dict[str, int], bool]:
        """The files of these names in one of dropcap's directories, the devices they lie on, and whether all could be seen."""
        present: dict[str, Sight] = {}
        devices: dict[str, int] = {}
        whole = True
        for name in names:
            try:
                status = self.tree.lstat(f"{own}/{name}")
            except (FileNotFoundError, NotADirectoryError):
                continue
            except OSError as error:
                self._trouble(f"{own}/{name}", error)
                whole = False
                continue
            if modes.S_ISREG(status.st_mode):
                present[name], devices[name] = self._sight(status), status.st_dev
        return present, devices, whole

    # For its thread ---------------------------------------------------------------------------------------------------

    def work(self, beat: Callable[[], object]) -> bool:
        """Claim what is due; whether there was anything. `beat` is called between batches.

        Raises:
            marker.Away, OSError: as `walk`.
        """
        now = time.monotonic()
        was_due = now >= self.next()
        if not was_due and not self.full:
            return False
        if now >= self._failed_due:
            self._look_at_failed()
        if any(now - since >= MISSING_FOR for since in self._missing.values()):
            self._look_at_in_progress()
        self._refill()
        self._claims.work(beat)
        return was_due

    def next(self) -> float:
        """When there is something to do again (monotonic)."""
        if self._backlog and not self.full:
            return 0.0
        missing = min(self._missing.values(), default=math.inf) + MISSING_FOR
        return min(self._pending.next(), self._failed_due, missing)

    # For everybody ----------------------------------------------------------------------------------------------------

    @property
    def waits(self) -> bool:
        """Whether anything is there that may still be claimed or has to be looked at again."""
        return bool(self._missing) or self._failed_due < math.inf or (self.behind + len(self._pending) > 0 and not self.full)

    @property
    def full(self) -> bool:
        """Whether too little space is left to take anything."""
        return self._claims.full

    @property
    def not_taken(self) -> dict[str, str]:
        """What cannot be taken, and why."""
        return self._not_taken.all

    @property
    def behind(self) -> int:
        """How many files wait behind those that `unsettled` knows."""
        return len(self._backlog)

    def unsettled(self) -> dict[str, tuple[float, str]]:
        """What waits, since when (seconds since the epoch), and for what. For its own thread."""
        return self._pending.since()
