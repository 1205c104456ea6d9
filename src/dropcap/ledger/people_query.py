"""What people ask the ledger: counts, lists, histories, acts."""

from __future__ import annotations

import json
import math
import os
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from dropcap.ledger.act import Act, has_head
from dropcap.ledger.chain import Head
from dropcap.ledger.delivery_query import GIVES_WAY
from dropcap.ledger.job import (
    Event,
    Job,
    LikeJobs,
    State,
)
from dropcap.ledger.rows import Rows
from dropcap.ledger.schema import OPEN_STATES, open_by_key


@dataclass(frozen=True, slots=True)
class WantedJobs:
    """Which jobs: dropped from `since` on and before `until` (seconds since the epoch); None or False asks for all.

    `name` is a file's name, in whatever subfolder; or its path in the drop folder, as it was dropped or as it was filed.
    """

    failed: bool = False
    since: float = 0.0
    until: float = math.inf
    folder: str | None = None
    project: str | None = None
    name: str | None = None
    record: str | None = None
    job: int | None = None


class PeopleQuery(Rows):
    """What is told to people."""

    def heads(self) -> list[Head]:
        """The heads of all chains."""
        return [Head(name, n, bytes(head).hex()) for name, n, head in self._rows("select name, n, head from chain order by name")]

    def has_head(self, head: Head) -> bool:
        """Whether the chain has that entry."""
        return has_head(self._reader.rows, head)

    def acts(self, since: float = 0.0, until: float = math.inf) -> list[Act]:
        """What people had dropcap do, and what happened to the ledger, in that time (seconds since the epoch)."""
        columns = "n, at, uid, login, name, way, what, told"
        rows = self._rows(f"select {columns} from act where at >= ? and at < ? order by n", since, min(until, 1e300))
        return [Act(n, at, uid, login, name, way, what, json.loads(told)) for n, at, uid, login, name, way, what, told in rows]

    def document(self, sha256: str | None) -> dict[str, Any]:
        """What the ledger keeps under this SHA-256; empty if nothing."""
        row = next(self._rows("select what from document where sha256 = ?", sha256), None)
        found = json.loads(row[0]) if row else {}
        return found if isinstance(found, dict) else {}

    def counts(self) -> dict[str, dict[str, int]]:
        """Open jobs per folder and state, and those in failed/ that nobody has dealt with."""
        counts: dict[str, dict[str, int]] = {}
        for folder, state, number in self._rows(
            f"select folder, state, count(*) from job where state in {OPEN_STATES} group by 2, 1"
        ):
            counts.setdefault(folder, {})[state] = number
        sql = "select folder, count(*) from job where state = 'failed' and tried_again is null group by folder"
        for folder, number in self._rows(sql):
            counts.setdefault(folder, {})["failed"] = number
        return counts

    def in_state(self, states: Iterable[State], folder: str | None = None, limit: int = 100) -> list[Job]:
        """Jobs in some open states, oldest first."""
        marks = ", ".join(f"'{state.value}'" for state in states)
        where = f"where state in {OPEN_STATES} and state in ({marks})"
        if folder is None:
            return self._jobs(f"{where} order by id limit ?", limit)
        return self._jobs(f"{where} and folder = ? order by id limit ?", folder, limit)

    def failed(self, folder: str | None = None, limit: int = 100) -> list[Job]:
        """Jobs whose file lies in failed/ and waits for somebody, newest first."""
        where = "where state = 'failed' and tried_again is null"
        if folder is None:
            return self._jobs(f"{where} order by id desc limit ?", limit)
        return self._jobs(f"{where} and folder = ? order by id desc limit ?", folder, limit)

    def may_retry(self, limit: int) -> list[Job]:
        """Jobs that `retry` can do something for, newest first."""
        which = "state in ('held', 'waiting', 'unknown') or (state = 'failed' and tried_again is null)"
        return self._jobs(f"where {which} order by id desc limit ?", limit)

    def alike(self, folder: str | None = None) -> list[LikeJobs]:
        """What waits for a reason, is held or failed, by folder and reason, however many there are; oldest first."""
        columns = "folder, state, reason, count(*), min(coalesce(ended_at, claimed_at)), min(due), max(id)"
        its, values = ("", ()) if folder is None else (" and folder = ?", (folder,))
        open_ones = f"state in {OPEN_STATES} and (state = 'held' or state in ('waiting', 'unknown') and reason is not null)"
        failed = "state = 'failed' and tried_again is null"
        each = [f"select {columns} from job where {which}{its} group by 1, 2, 3" for which in (open_ones, failed)]
        rows = self._rows(f"{' union all '.join(each)} order by 5", *values, *values)
        return [LikeJobs(f, State(s), r, n, float(t), float(d), j) for f, s, r, n, t, d, j in rows]

    def ended_since(self, folder: str, since: float, state: State) -> int:
        """How many jobs of a folder ended in `state` since then."""
        sql = "select count(*) from job where ended_at >= ? and folder = ? and state = ?"
        return int(next(self._rows(sql, since, folder, state.value))[0])

    def last_done(self, folder: str, since: float, limit: int = 20) -> list[Job]:
        """The files done last."""
        return self._jobs(
            "where ended_at >= ? and folder = ? and state = 'done' order by ended_at desc limit ?", since, folder, limit
        )

    def stored_as(self, folder: str, name: str) -> Job | None:
        """The last job of that name in a folder whose file was stored."""
        where = "where name = ? and folder = ? and state = 'done' order by id desc limit 1"
        return next(iter(self._jobs(where, os.fsencode(name), folder)), None)

    def history(self, job: int) -> list[Event]:
        """The steps of one job."""
        sql = "select job, at, state, note from history where job = ? order by id"
        return [Event(j, at, State(state), note) for j, at, state, note in self._rows(sql, job)]

    def put_off(self, folder: str | None = None, limit: int = 100) -> list[Job]:
        """Claimed files whose turn was put off for a reason, oldest first."""
        where = "where state in ('waiting', 'unknown') and reason is not null"
        if folder is None:
            return self._jobs(f"{where} order by id limit ?", limit)
        return self._jobs(f"{where} and folder = ? order by id limit ?", folder, limit)

    def behind_held(self, folder: str | None = None, limit: int = 100) -> list[tuple[Job, Job]]:
        """Waiting files to the same place as an older one that is held, oldest first, each with that one."""
        pairs = list(
            self._rows(
                "select newer.id, min(held.id) from job held join job newer on newer.key = held.key and newer.id > held.id"
                f" and {open_by_key('newer')} where held.state in {OPEN_STATES} and held.state = 'held'"
                f" and not {GIVES_WAY.replace('older.', 'held.')}"
                " and newer.state = 'waiting' and newer.folder = coalesce(?, newer.folder) group by newer.id"
                " order by newer.id limit ?",
                folder,
                limit,
            )
        )
        jobs = {number: self.job(number) for pair in pairs for number in pair}
        return [(newer, held) for a, b in pairs if (newer := jobs[a]) is not None and (held := jobs[b]) is not None]

    def recent(
        self,
        limit: int,
        *,
        failed: bool = False,
        since: float = 0.0,
        folder: str | None = None,
        name: str | None = None,
        record: str | None = None,
    ) -> list[Job]:
        """The jobs of late, newest first; what is wanted as in `Wanted`."""
        where, values = _which(WantedJobs(failed, since, math.inf, folder, None, name, record))
        return self._jobs(f"where {where} order by id desc limit ?", *values, limit)

    def each(self, wanted: WantedJobs, newest: int | None = None) -> Iterator[Job]:
        """Those jobs, or the newest of them, oldest first, one after the other: there can be very many."""
        where, values = _which(wanted)
        if newest is not None:
            where, values = f"id in (select id from job where {where} order by id desc limit ?)", [*values, newest]
        return self._each_job(f"where {where} order by id", *values)

    def number(self, wanted: WantedJobs) -> int:
        """How many jobs that are."""
        where, values = _which(wanted)
        return int(next(self._rows(f"select count(*) from job where {where}", *values))[0])

    def stored_since(self, since: float, folder: str | None, after: int, limit: int) -> list[Job]:
        """Done jobs in the order of their numbers, a page at a time (for `verify`)."""
        tail = "where state = 'done' and ended_at >= ? and id > ?"
        if folder is None:
            return self._jobs(f"{tail} order by id limit ?", since, after, limit)
        return self._jobs(f"{tail} and folder = ? order by id limit ?", since, after, folder, limit)


def _which(wanted: WantedJobs) -> tuple[str, list[Any]]:
    """Jobs that are wanted, as SQL with its values."""
    where = ["claimed_at >= ?"]
    values: list[Any] = [wanted.since]
    if wanted.until < math.inf:
        where.append("claimed_at < ?")
        values.append(wanted.until)
    if wanted.failed:
        where.append("state in ('failed', 'refused')")
    for column, value in (("folder", wanted.folder), ("project", wanted.project), ("id", wanted.job)):
        if value is not None:
            where.append(f"{column} = ?")
            values.append(value)
    if wanted.name is not None:
        # A share's clients write é in one character or in two.
        forms = sorted({wanted.name, unicodedata.normalize("NFC", wanted.name), unicodedata.normalize("NFD", wanted.name)})
        where.append("(" + " or ".join(["name = ? or filed_as = ? or substr(name, length(name) - ? + 1) = ?"] * len(forms)) + ")")
        for form in forms:
            end = os.fsencode("/" + form)
            values += [os.fsencode(form), os.fsencode(form), len(end), end]
    if wanted.record is not None:
        where.append("record = ?")
        values.append(wanted.record.encode("utf-8", "backslashreplace").decode())
    return " and ".join(where), values
