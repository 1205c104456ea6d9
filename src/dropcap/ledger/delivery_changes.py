"""What delivery enters in the ledger: the steps of jobs, where they go, what is learnt, paused and counted."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from dropcap.ledger import late_sends, lead, passing, readdressed, returned
from dropcap.ledger.clock import due_by_our_clock, due_now
from dropcap.ledger.database import Connection, Writer
from dropcap.ledger.errors import Conflict
from dropcap.ledger.job import Address, Job, Pause, ReadBackFound, Reserved, State
from dropcap.ledger.lead import Lead
from dropcap.ledger.passing import NOBODY, Absent
from dropcap.ledger.schema import OPEN_STATES, PUT_ASIDE
from dropcap.ledger.transition import Change, Steps, bound, utf8
from dropcap.ledger.writing import Writing
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


class DeliveryChanges(Writing):
    """What is entered of jobs."""

    def change(
        self, changes: Sequence[Change], absent: Absent = NOBODY, begun: Callable[[set[int]], None] | None = None
    ) -> set[int]:
        """Take jobs to their next state, each with a history row; the jobs that could go. `begun` is told of them once that is
        durable; what it raises is raised.

        A job stays where it is if its state does not allow the step, if it would be the second one sending to its target, if it
        has another target by now, or if a newer one has been sent there before it (`overtaken`). One that is to be sent may pass
        those of folders that are `absent`.
        """
        if not changes:
            return set()
        now = self._clock()

        def apply(connection: Connection) -> set[int]:
            if absent == NOBODY and (went := connection.take(changes, now)) is not None:
                return went
            gone = [one for one in changes if passing.step(connection, one, absent, now)]
            entries = [(one.job, now, one.state.value, utf8(one.note)) for one in gone]
            connection.executemany("insert into history (job, at, state, note) values (?,?,?,?)", entries)
            return {one.job for one in gone}

        steps = Steps(changes, now) if absent == NOBODY else None
        return self._write(apply, jobs=[one.job for one in changes], then=begun, steps=steps)

    def note(self, job: int, note: str, columns: Mapping[str, Any]) -> None:
        """Set columns without a change of state: the instance that was fixed, the copy that was preserved."""
        self.notes([(job, note, columns)])

    def notes(self, entries: Sequence[tuple[int, str, Mapping[str, Any]]]) -> None:
        """The same of several jobs, all or none."""
        now = self._clock()

        def apply(connection: Connection) -> None:
            for job, note, columns in entries:
                names = "".join(f"{name} = ?, " for name in columns)
                values = [bound(column, value) for column, value in columns.items()]
                connection.execute(f"update job set {names}changed_at = ? where id = ?", (*values, now, job))
                connection.execute(
                    "insert into history (job, at, state, note) select id, ?, state, ? from job where id = ?",
                    (now, utf8(note), job),
                )

        self._write(apply, jobs=[job for job, _, _ in entries])

    def copying(self, job: int, temporary: str, final: str) -> None:
        """The file is about to be copied to another file system: under which name the copy grows, and which one it gets."""
        names = (os.fsencode(temporary), os.fsencode(final), job)
        self._write(
            lambda connection: connection.execute("update job set copy_temporary = ?, copy_final = ? where id = ?", names),
            jobs=[job],
        )

    def found(self, job: Job, record: str, key: str) -> ReadBackFound:
        """It is known now which record of which of REDCap's projects a file belongs to, and so what it is ordered by."""
        now = self._clock()

        def apply(connection: Connection) -> ReadBackFound:
            connection.execute(
                "update job set sent_over = case when record in ('', ?1) then sent_over else 0 end, record = ?1, key = ?2,"
                " changed_at = ?3 where id = ?4",
                (utf8(record), utf8(key), now, job.id),
            )
            if record != job.record:
                connection.execute(
                    "insert into history (job, at, state, note) select id, ?, state, 'record found' from job where id = ?",
                    (now, job.id),
                )
            overtaken = passing.overtaken(connection, job.id)
            return ReadBackFound.NEWER_WENT if overtaken else ReadBackFound.ENTERED

        try:
            came = self._write(apply, jobs=[job.id])
        except Conflict:
            return ReadBackFound.ANOTHER_GOES
        if came is ReadBackFound.ENTERED and job.back_of is not None:
            self._write(returned.take_over(job.id), jobs=[job.id])
        return came

    def learn(self, project: str, kind: str, what: str, until: float) -> None:
        """Keep something that REDCap has told of a project until then (seconds since the epoch)."""
        now = self._clock()

        def apply(connection: Connection) -> None:
            connection.execute("delete from learned where until <= ?", (now,))
            connection.execute(_LEARNED, (project, kind, utf8(what), until))

        self._write(apply)

    def reserve(
        self, project: str, record: str, alike: Callable[[str, str], bool], over: Collection[Reserved]
    ) -> Reserved | None:
        """Reserve the spelling of a record that is to be created in one of REDCap's projects.

        None, or the other spelling, by `alike`, that is reserved on whatever host, and is not `over`.
        """
        now = self._clock()

        def apply(connection: Connection) -> Reserved | None:
            connection.execute("delete from learned where until <= ?", (now,))
            sql = "select what, until from learned where project = ? and kind = ?"
            rows = [Reserved(*row) for row in connection.execute(sql, (project, _SPELLING)).fetchall()]
            others = [one for one in rows if one.record != utf8(record) and alike(one.record, record)]
            for one in others:
                if one not in over:
                    return one
                values = (project, _SPELLING, one.record)
                connection.execute("delete from learned where project = ? and kind = ? and what = ?", values)
            connection.execute(_LEARNED, (project, _SPELLING, utf8(record), now + _KEPT))
            return None

        return self._write(apply)

    def unreserve(self, project: str, record: str) -> None:
        """That record is not created: another spelling of it may be."""
        self.learn(project, _SPELLING, record, 0.0)

    def lead(self, entry: str, told: Lead, configured: int | None) -> tuple[Lead | None, bool]:
        """REDCap has told where an entry's token leads, and the configuration where it should: what was kept of that before, and
        whether it may be gone there."""
        return self._write(lambda connection: lead.enter(connection, entry, told, configured))

    def tell_read_back(self, job: Job, found: str, message: str, remedy: str | None) -> bool:
        """It is known whether REDCap has what was sent of a withdrawn job (yes, no, other); False if it is not withdrawn now."""
        return self._write(returned.tell_read_back(job, found, message, remedy, self._clock()), jobs=[job.id])

    def read_back_later(self, job: int, seconds: float) -> None:
        """Whether REDCap has what was sent of a withdrawn job is looked at again after `seconds`."""
        self._write(returned.put_off(job, self._clock() + seconds), jobs=[job])

    def blame(self, jobs: Sequence[int]) -> None:
        """These jobs' sends went wrong while the server was well. It is no matter whose their folders are by now, and must not
        keep from being entered what has come of another file."""
        if jobs:
            rows = [(job,) for job in jobs]
            self._write(lambda connection: connection.executemany("update job set faults = faults + 1 where id = ?", rows))

    def recover(self) -> int:
        """At the start: whatever was being sent has an unknown outcome now. The number of such jobs."""
        now = self._clock()
        return self._write(lambda connection: recovered(connection, now))

    def take_over(self, folder: str, beat: int | None, read_back_in: float, over_in: float = 0.0) -> tuple[int, int] | None:
        """Take the lease of a folder that nobody else has, or that is seen not to be kept (`beat` is what was seen of it last).

        What was being sent there has an unknown outcome now, in the same transaction; REDCap is read back `read_back_in` seconds
        later, when what is half sent has come to nothing, and looked at once more in `over_in` seconds. The fence, and how many
        jobs those are; None if another host has it.
        """
        now = self._clock()

        def apply(connection: Writer) -> tuple[int, int] | None:
            fence = connection.take_lease(folder, beat)
            if fence is None:
                return None
            late_sends.enter(connection, folder, now + over_in)
            unknown = recovered(connection, now, folder, now + read_back_in)
            due_by_our_clock(connection, now, folder)
            return fence, unknown

        return self._commit.write(apply)

    def late_send_over(self, job: int, folder: str | None) -> None:
        """The place of a job that was taken over in `sending` was looked at once more."""
        self._write(late_sends.over(job), folder=folder)

    def late_send_later(self, job: int, folder: str, seconds: float) -> None:
        """It is looked at in so many seconds."""
        self._write(late_sends.put_off(job, self._clock() + seconds), folder=folder)

    def lost(self, job: int, folder: str, name: str, instance: int | None) -> bool:
        """A fail-over of the database has lost what became of a job, or that it was being sent at all: its outcome is unknown."""
        now = self._clock()

        def apply(connection: Connection) -> bool:
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

        return self._write(apply)

    def look_back(self, folder: str) -> int:
        """Of the jobs of a folder that a fail-over has put aside, those are of unknown outcome now, and so read back, whose place
        nobody else is on the way to; oldest first. How many that are."""
        now = self._clock()
        where = (
            f"{PUT_ASIDE} and folder = ?"
            " and not exists (select 1 from job other where other.key = job.key and other.id <> job.id"
            " and (other.state in ('sending', 'unknown')"
            f" or (other.id < job.id and other.state in {OPEN_STATES} and other.state = 'held' and other.may_have_arrived)))"
        )

        def apply(connection: Connection) -> int:
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

        return self._write(apply, folder=folder)

    def reroute(self, folder: str, address: Callable[[str], Address], jobs: Sequence[tuple[int, str]] | None = None) -> int:
        """The rules of a folder may have changed: give its waiting and held jobs, or some of them, their address anew."""
        if jobs is None:
            jobs = self.query.names(folder, (State.WAITING, State.HELD))
        led = [(job, where, self.keep_document(where.origin)) for job, where in ((job, address(name)) for job, name in jobs)]
        now = self._clock()
        for begin in range(0, len(led), _AT_A_TIME):  # others, and other hosts, write in between
            self._write(readdressed.rerouted(led[begin : begin + _AT_A_TIME], now), folder=folder)
        return len(jobs)

    def look_for_records(self, folders: Collection[str]) -> None:
        """What waits in these for a record, or for leave to create one, is looked at now: the settings may be others."""
        sql = "update job set due = 0 where folder = ? and state in ('waiting', 'unknown') and due > 0"
        rows = [(folder,) for folder in folders]
        self._write(lambda connection: connection.executemany(f"{sql} and reason in ('no_record', 'create_limit')", rows))

    def clock_was_set(self) -> int:
        """The clock went back, or may have before the start: what it had put off until a time far ahead is due now. How many
        jobs that is.
        """
        return self._write(due_now(self._clock()))

    def pause(self, pause: Pause) -> None:
        """Enter or renew a pause. One that ends by itself does not take the place of one that somebody is to end."""
        p = pause
        self._write(
            lambda connection: connection.execute(
                _PAUSE,
                (str(p.scope), p.name, str(p.reason), p.message, p.remedy, p.since, p.until_resume),
            )
        )

    def resume(self, scope: Scope, name: str, *, of_itself: bool = False) -> bool:
        """End a pause; False if there was none. What ends `of_itself` is none that waits for somebody, another host's perhaps."""
        sql = "delete from pause where scope = ? and name = ?" + (" and not until_resume" if of_itself else "")
        return self._write(lambda connection: connection.execute(sql, (scope, name)).rowcount > 0)

    def count_created(self, folder: str, day: str, limit: int) -> bool:
        """Take one of the `limit` records that a folder may create on `day`; False if none is left."""

        def apply(connection: Connection) -> bool:
            connection.execute("insert into created values (?,?,0) on conflict do nothing", (folder, day))
            changed = connection.execute(
                "update created set number = number + 1 where folder = ? and day = ? and number < ?",
                (folder, day, limit),
            )
            return changed.rowcount > 0

        return self._write(apply, folder=folder)

    def mismatched(self, folder: str, record: str, within: float) -> None:
        """A file's name did not agree with the record; what is older than `within` seconds is forgotten."""
        now = self._clock()

        def apply(connection: Connection) -> None:
            connection.execute("delete from mismatch where not at between ? and ?", (now - within, now + within))
            connection.execute("insert into mismatch values (?,?,?)", (folder, utf8(record), now))

        self._write(apply, folder=folder)

    def forget_mismatches(self, places: Collection[tuple[str, str]]) -> None:
        """A person has looked at these folders' mismatches of these records: they are counted anew."""
        if places:
            rows = [(folder, utf8(record)) for folder, record in places]
            self._write(lambda connection: connection.executemany("delete from mismatch where folder = ? and record = ?", rows))


def recovered(connection: Connection, now: float, folder: str | None = None, due: float = 0.0) -> int:
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
