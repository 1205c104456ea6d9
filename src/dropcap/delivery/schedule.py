"""Whose turn it is: fairness between folders, a lane for small files, who may go at all. Decides, and does nothing."""

from __future__ import annotations

import random
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum
from typing import TypeAlias

from dropcap.delivery.batches import Batches
from dropcap.delivery.health import Health
from dropcap.delivery.limits import Limits
from dropcap.delivery.line import ProjectLine
from dropcap.delivery.mismatches import Mismatches
from dropcap.delivery.needs import needs_lookup
from dropcap.delivery.order import Order
from dropcap.delivery.plan import Create, Facts, Send, plan, too_many_faults, unasked
from dropcap.delivery.queue import Candidate, FolderQueue
from dropcap.ledger.job import Job, State
from dropcap.ledger.outcome import Held, Later, Refused, WaitForRecord
from dropcap.reasons import Reason, Scope
from dropcap.routing.target import NEXT, RuleSettings, Target

#: Seconds for which the facts of a look-up are acted upon, and what it told of instances: people add some meanwhile.
FACTS_LAST, INSTANCES_LAST = 60.0, 10.0
#: Files whose records are looked up in one go.
ASK_AT_ONCE = 100
#: A file that was put off for this is asked about alone: it may be what makes the server ill, or a proxy or REDCap refuse the
#: whole question, and others must not wait for it.
_SUSPECT = frozenset(
    {
        Reason.SERVER_ERROR,
        Reason.CAME_BACK_SHORT,
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
