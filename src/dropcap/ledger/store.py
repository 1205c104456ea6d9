"""The ledger's writes: jobs, their guarded transitions with a history row each, pauses and known folders."""

from __future__ import annotations

import copy
import hashlib
import math
import os
import socket
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, Self, TypeVar

from dropcap.display import shown
from dropcap.ledger import act, lead, passing, readdress
from dropcap.ledger import passing as late_sends
from dropcap.ledger.act import Deed, Who, prune, user_name
from dropcap.ledger.clock import Trouble, due_by_our_clock, due_now
from dropcap.ledger.commit import GroupCommit
from dropcap.ledger.database import Conflict, Connection, Database, Writer
from dropcap.ledger.job import (
    Address,
    Change,
    Job,
    KnownFolder,
    Mark,
    MarkKind,
    NewFile,
    Pause,
    ReadBackFound,
    Refusal,
    Reserved,
    State,
    Steps,
    bound,
    digits,
    utf8,
)
from dropcap.ledger.lead import Lead
from dropcap.ledger.passing import NOBODY, Absent
from dropcap.ledger.query import Query
from dropcap.ledger.readdress import MAY_HAVE_ARRIVED, go_on, renamed, rerouted, stands_apart
from dropcap.ledger.schema import OPEN_STATES, PUT_ASIDE, forget_marks
from dropcap.ledger.sqlite.database import SqliteDatabase
from dropcap.reasons import Reason, Scope

T = TypeVar("T")
_META = "insert into meta values (?,?) on conflict (key) do update set value = excluded.value"
_DOCUMENT = "insert into document values (?,?) on conflict do nothing"
#: Documents that are known to be in the ledger.
_MOST_DOCUMENTS = 1000


class Writing:
    """A ledger that is open, and the thread that writes it (see `store.Ledger`)."""

    def __init__(self, place: Database | Path, *, clock: Callable[[], float] = time.time, patience: float = math.inf) -> None:
        """A path is that of a ledger in a file. For `patience` seconds from now, or from `keep_trying` on, writes wait while the
        disk is full or may not be written, or the server is away."""
        self.database: Database = SqliteDatabase(place) if isinstance(place, Path) else place
        self._clock = clock
        self._guarded = True
        self.trouble = Trouble(*self.database.unwritable)
        self._commit = GroupCommit(self.database.writer, self.trouble, patience)
        self.query = Query(self.database, self.trouble.met_asking)
        self.installation = self.query.meta("installation") or ""
        self._documents: dict[str, str] = {}  # what is kept in any case -> its SHA-256

    @property
    def shared(self) -> bool:
        """Whether several hosts write it, each for the folders that it works in."""
        return self.database.shared

    def for_people(self) -> Self:
        """The same ledger, for what a person wants of whatever folder, also of one that another host works in."""
        theirs = copy.copy(self)
        theirs._guarded = False
        return theirs

    def _write(
        self,
        apply: Callable[[Writer], T],
        *,
        folder: str | None = None,
        jobs: Sequence[int] = (),
        then: Callable[[T], None] | None = None,
        steps: Steps | None = None,
    ) -> T:
        """For a folder, or for that of some jobs (see `GroupCommit.write`)."""
        if not self._guarded:
            folder, jobs = None, ()
        return self._commit.write(apply, folder=folder, jobs=jobs, then=then, steps=steps)

    def close(self) -> None:
        """Write out what is pending and close. Its one file holds all then, unless another process reads it at this moment."""
        self.query.close()  # first: who reads keeps the write-ahead log from going
        self._commit.close()

    def keep_trying(self) -> None:
        """Dropcap is at work: from now on writes wait for as long as it takes."""
        self._commit.keep_trying()

    def give_up(self) -> None:
        """Dropcap is to end: writes no longer wait for a disk that takes none."""
        self.database.give_up(silent=bool(self.trouble.unwritable))
        self._commit.give_up()

    def gone(self) -> str:
        """What is told if it is not the one any more that was opened, so that what is written now would be lost; else empty."""
        return self.database.gone()

    def alive(self) -> bool:
        """Whether the writing thread still runs (for the watchdog)."""
        return self._commit.alive()

    def act(self, who: Who, what: Deed, **told: Any) -> None:
        """Enter that somebody has dropcap do something, before it is done; of several hosts, on which."""
        now = self._clock()
        if self.shared:
            told["host"] = socket.gethostname()
        self._write(lambda connection: act.enter(connection, now, who, what, told))

    def prune(self, jobs: Sequence[int], who: Who, folder: str | None = None) -> int:
        """Take jobs that are over out of the ledger, with their history; how many those were. An act says so. `folder`: it is
        theirs, and one in which this host works."""
        now = self._clock()
        return self._write(lambda connection: prune(connection, jobs, now, who), folder=folder)

    def keep_document(self, text: str) -> str | None:
        """The SHA-256 (hex) of a text that is in the ledger from then on; None of an empty one."""
        if not text:
            return None
        known = self._documents.get(text)
        if known is None:
            known = hashlib.sha256(text.encode()).hexdigest()
            row = (known, text)
            self._write(lambda connection: connection.execute("insert into document values (?,?) on conflict do nothing", row))
            if len(self._documents) > _MOST_DOCUMENTS:
                self._documents.clear()
            self._documents[text] = known
        return known

    def rebuilt(self, installation: str | None) -> None:
        """This ledger stands for one that is lost. The folders know `installation`."""
        self.set_meta("rebuilt", str(self._clock()))
        if installation is not None:
            self.set_meta("installation", installation)
            self.installation = installation

    def set_meta(self, key: str, value: str) -> None:
        """Keep one word about the installation."""
        self._write(lambda connection: connection.execute(_META, (key, value)))


