"""The thread that files a folder's jobs to done/ and failed/ and writes its page, and what is told of a job that is over."""

from __future__ import annotations

import contextlib
import errno
import os
import threading
import time
import weakref
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Protocol

import structlog

from dropcap.config.model import Folder
from dropcap.display import shown
from dropcap.files.regular import REMEDY
from dropcap.files.tree import CrossDeviceMove, Tree
from dropcap.filing.place import DONE, IN_PROGRESS, Filed, Filing, changed_since, is_file_of, same_times
from dropcap.filing.preserve import DIRECTORY, Keep
from dropcap.filing.why import FAILED, Failure, arrived_as, failure_of, forget_why, free_name
from dropcap.ledger.database import TOLD, LeaseLost
from dropcap.ledger.job import Address, Change, Job, Refused, Result, State, Stored, about
from dropcap.ledger.store import Ledger
from dropcap.reasons import Reason, Scope
from dropcap.threads import start

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Completion:
    """A job that is over but for its file's move. `entered`: the ledger knows already."""

    job: Job
    outcome: Stored | Refused
    entered: bool = False


def outcome_of(job: Job) -> Stored | Refused:
    """What had come of a job that the ledger knows to be over."""
    if job.state is State.STORED:
        result = next((one for one in Result if one == job.result), Result.STORED)
        confirmed, sha256, seconds = job.confirmed or "none", job.sha256 or "", job.seconds or 0.0
        return Stored(result, confirmed, sha256, job.size, seconds, job.sent_ctime_ns, job.instance)
    return Refused(Reason.of(job.reason, Reason.REFUSED), job.message or "", job.remedy or "")


def as_entered(completion: Completion) -> Change:
    """What enters that the job is over, before its file is moved."""
    outcome = completion.outcome
    if isinstance(outcome, Stored):
        columns = {
            "result": outcome.result,
            "confirmed": outcome.confirmed,
            "sha256": outcome.sha256,
            "sent_ctime_ns": outcome.ctime_ns,
            "instance": outcome.instance,
            "seconds": outcome.seconds,
            "reason": None,
            "message": None,
            "remedy": None,
        }
        return Change(completion.job.id, State.STORED, outcome.result, columns)
    told = {"reason": outcome.reason, "message": outcome.message, "remedy": outcome.remedy}
    return Change(completion.job.id, State.REFUSED, outcome.reason, told)


def as_filed(completion: Completion, filed_as: str | None) -> Change:
    """What enters where the file lies now; None: a person has taken it."""
    if isinstance(completion.outcome, Stored):
        note = f"filed as {shown(filed_as)}" if filed_as else "its file was taken out of in_progress/ before it was filed"
        return Change(completion.job.id, State.DONE, note, {"filed_as": filed_as})
    if filed_as is None:
        return Change(completion.job.id, State.WITHDRAWN, "its file was taken out of in_progress/", {})
    return Change(completion.job.id, State.FAILED, f"filed as {shown(filed_as)}", {"filed_as": filed_as})


def log_end(completion: Completion, filed_as: str) -> None:
    """One line for its end."""
    job, outcome = completion.job, completion.outcome
    keys = about(job)
    keys["filed_as"] = shown(filed_as)
    keys["attempts"] = job.attempts
    if isinstance(outcome, Stored):
        log.info(
            "done",
            **keys,
            result=outcome.result,
            confirmed=outcome.confirmed,
            sha256=outcome.sha256,
            size=outcome.size,
            seconds=round(outcome.seconds, 3),
            since_claim=round(time.time() - job.claimed_at, 3),
        )
    elif filed_as:
        log.warning("failed", **keys, reason=outcome.reason, message=outcome.message, remedy=outcome.remedy)
    else:
        log.warning("withdrawn", **keys, reason=Reason.VANISHED)


class DropFolder(Protocol):
    """A drop folder at work, as delivery and filing see it. Only `confirm` and `refresh` touch its file system; any thread calls
    it, unless it says which."""

    folder: Folder

    def tree(self) -> Tree | None:
        """The directory that intake works in now, None while there is none."""

    def away(self) -> bool:
        """Whether there is none since the folder is away."""

    def confirm(self) -> bool:
        """Read in the folder whether it is still ours, which may hang."""

    def holds(self) -> bool:
        """Whether no other host may work there at this moment."""

    def address(self, name: str) -> Address:
        """Where a file of that name goes."""

    def ended(self, jobs: Sequence[Job], stored: bool) -> None:
        """These jobs are over but perhaps for their move (`stored`), or the ledger did not take their end: they are due anew."""

    def changed(self) -> None:
        """The status page may say something else now."""

    def filed(self, names: list[str]) -> None:
        """These names have left in_progress/. Told by the filing thread."""

    def missing(self) -> None:
        """in_progress/ is not as it should be."""

    def refresh(self) -> float:
        """Keep the status page; seconds until the next look. For the filing thread."""

    def stopped(self) -> None:
        """Write the last page. For the filing thread."""

    def over(self) -> None:
        """Nothing more is filed here. Told by the filing thread."""


