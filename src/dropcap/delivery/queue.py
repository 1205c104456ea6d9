"""The due jobs of each folder in memory, how long an absent folder is waited for, and what comes of an attempt."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Collection, Container, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

import structlog

from dropcap.delivery.circuit import Breakers, backoff
from dropcap.delivery.order import Order
from dropcap.delivery.plan import OVERTAKEN, Facts, record_wait, waited_long_enough
from dropcap.delivery.project_client import ProjectClient
from dropcap.display import shown
from dropcap.filing.loop import Completion, DropFolder, Filer
from dropcap.filing.preserve import Keep
from dropcap.ledger.job import (
    Change,
    Gone,
    Held,
    Job,
    Later,
    LimitReached,
    LookAgain,
    Outcome,
    RecordCreated,
    Refused,
    Rewritten,
    State,
    Stored,
    WaitForRecord,
    about,
)
from dropcap.ledger.query import NOBODY, Absent, Query
from dropcap.ledger.store import Ledger
from dropcap.reasons import Reason, Scope
from dropcap.routing.route import NoRoute, Route, route
from dropcap.routing.rule import NEXT, Confirm

#: Seconds that a batch is meant to last, and those after which it gives back what it has not begun.
LASTS, OVERDUE = 0.1, 0.3
#: The same where REDCap is asked once for all of a batch whether it lists them.
LISTED_LASTS, LISTED_OVERDUE = 1.0, 1.5
#: Files in a batch at most: so many have an unknown outcome after a crash, for each thread, and are read back.
MOST = 32
#: Jobs a folder keeps in memory, per size class; the rest waits in the ledger.
IN_MEMORY = 200
LOW = 50


@dataclass(frozen=True, slots=True)
class Known:
    """What a look-up has told of a job's record, and when it began (monotonic seconds)."""

    facts: Facts
    at: float


@dataclass(frozen=True, slots=True)
class Candidate:
    """A job whose turn can come. It never changes: when more is known of it, another one takes its place in the lane."""

    job: Job
    route: Route
    known: Known | None = None


@dataclass(slots=True)
class Lane:
    """The next jobs of one size class, in order."""

    small: bool
    jobs: dict[int, Candidate] = field(default_factory=dict)
    more: bool = True  # the ledger may hold more that are due; any thread may say so


@dataclass(slots=True)
class Unfit:
    """Jobs that cannot be candidates as they are: those that have no way, and those that have another one than they had. `left`
    were candidates, and are not any more.
    """

    lost: list[tuple[Job, NoRoute]] = field(default_factory=list)
    moved: list[Job] = field(default_factory=list)
    left: list[int] = field(default_factory=list)


