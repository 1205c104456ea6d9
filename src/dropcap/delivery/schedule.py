"""Fair order between folders and size classes, and dispatch to the workers."""

from __future__ import annotations

import random
import time
from collections import defaultdict
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum
from functools import partial
from types import MappingProxyType
from typing import TypeAlias

import structlog

from dropcap.delivery.ask import Asker, Mismatches
from dropcap.delivery.attribution import Limits
from dropcap.delivery.circuit import Health
from dropcap.delivery.order import Order
from dropcap.delivery.outcome import Conclusion
from dropcap.delivery.plan import Create, Facts, Send, needs_lookup, plan, too_many_faults, unasked
from dropcap.delivery.project_client import ProjectLine
from dropcap.delivery.queue import Absence, Batches, Candidate, FolderQueue, InFlight, Known
from dropcap.delivery.work import Sending, Work
from dropcap.delivery.workers import Begins, NotEntered, Workers
from dropcap.files.tree import Tree
from dropcap.filing.place import Filing
from dropcap.ledger.database import DatabaseError, LeaseLost
from dropcap.ledger.job import Change, Held, Job, Later, Refused, State, WaitForRecord
from dropcap.ledger.store import Ledger
from dropcap.reasons import Reason, Scope
from dropcap.routing.rule import NEXT, RuleSettings, Target

#: Seconds for which the facts of a look-up are acted upon, and what it told of instances: people add some meanwhile.
FACTS_LAST, INSTANCES_LAST = 60.0, 10.0
#: Files whose records are looked up in one go.
ASK_AT_ONCE = 100
#: A file that was put off for this is asked about alone: it may be what makes the server ill, or a proxy or REDCap refuse the
#: whole question, and others must not wait for it.
_SUSPECT = frozenset(
    {
        Reason.SERVER_ERROR,
        Reason.UNREACHABLE,
        Reason.NOT_THE_API,
        Reason.BANNED,
        Reason.RATE_LIMITED,
        Reason.MAINTENANCE,
        Reason.TOKEN,
        Reason.RIGHTS,
    }
)


class NotYet(Enum):
    """Why a candidate has no step now."""

    ASK = "REDCap is to be asked about its record first"
    PAUSED = "its server or project takes nothing now"


Chosen: TypeAlias = tuple[FolderQueue, Candidate, Send]
Ended: TypeAlias = Refused | Held | Later | WaitForRecord


@dataclass(slots=True)
class Picked:
    """What is to be done next.

    `batches` are what each free thread is to send. `asks` are by project and, for a file that is asked about alone, its job.
    """

    batches: list[list[Chosen]] = field(default_factory=list)
    asks: dict[tuple[str, int], list[Candidate]] = field(default_factory=lambda: defaultdict(list))
    creates: list[tuple[FolderQueue, Candidate, Create]] = field(default_factory=list)
    ended: list[tuple[FolderQueue, Candidate, Ended]] = field(default_factory=list)