class JobMove(CrossDeviceMove):
    """How a job's file is copied, should it go to another file system: what was begun is found again after a crash."""

    def __init__(self, ledger: Ledger, completion: Completion) -> None:
        super().__init__(completion.outcome.sha256 or None if isinstance(completion.outcome, Stored) else None)
        self._ledger = ledger
        self._job = completion.job

    def before_copy(self, temporary: str, final: str) -> None:
        self._ledger.copying(self._job.id, temporary, final)

    def is_it(self, status: os.stat_result, stable_inodes: bool) -> bool:
        return is_file_of(self._job, status, stable_inodes)


def finish_copies(
    ledger: Ledger, filing: Filing, folder: str, batch: Sequence[Completion]
) -> tuple[list[tuple[Completion, Filed | OSError]], list[Completion]]:
    """What came of those whose copy had been begun; and those that are still to be moved."""
    copies = ledger.query.copying(folder)
    results: list[tuple[Completion, Filed | OSError]] = []
    others: list[Completion] = []
    for completion in batch:
        if completion.job.id not in copies:
            others.append(completion)
            continue
        temporary, final = copies[completion.job.id]
        sha256 = completion.outcome.sha256 if isinstance(completion.outcome, Stored) else None
        try:
            if filing.finish_copy(completion.job.name, temporary, final, sha256 or None):
                results.append((completion, Filed(final)))
            else:
                others.append(completion)
        except FileNotFoundError:  # a person is at work there
            results.append((completion, OSError(errno.EBUSY, "it is being moved")))
        except OSError as error:
            results.append((completion, error))
    return results, others


#: Where a failed file that a person has moved is not looked for: if it lies there, it is tried again already.
_ON_THEIR_WAY = (IN_PROGRESS, DONE, DIRECTORY)


def locate(filing: Filing, completion: Completion, now: datetime) -> str | None:
    """Where the file is, if an earlier run or a person has moved it."""
    job = completion.job
    final = "done" if isinstance(completion.outcome, Stored) else "failed"
    within = ("in_progress", final)
    sha256 = completion.outcome.sha256 if isinstance(completion.outcome, Stored) else job.sha256
    since = datetime.fromtimestamp(job.changed_at, now.tzinfo).date()
    return filing.locate(job.inode, job.size, job.name, now.date(), sha256, within, job.mtime_ns, since)


def renamed(tree: Tree, completion: Completion, site: DropFolder) -> str | None:
    """The name that a person gave to a stored file in in_progress/ meanwhile, if it is one for the same target."""
    job = completion.job
    if not isinstance(completion.outcome, Stored) or job.key is None:
        return None
    by_inode = job.inode != 0 and tree.stable_inodes
    found = [name.partition("/")[2] for name in _files_of(job, tree, IN_PROGRESS)]
    if not found or (len(found) > 1 and not by_inode):  # size and time are those of two files
        return None
    return found[0] if site.address(found[0]).key == job.key else None


def arrived(tree: Tree, job: Job) -> str | None:
    """Where a refused file arrived before an earlier run was killed, if a person has moved it since and it can be tried again."""
    filed = arrived_as(tree, job.name, job.id)
    now_at = list(_files_of(job, tree, "", _ON_THEIR_WAY))
    if filed is None:
        # Killed before the text was there. Where nobody knows it, it would lie in failed/ for ever.
        renamed = any(name.startswith(f"{FAILED}/") for name in now_at)
        return free_name(tree, f"{FAILED}/{job.name}") if renamed else None
    if now_at:
        return filed
    with contextlib.suppress(OSError):  # it is on its way already, as a job of its own, or was taken away
        forget_why(tree, filed, job.id)
    return None


def _files_of(job: Job, tree: Tree, directory: str, without: Collection[str] = ()) -> Iterator[str]:
    """The files beneath a directory that are the job's, or may be where inodes are not to be relied on."""
    by_inode = job.inode != 0 and tree.stable_inodes
    with contextlib.suppress(FileNotFoundError):
        for entry in tree.scan(directory):
            entry.enter = entry.name not in without
            status = entry.stat if entry.kind == "file" else None
            if status is not None and same_times(status, job) and (not by_inode or status.st_ino == job.inode):
                yield entry.name