class FolderQueue:
    """One folder's next jobs, and the filing of those that are over; only the deciding thread touches the lanes."""

    def __init__(
        self, site: DropFolder, ledger: Ledger, order: Order, keep: Keep, contact: str, after: FolderQueue | None = None
    ) -> None:
        """`keep` takes copies of what REDCap holds. `after` worked in the same directory before and is to end."""
        self.site = site
        self.folder = site.folder
        self.filer: Filer = Filer(site, ledger, keep, contact, after.filer if after else None)
        self.order = order
        self._lock = threading.Lock()
        self.lanes = (Lane(small=True), Lane(small=False))
        self.asking: set[int] = set()  # candidates whose records are being looked up
        self._looked_up: queue.SimpleQueue[tuple[Candidate, Known | None]] = queue.SimpleQueue()
        self._readdressed: set[int] = set()
        self._renamed: set[int] = set()  # jobs that intake has entered or given another name since the last refill
        self._seconds = LASTS  # that one of its small files takes; the first go alone
        self.next_due: float | None = None  # when the next job that is not due yet will be (seconds since the epoch)
        self.may_be_passed = False  # it was seen to be absent, and not to be back yet
        self.stuck = 0  # turns that hang in this folder's file system

    @property
    def name(self) -> str:
        """The folder's name in the configuration."""
        return self.folder.name

    def open(self) -> bool:
        """Whether its files can be worked on: it is there, answers, and none of them may just be passed."""
        return not (self.stuck or self.may_be_passed) and self.filer.borrowed() is not None

    def absent(self) -> bool:
        """Whether its files cannot be worked on: it is away, or does not answer."""
        return bool(self.stuck) or self.site.away()

    def took(self, seconds: float) -> None:
        """A small file took so long, from its opening to REDCap's answer. Of several threads one may win: that does no harm."""
        self._seconds += (seconds - self._seconds) / 4

    def batch_length(self) -> int:
        """How many of its small files are worth a batch: one, unless they take some milliseconds each."""
        lasts = LISTED_LASTS if self._lists() else LASTS
        return max(1, min(MOST, int(lasts / max(self._seconds, 1e-4))))

    def overdue(self) -> float:
        """Seconds after which a batch gives back what it has not begun."""
        return LISTED_OVERDUE if self._lists() else OVERDUE

    def _lists(self) -> bool:
        return any(rule.settings.confirm is Confirm.LISTED for rule in self.folder.rules)

    def refill(self, query: Query, now: float, small_file: int, in_flight: Container[int], absent: Absent = NOBODY) -> Unfit:
        """Take in what look-ups have told, and more due jobs from the ledger; those are returned that cannot be taken as they are
        entered there."""
        unfit = Unfit()
        self._take_answers(unfit)
        with self._lock:
            renamed, self._renamed = self._renamed, set()
        if any(lane.more for lane in self.lanes):
            self.next_due = query.next_due(self.name, now)
        for lane in self.lanes:
            for job_id in renamed & lane.jobs.keys():
                del lane.jobs[job_id]
                unfit.left.append(job_id)
            if not lane.more or len(lane.jobs) >= LOW:
                continue
            limit = IN_MEMORY + len(lane.jobs)
            lane.more = False  # before the question: what comes in after it sets this again, and must not be forgotten
            due = query.due(self.name, now, limit, small_file, small=lane.small, absent=absent)
            if len(due) == limit:
                lane.more = True
            for job in due:
                if job.id in lane.jobs or job.id in in_flight:
                    continue
                found = self._way_of(job)
                if isinstance(found, Route):
                    lane.jobs[job.id] = Candidate(job, found)
                elif found is not None:
                    unfit.lost.append((job, found))
                else:
                    unfit.moved.append(job)
        self._readdressed.update(job.id for job in unfit.moved)
        return unfit

    def _take_answers(self, unfit: Unfit) -> None:
        """An answer for a candidate that is not in line any more (a reload, a rename) tells nothing."""
        with suppress(queue.Empty):
            while True:
                candidate, known = self._looked_up.get_nowait()
                number = candidate.job.id
                self.asking.discard(number)
                lane = next((lane for lane in self.lanes if lane.jobs.get(number) is candidate), None)
                if lane is None:
                    unfit.left.append(number)
                elif known is None:
                    del lane.jobs[number]
                    lane.more = True  # it may have been passed over as being here, since the look-up said so
                else:
                    lane.jobs[number] = replace(candidate, known=known)

    def _way_of(self, job: Job) -> Route | NoRoute | None:
        """Where a job goes; None if the rules have changed since it was entered, while it was being sent."""
        found = route(self.folder.rules, self.name, job.name)
        if isinstance(found, NoRoute):
            return found
        target, now = found.target, self.order.address_of(self.folder, found)
        where = (now.project, now.event, now.field, now.takes_next) == (job.project, job.event, job.field, job.takes_next)
        there = (bool(target.record_where) or now.record == job.record) and (now.takes_next or now.instance == job.instance)
        same = where and there
        if job.state is State.UNKNOWN and (elsewhere := self.order.elsewhere(job)):
            message = f"it was sent to {elsewhere}, and `{shown(job.project)}` leads to another project now"
            return NoRoute(Reason.PROJECT_MISMATCH, message, "", found.rule)
        if job.state is State.UNKNOWN and not same and job.record and job.key:
            return self._where_it_was_sent(job, found)
        if (
            (job.state is State.WAITING or not job.key)
            and not (same and now.rule == job.rule)
            and job.id not in self._readdressed
        ):
            return None
        if target.record_where and job.record:  # looked up before
            return replace(found, target=replace(target, record=job.record))
        return found

    def _where_it_was_sent(self, job: Job, found: Route) -> Route | NoRoute:
        """The rules have changed since: it is read back where it may have arrived, and ends there."""
        if job.project != self.folder.project:
            message = f"it was sent to project `{shown(job.project)}`, and its folder goes to `{shown(self.folder.project)}` now"
            return NoRoute(Reason.NO_RULE, message, "", found.rule)
        instance = NEXT if job.takes_next else job.instance
        target = replace(found.target, record=job.record, event=job.event, field=job.field, instance=instance, record_where={})
        return replace(found, target=target)

    def looked_up(self, candidate: Candidate, known: Known | None) -> None:
        """The look-up for a candidate is over; None if nothing came of it, or if the ledger says more of it by now."""
        self._looked_up.put((candidate, known))

    def take(self, candidate: Candidate) -> None:
        """Its turn begins: it is not in line any more."""
        for lane in self.lanes:
            lane.jobs.pop(candidate.job.id, None)

    def look_again(self, jobs: Iterable[int] = ()) -> None:
        """There may be more due jobs in the ledger, and `jobs` may have other names than before."""
        with self._lock:
            self._renamed.update(jobs)
        for lane in self.lanes:
            lane.more = True

    def forget(self) -> None:
        """Drop what is in memory and start again from the ledger."""
        self._readdressed.clear()
        for lane in self.lanes:
            lane.jobs.clear()
            lane.more = True