_CLAIMED = (
    *("folder", "name", "state", "project", "rule", "record", "event", "field", "instance", "takes_next", "key", "size"),
    *("mtime_ns", "inode", "again_of", "claimed_at", "changed_at", "dropped_by", "dropped_by_name", "origin"),
    *("reason", "message", "remedy", "may_have_arrived", "attempts"),
)
_MARK = (
    "insert into mark (folder, name, kind, size, mtime_ns, ctime_ns, inode, since) values (?,?,?,?,?,?,?,?)"
    " on conflict (folder, name, kind) do update set size = excluded.size, mtime_ns = excluded.mtime_ns,"
    " ctime_ns = excluded.ctime_ns, inode = excluded.inode, since = excluded.since"
)
#: What failed before it was looked for is looked for when it is tried again.
_STILL_TO_BE_LOOKED_FOR = (
    "update job set may_have_arrived = true, attempts = 1"
    " where id = ? and exists (select 1 from job old where old.id = ? and old.may_have_arrived)"
)
#: A folder (?2) gets another name (?1). What both have of one kind stays under the old one, but for a pause.
_RENAMES = (
    f"update job set folder = ?1 where folder = ?2 and not (state in {OPEN_STATES} and exists (select 1 from job other"
    f" where other.folder = ?1 and other.name = job.name and other.state in {OPEN_STATES}))",
    "delete from folder where folder = ?2 and ?1 <> ?2",
    "update mark set folder = ?1 where folder = ?2 and not exists (select 1 from mark other"
    " where other.folder = ?1 and other.name = mark.name and other.kind = mark.kind)",
    "update mismatch set folder = ?1 where folder = ?2",
    "delete from pause where scope = 'folder' and name = ?1"
    " and exists (select 1 from pause renamed where renamed.scope = 'folder' and renamed.name = ?2)",
    "update pause set name = ?1, remedy = replace(remedy, ?2, ?1) where scope = 'folder' and name = ?2",
)


