"""Bringing files to done/ and failed/: one thread a folder, so that a share that hangs holds up only its own."""

from __future__ import annotations

import contextlib
import errno
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

import structlog

from dropcap.display import shown
from dropcap.files.tree import Tree
from dropcap.filing.copying import crossing, finish_copies
from dropcap.filing.place import DONE, IN_PROGRESS, Failure, Filed, Filing
from dropcap.filing.preserve import DIRECTORY
from dropcap.filing.same_bytes import changed_since, same_times
from dropcap.filing.why import FAILED, arrived_as, forget_why, free_name
from dropcap.ledger.job import Address, Job, State
from dropcap.ledger.log_keys import about
from dropcap.ledger.outcome import Refused, Result, Stored
from dropcap.ledger.store import Ledger
from dropcap.ledger.transition import Change
from dropcap.reasons import Reason, Scope

log = structlog.get_logger()

#: Files filed in one go, and how soon one batch may follow another (seconds): where many end, they are filed together.
BATCH, TOGETHER = 256, 0.05
#: Where a failed file that a person has moved is not looked for: if it lies there, it is tried again already.
_ON_THEIR_WAY = (IN_PROGRESS, DONE, DIRECTORY)


@dataclass(frozen=True, slots=True)
class Ending:
    """A job that is over but for its file's move. `entered`: the ledger knows already."""

    job: Job
    outcome: Stored | Refused
    entered: bool = False


@dataclass(frozen=True, slots=True)
class FilingHooks:
    """Who is told of what happens while a folder's files are filed. Called from its filing thread.

    `ended`: these jobs are over (True), or are looked at anew since the ledger did not take their end (False). `filed`: these
    names have left in_progress/. `missing`: in_progress/ is not as it should be. `page` keeps the status page, and says in how
    many seconds it wants to be called again. `over`: nothing more is filed.
    """

    ended: Callable[[Sequence[Job], bool], None]
    filed: Callable[[list[str]], None]
    missing: Callable[[], None]
    page: Callable[[], float]
    over: Callable[[], None] = lambda: None