#: Seconds for which files to the same place wait for one whose folder is absent.
WAITED_FOR = 3600.0


class Absence:
    """Looks which folders are absent: those that are away or do not answer, and those that are not in the configuration now,
    which may be a slip. A folder that is paused by hand is not: its files are waited for. Nor is one in which another
    host works, that alone has it in its configuration.
    """

    def __init__(self) -> None:
        self._since: dict[str, float] = {}
        self._unknown: frozenset[str] = frozenset()  # not in the configuration, though they have files on their way
        self.absent = NOBODY

    def configured(self, folders: Iterable[str], with_files: Iterable[str]) -> None:
        """`folders` are those of the configuration, `with_files` those that have files on their way."""
        self._unknown = frozenset(with_files).difference(folders)

    def look(self, folders: Mapping[str, FolderQueue], paused: Collection[str], elsewhere: Collection[str], now: float) -> bool:
        """See how it is `now` (monotonic seconds); whether that lets files go that had to wait. `paused` are by hand, `elsewhere`
        those in which other hosts work.

        What a folder keeps in memory is read anew once it is seen to be back, and waits until then: it may have been passed.
        """
        unknown = self._unknown.difference(paused, elsewhere)
        away = {name for name, folder in folders.items() if name not in paused and folder.absent()} | unknown
        for name, folder in folders.items():
            folder.may_be_passed = name in away
        for name in self._since.keys() - away:
            del self._since[name]
            if (back := folders.get(name)) is not None:
                back.forget()
        for name in away:
            self._since.setdefault(name, now)
        long = {name for name, since in self._since.items() if now - since > WAITED_FOR}
        before, self.absent = self.absent, Absent(frozenset(long), frozenset(away))
        return bool((self.absent.long - before.long) or (self.absent.now - before.now))


