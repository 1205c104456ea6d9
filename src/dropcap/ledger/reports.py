"""What is told to people of the ledger: its jobs and acts, figures, and the hosts that share it. Never in the way of those who
work."""

from __future__ import annotations

import json
import math
import os
import unicodedata
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from dropcap.ledger.chain import Act, Head, entry_of, is_head
from dropcap.ledger.database import OPEN_STATES, Database, ErrorLog, gives_way, open_by_key
from dropcap.ledger.job import Event, Job, KnownFolder, LikeJobs, Pause, State, utf8
from dropcap.ledger.sqlite import SqliteDatabase
from dropcap.reasons import Scope

_PAUSABLE = frozenset({Scope.FOLDER, Scope.SERVER, Scope.PROJECT})
_NAMES = list(Job.__dataclass_fields__)
_COLUMNS = ", ".join(_NAMES)
_MTIME, _INODE = _NAMES.index("mtime_ns"), _NAMES.index("inode")
_TAKES_NEXT, _MAY_HAVE_ARRIVED = _NAMES.index("takes_next"), _NAMES.index("may_have_arrived")
_SENT_CTIME = _NAMES.index("sent_ctime_ns")
_FILED = _NAMES.index("filed_as")
_PRESERVED = _NAMES.index("preserved_as")


class Rows:
    """Read access for any thread. All raise DatabaseError."""

    def __init__(self, place: Database | Path, trouble: ErrorLog | None = None) -> None:
        """A path is that of a ledger in a file."""
        self.database: Database = SqliteDatabase(place) if isinstance(place, Path) else place
        self._reader = self.database.reader(trouble)

    def close(self) -> None:
        """Close the connections of all threads."""
        self._reader.close()

    def _rows(self, sql: str, *values: Any) -> Iterator[Any]:
        return iter(self._reader.rows(sql, values))

    def _each(self, sql: str, *values: Any) -> Iterator[Any]:
        """Like `_rows`, but not all in memory at once."""
        return self._reader.each(sql, values)

    def _jobs(self, tail: str, *values: Any) -> list[Job]:
        return [_job(row) for row in self._rows(f"select {_COLUMNS} from job {tail}", *values)]

    def _each_job(self, tail: str, *values: Any) -> Iterator[Job]:
        """Like `_jobs`, but not all in memory at once."""
        return map(_job, self._each(f"select {_COLUMNS} from job {tail}", *values))

    def job(self, job: int) -> Job | None:
        """One job by its number."""
        found = self._jobs("where id = ?", job)
        return found[0] if found else None

    def known_folder(self, folder: str) -> KnownFolder | None:
        """How a drop folder was seen before, if it was."""
        row = next(self._rows("select folder, path, marker, mount, first_seen from folder where folder = ?", folder), None)
        return KnownFolder(*row) if row else None

    def version(self) -> int:
        """The version of its schema."""
        return self.database.schema_version(self._reader)

    def meta(self, key: str) -> str | None:
        """One word about the installation."""
        row = next(self._rows("select value from meta where key = ?", key), None)
        return str(row[0]) if row else None

    def metas(self, prefix: str) -> dict[str, str]:
        """All words about the installation whose keys begin so, by what follows in the key."""
        rows = self._rows(f"select key, value from meta where substr(key, 1, {len(prefix)}) = ?", prefix)
        return {str(key)[len(prefix) :]: str(value) for key, value in rows}

    def check(self) -> None:
        """Look at the whole ledger. Raises Damaged."""
        self.database.check(self._reader)


def _job(row: Any) -> Job:
    values = list(row)
    values[2] = os.fsdecode(values[2])
    values[3] = State(values[3])
    for place in (_TAKES_NEXT, _MAY_HAVE_ARRIVED):
        values[place] = bool(values[place])
    for place in (_MTIME, _INODE, _SENT_CTIME):  # the digits, where they are too many for SQLite
        values[place] = None if values[place] is None else int(values[place])
    for place in (_FILED, _PRESERVED):
        if values[place] is not None:
            values[place] = os.fsdecode(values[place])
    return Job(*values)


#: Seconds from its start in which a host has not looked at all folders yet: what it lacks is not believed.
_LOOKS_FOR = 6
_HOSTS = (
    "select id, name, pid, version, configuration, extract(epoch from started)::float8, extract(epoch from until)::float8,"
    f" until > clock_timestamp(), case when started < clock_timestamp() - interval '{_LOOKS_FOR} s' then lacks else '{{}}' end"
    " from host where until > clock_timestamp() - interval '1 day' order by name, started, id"
)
_LEASES = (
    "select folder, fence, holder, until > clock_timestamp(),"
    " case when until > 'epoch' then extract(epoch from clock_timestamp() - until)::float8 end from lease order by folder"
)


