"""The ledger's writes: jobs, their guarded transitions with a history row each, pauses and known folders."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dropcap.ledger import claim, query
from dropcap.ledger.claim import IntakeChanges, take_over
from dropcap.ledger.database import OPEN_STATES, PUT_ASIDE, Conflict, Connection
from dropcap.ledger.job import (
    Address,
    Change,
    Job,
    Pause,
    ReadBackFound,
    Reserved,
    bound,
    spelled_alike,
    utf8,
)
from dropcap.ledger.query import NOBODY, Absent
from dropcap.ledger.writing import Writing, durable
from dropcap.reasons import Scope

_PAUSE = (
    "insert into pause (scope, name, reason, message, remedy, since, until_resume) values (?,?,?,?,?,?,?)"
    " on conflict (scope, name) do update set reason = excluded.reason, message = excluded.message, remedy = excluded.remedy,"
    " since = excluded.since, until_resume = excluded.until_resume where excluded.until_resume or not pause.until_resume"
)


#: Jobs that get another address in one transaction.
_AT_A_TIME = 500

#: What is learned of the records that are being created, and for how long it is kept (seconds): clocks may be an hour apart.
_SPELLING, _KEPT = "creates", 7200.0

_LEARNED = (
    "insert into learned (project, kind, what, until) values (?,?,?,?)"
    " on conflict (project, kind, what) do update set until = excluded.until"
)


_STEP = "insert into history (job, at, state, note) select id, ?, state, ? from job where id = ?"
#: What was being sent in a folder that is taken over, before it gets its unknown outcome.
_LATE_SENDS = (
    "insert into late_send (job, folder, due)"
    f" select id, folder, ? from job where state in {OPEN_STATES} and state = 'sending' and folder = ?"
    " on conflict (job) do update set due = excluded.due"
)
#: No delay of ours is longer (seconds): what waits for the next day's new records waits longest.
LONGEST_DELAY = 26 * 3600.0
#: What was entered so much later than now (seconds) was entered by a clock that was ahead.
_AHEAD = 1.0
#: Until when what a token leads to is kept (seconds since the epoch), and under which kinds of what is learned.
_FOR_GOOD = 1e12
_NUMBER, _TOKEN = "project_id", "token"


@dataclass(frozen=True, slots=True)
class Lead:
    """A project's number, None if REDCap has not told it; and what stands for the token that leads there."""

    number: int | None
    token: str