class Schedule:
    """Picks among the candidates of all folders. For the deciding thread, but for `goes_on`."""

    def __init__(self, order: Order, health: Health, limits: Limits, mismatches: Mismatches) -> None:
        self.folders: dict[str, FolderQueue] = {}
        self.lines: dict[str, ProjectLine] = {}
        self.small_file = 0
        self._order = order
        self._health = health
        self._limits = limits
        self._mismatches = mismatches
        self._limited: set[str] = set()  # servers whose request limit is being waited for

    def pick(self, now: float, free: int, size: int, large: int) -> Picked:
        """What `free` threads of `size` are to do; `large` files are under way already. `now` is monotonic."""
        for folder in self.folders.values():
            if not folder.open():
                self.give_back(folder)
        self._limited = {line.host for line in self.lines.values() if line.client.waiting}
        picked = Picked()
        batches: Batches[Chosen] = Batches(free)
        for folder, candidate in self._in_turn():
            is_large = candidate.job.size > self.small_file
            if is_large and size > 1 and large >= size - 1:
                continue  # small files keep a lane of their own
            alone = is_large or candidate.job.state is State.UNKNOWN or candidate.job.may_have_arrived
            if not batches.room(folder.name, alone):
                if batches.full():
                    break
                continue
            match self._step(folder, candidate, now):
                case Send() as send:
                    batches.add(folder.name, 1 if alone else folder.pace.length(), (folder, candidate, send))
                    large += is_large
                case Create() as create:
                    picked.creates.append((folder, candidate, create))
                case NotYet.ASK:
                    asked = picked.asks[folder.folder.project, candidate.job.id if candidate.job.reason in _SUSPECT else 0]
                    if len(asked) < ASK_AT_ONCE:
                        asked.append(candidate)
                case NotYet.PAUSED:
                    pass
                case ended:
                    picked.ended.append((folder, candidate, ended))
        picked.batches = batches.all()
        for (project, of_one), asked in picked.asks.items():
            if not of_one:
                self._join(project, asked, now)
        return picked

    def _join(self, project: str, asked: list[Candidate], now: float) -> None:
        """Files that were not looked at, as all threads have something to send, share the question that is asked anyhow."""
        there = {candidate.job.id for candidate in asked}
        for folder in self.folders.values():
            if folder.folder.project != project or not folder.open():
                continue
            for candidate in (candidate for lane in folder.lanes for candidate in lane.jobs.values()):
                if len(asked) >= ASK_AT_ONCE:
                    return
                if candidate.asking or candidate.job.id in there or candidate.job.reason in _SUSPECT:
                    continue
                if candidate.known is not None and now - candidate.known.at < INSTANCES_LAST:
                    continue  # told just now: most of thousands, which this looks through for each question
                if self._step(folder, candidate, now) is NotYet.ASK:
                    asked.append(candidate)

    def _in_turn(self) -> Iterator[tuple[FolderQueue, Candidate]]:
        """The candidates of all folders, one of each folder and lane at a time, any folder first: where one file at a time is let
        through, a turn by number would let the same folder's through again and again."""
        folders = [folder for folder in self.folders.values() if folder.open()]
        start = random.randrange(max(len(folders), 1))
        queues = [
            (folder, iter(list(lane.jobs.values()))) for folder in folders[start:] + folders[:start] for lane in folder.lanes
        ]
        while queues:
            left = []
            for folder, queue in queues:
                candidate = next(queue, None)
                if candidate is not None:
                    left.append((folder, queue))
                    if not candidate.asking:
                        yield folder, candidate
            queues = left

    def _step(self, folder: FolderQueue, candidate: Candidate, now: float) -> Send | Create | Ended | NotYet:
        job, target, settings = candidate.job, candidate.route.target, candidate.route.settings
        line = self.lines.get(folder.folder.project)
        if line is None or not self._order.has(line.project.name):  # a reload is taking the project out
            return NotYet.PAUSED
        hopeless: Held | Refused | None = too_many_faults(job)
        if hopeless is None and job.state is not State.UNKNOWN:  # what may have arrived is looked for first
            hopeless = line.refuses(job.size, target.upload_as) or self._limits.forbids(job)
        if hopeless is not None:
            return hopeless
        if line.host in self._limited or not self._may_send(line, job, now):
            return NotYet.PAUSED
        lasts = INSTANCES_LAST if target.instance == NEXT and job.instance is None else FACTS_LAST
        if self._needs_nothing(job, target, settings, line):
            facts = unasked(target)
        elif candidate.known is not None and now - candidate.known.at < lasts:
            facts = candidate.known.facts
        else:
            return NotYet.ASK
        chooses = target.instance == NEXT and job.instance is None
        unordered = self._order.unordered(job.project) if chooses else None
        return unordered or self._planned(job, target, settings, facts)

    def _planned(self, job: Job, target: Target, settings: RuleSettings, facts: Facts) -> Send | Create | Ended:
        record = facts.record if target.must_match else None
        guessed = record is not None and self._mismatches.too_many(job.folder, record)
        step = plan(target, settings, facts, job.instance, job.state is State.UNKNOWN, guessed)
        if record is not None and isinstance(step, Refused) and step.reason is Reason.MISMATCH:
            self._mismatches.count(job.folder, record)
        return step

    def _needs_nothing(self, job: Job, target: Target, settings: RuleSettings, line: ProjectLine) -> bool:
        """Whether it can go without a question about its record, and its place in the order is known."""
        if needs_lookup(target, settings) or self._order.must_be_told(line.project.name):
            return False
        return line.surely_takes(target) and job.key == self._order.key(job.project, target, target.record)

    def at_the_limit(self) -> frozenset[int]:
        """The threads that wait for some host's request limit. May be called from any thread."""
        return frozenset[int]().union(*(line.client.waiting for line in self.lines.values()))

    def goes_on(self, folder: FolderQueue, line: ProjectLine, job: Job) -> bool:
        """Whether a batch still may go on with this file. May be called from any thread."""
        return folder.open() and self._may_send(line, job, time.monotonic())

    def give_back(self, folder: FolderQueue) -> None:
        """A folder's files do not get their turns: one that was let through on trial must not keep the others waiting."""
        for lane in folder.lanes:
            for job in list(lane.jobs):
                self._health.give_back(job)

    def _may_send(self, line: ProjectLine, job: Job, now: float) -> bool:
        may = (
            not self._health.stopped(Scope.SERVER, line.host)
            and self._health.may_send(Scope.SERVER, line.server, job.id, now, job.folder)
            and self._health.may_send(Scope.PROJECT, line.project.name, job.id, now, job.folder)
        )
        if not may:
            self._health.give_back(job.id)
        return may