class IntakeChanges(Writing):
    """What is entered of files."""

    def claim(self, folder: str, files: Sequence[NewFile], address: Callable[[str], Address]) -> list[int]:
        """Enter files that now lie in in_progress/; the numbers of their jobs, in order.

        A file that is back under the name that it had goes on under its old number.

        Raises:
            Conflict: a job of that folder and name is open, or the place of one that is back is in use.
        """
        now = self._clock()
        addresses = [address(file.name) for file in files]
        origins = [self.keep_document(a.origin) for a in addresses]
        owners = [None if file.owner is None else utf8(user_name(file.owner)) or None for file in files]

        def change(connection: Connection) -> list[int]:
            jobs: list[int] = []
            gone_on: set[int] = set()
            fresh: list[NewFile] = []
            rows: list[tuple[object, ...]] = []
            for file, a, origin, owner in zip(files, addresses, origins, owners, strict=True):
                job = go_on(connection, folder, file, now)
                if job is not None:
                    jobs.append(job)
                    gone_on.add(job)
                    continue
                state = State.REFUSED if file.refusal else State.WAITING
                why = file.refusal or Refusal(Reason.NONE, "", "")
                rows.append(
                    (
                        *(folder, os.fsencode(file.name), state.value),
                        *(a.project, a.rule, utf8(a.record), utf8(a.event), a.field, a.instance, a.takes_next, utf8(a.key)),
                        *(file.size, digits(file.mtime_ns), digits(file.inode), file.again_of, now, now),
                        *(file.owner, owner, origin),
                        *(why.reason.value or None, utf8(why.message) or None, utf8(why.remedy) or None),
                        *(file.found, int(file.found)),  # it counts as sent
                    )
                )
                jobs.append(0)
                fresh.append(file)
            numbers = iter(connection.enter("job", _CLAIMED, rows))
            jobs = [job or next(numbers) for job in jobs]
            entered = list(zip([job for job in jobs if job not in gone_on], fresh, strict=True))
            for job, file in entered:
                if file.again_of is not None:
                    connection.execute("update job set tried_again = ? where id = ?", (job, file.again_of))
                    connection.execute(_STILL_TO_BE_LOOKED_FOR, (job, file.again_of))
            connection.executemany(
                "insert into history (job, at, state, note) values (?,?,?,?)",
                [(job, now, "waiting", _came(file)) for job, file in entered],
            )
            for job, file in entered:
                stands_apart(connection, job, file, shown(file.name), now)
            forget_marks(connection, folder, [file.name for file in files])
            return jobs

        return self._write(change, folder=folder)

    def mark(self, folder: str, marks: Sequence[Mark]) -> None:
        """Remember what was seen of files that lie in a folder; a mark of the same kind and name is replaced."""
        rows = [
            (folder, os.fsencode(m.name), m.kind.value, m.size, digits(m.mtime_ns), digits(m.ctime_ns), digits(m.inode), m.since)
            for m in marks
        ]
        # As `forget_marks` does: of two threads' writes in one commit, the second one is to have the last word.
        self._write(lambda connection: connection.later(_MARK, rows), folder=folder)

    def unmark(self, folder: str, names: Sequence[str], kinds: Sequence[MarkKind] = tuple(MarkKind)) -> None:
        """Forget the marks of these kinds and names."""
        self._write(lambda connection: forget_marks(connection, folder, names, kinds), folder=folder)

    def withdraw(self, job: int, note: str = "taken out of in_progress/ by a person", *, folder: str | None = None) -> bool:
        """End a job whose file is no longer there; False if its state does not allow that now: it may just be being sent.

        `folder` is the one that has found it out, where the job's own may be another.
        """
        now = self._clock()

        def apply(connection: Connection) -> bool:
            cursor = connection.execute(
                f"update job set may_have_arrived = {MAY_HAVE_ARRIVED},"
                " state = 'withdrawn', reason = 'vanished', changed_at = ?, ended_at = ?"
                " where id = ? and state in ('waiting', 'held', 'unknown')",
                (now, now, job),
            )
            if cursor.rowcount:
                connection.execute("insert into history (job, at, state, note) values (?,?,'withdrawn',?)", (job, now, note))
            return cursor.rowcount > 0

        return self._write(apply, folder=folder, jobs=() if folder else [job])

    def rename_open(self, job: int, name: str, address: Address) -> bool:
        """The file of an open job got another name; False if the job cannot take it now."""
        origin = self.keep_document(address.origin)
        try:
            return self._write(renamed(job, name, address, origin, self._clock()), jobs=[job])
        except Conflict:
            return False

    def keep_left_marks(self, folder: str, marks: str) -> None:
        """Keep which files of a folder are left that lay there at first."""
        self.set_meta(f"left {folder}", marks)

    def remember_folder(self, folder: str, path: str, marker: str, mount: str) -> None:
        """Keep how a drop folder was seen: its marker and its mount."""
        now = self._clock()
        self._write(
            lambda connection: connection.execute(
                "insert into folder values (?,?,?,?,?) on conflict (folder) do update"
                " set path = excluded.path, marker = excluded.marker, mount = excluded.mount",
                (folder, path, marker, mount, now),
            ),
            folder=folder,
        )

    def rename_folder(self, old: str, new: str) -> None:
        """What was dropped into a folder belongs to it under its new name too, as does a pause by hand."""

        def apply(connection: Connection) -> None:
            act.enter(connection, self._clock(), Who.me(), Deed.RENAME, {"from": old, "to": new})
            for rename in _RENAMES:
                connection.execute(rename, (new, old))

        self._write(apply)

    def forget_failed(self, jobs: Sequence[int]) -> None:
        """These failed jobs' files are no longer in failed/: somebody dealt with them."""
        now = self._clock()

        def apply(connection: Connection) -> None:
            for job in jobs:
                connection.execute("update job set tried_again = id where id = ? and tried_again is null", (job,))
                connection.execute(
                    "insert into history (job, at, state, note) values (?,?,'failed','taken out of failed/ by a person')",
                    (job, now),
                )

        self._write(apply, jobs=jobs)

    def known_folder(self, folder: str) -> KnownFolder | None:
        """How a drop folder was seen before, if it was."""
        return self.query.known_folder(folder)