class Queues:
    """What the threads of delivery share: the queues of all folders, the clients of all projects, and what wakes the thread that
    decides. Safe for threads: `folders` and `clients` are only ever replaced whole.
    """

    def __init__(self, ledger: Ledger, breakers: Breakers) -> None:
        self._ledger = ledger
        self.breakers = breakers
        self.folders: dict[str, FolderQueue] = {}
        self.left: dict[str, FolderQueue] = {}  # out of the configuration: what was under way is still filed
        self.clients: dict[str, ProjectClient] = {}
        self.small_file = 0
        self.absence = Absence()
        #: Jobs that were given a turn, and are not taken from the ledger before it is over. The deciding thread alone adds.
        self.in_flight: set[int] = set()
        self.stopping = False  # nothing new is begun
        self.break_off = threading.Event()  # what is under way ends
        self._wake = threading.Condition()
        self._woken = True
        self._freed: set[str] = set()  # places that jobs may have left: other files may have waited for that

    def of(self, folder: str) -> FolderQueue:
        """The queue of a folder, that may have left the configuration meanwhile."""
        return self.folders.get(folder) or self.left[folder]

    def open(self, folder: FolderQueue) -> bool:
        """Whether files of a folder may be worked on: they can be, and nobody has paused it."""
        return not self.breakers.stopped(Scope.FOLDER, folder.name) and folder.open()

    def every(self) -> list[FolderQueue]:
        """All of them, with those that have left the configuration."""
        return [*self.folders.values(), *self.left.values()]

    def is_elsewhere(self, folder: str) -> bool:
        """Whether what is to be done there is another host's to do."""
        return self._ledger.shared and folder not in self.folders

    def at_the_limit(self) -> frozenset[int]:
        """The threads that wait for some host's request limit."""
        return frozenset[int]().union(*(client.redcap.waiting for client in self.clients.values()))

    def wake(self, folder: str | None = None, jobs: Iterable[int] = ()) -> None:
        """`jobs` are new in a folder, or their files have other names; or something changed for all: what was taken away from a
        place, say, may have kept another folder's file to it waiting."""
        with self._wake:
            for name, one in self.folders.items():
                if folder in (None, name):
                    one.look_again(jobs)
            self._woken = True
            self._wake.notify()

    def ended(self, jobs: Sequence[Job], stored: bool = False) -> None:
        """These jobs' turns are over; those behind them to the same target can be next. `stored`: they need no other turn."""
        with self._wake:
            self.in_flight.difference_update([job.id for job in jobs])
            for name in {job.folder for job in jobs} & self.folders.keys():
                self.folders[name].site.changed()
            for name in {job.folder for job in jobs if not (stored and job.key)} & self.folders.keys():
                self.folders[name].look_again()
            self._freed.update(job.key for job in jobs if job.key)
            self._woken = True
            self._wake.notify()

    def freed(self) -> list[str]:
        """The places that jobs may have left since this was asked last."""
        with self._wake:
            freed, self._freed = list(self._freed), set()
        return freed

    def stop(self) -> None:
        """Nothing new is begun."""
        with self._wake:
            self.stopping = True
            self._wake.notify()

    def wait(self, seconds: float) -> None:
        """Until something has happened, at most so long. For the deciding thread."""
        with self._wake:
            if not self._woken and not self.stopping:
                self._wake.wait(seconds)
            self._woken = False

    def quiet(self) -> bool:
        """Whether nothing has happened, and no job is in flight."""
        with self._wake:
            return not (self._woken or self.in_flight)


log = structlog.get_logger()

#: Refusals after which the project is looked at anew: its fields, events or rights may have changed.
_LOOK_AT_PROJECT = frozenset(
    {Reason.NO_FIELD, Reason.NOT_A_FILE_FIELD, Reason.SIGNATURE_FIELD, Reason.NO_EVENT, Reason.NOT_DESIGNATED, Reason.RIGHTS}
)

#: Refusals of a file that may be due to a change of the project, also in words that nobody knows.
MAY_HAVE_CHANGED = _LOOK_AT_PROJECT | {Reason.REFUSED, Reason.NOT_REPEATING, Reason.NEEDS_INSTANCE}

#: What people are told where something went wrong that nobody foresaw.
ODD = "an error inside dropcap; the file is safe in in_progress/ and will be tried again"
#: When a file that is not in in_progress/ is tried again, should intake not have ended its job (seconds).
GONE_LOOK = 10.0
#: When it is looked whether another file to the same place has arrived by now (seconds).
ANOTHER_LOOK = 10.0