#: Files filed in one go, and how soon one batch may follow another (seconds): where many end, they are filed together.
BATCH, TOGETHER = 256, 0.05
#: Seconds that moving a batch may take before others are no longer kept waiting for the next one.
HANGS = 30.0
#: How soon the ledger is asked again where it did not answer (seconds).
LEDGER_LOOK = 1.0


class Filer:
    """Files the completions of one folder, in batches: ledger, moves, ledger."""

    def __init__(self, site: DropFolder, ledger: Ledger, keep: Keep, contact: str, after: Filer | None = None) -> None:
        """`keep` is where copies of what REDCap holds go. `after` worked in the same directory before and is to end: this one
        begins when it has."""
        self._name = site.folder.name
        self._site = site
        self._keep = keep
        self._contact = contact
        self._after = after
        self._opening = threading.Lock()
        self._filing: tuple[Tree, Filing] | None = None
        self._let_go = False
        self._ledger = ledger
        self._changed = threading.Condition()
        self._pending: list[Completion] = []
        self._again: list[Completion] = []  # could not be moved; tried again
        self._tries = 0
        self._told = ""
        self._stopping = False
        self._busy = False
        self._moving_since: float | None = None  # (monotonic)
        self._cleaned: weakref.ref[Filing] | None = None  # it holds the folder open
        self._successor: Filer | None = None
        self._found_at_start: set[int] = set()
        self._begun = False  # what an earlier run left is known
        self._over = False  # it takes nothing more: what comes late goes to its successor
        self._thread = threading.Thread(target=self._run, name=f"filing {self._name}", daemon=True)

    def borrowed(self) -> tuple[Tree, Filing] | None:
        """The folder itself and its filing, or None while it is away. Touches no file system."""
        tree = self._site.tree()
        with self._opening:
            if self._let_go:
                return None
            if self._filing is not None and self._filing[0] is not tree:
                self._filing = None  # the descriptor is closed with the last turn that still uses it
            if tree is not None and self._filing is None:
                self._filing = (tree, Filing(self._site.folder, tree, self._contact, self._keep))
            return self._filing

    def let_go(self) -> None:
        """Another one works in its place: the directory is closed once no turn uses it any more."""
        with self._opening:
            self._let_go, self._filing = True, None
        self._keep.let_go()

    def start(self) -> None:
        """Begin with what an earlier run left unfiled, unless it has."""
        if self._thread.ident is None:
            start(self._thread)

    def alive(self) -> bool:
        """Whether it files, or its successor does."""
        return self._thread.is_alive() or self._stopping

    def take_up(self, jobs: Iterable[int]) -> None:
        """File what is over according to the ledger."""
        for number in jobs:
            job = self._ledger.query.job(number)
            if job is not None and job.state in (State.STORED, State.REFUSED) and number not in self._found_at_start:
                self.put(Completion(job, outcome_of(job), entered=True))

    def put(self, completion: Completion) -> None:
        """Hand over a job that is over."""
        with self._changed:
            over, successor = self._over, self._successor
            if not over:
                self._pending.append(completion)
                self._changed.notify()
        if over and successor is not None:
            successor.put(completion)
        elif over:  # another host may have it, or this one again
            self._site.ended([completion.job], False)

    def retire(self, successor: Filer) -> None:
        """End after the batch in hand, and leave the rest to `successor`. Waits for nothing."""
        with self._changed:
            self._stopping, self._successor = True, successor
            self._changed.notify()

    def enter_late(self, now: float) -> None:
        """Where its thread hangs in the folder's file system, what waits for it is entered in the ledger all the same: it keeps
        no other folder's files waiting."""
        with self._changed:
            hangs = self._moving_since is not None and now - self._moving_since > HANGS
            late = [completion for completion in self._pending if hangs and not completion.entered]
            self._pending = [completion for completion in self._pending if completion not in late] if late else self._pending
        if late:
            entered = self._entered(late)
            with self._changed:
                self._pending += entered

    def idle(self) -> bool:
        """Whether everything handed over is filed."""
        with self._changed:
            return self._begun and not (self._pending or self._again or self._busy)

    def waiting_for_room(self) -> str:
        """Why files cannot be moved now, or empty."""
        return self._told

    @property
    def running(self) -> bool:
        """Whether its thread has not ended."""
        return self._thread.is_alive()

    def stop(self) -> None:
        """File what can still be filed, and end. Waits for nothing."""
        with self._changed:
            self._stopping = True
            self._changed.notify()

    def join(self, within: float) -> None:
        """Wait for its end, at most so many seconds."""
        if self._thread.ident is not None:
            self._thread.join(within)

    def _hand_over(self) -> None:
        """What the ledger does not know of goes to the successor, which finds the rest there."""
        with self._changed:
            self._over = True
            left = [completion for completion in self._pending + self._again if not completion.entered]
            self._pending, self._again = [], []
        if self._successor is not None:
            for completion in left:
                self._successor.put(completion)
        elif left:  # another host may have them, or this one again
            self._site.ended([completion.job for completion in left], False)

    def _begin(self) -> None:
        if self._after is not None:
            if self._after._thread.ident is not None:
                self._after._thread.join()  # what hangs there would hang here
            self._after = None
        for job in self._unfiled():
            self._found_at_start.add(job.id)
            self.put(Completion(job, outcome_of(job), entered=True))
        self._begun = True

    def _unfiled(self) -> list[Job]:
        """What was left unfiled; once the ledger answers."""
        while True:
            try:
                return self._ledger.query.unfiled(self._name)
            except TOLD:
                with self._changed:
                    if self._stopping or self._changed.wait_for(lambda: self._stopping, LEDGER_LOOK):
                        return []

    def _run(self) -> None:
        try:
            self._begin()
            self._work()
        except Exception as error:
            said = f"{type(error).__name__}: {error}"
            log.error("internal_error", folder=self._name, where="filing", error=said, exc_info=True)
        finally:
            self._hand_over()
            self._cleaned = None
            if self._successor is not None:
                self._site.over()
            else:
                self._site.stopped()

    def _work(self) -> None:
        next_page = time.monotonic()
        next_again = began = 0.0
        while True:
            time.sleep(max(0.0, began + TOGETHER - time.monotonic()))
            with self._changed:
                self._busy = False
                while not self._pending and not self._stopping:
                    until = min(next_page, next_again) if self._again else next_page
                    if until <= time.monotonic() or not self._changed.wait(until - time.monotonic()):
                        break
                if self._stopping and (self._successor is not None or not self._pending):
                    break
                batch, self._pending = self._pending[:BATCH], self._pending[BATCH:]
                if not batch and self._again and time.monotonic() >= next_again:
                    batch, self._again = self._again[:BATCH], self._again[BATCH:]
                    next_again = time.monotonic() + min(60.0, 2.0 * 2 ** min(self._tries, 5))
                self._busy = bool(batch)
            if batch:
                began = time.monotonic()
                self._file_or_keep(batch)
            elif time.monotonic() >= next_page:
                self._clean()
                next_page = time.monotonic() + self._page()
        self._clean()

    def _file_or_keep(self, batch: list[Completion]) -> None:
        try:
            batch = self._entered(batch)
            self._moving_since = time.monotonic()
            self._file(batch)
        except LeaseLost:  # the host that works there now files them
            self._site.ended([completion.job for completion in batch], False)
        except TOLD:
            with self._changed:
                self._again += batch
        except Exception as error:
            # The ledger is damaged or the folder does odd things: the files lie safe in in_progress/, so try again.
            log.error("internal_error", folder=self._name, where="filing", error=f"{type(error).__name__}: {error}")
            with self._changed:
                self._again += batch
                self._tries += 1
        finally:
            self._moving_since = None

    def _clean(self) -> None:
        """Remove what a crash left half written, once for each time that the folder is opened."""
        borrowed = self.borrowed()
        if borrowed is not None and (self._cleaned is None or self._cleaned() is not borrowed[1]):
            self._cleaned = weakref.ref(borrowed[1])
            with contextlib.suppress(OSError):
                borrowed[1].clean()

    def _page(self) -> float:
        try:
            return self._site.refresh()
        except TOLD:
            return LEDGER_LOOK
        except Exception as error:
            log.error("internal_error", folder=self._name, where="page", error=f"{type(error).__name__}: {error}")
            return 60.0

    def _file(self, batch: list[Completion]) -> None:
        borrowed = self.borrowed()
        if borrowed is None:
            self._put_off(batch, "the folder is away")
            return
        self._clean()
        now = datetime.now().astimezone()
        tree, filing = borrowed
        over: list[tuple[Completion, str | None]] = []  # with where its file lies now
        put_off: list[Completion] = []
        trouble = "the file is being moved"
        with tree.batch():
            results = self._move(batch, tree, filing, now)
        for completion, result in results:
            if isinstance(result, Filed):
                over.append((completion, result.name))
            elif result is None:
                over.append((completion, None))
            elif isinstance(result, FileNotFoundError):
                found = self._look_for(completion, tree, filing, now)
                if isinstance(found, Completion):
                    put_off.append(found)
                else:
                    over.append((completion, found))
            else:
                put_off.append(completion)
                trouble = _said(result)
        self._ledger.change([as_filed(completion, name) for completion, name in over])
        if put_off:
            self._put_off(put_off, trouble)
        elif self._told:
            log.info("resumed", scope=Scope.FOLDER, folder=self._name, reason=Reason.FILING)
            self._told, self._tries = "", 0
        for completion, name in over:
            log_end(completion, name or "")
        if over:
            self._site.ended([completion.job for completion, _ in over], True)
            self._site.filed([completion.job.name for completion, _ in over])
        if not all(name for _, name in over):
            self._site.missing()

    def _move(
        self, batch: list[Completion], tree: Tree, filing: Filing, now: datetime
    ) -> list[tuple[Completion, Filed | OSError | None]]:
        """What came of each move; None: what was sent is gone, and another file lies there."""
        copied, batch = finish_copies(self._ledger, filing, self._name, batch)
        for completion, came in copied:
            if isinstance(came, Filed) and isinstance(completion.outcome, Refused):
                filing.explain(came.name, self._failure(completion, filing, tree, now))
        results: list[tuple[Completion, Filed | OSError | None]] = [*copied]
        stored: list[Completion] = []
        for completion in batch:
            if isinstance(completion.outcome, Stored):
                try:
                    if changed_since(tree, f"{IN_PROGRESS}/{completion.job.name}", completion.job, completion.outcome):
                        results.append((completion, None))  # another file to intake: nothing of it has been sent
                    else:
                        stored.append(completion)
                except OSError as error:
                    results.append((completion, error))
        refused = [completion for completion in batch if isinstance(completion.outcome, Refused)]
        cross_device_moves = {completion.job.name: JobMove(self._ledger, completion) for completion in batch}
        if stored:
            results += zip(stored, filing.to_done([one.job.name for one in stored], now.date(), cross_device_moves), strict=True)
        if refused:
            failures = [self._failure(one, filing, tree, now) for one in refused]
            results += zip(refused, filing.to_failed(failures, cross_device_moves), strict=True)
        return results

    def _failure(self, completion: Completion, filing: Filing, tree: Tree, now: datetime, lies_in: str = "") -> Failure:
        """What the text beside a refused file says."""
        job, outcome = completion.job, completion.outcome
        assert isinstance(outcome, Refused)
        file = lies_in or f"{IN_PROGRESS}/{job.name}"
        return failure_of(job, outcome, now, filing.folder, self._ledger.query, tree, file)

    def _look_for(self, completion: Completion, tree: Tree, filing: Filing, now: datetime) -> str | Completion | None:
        """Where a file lies that is not where it should be, None if nowhere; as a `Completion`, what is to be tried again."""
        found = locate(filing, completion, now)
        if found is not None and found.startswith(f"{IN_PROGRESS}/"):
            return completion
        if found is None and (name := renamed(tree, completion, self._site)):
            return replace(completion, job=replace(completion.job, name=name))
        if found is not None and isinstance(completion.outcome, Refused):
            filing.explain(found, self._failure(completion, filing, tree, now, found))
        elif isinstance(completion.outcome, Refused):
            return arrived(tree, completion.job)
        return found

    def _entered(self, batch: list[Completion]) -> list[Completion]:
        """Those whose end the ledger knows now. It does not take one that a person has taken away or renamed meanwhile."""
        fresh = [completion for completion in batch if not completion.entered]
        taken = self._ledger.change([as_entered(completion) for completion in fresh])
        # What goes to the same place need not wait until these are moved.
        self._site.ended([completion.job for completion in fresh if completion.job.id in taken], True)
        if others := [completion.job for completion in fresh if completion.job.id not in taken]:
            self._site.ended(others, False)
        return [replace(completion, entered=True) for completion in batch if completion.entered or completion.job.id in taken]

    def _put_off(self, completions: list[Completion], why: str) -> None:
        with self._changed:
            self._again += completions
            self._tries += 1
        if why != self._told:
            self._told = why
            log.warning(
                "paused",
                scope=Scope.FOLDER,
                folder=self._name,
                reason=Reason.FILING,
                message=f"{_files(len(completions))} in in_progress/ for now: {why}",
            )


def _files(number: int) -> str:
    return "1 finished file stays" if number == 1 else f"{number} finished files stay"


def _said(error: OSError) -> str:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return "there is no room left"
    if error.errno == errno.EROFS:
        return f"{error.strerror}; {REMEDY}"
    return error.strerror or str(error)
