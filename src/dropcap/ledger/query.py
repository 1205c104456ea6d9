"""The ledger's reads, by who asks: intake, delivery, people; and the conditions under which a job's step may be taken."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass

from dropcap.ledger.database import OPEN_STATES, PUT_ASIDE, Conflict, Connection, gives_way, open_by_key
from dropcap.ledger.job import (
    Change,
    FailedFile,
    FiledFile,
    Job,
    Mark,
    MarkKind,
    OpenFile,
    State,
    TakenAway,
    digits,
    update_of,
    utf8,
    values_of,
)
from dropcap.ledger.reports import PeopleQuery, Rows
from dropcap.reasons import Reason

_PASSED = "its folder was away, and a file that was dropped later has gone to the same place in REDCap meanwhile"
_OVERTAKEN = "its folder was away when nobody knew whether it had arrived, and files that were dropped later have gone before it"
_PASSED_REMEDY = (
    "if this one is to go there all the same: dropcap retry JOB (the other one is preserved); else take it out of in_progress/"
)
_OVERTAKEN_REMEDY = "dropcap retry JOB: REDCap is read back first, and it is sent if it is not there"


#: Whether a file that was claimed later than a job (number, key, project, record, event, field, instance) may have arrived at its
#: place. What a place is called in keys changes with what is known of the project, and with the rules of others.
NEWER_WENT = " union all ".join(
    f"select 1 from job where {place} and id > ?1 and field = ?6 and coalesce(instance, 1) = coalesce(?7, 1) and attempts > 0"
    " and (state in ('sending', 'unknown', 'held', 'stored', 'done')"
    " or (state = 'withdrawn' and may_have_arrived and coalesce(found, 'yes') = 'yes'))"
    for place in ("key = ?2", "record = ?4 and record <> '' and project = ?3 and event is ?5")
)
#: Those values of a job, None if it is still to choose its instance: it has no place yet that another one could have taken. What
#: a person has let it go over has not gone before it.
PLACE = (
    "select case when sent_over > id then sent_over else id end, key, project, record, event, field, instance from job"
    " where id = ? and not (takes_next and instance is null)"
)


#: How long a file that was taken away is known again (seconds).
KNOWN_FOR = 7 * 86400.0
#: Whether what was sent of a job that can be withdrawn may have arrived, as SQL. One that waits has its instance of `next` still
#: if an earlier send may have gone there.
MAY_HAVE_ARRIVED = (
    "(may_have_arrived or state = 'unknown' or (attempts > 0 and (state = 'held'"
    " or (state = 'waiting' and sent_sha256 is not null and instance is not null))))"
)


@dataclass(frozen=True, slots=True)
class Absent:
    """The drop folders that are not there. Nobody waits for those that are `long` gone; `next` for none that is away `now`."""

    long: frozenset[str] = frozenset()
    now: frozenset[str] = frozenset()


#: All folders are there.
NOBODY = Absent()


def may_pass(absent: Absent) -> tuple[str, tuple[str, ...]]:
    """Whether `job` may pass `older`, of the same key, as SQL with its values."""
    away = absent.now | absent.long
    if not away:
        return "false", ()
    long, now = (",".join("?" * len(names)) for names in (absent.long, away))
    sql = (
        "older.state <> 'sending' and not (older.state = 'unknown' and"
        " (older.id > job.id or (older.takes_next and older.instance is null)))"
        f" and (older.folder in ({long}) or (job.takes_next and older.folder in ({now})))"
    )
    return sql, (*sorted(absent.long), *sorted(away))


def step(connection: Connection, one: Change, absent: Absent, now: float) -> bool:
    """Take a job to its next state, and past those that it may pass if it is to be sent; False if it could not go."""
    if one.state is State.SENDING and overtaken(connection, one.job, f"{PLACE} and state = 'waiting'"):
        return False
    if one.state is not State.SENDING or absent == NOBODY:
        return connection.attempt(update_of(one), values_of(one, now)) > 0
    connection.execute("savepoint step")
    went = 0
    with contextlib.suppress(Conflict):
        _make_way(connection, one.job, absent, now)
        went = connection.execute(update_of(one), values_of(one, now)).rowcount
    if not went:
        connection.execute("rollback to step")
    connection.execute("release step")
    return went > 0


def overtaken(connection: Connection, job: int, place_of: str = PLACE) -> bool:
    """Whether a newer one has gone to the place of a job, and no person has said that this one is to go there all the same."""
    place = connection.execute(place_of, (job,)).fetchone()
    return place is not None and connection.execute(NEWER_WENT, place).fetchone() is not None


def _make_way(connection: Connection, job: int, absent: Absent, now: float) -> None:
    """A job is about to be sent: of those that it passes, those to its place are marked, and those that may have been sent are
    held."""
    passes, values = may_pass(absent)
    passed = connection.execute(
        "select older.id, older.state, older.field = job.field and not job.takes_next"
        " and (not older.takes_next or older.instance is not null)"
        " and coalesce(older.instance, 1) = coalesce(job.instance, 1)"
        " from job join job older on older.key = job.key and older.id < job.id"
        f" where job.id = ? and {open_by_key('older')} and older.state in ('waiting', 'held', 'unknown')"
        f" and (older.state = 'unknown' or older.reason is not 'newer_went') and {passes}",
        (job, *values),
    ).fetchall()
    for older, state, same_place in passed:
        held = state in (State.HELD, State.UNKNOWN)
        if not same_place and state != State.UNKNOWN:
            continue
        message, remedy = (_PASSED, _PASSED_REMEDY) if same_place else (_OVERTAKEN, _OVERTAKEN_REMEDY)
        connection.execute(
            "update job set state = ?, reason = ?, message = ?, remedy = ?, changed_at = ?, sent_over = 0 where id = ?",
            (State.HELD if held else State.WAITING, Reason.NEWER_WENT, message, remedy, now, older),
        )
        note = f"job {job} passes it, since its folder is away"
        connection.execute(
            "insert into history (job, at, state, note) select id, ?, state, ? from job where id = ?", (now, note, older)
        )


class IntakeQuery(Rows):
    """What is known of files."""

    def read_back_and_filed(self, folder: str, before: float, last: int, limit: int = 500) -> list[Job]:
        """Jobs behind the job `last` of which REDCap gave out the very bytes, done before then, whose files lie in done/."""
        where = "folder = ? and state = 'done' and confirmed = 'readback' and filed_as is not null and sha256 is not null"
        return self._jobs(f"where {where} and ended_at <= ? and id > ? order by id limit ?", folder, before, last, limit)

    def claimed_since(self, since: float, now: float) -> int | None:
        """The first job that was claimed after `since` and not after `now`; those behind it are younger, whatever they say."""
        (first,) = next(self._rows("select min(id) from job where claimed_at > ? and claimed_at <= ?", since, now))
        return None if first is None else int(first)

    def rely_on_copies(self, folder: str) -> list[tuple[int, str, float | None]]:
        """The jobs of a folder for which a copy of what REDCap held was kept: number, the copy's SHA-256, when it ended."""
        ended = f"case when state in {OPEN_STATES} then null else ended_at end"
        sql = f"select id, preserved_sha256, {ended} from job where folder = ? and preserved_sha256 is not null"
        return [(int(job), sha256, None if ended is None else float(ended)) for job, sha256, ended in self._rows(sql, folder)]

    def folders(self) -> list[str]:
        """All folders that jobs are of, be they in the configuration or not."""
        return [folder for (folder,) in self._rows("select distinct folder from job order by 1")]

    def over(self, folder: str, before: float, last: int = 0, limit: int = 1000) -> list[int]:
        """Jobs of a folder behind the job `last` that ended before then and have to do with no file, no copy, no other job and no
        open one that is older. Never the newest: another one would get its number."""
        others = "".join(
            f" and id not in (select {column} from job where {column} is not null and {column} <> id)"
            for column in ("again_of", "tried_again", "back_of")
        )
        sql = (
            "select id from job where folder = ? and ended_at <= ? and id > ? and state in ('done', 'withdrawn')"
            f" and filed_as is null and preserved_as is null{others}"
            f" and id < (select coalesce(min(id), 4611686018427387904) from job where state in {OPEN_STATES})"
            " and id < (select max(id) from job) order by id limit ?"
        )
        return [int(job) for (job,) in self._rows(sql, folder, before, last, limit)]

    def last_claim_beneath(self, folder: str, directory: str) -> float | None:
        """When a file was last taken out of a subfolder, or from beneath it; None if none ever was."""
        first, behind = os.fsencode(f"{directory}/"), os.fsencode(f"{directory}0")  # `0` comes after `/`
        sql = "select max(claimed_at) from job where folder = ? and name >= ? and name < ?"
        (last,) = next(self._rows(sql, folder, first, behind))
        return None if last is None else float(last)

    def open_files(self, folder: str) -> dict[str, OpenFile]:
        """The files that should lie in in_progress/, by name."""
        return dict(self.each_open(folder))

    def each_open(self, folder: str) -> Iterator[tuple[str, OpenFile]]:
        """The files that should lie in in_progress/, one after the other: there can be very many."""
        sql = f"select name, id, state, size, mtime_ns, inode from job where folder = ? and state in {OPEN_STATES}"
        for n, i, s, z, m, d in self._each(sql, folder):
            yield os.fsdecode(n), OpenFile(i, State(s), z, int(m), int(d))

    def open_names(self, folder: str, names: Sequence[str]) -> set[str]:
        """Those of `names` that open jobs have."""
        marks = ",".join("?" * len(names))
        sql = f"select name from job where folder = ? and name in ({marks}) and state in {OPEN_STATES}"
        return {os.fsdecode(name) for (name,) in self._rows(sql, folder, *map(os.fsencode, names))}

    def last_claims(self, folder: str, names: Sequence[str]) -> dict[str, float]:
        """When each of `names` was claimed last, for those that ever were."""
        if not names:
            return {}
        marks = ",".join(["(?)"] * len(names))
        sql = (
            f"with wanted(name) as (values {marks}) select name, (select claimed_at from job"
            " where job.name = wanted.name and folder = ? order by id desc limit 1) from wanted"
        )
        rows = self._rows(sql, *map(os.fsencode, names), folder)
        return {os.fsdecode(name): float(last) for name, last in rows if last is not None}

    def failed_files(self, folder: str, sizes: Collection[int] = ()) -> dict[str, FailedFile]:
        """The files that should lie in failed/ and were not tried again, by their place in the folder; those of `sizes` only.

        One that was renamed there before its place was entered (a crash came between) has the place that it had at first. One
        whose place another has by now was moved, nobody knows where to: it has a place where nothing can lie.
        """
        sql = (
            "with failed as (select id, name, size, mtime_ns, inode, filed_as is not null as placed,"
            " coalesce(filed_as, ? || name) as place"
            " from job where folder = ? and state = 'failed' and tried_again is null)"
            " select place, id, name, size, mtime_ns, inode, placed, nth from"
            " (select failed.*, row_number() over (partition by place order by placed desc, id desc) as nth from failed)"
            " as placed_files"
        ) + (f" where size in ({','.join('?' * len(sizes))})" if sizes else "")
        return {
            os.fsdecode(p) + ("" if nth == 1 else f"/{i}"): FailedFile(i, os.fsdecode(n), z, int(m), int(d), bool(f) and nth == 1)
            for p, i, n, z, m, d, f, nth in self._rows(sql, b"failed/", folder, *sizes)
        }

    def each_done(self, folder: str, since: float, until: float) -> Iterator[str]:
        """Where the files lie that were done within that time (seconds since the epoch), by their places in the folder."""
        sql = "select filed_as from job where ended_at >= ? and ended_at < ? and folder = ? and state = 'done'"
        return (os.fsdecode(name) for (name,) in self._each(sql, since, until, folder) if name is not None)

    def each_filed(self, folder: str, sizes: Collection[int], since: float | None = None) -> Iterator[FiledFile]:
        """The files of one of these sizes that are being filed now, and those that were filed since then, or ever (all jobs are
        looked through for that)."""
        columns = "state, size, mtime_ns, inode, filed_as"
        # SQLite takes so many values, and says no to more; then those of all sizes come.
        its = f" and size in ({','.join('?' * len(sizes))})" if len(sizes) <= 500 else ""
        values = tuple(sizes) if its else ()
        now = f"state in {OPEN_STATES} and state in ('stored', 'refused') and folder = ?{its}"
        ended = f"{'' if since is None else 'ended_at >= ? and '}folder = ? and state in ('done', 'failed'){its}"
        for where, first in ((now, ()), (ended, () if since is None else (since,))):
            for state, size, mtime_ns, inode, place in self._each(
                f"select {columns} from job where {where}", *first, folder, *values
            ):
                yield FiledFile(State(state), size, int(mtime_ns), int(inode), None if place is None else os.fsdecode(place))

    def taken_away(self, projects: Collection[str], sizes: Collection[int], now: float) -> list[TakenAway]:
        """Jobs of these projects, in whatever folder, whose files may be out of in_progress/ and what was sent may have arrived:
        open ones, and those that ended so within `KNOWN_FOR`. Of files of `sizes` only, newest first."""
        columns = "id, folder, name, state, size, mtime_ns, inode, coalesce(sent_sha256, sha256)"
        marks, which = ",".join("?" * len(sizes)), ",".join("?" * len(projects))
        sql = (
            f"select {columns} from job where state in {OPEN_STATES} and (attempts > 0 or state = 'unknown')"
            f" and size in ({marks}) and project || '' in ({which}) and ({MAY_HAVE_ARRIVED} or state in ('sending', 'stored'))"
            f" union all select {columns} from job where size in ({marks}) and ended_at > ? and project in ({which})"
            " and ((state = 'withdrawn' and may_have_arrived) or (state = 'done' and filed_as is null)) order by 1 desc"
        )
        rows = self._rows(sql, *sizes, *projects, *sizes, now - KNOWN_FOR, *projects)
        return [TakenAway(i, f, os.fsdecode(n), State(s), z, int(m), int(d), h) for i, f, n, s, z, m, d, h in rows]

    def to_read_back(self, now: float, limit: int = 20) -> list[Job]:
        """Withdrawn jobs of which it is due to be found out whether REDCap has what was sent."""
        return self._jobs("where read_back is not null and read_back <= ? order by read_back limit ?", now, limit)

    def read_back(self, since: float, folder: str | None = None, limit: int = 100) -> list[Job]:
        """Withdrawn jobs that ended since then, and of which that was found out, newest first."""
        tail = "where found is not null and ended_at >= ?"
        if folder is None:
            return self._jobs(f"{tail} order by ended_at desc limit ?", since, limit)
        return self._jobs(f"{tail} and folder = ? order by ended_at desc limit ?", since, folder, limit)

    def heir(self, job: int) -> Job | None:
        """The newest job under which the file of a withdrawn job came back."""
        found = self._jobs("where back_of = ? order by id desc limit 1", job)
        return found[0] if found else None

    def copying(self, folder: str) -> dict[int, tuple[str, str]]:
        """Of the files that are being filed by copying: the name of the copy while it grows, and its name afterwards."""
        sql = (
            f"select id, copy_temporary, copy_final from job where state in {OPEN_STATES} and state in ('stored', 'refused')"
            " and folder = ? and copy_final is not null"
        )
        return {job: (os.fsdecode(temporary), os.fsdecode(final)) for job, temporary, final in self._rows(sql, folder)}

    def marks(self, folder: str, name: str | None = None) -> list[Mark]:
        """What is remembered of the files that lie in a folder, or of the one of that name."""
        columns = "name, kind, size, mtime_ns, ctime_ns, inode, since"
        if name is None:
            rows = self._rows(f"select {columns} from mark where folder = ?", folder)
        else:
            rows = self._rows(f"select {columns} from mark where folder = ? and name = ?", folder, os.fsencode(name))
        return [Mark(os.fsdecode(n), MarkKind(k), z, int(m), int(c), int(i), s) for n, k, z, m, c, i, s in rows]

    def left_marks(self, folder: str) -> str | None:
        """Which files of a folder were left that lay there at first (see `intake.left`)."""
        return self.meta(f"left {folder}")