def _came(file: NewFile) -> str:
    if file.again_of:
        return f"tried again after job {file.again_of}"
    return "found in in_progress/: REDCap may have it, and is asked first" if file.found else "claimed"


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
            self._write(readdress.take_over(job.id), jobs=[job.id])
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

    def order(self, keys: Sequence[tuple[int, str, str]]) -> None:
        """The keys of these jobs are complete now: number, key before, key now."""
        if keys:
            sql = "update job set key = ? where id = ? and key = ? and state in ('waiting', 'held')"
            rows = [(utf8(now), job, before) for job, before, now in keys]
            self._write(lambda connection: connection.executemany(sql, rows))

    def tell_read_back(self, job: Job, found: str, message: str, remedy: str | None) -> bool:
        """It is known whether REDCap has what was sent of a withdrawn job (yes, no, other); False if it is not withdrawn now."""
        return self._write(readdress.tell_read_back(job, found, message, remedy, self._clock()), jobs=[job.id])

    def read_back_later(self, job: int, seconds: float) -> None:
        """Whether REDCap has what was sent of a withdrawn job is looked at again after `seconds`."""
        self._write(readdress.put_off(job, self._clock() + seconds), jobs=[job])

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
            self._write(rerouted(led[begin : begin + _AT_A_TIME], now), folder=folder)
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


class Ledger(IntakeChanges, DeliveryChanges):
    """The ledger. Every method may be called from any thread; writes are durable on return, and wait while the disk is full or
    may not be written, or the server is away (see `trouble`), or raise Unavailable if that lasts for longer than `patience`.

    Raises:
        LedgerError: it cannot be opened; the message says what to do.
        Damaged: the file is damaged.
    """
