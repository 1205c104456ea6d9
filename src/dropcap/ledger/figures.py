"""Figures about jobs: sums, groups, lists to page through. For those who watch; never in the way of those who work."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import inf

from dropcap.ledger.job import Job, State, utf8
from dropcap.ledger.query import Query
from dropcap.ledger.schema import OPEN_STATES

#: Seconds from drop to done: the upper bounds of the histogram's buckets; one more is without a bound.
BUCKETS = (5.0, 15.0, 60.0, 300.0, 900.0, 3600.0, 14400.0, 86400.0)
_LASTED = "(case when job.ended_at > job.claimed_at then job.ended_at - job.claimed_at else 0 end)"
_BUCKET = (
    "case " + " ".join(f"when {_LASTED} <= {bound:g} then {n}" for n, bound in enumerate(BUCKETS)) + f" else {len(BUCKETS)} end"
)


@dataclass(frozen=True, slots=True)
class Ended:
    """So many jobs that ended alike; `bytes` and `seconds` (from drop to done) are of all of them together."""

    folder: str
    project: str
    state: State
    result: str
    reason: str
    bucket: int  # an index into BUCKETS, or one beyond
    number: int
    bytes: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Waits:
    """Held or failed jobs of a folder for one reason."""

    folder: str
    state: State
    reason: str
    number: int
    since: float
    newest: int


class Figures(Query):
    """One more reader of the ledger, with connections of its own."""

    def version(self) -> int:
        """Another number than before, on the same thread, if anything was written meanwhile."""
        return self._reader.changes()

    def newest_step(self) -> int:
        """The number of the last step that any job has taken."""
        return int(next(self._rows("select coalesce(max(id), 0) from history"))[0])

    def ended(self, after: int, until: int) -> list[Ended]:
        """What has ended by steps after one number, until another. The first look, from 0, is long with a large ledger."""
        sql = (
            f"select job.folder, job.project, history.state, coalesce(job.result, ''), coalesce(job.reason, ''), {_BUCKET},"
            f" count(*), sum(job.size), sum({_LASTED}) from history join job on job.id = history.job"
            " where history.id > ? and history.id <= ? and history.state in ('done', 'failed')"
            " and job.ended_at is not null group by 1, 2, 3, 4, 5, 6"
        )
        return [
            Ended(f, p, State(s), t, r, b, n, z or 0, x or 0.0) for f, p, s, t, r, b, n, z, x in self._rows(sql, after, until)
        ]

    def claimed(self, after: int) -> tuple[dict[str, float], int]:
        """When the last file of each folder was claimed, of jobs after that number; and the highest number now."""
        highest = int(next(self._rows("select coalesce(max(id), 0) from job"))[0])
        rows = self._rows("select folder, max(claimed_at) from job where id > ? and id <= ? group by 1", after, highest)
        return {folder: float(last) for folder, last in rows}, highest

    def oldest_waiting(self) -> dict[str, float]:
        """When the oldest file of each folder was claimed that goes on by itself."""
        sql = (
            f"select folder, state, min(id) from job where state in {OPEN_STATES}"  # by numbers: the index tells them alone
            " and state in ('waiting', 'sending', 'unknown', 'stored', 'refused') group by 2, 1"
        )
        first: dict[str, int] = {}
        for folder, _, job in self._rows(sql):
            first[folder] = min(job, first.get(folder, job))
        found = {folder: self.job(job) for folder, job in first.items()}
        return {folder: job.claimed_at for folder, job in found.items() if job is not None}

    def wait_for_somebody(self) -> list[Waits]:
        """Held and failed jobs by folder and reason, the most first."""
        columns = "folder, state, coalesce(reason, ''), count(*), min(coalesce(ended_at, changed_at)), max(id)"
        sql = (
            f"select {columns} from job where state in {OPEN_STATES} and state = 'held' group by 1, 2, 3 union all"
            f" select {columns} from job where state = 'failed' and tried_again is null group by 1, 2, 3 order by 4 desc"
        )
        return [Waits(f, State(s), r, n, float(t), i) for f, s, r, n, t, i in self._rows(sql)]

    def of_group(self, folder: str, state: State, reason: str, limit: int, before: int | None = None) -> list[Job]:
        """Jobs of such a group, newest first."""
        which = (
            f"state in {OPEN_STATES} and state = 'held'" if state is State.HELD else "state = 'failed' and tried_again is null"
        )
        tail = f"where {which} and folder = ? and coalesce(reason, '') = ? and id < ? order by id desc limit ?"
        return self._jobs(tail, folder, reason, 2**62 if before is None else before, limit)

    def failed_since(self, since: float, until: float) -> dict[tuple[str, str], int]:
        """How many files failed or were held in that time and still wait for somebody, by folder and reason."""
        found: dict[tuple[str, str], int] = {}
        for sql in (
            "select folder, coalesce(reason, ''), count(*) from job where ended_at > ? and ended_at <= ? and state = 'failed'"
            " and tried_again is null group by 1, 2",
            f"select folder, coalesce(reason, ''), count(*) from job where state in {OPEN_STATES} and state = 'held'"
            " and changed_at > ? and changed_at <= ? group by 1, 2",
        ):
            for folder, reason, number in self._rows(sql, since, until):
                found[folder, reason] = found.get((folder, reason), 0) + number
        return found

    def per_span(self, edges: Sequence[float]) -> list[tuple[int, int]]:
        """How many files were done and how many failed between each two edges (seconds since the epoch)."""
        sql = "select state, count(*) from job where ended_at >= ? and ended_at < ? and state in ('done', 'failed') group by 1"
        found = []
        for begin, end in pairwise(edges):
            numbers = dict(self._rows(sql, begin, min(end, 1e12) if end != inf else 1e12))
            found.append((int(numbers.get("done", 0)), int(numbers.get("failed", 0))))
        return found

    def took(self, since: float) -> list[int]:
        """From drop to done of the files since then: how many in each bucket, and beyond the last."""
        sql = f"select {_BUCKET}, count(*) from job where ended_at >= ? and state = 'done' group by 1"
        numbers = dict(self._rows(sql, since))
        return [int(numbers.get(bucket, 0)) for bucket in range(len(BUCKETS) + 1)]

    def found(self, text: str, folder: str | None, states: Sequence[State], limit: int, before: int | None = None) -> list[Job]:
        """Jobs in whose name or record a text stands, capitals or not, newest first; those before a number."""
        where, values = ["id < ?"], [2**62 if before is None else before]
        more: list[object] = []
        if text:
            small = text.lower()
            names = "false" if "\0" in text else self.database.name_has("name")
            where.append(f"({names} or {self.database.has_text('record')})")
            more += ([] if "\0" in text else [os.fsencode(small)]) + [utf8(small)]
        if folder:
            where.append("folder = ?")
            more.append(folder)
        if states:
            where.append(f"state in ({','.join('?' * len(states))})")
            more += [state.value for state in states]
        return self._jobs(f"where {' and '.join(where)} order by id desc limit ?", *values, *more, limit)
