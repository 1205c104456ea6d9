"""What delivery asks the ledger: what is due, what goes where, what is paused."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable

from dropcap.ledger import late_sends
from dropcap.ledger.job import (
    Job,
    Pause,
    State,
)
from dropcap.ledger.passing import NEWER_WENT, NOBODY, PLACE, Absent, may_pass
from dropcap.ledger.rows import Rows
from dropcap.ledger.schema import OPEN_STATES, PUT_ASIDE, open_by_key
from dropcap.ledger.transition import digits, utf8
from dropcap.reasons import Scope

#: Of a held job: nobody waits for it, since what came after it has gone.
GIVES_WAY = "older.reason is 'newer_went'"

#: That a job was sent to an instance at the place of another one (number, key, project, record, event, field).
_AT_ITS_PLACE = (
    "instance is not null and id in ("
    + " union ".join(
        f"select id from job where {place} and id <> ?1 and field = ?6 and attempts > 0"
        for place in ("key = ?2", "record = ?4 and record <> '' and project = ?3 and event is ?5")
    )
    + ")"
)


_PAUSABLE = frozenset({Scope.FOLDER, Scope.SERVER, Scope.PROJECT})


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
            f" and older.state || '' in ('waiting', 'held') and not (older.state = 'held' and {GIVES_WAY}) and not ({passes}))"
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
        sight = (job.size, digits(job.mtime_ns), digits(job.inode))
        return self._jobs(f"where {_AT_ITS_PLACE} and {its}", *_place_of(job), *sight)

    def late_sends(self, now: float, limit: int = 20) -> list[int]:
        """Jobs that were taken over in `sending`, and whose places are due to be looked at once more."""
        return [job for (job,) in self._rows(late_sends.DUE, now, limit)]

    def stored_there(self, job: Job) -> Job | None:
        """The newest job that was stored at the place of a job."""
        found = self._jobs(late_sends.STORED, job.project, job.record, job.event, job.field, job.instance)
        return found[0] if found else None

    def is_on_its_way(self, job: Job) -> bool:
        """Whether something is being sent to the place of a job, or may have been."""
        return bool(self._jobs(late_sends.OPEN_THERE, job.project, job.record, job.event, job.field, job.instance))

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

    def mismatches(self, folder: str, record: str, now: float, within: float) -> int:
        """How often names of a folder's files did not agree with a record in the last `within` seconds."""
        sql = "select count(*) from mismatch where folder = ? and record = ? and at between ? and ?"
        name = record.encode("utf-8", "backslashreplace").decode()
        return int(next(self._rows(sql, folder, name, now - within, now + within))[0])

    def pauses(self) -> list[Pause]:
        """What is paused, oldest first; a pause of something that this version of dropcap does not know stops nothing."""
        sql = "select scope, name, reason, message, remedy, since, until_resume from pause order by since"
        return [Pause(Scope(s), n, r, m, e, t, bool(u)) for s, n, r, m, e, t, u in self._rows(sql) if s in _PAUSABLE]

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