class Filer:
    """Files the endings of one folder, in batches: ledger, moves, ledger."""

    def __init__(
        self,
        name: str,
        ledger: Ledger,
        place: Callable[[], tuple[Tree, Filing] | None],
        address: Callable[[str], Address],
        hooks: FilingHooks,
        after: Filer | None = None,
    ) -> None:
        """`place` is where the folder `name` lies now, None while it is away; `address` tells where a file of a name goes.

        `after` worked in the same directory before and is to end: this one begins when it has.
        """
        self._name = name
        self._place = place
        self._address = address
        self._hooks = hooks
        self._after = after
        self._ledger = ledger
        self._changed = threading.Condition()
        self._pending: list[Ending] = []
        self._again: list[Ending] = []  # could not be moved; tried again
        self._tries = 0
        self._told = ""
        self._stopping = False
        self._busy = False
        self._cleaned: Filing | None = None
        self._successor: Filer | None = None
        self._found_at_start: set[int] = set()
        self._begun = False  # what an earlier run left is known
        self._over = False  # it takes nothing more: what comes late goes to its successor
        self._thread = threading.Thread(target=self._run, name=f"filing {name}", daemon=True)

    def start(self) -> None:
        """Begin with what an earlier run left unfiled."""
        self._thread.start()

    def take_up(self, jobs: Iterable[int]) -> None:
        """File what is over according to the ledger."""
        for number in jobs:
            job = self._ledger.query.job(number)
            if job is not None and job.state in (State.STORED, State.REFUSED) and number not in self._found_at_start:
                self.put(Ending(job, _outcome(job), entered=True))

    def put(self, ending: Ending) -> None:
        """Hand over a job that is over."""
        with self._changed:
            successor = self._successor if self._over else None
            if successor is None:
                self._pending.append(ending)
                self._changed.notify()
        if successor is not None:
            successor.put(ending)

    def retire(self, successor: Filer) -> None:
        """End after the batch in hand, and leave the rest to `successor`. Waits for nothing."""
        with self._changed:
            self._stopping, self._successor = True, successor
            self._changed.notify()

    def missing(self) -> None:
        """A file is not in in_progress/ where it should be."""
        self._hooks.missing()

    def idle(self) -> bool:
        """Whether everything handed over is filed."""
        with self._changed:
            return self._begun and not (self._pending or self._again or self._busy)

    def waiting_for_room(self) -> str:
        """Why files cannot be moved now, or empty."""
        return self._told

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
            left = [ending for ending in self._pending + self._again if not ending.entered]
            self._pending, self._again = [], []
        if self._successor is not None:
            for ending in left:
                self._successor.put(ending)

    def _begin(self) -> None:
        if self._after is not None:
            self._after._thread.join()  # what hangs there would hang here
            self._after = None
        for job in self._ledger.query.unfiled(self._name):
            self._found_at_start.add(job.id)
            self.put(Ending(job, _outcome(job), entered=True))
        self._begun = True

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
                self._hooks.over()

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

    def _file_or_keep(self, batch: list[Ending]) -> None:
        try:
            batch = self._entered(batch)
            self._file(batch)
        except Exception as error:
            # The ledger is damaged or the folder does odd things: the files lie safe in in_progress/, so try again.
            log.error("internal_error", folder=self._name, where="filing", error=f"{type(error).__name__}: {error}")
            with self._changed:
                self._again += batch
                self._tries += 1

    def _clean(self) -> None:
        """Remove what a crash left half written, once for each time that the folder is opened."""
        place = self._place()
        if place is not None and place[1] is not self._cleaned:
            self._cleaned = place[1]
            with contextlib.suppress(OSError):
                self._cleaned.clean()

    def _page(self) -> float:
        try:
            return self._hooks.page()
        except Exception as error:
            log.error("internal_error", folder=self._name, where="page", error=f"{type(error).__name__}: {error}")
            return 60.0

    def _file(self, batch: list[Ending]) -> None:
        place = self._place()
        if place is None:
            self._put_off(batch, "the folder is away")
            return
        tree, filing = place
        self._clean()
        now = datetime.now().astimezone()
        results, batch = finish_copies(self._ledger, filing, self._name, batch)
        for ending, came in results:
            if isinstance(came, Filed) and isinstance(ending.outcome, Refused):
                filing.explain(came.name, _failure(ending, now))
        with tree.batch():
            changed, moved = self._moved(batch, tree, filing, now)
        results += moved
        changes: list[Change] = []
        ended: list[tuple[Ending, str]] = []
        put_off: list[Ending] = []
        trouble = ""
        for ending in changed:
            # What was sent is gone, and what lies there now is another file to intake: nothing of it has been sent.
            changes.append(_ended(ending, None))
            ended.append((ending, ""))
        for ending, result in results:
            if isinstance(result, Filed):
                changes.append(_ended(ending, result.name))
                ended.append((ending, result.name))
            elif isinstance(result, FileNotFoundError):
                found = _locate(filing, ending, now)
                if found is not None and found.startswith("in_progress/"):
                    put_off.append(ending)
                    continue
                if found is None and (name := self._renamed(tree, ending)):
                    put_off.append(replace(ending, job=replace(ending.job, name=name)))
                    continue
                if found is not None and isinstance(ending.outcome, Refused):
                    filing.explain(found, _failure(ending, now))
                elif isinstance(ending.outcome, Refused):
                    found = _arrived(tree, ending.job)
                changes.append(_ended(ending, found))
                ended.append((ending, found or ""))
            else:
                put_off.append(ending)
                trouble = _said(result)
        self._ledger.change(changes)
        if put_off:
            self._put_off(put_off, trouble or "the file is being moved")
        elif self._told:
            log.info("resumed", scope=Scope.FOLDER, folder=self._name, reason=Reason.FILING)
            self._told, self._tries = "", 0
        for ending, name in ended:
            _log_end(ending, name)
        if ended:
            self._hooks.ended([e.job for e, _ in ended], True)
            self._hooks.filed([e.job.name for e, _ in ended])
        if not all(name for _, name in ended):
            self._hooks.missing()

    def _moved(
        self, batch: Sequence[Ending], tree: Tree, filing: Filing, now: datetime
    ) -> tuple[list[Ending], list[tuple[Ending, Filed | OSError]]]:
        """Move the files of a batch: those that were not moved, since they are others now, and what came of the rest."""
        changed: list[Ending] = []
        stored: list[Ending] = []
        results: list[tuple[Ending, Filed | OSError]] = []
        for e in batch:
            if isinstance(e.outcome, Stored):
                try:
                    is_other = changed_since(tree, f"{IN_PROGRESS}/{e.job.name}", e.job, e.outcome)
                    (changed if is_other else stored).append(e)
                except OSError as error:
                    results.append((e, error))
        refused = [e for e in batch if isinstance(e.outcome, Refused)]
        crossings = {e.job.name: crossing(self._ledger, e) for e in batch}
        if stored:
            results += zip(stored, filing.to_done([e.job.name for e in stored], now.date(), crossings), strict=True)
        if refused:
            results += zip(refused, filing.to_failed([_failure(e, now) for e in refused], crossings), strict=True)
        return changed, results

    def _renamed(self, tree: Tree, ending: Ending) -> str | None:
        """The name that a person gave to a stored file in in_progress/ meanwhile, if it is one for the same target."""
        job = ending.job
        if not isinstance(ending.outcome, Stored) or job.key is None:
            return None
        by_inode = job.inode != 0 and tree.stable_inodes
        found = [name.partition("/")[2] for name in _files_of(job, tree, IN_PROGRESS)]
        if not found or (len(found) > 1 and not by_inode):  # size and time are those of two files
            return None
        return found[0] if self._address(found[0]).key == job.key else None

    def _entered(self, batch: list[Ending]) -> list[Ending]:
        """Those whose end the ledger knows now. It does not take one that a person has taken away or renamed meanwhile."""
        fresh = [ending for ending in batch if not ending.entered]
        taken = self._enter(fresh)
        if others := [ending.job for ending in fresh if ending.job.id not in taken]:
            self._hooks.ended(others, False)
        return [replace(ending, entered=True) for ending in batch if ending.entered or ending.job.id in taken]

    def _enter(self, endings: list[Ending]) -> set[int]:
        changes = []
        for ending in endings:
            outcome = ending.outcome
            if isinstance(outcome, Stored):
                columns = {
                    "result": outcome.result,
                    "confirmed": outcome.confirmed,
                    "sha256": outcome.sha256,
                    "sent_ctime_ns": outcome.ctime_ns,
                    "seconds": outcome.seconds,
                    "reason": None,
                    "message": None,
                    "remedy": None,
                }
                changes.append(Change(ending.job.id, State.STORED, outcome.result, columns))
            else:
                columns = {"reason": outcome.reason, "message": outcome.message, "remedy": outcome.remedy}
                changes.append(Change(ending.job.id, State.REFUSED, outcome.reason, columns))
        return self._ledger.change(changes)

    def _put_off(self, endings: list[Ending], why: str) -> None:
        with self._changed:
            self._again += endings
            self._tries += 1
        if why != self._told:
            self._told = why
            log.warning(
                "paused",
                scope=Scope.FOLDER,
                folder=self._name,
                reason=Reason.FILING,
                message=f"{len(endings)} finished files stay in in_progress/ for now: {why}",
            )