#: That a job was sent to an instance at the place of another one (number, key, project, record, event, field).
_AT_ITS_PLACE = (
    "instance is not null and id in ("
    + " union ".join(
        f"select id from job where {place} and id <> ?1 and field = ?6 and attempts > 0"
        for place in ("key = ?2", "record = ?4 and record <> '' and project = ?3 and event is ?5")
    )
    + ")"
)


#: One place in REDCap (project, record, event, field, instance).
_TARGET = "project = ? and record = ? and event is ? and field = ? and instance is ?"


class DeliveryQuery(Rows):
    """What is known of jobs that are to have a turn."""

    def due(self, folder: str, now: float, limit: int, small_file: int, *, small: bool, absent: Absent = NOBODY) -> list[Job]:
        """Jobs of a folder whose time has come, in their order: those of up to `small_file` bytes, or the larger ones.

        A job is left out while an older one to the same target is waiting or held, or another one is being sent there. One that
        may have been sent already goes first: until it was read back, nobody knows what the place holds. Those of folders that
        are `absent` may be passed.
        """
        # Nearly all files are small, so those are taken in their order, and the few large ones are looked up by their size:
        # `+` keeps SQLite from choosing the other index, with which it would look through a whole backlog.
        which = "due <= ? and +size <= ?" if small else "+due <= ? and size > ?"
        passes, values = may_pass(absent)
        return self._jobs(
            f"where folder = ? and state in ('waiting', 'unknown') and {which} and (state = 'unknown' or not exists"
            f" (select 1 from job older where older.key = job.key and older.id < job.id and {self.database.open_by_key}"
            f" and older.state || '' in ('waiting', 'held') and not (older.state = 'held' and {gives_way('older')})"
            f" and not ({passes}))"
            f" and not exists (select 1 from job older where older.key = job.key and {self.database.sent_by_key}"
            f" and not ({passes}))) order by due, id limit ?",
            folder,
            now,
            small_file,
            *values,
            *values,
            limit,
        )

    def overtaken(self, job: int) -> bool:
        """Whether a file that was claimed later may have arrived at the place of a job, which no person lets it go over."""
        place = next(self._rows(PLACE, job), None)
        return place is not None and next(self._rows(NEWER_WENT, *place), None) is not None

    def last_job(self) -> int:
        """The number of the job that was claimed last, 0 if there is none."""
        return int(next(self._rows("select max(id) from job"))[0] or 0)

    def next_due(self, folder: str, now: float) -> float | None:
        """When the next job of a folder that is not due yet will be."""
        row = next(
            self._rows("select min(due) from job where folder = ? and state in ('waiting', 'unknown') and due > ?", folder, now)
        )
        return None if row[0] is None else float(row[0])

    def folders_waiting_for(self, keys: Collection[str]) -> set[str]:
        """The folders that have jobs of one of these keys that are still to have a turn."""
        turns = f"{open_by_key('job')} and state in ('waiting', 'unknown')"
        sql = f"select distinct folder from job where {turns} and key in ({','.join('?' * len(keys))})"
        return {folder for (folder,) in self._rows(sql, *keys)}

    def waits_for(self, projects: Collection[str], record: str, field: str) -> bool:
        """Whether a job of one of these entries that is not over goes to this field of the record, or of one not known yet."""
        sql = f"select 1 from job where state in {OPEN_STATES} and field = ? and record in ('', ?) and project in "
        return next(self._rows(sql + f"({','.join('?' * len(projects))}) limit 1", field, record, *projects), None) is not None

    def changes(self) -> int:
        """Another number than before if anything was written meanwhile. By one thread alone."""
        return self._reader.changes()

    def folders_due(self, now: float) -> set[str]:
        """The folders that have jobs whose time has come, whatever else these wait for."""
        sql = "select distinct folder from job where state in ('waiting', 'unknown') and due <= ?"
        return {folder for (folder,) in self._rows(sql, now)}

    def highest_instance(self, key: str) -> int:
        """The highest instance that an open job of this key is to go to, or has gone to, 0 if there is none. What was refused has
        not gone, whether its file is moved yet or not."""
        sql = f"select max(instance) from job where {open_by_key('job')} and state <> 'refused' and key = ?"
        return int(next(self._rows(sql, key))[0] or 0)

    def instances_of_others(self, job: Job) -> set[int]:
        """The instances at the place of a job in which other jobs have, or may have, their files."""
        sql = f"select instance from job where {_AT_ITS_PLACE} and state not in ('refused', 'failed', 'withdrawn')"
        return {number for (number,) in self._rows(sql, *_place_of(job))}

    def was_filed(self, job: Job) -> list[Job]:
        """The jobs, newest first, that have brought a file with the size, mtime and inode of this one to an instance of its
        place, and to done/."""
        its = "state = 'done' and filed_as is not null and size = ?7 and mtime_ns = ?8 and inode = ?9 order by id desc"
        fingerprint = (job.size, digits(job.mtime_ns), digits(job.inode))
        return self._jobs(f"where {_AT_ITS_PLACE} and {its}", *_place_of(job), *fingerprint)

    def late_sends(self, now: float, limit: int = 20) -> list[int]:
        """Jobs that were taken over in `sending`, and whose places are due to be looked at once more."""
        return [job for (job,) in self._rows("select job from late_send where due <= ? order by due limit ?", now, limit)]

    def stored_lately(self, project: str, most: int) -> list[str]:
        """Records of a project to which files went last, the newest first."""
        sql = (
            "select record from job where project = ? and record <> '' and state in ('stored', 'done')"
            " and id > (select max(id) from job) - 10000 order by id desc"
        )
        found: dict[str, None] = {}
        for (record,) in self._rows(sql, project):
            found[record] = None
            if len(found) == most:
                break
        return list(found)

    def stored_there(self, job: Job) -> Job | None:
        """The newest job that was stored at the place of a job."""
        stored = "attempts > 0 and record <> '' and state in ('stored', 'done') order by id desc limit 1"
        found = self._jobs(f"where {_TARGET} and {stored}", job.project, job.record, job.event, job.field, job.instance)
        return found[0] if found else None

    def is_on_its_way(self, job: Job) -> bool:
        """Whether something is being sent to the place of a job, or may have been."""
        its = f"where state in {OPEN_STATES} and state in ('sending', 'unknown') and {_TARGET} limit 1"
        return bool(self._jobs(its, job.project, job.record, job.event, job.field, job.instance))

    def put_aside(self) -> list[str]:
        """The folders with jobs that a fail-over of the database has put aside."""
        sql = f"select distinct folder from job where {PUT_ASIDE}"
        return [folder for (folder,) in self._rows(sql)]

    def unfiled(self, folder: str) -> list[Job]:
        """Jobs whose file is still to be moved to done/ or failed/."""
        return self._jobs(f"where state in {OPEN_STATES} and state in ('stored', 'refused') and folder = ? order by id", folder)

    def names(self, folder: str, states: Iterable[State]) -> list[tuple[int, str]]:
        """Number and name of a folder's jobs in some open states."""
        marks = ", ".join(f"'{state.value}'" for state in states)
        return [
            (i, os.fsdecode(n))
            for i, n in self._rows(
                f"select id, name from job where folder = ? and state in {OPEN_STATES} and state in ({marks})", folder
            )
        ]

    def keys_without_project(self, entry: str) -> list[tuple[int, str]]:
        """Number and key of the waiting and held jobs that were entered before REDCap told the project of an entry."""
        found = self._rows(
            f"select id, key from job where state in {OPEN_STATES} and state in ('waiting', 'held') and project = ?"
            " and substr(key, 1, ?) = ?",
            *(entry, len(entry), entry),
        )
        return [(job, key) for job, key in found if key.startswith(f"{entry}\0")]

    def mismatches(self, folder: str, record: str, now: float, within: float) -> int:
        """How often names of a folder's files did not agree with a record in the last `within` seconds."""
        sql = "select count(*) from mismatch where folder = ? and record = ? and at between ? and ?"
        return int(next(self._rows(sql, folder, utf8(record), now - within, now + within))[0])

    def told_projects(self) -> dict[str, int]:
        """The ids of REDCap's projects by the entries that lead to them, as REDCap has told them last."""
        sql = "select project, what from learned where kind = 'project_id'"
        return {project: int(number) for project, number in self._rows(sql) if number.isdecimal()}

    def learned(self, now: float) -> dict[tuple[str, str, str], float]:
        """What REDCap has told and still is taken to be true: project, kind and what, and until when."""
        sql = "select project, kind, what, until from learned where until > ?"
        return {(project, kind, what): until for project, kind, what, until in self._rows(sql, now)}


def _place_of(job: Job) -> tuple[object, ...]:
    return job.id, utf8(job.key), job.project, utf8(job.record), utf8(job.event), job.field


class Query(IntakeQuery, DeliveryQuery, PeopleQuery):
    """Read access, one connection a thread, closed some time after its end."""