@dataclass(frozen=True, slots=True)
class HostAtWork:
    """One run of dropcap. Times are seconds since the epoch, by the database's clock; from `until` on it is taken for gone."""

    id: str
    name: str
    pid: int
    version: str
    configuration: str
    started: float
    until: float
    alive: bool
    lacks: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class FolderHeld:
    """A folder's lease: `host` (its id) works there; None: nobody, for so many seconds (`free_for`) if that is known."""

    folder: str
    fence: int
    host: str | None
    free_for: float | None


@dataclass(frozen=True, slots=True)
class HostsNow:
    """All hosts of the last day, and all leases."""

    hosts: tuple[HostAtWork, ...] = ()
    leases: tuple[FolderHeld, ...] = ()

    @property
    def alive(self) -> tuple[HostAtWork, ...]:
        """Those that show that they live."""
        return tuple(host for host in self.hosts if host.alive)

    @property
    def gone(self) -> tuple[HostAtWork, ...]:
        """The last run of each host that has none any more."""
        there = {host.name for host in self.alive}
        last = {host.name: host for host in sorted(self.hosts, key=lambda host: host.until) if host.name not in there}
        return tuple(last.values())

    def lease(self, folder: str) -> FolderHeld | None:
        """The lease of a folder, if one was ever given."""
        return next((lease for lease in self.leases if lease.folder == folder), None)

    def holder(self, folder: str) -> HostAtWork | None:
        """Who works in a folder."""
        lease = self.lease(folder)
        return None if lease is None else next((host for host in self.hosts if host.id == lease.host), None)

    def of(self, host: HostAtWork, folders: Collection[str]) -> list[str]:
        """Those of `folders` in which a host works."""
        return [lease.folder for lease in self.leases if lease.host == host.id and lease.folder in folders]

    def free(self, folders: Iterable[str]) -> list[str]:
        """Those in which nobody works."""
        return [folder for folder in folders if self.holder(folder) is None]

    def stranded(self, folders: Iterable[str]) -> list[str]:
        """Those that no living host has, even if a dead one still holds them."""
        return [folder for folder in folders if all(folder in host.lacks for host in self.alive)]

    def untaken_for(self, folder: str, now: float) -> float:
        """For how many seconds a folder has been free while hosts were there to take it; 0 if nobody ever had it."""
        lease = self.lease(folder)
        if lease is None or lease.free_for is None or not self.alive:
            return 0.0
        return max(0.0, min(lease.free_for, now - min(host.started for host in self.alive)))

    def called(self, host: HostAtWork) -> str:
        """Its name, with the number of its process where others have that name."""
        names = Counter(one.name for one in self.alive)
        return f"{host.name} (pid {host.pid})" if names[host.name] > 1 else host.name


class HostsQuery(Rows):
    """What is asked of a ledger that several hosts may share."""

    def hosts(self) -> HostsNow | None:
        """Who is there and who works where; None where one host has its ledger for itself."""
        if not self.database.shared:
            return None
        hosts = (
            HostAtWork(id, name, pid, version, configuration, started, until, alive, tuple(lacks))
            for id, name, pid, version, configuration, started, until, alive, lacks in self._rows(_HOSTS)
        )
        leases = (
            FolderHeld(folder, int(fence), holder if held else None, None if held or free_for is None else max(free_for, 0.0))
            for folder, fence, holder, held, free_for in self._rows(_LEASES)
        )
        return HostsNow(tuple(hosts), tuple(leases))


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


class PeopleQuery(HostsQuery):
    """What is told to people."""

    def pauses(self) -> list[Pause]:
        """What is paused, oldest first; a pause of something that this version of dropcap does not know stops nothing."""
        sql = "select scope, name, reason, message, remedy, since, until_resume from pause order by since"
        return [Pause(Scope(s), n, r, m, e, t, bool(u)) for s, n, r, m, e, t, u in self._rows(sql) if s in _PAUSABLE]

    def heads(self) -> list[Head]:
        """The heads of all chains."""
        return [Head(name, n, bytes(head).hex()) for name, n, head in self._rows("select name, n, head from chain order by name")]

    def has_head(self, head: Head) -> bool:
        """Whether the chain has that entry."""
        return is_head(head, self._reader.rows(*entry_of(head)))

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
                f" and not {gives_way('held')}"
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
        """The latest jobs, newest first; what is wanted as in `WantedJobs`."""
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
        values.append(utf8(wanted.record))
    return " and ".join(where), values


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


class Figures(PeopleQuery):
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
            numbers = dict(self._rows(sql, begin, min(end, 1e12)))
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