class OutcomeHandler:
    """Applies outcomes. May be called from any thread."""

    def __init__(self, ledger: Ledger, queues: Queues) -> None:
        self._ledger = ledger
        self._queues = queues
        self._breakers = queues.breakers

    def apply(self, job: Job, outcome: Outcome, client: ProjectClient | None) -> None:
        """Enter what came of a job's turn."""
        if client is not None:
            self._tell_health(job, outcome, client)
        match outcome:
            case Stored() | Refused():
                if isinstance(outcome, Refused) and client is not None and outcome.reason in _LOOK_AT_PROJECT:
                    client.forget()
                goes_to = outcome.instance if isinstance(outcome, Stored) else job.instance
                ended = job if goes_to == job.instance else replace(job, instance=goes_to)
                self._queues.of(job.folder).filer.put(Completion(ended, outcome))
            case Held():
                self.hold(job, outcome)
            case Later():
                self._later(job, outcome, client)
            case LookAgain():
                self._look_again(job, outcome, client)
            case WaitForRecord():
                self._wait_for_record(job, outcome)
            case RecordCreated():
                why = {"reason": Reason.NO_RECORD, "message": "its record was created", "remedy": ""}
                self._change(job, job.state, Reason.NO_RECORD, why | {"due": 0.0, "created": outcome.record})
            case LimitReached():
                self._wait_for_tomorrow(job, outcome.limit)
            case Gone():
                self._gone(job)
            case Rewritten():
                self._rewritten(job, outcome)

    def _gone(self, job: Job) -> None:
        """The file is not where it was: intake finds out whether a person has renamed it or taken it away."""
        state = State.UNKNOWN if job.state is State.UNKNOWN else State.WAITING
        self._change(job, state, "not in in_progress/ under its name", {"due": time.time() + GONE_LOOK})
        self._queues.of(job.folder).site.missing()

    def hold(self, job: Job, held: Held) -> None:
        """The file waits for a person."""
        self._change(job, State.HELD, held.reason, _why(held))
        log.warning("held", **about(job), **_why(held))

    def overtaken(self, job: Job) -> None:
        """A newer file has gone to its place: it waits for a person, and says how that came if it is known."""
        told = job.reason == Reason.NEWER_WENT and job.message and job.remedy
        self.hold(job, Held(Reason.NEWER_WENT, job.message or "", job.remedy or "") if told else OVERTAKEN)

    def _tell_health(self, job: Job, outcome: Outcome, client: ProjectClient) -> None:
        now = time.monotonic()
        match outcome:
            case Refused(alike=words) if words:  # an answer, but none that tells that the project takes anything
                self._breakers.give_back(job.id)
                self._ledger.blame(self._breakers.succeeded(Scope.SERVER, client.server, job.id))
            case Stored() | Refused() | WaitForRecord():
                self._ledger.blame(self._breakers.succeeded(Scope.PROJECT, client.project.name, job.id))
                self._ledger.blame(self._breakers.succeeded(Scope.SERVER, client.server, job.id))
            case Later(scope=Scope.SERVER):
                self._breakers.give_back(job.id)
                self._ledger.blame(self._breakers.failed(Scope.SERVER, client.server, job.id, outcome, now, job.folder))
                if not outcome.certain:
                    self._breakers.doubt(client.project.name, client.server, job.id, outcome, now)
            case Later(scope=Scope.PROJECT) if self._queues.clients.get(client.project.name) is not client:
                self._breakers.give_back(job.id)  # a reload has put another token or address since: that one is asked
            case Later(scope=Scope.PROJECT):
                # A project that refuses us is a server that answers.
                self._breakers.succeeded(Scope.SERVER, client.server, job.id)
                self._breakers.failed(Scope.PROJECT, client.project.name, job.id, outcome, now, job.folder)
                if outcome.reason in _LOOK_AT_PROJECT:
                    client.forget()
            case _:
                self._breakers.give_back(job.id)
        if isinstance(outcome, Later) and outcome.ask_server_in is not None:
            self._breakers.probe_at(client.server, now + outcome.ask_server_in)

    def _later(self, job: Job, later: Later, client: ProjectClient | None) -> None:
        state = State.UNKNOWN if later.sent else State.WAITING
        own_faults = job.faults + 1
        if later.scope == Scope.STOP or (later.scope != Scope.FILE and later.certain and not job.faults):
            wait = 0.0  # its server's or project's pause decides when
        elif later.reason in (Reason.NO_SPACE, Reason.NO_COPY):
            # Each try is written to the ledger, whose disk may be the one that is full.
            wait = backoff(max(own_faults, job.attempts), 5.0, 300.0)
        elif later.scope == Scope.FOLDER or later.reason == Reason.UNREADABLE:
            wait = backoff(own_faults, 5.0, 60.0)
        else:
            wait = later.seconds if later.seconds is not None else backoff(own_faults)
        columns = _why(later) | {"due": time.time() + wait if wait else 0.0}
        if later.own_fault:
            columns["faults"] = own_faults
        if later.sha256:
            columns["sha256"] = later.sha256
        if later.release_instance:
            columns["instance"] = None  # nothing was stored there: chosen anew, in case somebody else takes it meanwhile
        self._change(job, state, later.reason, columns)
        if later.scope != Scope.STOP:
            # Of a hundred files that one question was for, the first one tells of the server's trouble.
            first = client is not None or later.scope not in (Scope.SERVER, Scope.PROJECT)
            (log.warning if first else log.debug)(
                "retrying",
                **about(job),
                reason=later.reason,
                message=later.message,
                scope=later.scope,
                in_seconds=round(wait, 1),
                attempt=job.attempts,
                outcome="unknown" if later.sent else "not stored",
            )

    def _look_again(self, job: Job, again: LookAgain, client: ProjectClient | None) -> None:
        if client is not None and again.reason in _LOOK_AT_PROJECT:
            client.forget()
        columns: dict[str, Any] = {"due": 0.0} | ({"instance": None} if again.release_instance else {})
        self._change(job, State.UNKNOWN if again.sent else State.WAITING, "its record is looked up anew", columns)
        log.debug("retrying", **about(job), reason=again.reason, message=again.message, in_seconds=0.0, attempt=job.attempts)

    def _wait_for_record(self, job: Job, waiting: WaitForRecord) -> None:
        reason, remedy = Reason.NO_RECORD, "create the record in REDCap; dropcap looks again by itself"
        if waiting.doubted:
            reason = Reason.SERVER_ERROR
            remedy = "see in REDCap whether the token's user sees the project's records (a data access group hides the others')"
        if waited_long_enough(job.lookups, time.time() - job.claimed_at, waiting.seconds):
            if waiting.doubted:
                self.hold(job, Held(reason, f"{waiting.message}, time and again", f"{remedy}; then `dropcap retry`"))
                return
            message = f"{waiting.message}, and has had none for seven days"
            remedy = "create the record in REDCap or correct the name, then try again"
            self._queues.of(job.folder).filer.put(Completion(job, Refused(Reason.NO_RECORD, message, remedy)))
            return
        lookups = job.lookups + 1
        wait = record_wait(lookups)
        why = {"reason": reason, "message": waiting.message, "remedy": remedy}
        columns = why | {"due": time.time() + wait, "lookups": lookups, "created": None}
        self._change(job, job.state, reason, columns)
        tell = log.warning if waiting.doubted else log.info
        tell("retrying", **about(job), reason=reason, message=waiting.message, in_seconds=wait, attempt=lookups)

    def wait_for_another(self, job: Job) -> None:
        """Another file to the same place is on its way: this one is looked at again a little later."""
        self._change(job, job.state, "another file to the same place goes first", {"due": time.time() + ANOTHER_LOOK})

    def _wait_for_tomorrow(self, job: Job, limit: int) -> None:
        """The day's records are created; the file's turn comes after midnight."""
        tomorrow = (datetime.now().astimezone() + timedelta(days=1)).replace(hour=0, minute=0, second=5)
        message = f"this folder has asked for {limit} new records today, and create_limit allows no more"
        remedy = "check that so many new records are right; create the record in REDCap, or wait until tomorrow"
        why = {"reason": Reason.CREATE_LIMIT, "message": message, "remedy": remedy}
        self._change(job, job.state, Reason.CREATE_LIMIT, why | {"due": tomorrow.timestamp()})
        log.warning("retrying", **about(job), **why, in_seconds=round(tomorrow.timestamp() - time.time()), attempt=job.attempts)

    def _rewritten(self, job: Job, rewritten: Rewritten) -> None:
        wait = self._queues.of(job.folder).folder.settle_quiet
        message = "the file was written to while it was on its way" + (" and being sent" if rewritten.sent else "")
        why = {
            "reason": Reason.CHANGED_WHILE_SENT,
            "message": message,
            "remedy": "nothing needs to be done: it is sent again once quiet",
        }
        columns = why | {"size": rewritten.size, "mtime_ns": rewritten.mtime_ns, "due": time.time() + wait}
        if rewritten.sha256:
            columns["sha256"] = rewritten.sha256
        self._change(job, State.UNKNOWN if rewritten.sent else State.WAITING, Reason.CHANGED_WHILE_SENT, columns)
        log.info(
            "retrying", **about(job), reason=Reason.CHANGED_WHILE_SENT, message=message, in_seconds=wait, attempt=job.attempts
        )

    def _change(self, job: Job, state: State, note: str, columns: Mapping[str, Any]) -> None:
        self._ledger.change([Change(job.id, state, note, columns)])


def _why(what: Held | Later) -> dict[str, Any]:
    told = what.in_general if isinstance(what, Later) else ""
    return {"reason": what.reason, "message": told or what.message, "remedy": what.remedy}
