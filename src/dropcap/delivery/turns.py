"""Giving turns: what the schedule has picked is entered in the ledger, and only then handed to the workers."""

from __future__ import annotations

import time
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from types import MappingProxyType

import structlog

from dropcap.delivery.absence import Absence
from dropcap.delivery.ask import Asker
from dropcap.delivery.begins import Begins, NotEntered
from dropcap.delivery.conclude import Conclusion
from dropcap.delivery.health import Health
from dropcap.delivery.in_flight import InFlight
from dropcap.delivery.line import ProjectLine
from dropcap.delivery.plan import unasked
from dropcap.delivery.queue import Candidate, FolderQueue, Known
from dropcap.delivery.schedule import Chosen, Schedule
from dropcap.delivery.work import Sending, Work
from dropcap.delivery.workers import Workers
from dropcap.files.tree import Tree
from dropcap.filing.place import Filing
from dropcap.ledger.errors import DatabaseError, LeaseLost
from dropcap.ledger.job import Job, State
from dropcap.ledger.outcome import Refused
from dropcap.ledger.store import Ledger
from dropcap.ledger.transition import Change

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
            went = self._ledger.change(
                changes, self._absence.absent, lambda went: self._begins([_as_begun(chosen[job]) for job in went])
            )
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
