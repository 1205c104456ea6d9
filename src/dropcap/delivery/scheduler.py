"""Whose turn it is: fair order between folders and size classes, and dispatch to the workers."""

from __future__ import annotations

import random
import time
from collections import defaultdict
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum
from types import MappingProxyType
from typing import TypeAlias

import structlog

from dropcap.delivery.lookup import LookUps
from dropcap.delivery.order import Order
from dropcap.delivery.plan import Create, Facts, Send, needs_lookup, plan, too_many_faults, unasked
from dropcap.delivery.project_client import ProjectClient
from dropcap.delivery.queue import Candidate, FolderQueue, Known, OutcomeHandler, Queues
from dropcap.delivery.upload import Batch, Sending
from dropcap.delivery.work import Work
from dropcap.delivery.workers import NotEntered, Slot, Workers
from dropcap.files.tree import Tree
from dropcap.filing.place import Filing
from dropcap.ledger.database import DatabaseError, LeaseLost
from dropcap.ledger.job import Change, Held, Job, Later, Refused, State, WaitForRecord
from dropcap.ledger.store import Ledger
from dropcap.reasons import Reason
from dropcap.routing.rule import NEXT, RuleSettings, Target

log = structlog.get_logger()

#: Seconds for which the facts of a look-up are acted upon, and what it told of instances: people add some meanwhile.
FACTS_LAST, INSTANCES_LAST = 60.0, 10.0
#: Files whose records are looked up in one go.
ASK_AT_ONCE = 100
#: Seconds until those are tried again that could not be entered on this host's disk.
_ROOM_LOOK = 10.0
_NO_MORE: Mapping[str, object] = MappingProxyType({})
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


Ended: TypeAlias = Refused | Held | Later | WaitForRecord


@dataclass(slots=True)
class _Chosen:
    """Files of one folder that one thread is to send, `length` at most."""

    folder: FolderQueue
    length: int
    files: list[tuple[Candidate, Send]] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.files)


@dataclass(slots=True)
class _Picked:
    """What `threads` are to do next: each gets a file to send first, then each that may take more does, evenly.

    `asks` are by project and, for a file that is asked about alone, its job.
    """

    threads: int
    sends: list[_Chosen] = field(default_factory=list)
    asks: defaultdict[tuple[str, int], list[Candidate]] = field(default_factory=lambda: defaultdict(list))
    creates: list[tuple[FolderQueue, Candidate, Create]] = field(default_factory=list)
    ended: list[tuple[FolderQueue, Candidate, Ended]] = field(default_factory=list)

    def full(self) -> bool:
        """Whether no file can be sent any more."""
        return len(self.sends) >= self.threads and all(len(one) >= one.length for one in self.sends)

    def room(self, folder: FolderQueue, *, alone: bool) -> bool:
        """Whether another file of the folder can be sent; `alone`: not behind others."""
        return len(self.sends) < self.threads or (not alone and self._shortest(folder) is not None)

    def send(self, folder: FolderQueue, candidate: Candidate, send: Send, *, alone: bool) -> None:
        """Give the file to a thread; there must be room."""
        chosen = self._shortest(folder) if len(self.sends) >= self.threads else None
        if chosen is None:
            chosen = _Chosen(folder, 1 if alone else folder.batch_length())
            self.sends.append(chosen)
        chosen.files.append((candidate, send))

    def _shortest(self, folder: FolderQueue) -> _Chosen | None:
        return min((one for one in self.sends if one.folder is folder and len(one) < one.length), key=len, default=None)