log = structlog.get_logger()


#: Seconds until those are tried again that could not be entered on this host's disk.
_ROOM_LOOK = 10.0
_NO_MORE: Mapping[str, object] = MappingProxyType({})


class Turns:
    """Hands turns to the workers. For the deciding thread."""

    def __init__(
        self,
        ledger: Ledger,
        schedule: Schedule,
        workers: Workers,
        health: Health,
        conclusion: Conclusion,
        asker: Asker,
        work: Work,
        in_flight: InFlight,
        absence: Absence,
        ended: Callable[[Sequence[Job]], None],
        stopping: Callable[[], bool],
        begins: Begins,
    ) -> None:
        """`ended` is told of jobs that get no turn after all; no batch goes on once `stopping` says so; `begins` is told of jobs
        that are entered as being sent, before anything of them is."""
        self._begins = begins
        self._ledger = ledger
        self._schedule = schedule
        self._workers = workers
        self._health = health
        self._conclusion = conclusion
        self._asker = asker
        self._work = work
        self._in_flight = in_flight
        self._absence = absence
        self._ended = ended
        self._stopping = stopping

    def give(self, now: float) -> None:
        """Give as many turns as there are free workers. `now` is monotonic."""
        # Nothing new is begun at a server whose limit is reached; those that wait for it keep nobody else from theirs.
        lines = self._schedule.lines
        waiting = self._schedule.at_the_limit()
        free = self._workers.free(waiting)
        if free <= 0:
            return
        picked = self._schedule.pick(now, free, self._workers.size, self._workers.large())
        for folder, candidate, ended in picked.ended:
            self._take(folder, candidate)
            try:
                self._conclusion.apply(candidate.job, ended, None)
            except LeaseLost:
                self._ended([candidate.job])
                raise
            finally:
                self._health.give_back(candidate.job.id)
            if not isinstance(ended, Refused):
                self._ended([candidate.job])
        for folder, candidate, create in picked.creates:
            if not self._workers.ready(1):
                break  # it is still in line
            self._take(folder, candidate)
            line = lines[folder.folder.project]
            turn = partial(self._work.create, line=line, candidate=candidate, step=create, confirm=folder.confirm)
            self._workers.run(turn, folder.name)
        for (project, _), group in picked.asks.items():
            if self._workers.free(waiting) > 0 and self._workers.ready(1):
                self._ask(lines[project], group)
        self._send(picked.batches)

    def _ask(self, line: ProjectLine, group: Sequence[Candidate]) -> None:
        asked = []
        for candidate in group:
            asked.append(self._schedule.folders[candidate.job.folder].asking(candidate))
            self._in_flight.add(candidate.job.id)
        self._workers.run(partial(self._asker.ask, line=line, group=asked), group[0].job.folder)

    def _send(self, batches: Sequence[Sequence[Chosen]]) -> None:
        """Enter the chosen as being sent, in one commit, and only then let them go."""
        ready: list[tuple[Sequence[Chosen], tuple[Tree, Filing]]] = []
        threads = self._workers.ready(len(batches))
        for batch in batches:
            lent = batch[0][0].lent()
            if lent is None or len(ready) >= threads:  # the folder went away just now, or there is nobody to send them
                for _, candidate, _ in batch:
                    self._health.give_back(candidate.job.id)
            else:
                ready.append((batch, lent))
        changes = [self._as_sent(chosen) for batch, _ in ready for chosen in batch]
        chosen = {one[1].job.id: one for batch, _ in ready for one in batch}
        try:
            went = self._ledger.change(changes, self._absence.absent)
            self._begins([_as_begun(chosen[job]) for job in went])
        except OSError as error:
            self._not_entered([batch for batch, _ in ready], error)
            return
        except LeaseLost:  # of one of these folders: the others go on once that one is left
            for job in chosen:
                self._health.give_back(job)
            raise
        for batch, lent in ready:
            try:
                sendings = self._sendings(batch, went)
            except DatabaseError:  # nobody tells whether newer ones have gone before them; nothing of them is sent
                self._put_back(batch, went)
                continue
            if sendings:
                self._let_go(batch[0][0], sendings, lent)

    def _not_entered(self, batches: Iterable[Sequence[Chosen]], error: OSError) -> None:
        """What is about to be sent cannot be entered on this host's own disk: nothing of it is sent."""
        told = NotEntered(error)
        log.error("check_problem", message=told.message, remedy=told.remedy)
        for batch in batches:
            self._put_back(batch, {candidate.job.id for _, candidate, _ in batch}, {"due": time.time() + _ROOM_LOOK})

    def _put_back(self, batch: Sequence[Chosen], entered: Container[int], columns: Mapping[str, object] = _NO_MORE) -> None:
        """Those of a batch that are entered as being sent, and are not: as if they had not been chosen. All are of one folder."""
        back = []
        for folder, candidate, step in batch:
            self._take(folder, candidate)
            job = candidate.job
            self._health.give_back(job.id)
            if job.id in entered:
                fresh = {"instance": None} if step.chosen else {}  # somebody else may take it meanwhile
                back.append(Change(job.id, job.state, "not begun", {"attempts": job.attempts, **fresh, **columns}))
        try:
            self._ledger.change(back)
        except LeaseLost:
            pass  # the host that has the folder now reads REDCap back
        finally:
            self._ended([candidate.job for _, candidate, _ in batch])

    def _as_sent(self, chosen: Chosen) -> Change:
        folder, candidate, step = chosen
        attempt = candidate.job.attempts + 1
        columns: dict[str, object] = {"attempts": attempt, "record": step.record}
        if (instance := _entered_instance(chosen)) is not None:
            columns["instance"] = instance
        columns["origin"] = self._ledger.keep_document(folder.order.origins.of(folder.folder, candidate.route.rule))
        target = (candidate.job.key, candidate.job.field)  # a reload may just be giving it another one
        return Change(candidate.job.id, State.SENDING, f"attempt {attempt}", columns, target)

    def _sendings(self, batch: Sequence[Chosen], went: set[int]) -> list[Sending]:
        """Those of a batch that the ledger let go; the others have no turn."""
        sendings = []
        for folder, candidate, step in batch:
            self._take(folder, candidate)
            job = candidate.job
            if job.id in went:
                overtaken = job.state is State.UNKNOWN and self._ledger.query.overtaken(job.id)
                sent = _as_begun((folder, candidate, step))
                known = candidate.known or Known(unasked(candidate.route.target), 0.0)
                sendings.append(Sending(sent, candidate.route, step, known, overtaken))
                continue
            self._health.give_back(job.id)
            if job.state is State.WAITING and self._ledger.query.overtaken(job.id):
                self._conclusion.overtaken(job)
            self._ended([job])
        return sendings

    def _let_go(self, folder: FolderQueue, sendings: Sequence[Sending], lent: tuple[Tree, Filing]) -> None:
        line = self._schedule.lines[folder.folder.project]
        turn = partial(
            self._work.send,
            batch=sendings,
            line=line,
            lent=lent,
            goes_on=partial(self._goes_on, folder, line),
            confirm=folder.confirm,
            pace=folder.pace,
            holds=folder.holds,
        )
        self._workers.run(turn, folder.name, sendings[0].job.size > self._schedule.small_file)

    def _goes_on(self, folder: FolderQueue, line: ProjectLine, job: Job) -> bool:
        return not self._stopping() and self._schedule.goes_on(folder, line, job)

    def _take(self, folder: FolderQueue, candidate: Candidate) -> None:
        self._in_flight.add(candidate.job.id)
        for lane in folder.lanes:
            lane.jobs.pop(candidate.job.id, None)


def _as_begun(chosen: Chosen) -> Job:
    """A job as it is sent."""
    _, candidate, step = chosen
    job = candidate.job
    return replace(job, attempts=job.attempts + 1, record=step.record, instance=_entered_instance(chosen))


def _entered_instance(chosen: Chosen) -> int | None:
    """The instance that is the file's from now on: none is, before it is known that the file lies in no other."""
    _, candidate, step = chosen
    return None if step.chosen and candidate.job.instance_unknown else step.instance