class DeliveryChanges(Writing):
    """What is entered of jobs."""

    def change(self, changes: Sequence[Change], absent: Absent = NOBODY) -> set[int]:
        """Take jobs to their next state, each with a history row; the jobs that could go.

        A job stays where it is if its state does not allow the step, if it would be the second one sending to its target, if it
        has another target by now, or if a newer one has been sent there before it (`overtaken`). One that is to be sent may pass
        those of folders that are `absent`.
        """
        return self._change(changes, absent) if changes else set()

    @durable
    def _change(self, now: float, changes: Sequence[Change], absent: Absent) -> set[int]:
        with self._writing(jobs=[one.job for one in changes]) as connection:
            if absent == NOBODY and (went := connection.take(changes, now)) is not None:
                return went
            gone = [one for one in changes if query.step(connection, one, absent, now)]
            entries = [(one.job, now, one.state.value, utf8(one.note)) for one in gone]
            connection.executemany("insert into history (job, at, state, note) values (?,?,?,?)", entries)
            return {one.job for one in gone}

    def note(self, job: int, note: str, columns: Mapping[str, Any]) -> None:
        """Set columns without a change of state: the instance that was fixed, the copy that was preserved."""
        self.notes([(job, note, columns)])

    @durable
    def notes(self, now: float, entries: Sequence[tuple[int, str, Mapping[str, Any]]]) -> None:
        """The same of several jobs, all or none."""
        with self._writing(jobs=[job for job, _, _ in entries]) as connection:
            for job, note, columns in entries:
                names = "".join(f"{name} = ?, " for name in columns)
                values = [bound(column, value) for column, value in columns.items()]
                connection.execute(f"update job set {names}changed_at = ? where id = ?", (*values, now, job))
                connection.execute(_STEP, (now, utf8(note), job))

    def copying(self, job: int, temporary: str, final: str) -> None:
        """The file is about to be copied to another file system: under which name the copy grows, and which one it gets."""
        names = (os.fsencode(temporary), os.fsencode(final), job)
        self._execute("update job set copy_temporary = ?, copy_final = ? where id = ?", names, jobs=[job])

    def found(self, job: Job, record: str, key: str) -> ReadBackFound:
        """It is known now which record of which of REDCap's projects a file belongs to, and so what it is ordered by."""
        try:
            came = self._found(job, record, key)
        except Conflict:
            return ReadBackFound.ANOTHER_GOES
        if came is ReadBackFound.ENTERED and job.back_of is not None:
            self._take_over(job.id)
        return came

    @durable
    def _found(self, now: float, job: Job, record: str, key: str) -> ReadBackFound:
        with self._writing(jobs=[job.id]) as connection:
            connection.execute(
                "update job set sent_over = case when record in ('', ?1) then sent_over else 0 end, record = ?1, key = ?2,"
                " changed_at = ?3 where id = ?4",
                (utf8(record), utf8(key), now, job.id),
            )
            if record != job.record:
                connection.execute(_STEP, (now, "record found", job.id))
            overtaken = query.overtaken(connection, job.id)
            return ReadBackFound.NEWER_WENT if overtaken else ReadBackFound.ENTERED

    @durable
    def _take_over(self, _now: float, job: int) -> None:
        with self._writing(jobs=[job]) as connection:
            take_over(connection, job)

    @durable
    def learn(self, now: float, project: str, kind: str, what: str, until: float) -> None:
        """Keep something that REDCap has told of a project until then (seconds since the epoch)."""
        with self._writing() as connection:
            connection.execute("delete from learned where until <= ?", (now,))
            connection.execute(_LEARNED, (project, kind, utf8(what), until))

    @durable
    def reserve(self, now: float, project: str, record: str, over: Collection[Reserved]) -> Reserved | None:
        """Reserve the spelling of a record that is to be created in one of REDCap's projects.

        None, or the other spelling that is reserved on whatever host, and is not `over`.
        """
        with self._writing() as connection:
            connection.execute("delete from learned where until <= ?", (now,))
            sql = "select what, until from learned where project = ? and kind = ?"
            rows = [Reserved(*row) for row in connection.execute(sql, (project, _SPELLING)).fetchall()]
            others = [one for one in rows if one.record != utf8(record) and spelled_alike(one.record, record)]
            for one in others:
                if one not in over:
                    return one
                values = (project, _SPELLING, one.record)
                connection.execute("delete from learned where project = ? and kind = ? and what = ?", values)
            connection.execute(_LEARNED, (project, _SPELLING, utf8(record), now + _KEPT))
            return None

    def unreserve(self, project: str, record: str) -> None:
        """That record is not created: another spelling of it may be."""
        self.learn(project, _SPELLING, record, 0.0)

    @durable
    def lead(self, _now: float, entry: str, told: Lead, configured: int | None) -> tuple[Lead | None, bool]:
        """REDCap has told where an entry's token leads, and the configuration where it should: what was kept of that before, and
        whether it may be gone there. The first project counts until the configuration names another one."""
        with self._writing() as connection:
            sql = "select kind, what from learned where project = ? and kind in (?, ?)"
            found = dict(connection.execute(sql, (entry, _NUMBER, _TOKEN)).fetchall())
            kept = Lead(int(found[_NUMBER]) if _NUMBER in found else None, found.get(_TOKEN, "")) if found else None
            now = _followed(kept, told, configured)
            if now is not None and now != kept:
                connection.execute("delete from learned where project = ? and kind in (?, ?)", (entry, _NUMBER, _TOKEN))
                number = [] if now.number is None else [(entry, _NUMBER, str(now.number), _FOR_GOOD)]
                rows = [*number, (entry, _TOKEN, now.token, _FOR_GOOD)]
                connection.executemany("insert into learned (project, kind, what, until) values (?,?,?,?)", rows)
            return kept, now is not None

    def order(self, keys: Sequence[tuple[int, str, str]]) -> None:
        """The keys of these jobs are complete now: number, key before, key now."""
        if keys:
            sql = "update job set key = ? where id = ? and key = ? and state in ('waiting', 'held')"
            self._executemany(sql, [(utf8(now), job, before) for job, before, now in keys])

    @durable
    def tell_read_back(self, now: float, job: Job, found: str, message: str, remedy: str | None) -> bool:
        """It is known whether REDCap has what was sent of a withdrawn job (yes, no, other); False if it is not withdrawn now."""
        with self._writing(jobs=[job.id]) as connection:
            went = connection.execute(
                "update job set read_back = null, found = ?, message = ?, remedy = ?, changed_at = ?"
                " where id = ? and state = 'withdrawn' and read_back is not null",
                (found, utf8(message), utf8(remedy), now, job.id),
            ).rowcount
            if went:
                connection.execute(_STEP, (now, utf8(f"read back: {message}"), job.id))
            return went > 0

    def read_back_later(self, job: int, seconds: float) -> None:
        """Whether REDCap has what was sent of a withdrawn job is looked at again after `seconds`."""
        sql = "update job set read_back = ? where id = ? and read_back is not null"
        self._execute(sql, (self._clock() + seconds, job), jobs=[job])

    def blame(self, jobs: Sequence[int]) -> None:
        """These jobs' sends went wrong while the server was well. It is no matter whose their folders are by now, and must not
        keep from being entered what has come of another file."""
        if jobs:
            self._executemany("update job set faults = faults + 1 where id = ?", [(job,) for job in jobs])

    @durable
    def recover(self, now: float) -> int:
        """At the start: whatever was being sent has an unknown outcome now. The number of such jobs."""
        with self._writing() as connection:
            return _recovered(connection, now)

    @durable
    def take_over(
        self, now: float, folder: str, beat: int | None, read_back_in: float, over_in: float = 0.0
    ) -> tuple[int, int] | None:
        """Take the lease of a folder that nobody else has, or that is seen not to be kept (`beat` is what was seen of it last).

        What was being sent there has an unknown outcome now, in the same transaction; REDCap is read back `read_back_in` seconds
        later, when what is half sent has come to nothing, and looked at once more in `over_in` seconds. The fence, and how many
        jobs those are; None if another host has it.
        """
        with self._commit.writing() as connection:
            fence = connection.take_lease(folder, beat)
            if fence is None:
                return None
            connection.execute(_LATE_SENDS, (now + over_in, folder))
            unknown = _recovered(connection, now, folder, now + read_back_in)
            _due_by_our_clock(connection, now, folder)
            return fence, unknown

    def late_send_over(self, job: int, folder: str | None) -> None:
        """The place of a job that was taken over in `sending` was looked at once more."""
        self._execute("delete from late_send where job = ?", (job,), folder)

    def late_send_later(self, job: int, folder: str, seconds: float) -> None:
        """It is looked at in so many seconds."""
        self._execute("update late_send set due = ? where job = ?", (self._clock() + seconds, job), folder)

    @durable
    def lost(self, now: float, job: int, folder: str, name: str, instance: int | None) -> bool:
        """A fail-over of the database has lost what became of a job, or that it was being sent at all: its outcome is unknown."""
        with self._writing() as connection:
            went = connection.attempt(
                "update job set state = 'unknown', due = 0, changed_at = ?, instance = coalesce(instance, ?),"
                " attempts = case when attempts > 0 then attempts else 1 end"
                " where id = ? and folder = ? and name = ? and state in ('waiting', 'held', 'sending')",
                (now, instance, job, folder, os.fsencode(name)),
            )
            if went:
                note = "a fail-over of the database has lost that this was being sent"
                connection.execute("insert into history (job, at, state, note) values (?,?,'unknown',?)", (job, now, note))
            return went > 0

    @durable
    def look_back(self, now: float, folder: str) -> int:
        """Of the jobs of a folder that a fail-over has put aside, those are of unknown outcome now, and so read back, whose place
        nobody else is on the way to; oldest first. How many that are."""
        where = (
            f"{PUT_ASIDE} and folder = ?"
            " and not exists (select 1 from job other where other.key = job.key and other.id <> job.id"
            " and (other.state in ('sending', 'unknown')"
            f" or (other.id < job.id and other.state in {OPEN_STATES} and other.state = 'held' and other.may_have_arrived)))"
        )

        with self._writing(folder) as connection:
            note = "read back after the fail-over of the database"
            connection.execute(
                f"insert into history (job, at, state, note) select id, ?, 'unknown', ? from job where {where} order by id",
                (now, note, folder),
            )
            sets = (
                "state = 'unknown', may_have_arrived = false, due = 0, changed_at = ?,"
                " reason = null, message = null, remedy = null"
            )
            return connection.execute(f"update job set {sets} where {where}", (now, folder)).rowcount

    def reroute(self, folder: str, jobs: Sequence[tuple[int, Address]]) -> None:
        """The rules of a folder may have changed: give waiting and held jobs of it their address anew."""
        led = [(job, where, self.keep_document(where.origin)) for job, where in jobs]
        for begin in range(0, len(led), _AT_A_TIME):  # others, and other hosts, write in between
            self._reroute(folder, led[begin : begin + _AT_A_TIME])

    @durable
    def _reroute(self, now: float, folder: str, jobs: Sequence[tuple[int, Address, str | None]]) -> None:
        with self._writing(folder) as connection:
            claim.reroute(connection, jobs, now)

    def look_for_records(self, folders: Collection[str]) -> None:
        """What waits in these for a record, or for leave to create one, is looked at now: the settings may be others."""
        sql = "update job set due = 0 where folder = ? and state in ('waiting', 'unknown') and due > 0"
        self._executemany(f"{sql} and reason in ('no_record', 'create_limit')", [(folder,) for folder in folders])

    @durable
    def clock_was_set(self, now: float) -> int:
        """The clock went back, or may have before the start: what no clock that goes right can have put off until then, or what
        was put off at a time that is still to come, is due now. How many jobs that is. One that only waits for the next day's new
        records is put off by its date alone."""
        with self._writing() as connection:
            jobs = connection.execute(
                "update job set due = 0 where state in ('waiting', 'unknown') and due > ?1 and"
                " (due > ?1 + ?2 or (changed_at > ?1 + ?3 and reason is not 'create_limit'))",
                (now, LONGEST_DELAY, _AHEAD),
            )
            back = connection.execute("update job set read_back = ?1 where read_back > ?1 + ?2", (now, LONGEST_DELAY))
            return jobs.rowcount + back.rowcount

    def pause(self, pause: Pause) -> None:
        """Enter or renew a pause. One that ends by itself does not take the place of one that somebody is to end."""
        p = pause
        self._execute(_PAUSE, (str(p.scope), p.name, str(p.reason), p.message, p.remedy, p.since, p.until_resume))

    def resume(self, scope: Scope, name: str, *, of_itself: bool = False) -> bool:
        """End a pause; False if there was none. What ends `of_itself` is none that waits for somebody, another host's perhaps."""
        sql = "delete from pause where scope = ? and name = ?" + (" and not until_resume" if of_itself else "")
        return self._execute(sql, (scope, name)) > 0

    @durable
    def count_created(self, _now: float, folder: str, day: str, limit: int) -> bool:
        """Take one of the `limit` records that a folder may create on `day`; False if none is left."""
        with self._writing(folder) as connection:
            connection.execute("insert into created values (?,?,0) on conflict do nothing", (folder, day))
            changed = connection.execute(
                "update created set number = number + 1 where folder = ? and day = ? and number < ?",
                (folder, day, limit),
            )
            return changed.rowcount > 0

    @durable
    def mismatched(self, now: float, folder: str, record: str, within: float) -> None:
        """A file's name did not agree with the record; what is older than `within` seconds is forgotten."""
        with self._writing(folder) as connection:
            connection.execute("delete from mismatch where not at between ? and ?", (now - within, now + within))
            connection.execute("insert into mismatch values (?,?,?)", (folder, utf8(record), now))

    def forget_mismatches(self, places: Collection[tuple[str, str]]) -> None:
        """A person has looked at these folders' mismatches of these records: they are counted anew."""
        if places:
            rows = [(folder, utf8(record)) for folder, record in places]
            self._executemany("delete from mismatch where folder = ? and record = ?", rows)