class Scheduler:
    """Picks among the candidates of all folders and hands turns to the workers. For the deciding thread."""

    def __init__(
        self, ledger: Ledger, queues: Queues, order: Order, outcome_handler: OutcomeHandler, work: Work, look_ups: LookUps
    ) -> None:
        self.workers = Workers(1)
        self._ledger = ledger
        self._queues = queues
        self._order = order
        self._outcome_handler = outcome_handler
        self._breakers = queues.breakers
        self._work = work
        self._look_ups = look_ups
        self._mismatches = Mismatches(ledger)
        self._limited: set[str] = set()  # servers whose request limit is being waited for

    def dispatch(self, now: float) -> None:
        """Give as many turns as there are free workers. `now` is monotonic."""
        # Nothing new is begun at a server whose limit is reached; those that wait for it keep nobody else from theirs.
        clients = self._queues.clients
        waiting = self._queues.at_the_limit()
        free = self.workers.free(waiting)
        if free <= 0:
            return
        picked = self._pick(now, free)
        for folder, candidate, ended in picked.ended:
            self._end(folder, candidate, ended)
        for folder, candidate, create in picked.creates:
            self.workers.ready(1)
            self._take(folder, candidate)
            self.workers.run(Slot(folder.name), self._work.create, clients[folder.folder.project], candidate, create)
        for (project, _), group in picked.asks.items():
            if self.workers.free(waiting) > 0:
                self.workers.ready(1)
                for candidate in group:
                    self._queues.in_flight.add(candidate.job.id)
                    self._queues.folders[candidate.job.folder].asking.add(candidate.job.id)
                self.workers.run(Slot(group[0].job.folder), self._look_ups.ask, clients[project], group)
        self._send(picked.sends)

    def give_back(self, folder: FolderQueue) -> None:
        """A folder's files do not get their turns: one that was let through on trial must not keep the others waiting."""
        for lane in folder.lanes:
            for job in list(lane.jobs):
                self._breakers.give_back(job)

    def _end(self, folder: FolderQueue, candidate: Candidate, ended: Ended) -> None:
        self._take(folder, candidate)
        try:
            self._outcome_handler.apply(candidate.job, ended, None)
        except LeaseLost:
            self._queues.ended([candidate.job])
            raise
        finally:
            self._breakers.give_back(candidate.job.id)
        if not isinstance(ended, Refused):  # of which the filer tells
            self._queues.ended([candidate.job])

    def _take(self, folder: FolderQueue, candidate: Candidate) -> None:
        self._queues.in_flight.add(candidate.job.id)
        folder.take(candidate)

    # Picking ------------------------------------------------------------------------------------------------------

    def _pick(self, now: float, free: int) -> _Picked:
        """What `free` threads are to do."""
        size, large = self.workers.size, self.workers.large()
        for folder in self._queues.folders.values():
            if not self._queues.open(folder):
                self.give_back(folder)
        self._limited = {client.host for client in self._queues.clients.values() if client.redcap.waiting}
        picked = _Picked(free)
        for folder, candidate in self._in_turn():
            is_large = candidate.job.size > self._queues.small_file
            if is_large and size > 1 and large >= size - 1:
                continue  # small files keep a lane of their own
            alone = is_large or candidate.job.state is State.UNKNOWN or candidate.job.may_have_arrived
            if not picked.room(folder, alone=alone):
                if picked.full():
                    break
                continue
            match self._step(folder, candidate, now):
                case Send() as send:
                    picked.send(folder, candidate, send, alone=alone)
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
        for (project, of_one), asked in picked.asks.items():
            if not of_one:
                self._join(project, asked, now)
        return picked

    def _join(self, project: str, asked: list[Candidate], now: float) -> None:
        """Files that were not looked at, as all threads have something to send, share the question that is asked anyhow."""
        there = {candidate.job.id for candidate in asked}
        for folder in self._queues.folders.values():
            if folder.folder.project != project or not self._queues.open(folder):
                continue
            for candidate in (candidate for lane in folder.lanes for candidate in lane.jobs.values()):
                if len(asked) >= ASK_AT_ONCE:
                    return
                number = candidate.job.id
                if number in folder.asking or number in there or candidate.job.reason in _SUSPECT:
                    continue
                if candidate.known is not None and now - candidate.known.at < INSTANCES_LAST:
                    continue  # told just now: most of thousands, which this looks through for each question
                if self._step(folder, candidate, now) is NotYet.ASK:
                    asked.append(candidate)

    def _in_turn(self) -> Iterator[tuple[FolderQueue, Candidate]]:
        """The candidates of all folders, one of each folder and lane at a time, any folder first: where one file at a time is let
        through, a turn by number would let the same folder's through again and again."""
        folders = [folder for folder in self._queues.folders.values() if self._queues.open(folder)]
        start = random.randrange(max(len(folders), 1))
        lanes = [
            (folder, iter(list(lane.jobs.values()))) for folder in folders[start:] + folders[:start] for lane in folder.lanes
        ]
        while lanes:
            left = []
            for folder, lane in lanes:
                candidate = next(lane, None)
                if candidate is not None:
                    left.append((folder, lane))
                    if candidate.job.id not in folder.asking:
                        yield folder, candidate
            lanes = left

    def _step(self, folder: FolderQueue, candidate: Candidate, now: float) -> Send | Create | Ended | NotYet:
        job, target, settings = candidate.job, candidate.route.target, candidate.route.settings
        client = self._queues.clients.get(folder.folder.project)
        if client is None or not self._order.has(client.project.name):  # a reload is taking the project out
            return NotYet.PAUSED
        hopeless: Held | Refused | None = too_many_faults(job)
        if hopeless is None and job.state is not State.UNKNOWN:  # what may have arrived is looked for first
            hopeless = client.refuses(job.size, target.upload_as) or self._work.attribution.limits.forbids(job)
        if hopeless is not None:
            return hopeless
        if client.host in self._limited or not self._breakers.may_go(client.project, job, now):
            return NotYet.PAUSED
        lasts = INSTANCES_LAST if target.instance == NEXT and job.instance is None else FACTS_LAST
        if self._needs_nothing(job, target, settings, client):
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

    def _needs_nothing(self, job: Job, target: Target, settings: RuleSettings, client: ProjectClient) -> bool:
        """Whether it can go without a question about its record, and its place in the order is known."""
        if needs_lookup(target, settings) or self._order.must_be_told(client.project.name):
            return False
        return client.surely_takes(target) and job.key == self._order.key(job.project, target, target.record)

    # Sending ------------------------------------------------------------------------------------------------------

    def _send(self, sends: Sequence[_Chosen]) -> None:
        """Enter the chosen as being sent, in one commit, and only then let them go."""
        ready: list[tuple[_Chosen, tuple[Tree, Filing]]] = []
        self.workers.ready(len(sends))
        for one in sends:
            borrowed = one.folder.filer.borrowed()
            if borrowed is None:  # the folder went away just now
                for candidate, _ in one.files:
                    self._breakers.give_back(candidate.job.id)
            else:
                ready.append((one, borrowed))
        files = {file[0].job.id: (one.folder, *file) for one, _ in ready for file in one.files}
        try:
            went = self._ledger.change([self._as_sent(*file) for file in files.values()], self._queues.absence.absent)
            begun = {job: _as_begun(*files[job][1:]) for job in went}
            self._work.hosts.before_send(list(begun.values()))
        except OSError as error:
            self._not_entered([one for one, _ in ready], error)
            return
        except LeaseLost:  # of one of these folders: the others go on once that one is left
            for job in files:
                self._breakers.give_back(job)
            raise
        for one, borrowed in ready:
            try:
                sendings = self._sendings(one, begun)
            except DatabaseError:  # nobody tells whether newer ones have gone before them; nothing of them is sent
                self._put_back(one, begun)
                continue
            if sendings:
                batch = Batch(one.folder, self._queues.clients[one.folder.folder.project], *borrowed, sendings)
                large = sendings[0].job.size > self._queues.small_file
                self.workers.run(Slot(one.folder.name, large), self._work.send, batch)

    def _not_entered(self, sends: Iterable[_Chosen], error: OSError) -> None:
        """What is about to be sent cannot be entered on this host's own disk: nothing of it is sent."""
        told = NotEntered(error)
        log.error("check_problem", message=told.message, remedy=told.remedy)
        for one in sends:
            self._put_back(one, {candidate.job.id for candidate, _ in one.files}, {"due": time.time() + _ROOM_LOOK})

    def _put_back(self, sends: _Chosen, entered: Container[int], columns: Mapping[str, object] = _NO_MORE) -> None:
        """Those that are entered as being sent, and are not: as if they had not been chosen."""
        back = []
        for candidate, step in sends.files:
            self._take(sends.folder, candidate)
            job = candidate.job
            self._breakers.give_back(job.id)
            if job.id in entered:
                fresh = {"instance": None} if step.chosen else {}  # somebody else may take it meanwhile
                back.append(Change(job.id, job.state, "not begun", {"attempts": job.attempts, **fresh, **columns}))
        try:
            self._ledger.change(back)
        except LeaseLost:
            pass  # the host that has the folder now reads REDCap back
        finally:
            self._queues.ended([candidate.job for candidate, _ in sends.files])

    def _as_sent(self, folder: FolderQueue, candidate: Candidate, step: Send) -> Change:
        attempt = candidate.job.attempts + 1
        columns: dict[str, object] = {"attempts": attempt, "record": step.record}
        if (instance := _entered_instance(candidate, step)) is not None:
            columns["instance"] = instance
        columns["origin"] = self._ledger.keep_document(folder.order.origins.of(folder.folder, candidate.route.rule))
        target = (candidate.job.key, candidate.job.field)  # a reload may just be giving it another one
        return Change(candidate.job.id, State.SENDING, f"attempt {attempt}", columns, target)

    def _sendings(self, sends: _Chosen, begun: Mapping[int, Job]) -> list[Sending]:
        """Those that the ledger let go, as they are sent; the others have no turn."""
        sendings = []
        for candidate, step in sends.files:
            self._take(sends.folder, candidate)
            job = candidate.job
            if job.id in begun:
                overtaken = job.state is State.UNKNOWN and self._ledger.query.overtaken(job.id)
                known = candidate.known or Known(unasked(candidate.route.target), 0.0)
                sendings.append(Sending(begun[job.id], candidate.route, step, known, overtaken))
                continue
            self._breakers.give_back(job.id)
            if job.state is State.WAITING and self._ledger.query.overtaken(job.id):
                self._outcome_handler.overtaken(job)
            self._queues.ended([job])
        return sendings


def _as_begun(candidate: Candidate, step: Send) -> Job:
    """A job as it is sent."""
    job = candidate.job
    return replace(job, attempts=job.attempts + 1, record=step.record, instance=_entered_instance(candidate, step))


def _entered_instance(candidate: Candidate, step: Send) -> int | None:
    """The instance that is the file's from now on: none is, before it is known that the file lies in no other."""
    return None if step.chosen and candidate.job.instance_unknown else step.instance


#: So many mismatches of one record in one folder within so many seconds are an honest day's; then a person has a look.
_MOST, _WITHIN = 3, 86400.0


class Mismatches:
    """Counts in the ledger, so that a restart does not begin anew. What is counted holds for the next file at once, also where a
    hundred were looked up together."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    def too_many(self, folder: str, record: str) -> bool:
        """Whether nothing more is to be told of how the record agrees with names."""
        return self._ledger.query.mismatches(folder, record, time.time(), _WITHIN) >= _MOST

    def count(self, folder: str, record: str) -> None:
        """One more name did not agree with the record."""
        self._ledger.mismatched(folder, record, _WITHIN)