def _files_of(job: Job, tree: Tree, directory: str, enter: Callable[[str], bool] | None = None) -> Iterator[str]:
    """The files beneath a directory that are the job's, or may be where inodes are not to be relied on."""
    by_inode = job.inode != 0 and tree.stable_inodes
    with contextlib.suppress(FileNotFoundError):
        for entry in tree.scan(directory, enter=enter):
            status = entry.stat if entry.kind == "file" else None
            if status is not None and same_times(status, job) and (not by_inode or status.st_ino == job.inode):
                yield entry.name


def _arrived(tree: Tree, job: Job) -> str | None:
    """Where a refused file arrived before an earlier run was killed, if a person has moved it since and it can be tried again."""
    filed = arrived_as(tree, job.name, job.id)
    now_at = list(_files_of(job, tree, "", lambda name: name not in _ON_THEIR_WAY))
    if filed is None:
        # Killed before the text was there. Where nobody knows it, it would lie in failed/ for ever.
        renamed = any(name.startswith(f"{FAILED}/") for name in now_at)
        return free_name(tree, f"{FAILED}/{job.name}") if renamed else None
    if now_at:
        return filed
    with contextlib.suppress(OSError):  # it is on its way already, as a job of its own, or was taken away
        forget_why(tree, filed, job.id)
    return None


def _said(error: OSError) -> str:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return "there is no room left"
    return error.strerror or str(error)


def _outcome(job: Job) -> Stored | Refused:
    if job.state is State.STORED:
        result = next((one for one in Result if one == job.result), Result.STORED)
        return Stored(result, job.confirmed or "none", job.sha256 or "", job.size, job.seconds or 0.0, job.sent_ctime_ns)
    return Refused(Reason.of(job.reason, Reason.REFUSED), job.message or "", job.remedy or "")


def _ended(ending: Ending, filed_as: str | None) -> Change:
    if isinstance(ending.outcome, Stored):
        note = f"filed as {shown(filed_as)}" if filed_as else "its file was taken out of in_progress/ before it was filed"
        return Change(ending.job.id, State.DONE, note, {"filed_as": filed_as})
    if filed_as is None:
        return Change(ending.job.id, State.WITHDRAWN, "its file was taken out of in_progress/", {})
    return Change(ending.job.id, State.FAILED, f"filed as {shown(filed_as)}", {"filed_as": filed_as})


def _locate(filing: Filing, ending: Ending, now: datetime) -> str | None:
    """Where the file is, if an earlier run or a person has moved it."""
    job = ending.job
    final = "done" if isinstance(ending.outcome, Stored) else "failed"
    within = ("in_progress", final)
    sha256 = ending.outcome.sha256 if isinstance(ending.outcome, Stored) else job.sha256
    since = datetime.fromtimestamp(job.changed_at, now.tzinfo).date()
    return filing.locate(job.inode, job.size, job.name, now.date(), sha256, within, job.mtime_ns, since)


def _failure(ending: Ending, now: datetime) -> Failure:
    job, outcome = ending.job, ending.outcome
    assert isinstance(outcome, Refused)
    return Failure(
        name=job.name,
        job=job.id,
        reason=outcome.reason,
        message=outcome.message,
        remedy=outcome.remedy,
        when=now,
        record=job.record,
        field=job.field,
        event=job.event,
        instance=job.instance,
        attempts=job.attempts,
        sha256=job.sha256,
    )


def _log_end(ending: Ending, filed_as: str) -> None:
    job, outcome = ending.job, ending.outcome
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