def _followed(kept: Lead | None, told: Lead, configured: int | None) -> Lead | None:
    """What is to be kept now; None if the token may be another project's. What the configuration says of one that is told nothing
    is taken at its word."""
    if configured is not None:
        return Lead(configured, told.token) if told.number in (None, configured) else None
    if kept is None:
        return told
    if told.number is None or kept.number is None:
        return Lead(told.number or kept.number, told.token) if told.token == kept.token else None
    return told if told.number == kept.number else None


def _due_by_our_clock(connection: Connection, now: float, folder: str) -> None:
    """Another host has put off a folder's jobs, by a clock that may be ahead of ours: none is put off for longer than it was."""
    connection.execute(
        "update job set due = ?1 + due - changed_at where folder = ?2 and state in ('waiting', 'unknown') and due > ?1"
        " and changed_at > ?1",
        (now, folder),
    )
    connection.execute("update job set read_back = ?1 where folder = ?2 and read_back > ?1", (now, folder))


def _recovered(connection: Connection, now: float, folder: str | None = None, due: float = 0.0) -> int:
    """Whatever was being sent, in all folders or in one, has an unknown outcome; how many jobs that are."""
    its = "" if folder is None else " and folder = ?"
    where = f"state in {OPEN_STATES} and state = 'sending'{its}"
    values = () if folder is None else (folder,)
    note = "dropcap ended while this was being sent" if folder is None else "its host was gone while this was being sent"
    connection.execute(
        f"insert into history (job, at, state, note) select id, ?, 'unknown', ? from job where {where}", (now, note, *values)
    )
    sql = f"update job set state = 'unknown', due = ?, changed_at = ? where {where}"
    return connection.execute(sql, (due, now, *values)).rowcount


class Ledger(IntakeChanges, DeliveryChanges):
    """The ledger. Every method may be called from any thread; writes are durable on return, and wait while the disk is full or
    may not be written, or the server is away (see `trouble`), or raise Unavailable if that lasts for longer than `patience`.

    Raises:
        LedgerError: it cannot be opened; the message says what to do.
        Damaged: the file is damaged.
    """
