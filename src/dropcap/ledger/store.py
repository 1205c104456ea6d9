"""The ledger itself: jobs, their guarded transitions with a history row each, pauses and known folders."""

from __future__ import annotations

import hashlib
import os
import sqlite3
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from dropcap.display import shown
from dropcap.ledger import act, passing, readdressed, returned
from dropcap.ledger.act import Deed, Who, user_name
from dropcap.ledger.clock import due_now
from dropcap.ledger.commit import GroupCommit
from dropcap.ledger.connection import open_for_writing
from dropcap.ledger.job import Address, Job, KnownFolder, Mark, MarkKind, NewFile, Pause, ReadBackFound, Refusal, State
from dropcap.ledger.passing import NOBODY, Absent
from dropcap.ledger.prune import prune
from dropcap.ledger.query import Query
from dropcap.ledger.schema import OPEN_STATES
from dropcap.ledger.transition import Change, bound, digits, forget_marks, utf8
from dropcap.ledger.trouble import Trouble, identities
from dropcap.reasons import Reason, Scope

#: Documents that are known to be in the ledger.
_MOST_DOCUMENTS = 1000


class Ledger:
    """The SQLite ledger. Every method may be called from any thread; writes are durable on return, and wait while the disk
    is full or may not be written (see `trouble`).

    Raises:
        LedgerError: it cannot be opened; the message says what to do.
        sqlite3.DatabaseError: the file is damaged.
    """

    def __init__(self, path: Path, *, clock: Callable[[], float] = time.time) -> None:
        self.path = path
        self._clock = clock
        self.trouble = Trouble()
        self._commit = GroupCommit(partial(open_for_writing, path), self.trouble)
        self.query = Query(path, self.trouble.met)
        self.installation = self.query.meta("installation") or ""
        self._files = identities(path)
        self._documents: dict[str, str] = {}  # what is kept in any case -> its SHA-256

    def close(self) -> None:
        """Write out what is pending and close. Its one file holds all then, unless another process reads it at this moment."""
        self.query.close()  # first: who reads keeps the write-ahead log from going
        self._commit.close()

    def give_up(self) -> None:
        """Dropcap is to end: writes no longer wait for a disk that takes none."""
        self._commit.give_up()

    def gone(self) -> bool:
        """Whether its files were removed or replaced under it: what is written now would be lost."""
        try:
            return not self._files.items() <= identities(self.path).items()
        except OSError:
            return False  # it cannot be told

    def alive(self) -> bool:
        """Whether the writing thread still runs (for the watchdog)."""
        return self._commit.alive()

    # Intake -------------------------------------------------------------------------------------------------------

    def claim(self, folder: str, files: Sequence[NewFile], address: Callable[[str], Address]) -> list[int]:
        """Enter files that now lie in in_progress/; the numbers of their jobs, in order.

        A file that is back under the name that it had goes on under its old number.

        Raises:
            sqlite3.IntegrityError: a job of that folder and name is open, or the place of one that is back is in use.
        """
        now = self._clock()
        addresses = [address(file.name) for file in files]
        origins = [self.keep_document(a.origin) for a in addresses]
        owners = [None if file.owner is None else utf8(user_name(file.owner)) or None for file in files]

        def change(connection: sqlite3.Connection) -> list[int]:
            jobs = []
            fresh = []
            for file, a, origin, owner in zip(files, addresses, origins, owners, strict=True):
                job = returned.go_on(connection, folder, file, now)
                if job is not None:
                    jobs.append(job)
                    continue
                state = State.UNKNOWN if file.found_after_loss else State.REFUSED if file.refusal else State.WAITING
                why = file.refusal or Refusal(Reason.NONE, "", "")
                cursor = connection.execute(
                    "insert into job (folder, name, state, project, rule, record, event, field, instance, takes_next, key, size,"
                    " mtime_ns, inode, again_of, claimed_at, changed_at, dropped_by, dropped_by_name, origin, reason, message,"
                    " remedy) values (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,nullif(?,''),nullif(?,''),nullif(?,''))",
                    (
                        *(folder, os.fsencode(file.name), state.value),
                        *(a.project, a.rule, utf8(a.record), utf8(a.event), a.field, a.instance, int(a.takes_next), utf8(a.key)),
                        *(file.size, digits(file.mtime_ns), digits(file.inode), file.again_of, now, now),
                        *(file.owner, owner, origin),
                        *(why.reason, why.message, why.remedy),
                    ),
                )
                job = int(cursor.lastrowid or 0)
                jobs.append(job)
                fresh.append((job, file))
                if file.again_of is not None:
                    connection.execute("update job set tried_again = ? where id = ?", (job, file.again_of))
            connection.executemany(
                "insert into history (job, at, state, note) values (?,?,?,?)",
                [
                    (job, now, "waiting", f"tried again after job {file.again_of}" if file.again_of else "claimed")
                    for job, file in fresh
                ],
            )
            for job, file in fresh:
                returned.stands_apart(connection, job, file, shown(file.name), now)
            forget_marks(connection, folder, [file.name for file in files])
            return jobs

        return self._commit.write(change)

    def mark(self, folder: str, marks: Sequence[Mark]) -> None:
        """Remember what was seen of files that lie in a folder; a mark of the same kind and name is replaced."""
        rows = [
            (folder, os.fsencode(m.name), m.kind.value, m.size, digits(m.mtime_ns), digits(m.ctime_ns), digits(m.inode), m.since)
            for m in marks
        ]
        self._commit.write(
            lambda connection: connection.executemany("insert or replace into mark values (?,?,?,?,?,?,?,?)", rows)
        )

    def unmark(self, folder: str, names: Sequence[str], kinds: Sequence[MarkKind] = tuple(MarkKind)) -> None:
        """Forget the marks of these kinds and names."""
        self._commit.write(lambda connection: forget_marks(connection, folder, names, kinds))

    def withdraw(self, job: int, note: str = "taken out of in_progress/ by a person") -> bool:
        """End a job whose file is no longer there; False if its state does not allow that now: it may just be being sent."""
        now = self._clock()

        def apply(connection: sqlite3.Connection) -> bool:
            cursor = connection.execute(
                f"update job set may_have_arrived = {returned.MAY_HAVE_ARRIVED},"
                " state = 'withdrawn', reason = 'vanished', changed_at = ?, ended_at = ?"
                " where id = ? and state in ('waiting', 'held', 'unknown')",
                (now, now, job),
            )
            if cursor.rowcount:
                connection.execute("insert into history (job, at, state, note) values (?,?,'withdrawn',?)", (job, now, note))
            return cursor.rowcount > 0

        return self._commit.write(apply)

    def rename_open(self, job: int, name: str, address: Address) -> bool:
        """The file of an open job got another name; False if the job cannot take it now."""
        origin = self.keep_document(address.origin)
        try:
            return self._commit.write(readdressed.renamed(job, name, address, origin, self._clock()))
        except sqlite3.IntegrityError:
            return False

    def keep_left_marks(self, folder: str, marks: str) -> None:
        """Keep which files of a folder are left that lay there at first."""
        self.set_meta(f"left {folder}", marks)

    def remember_folder(self, folder: str, path: str, marker: str, mount: str) -> None:
        """Keep how a drop folder was seen: its marker and its mount."""
        now = self._clock()
        self._commit.write(
            lambda connection: connection.execute(
                "insert into folder values (?,?,?,?,?) on conflict (folder) do update"
                " set path = excluded.path, marker = excluded.marker, mount = excluded.mount",
                (folder, path, marker, mount, now),
            )
        )

    def rename_folder(self, old: str, new: str) -> None:
        """What was dropped into a folder belongs to it under its new name too, as does a pause by hand."""

        def apply(connection: sqlite3.Connection) -> None:
            act.enter(connection, self._clock(), Who.me(), Deed.RENAME, {"from": old, "to": new})
            connection.execute("update or ignore job set folder = ? where folder = ?", (new, old))
            connection.execute("delete from folder where folder = ?", (old,))
            connection.execute("update or ignore mark set folder = ? where folder = ?", (new, old))
            connection.execute("update mismatch set folder = ? where folder = ?", (new, old))
            connection.execute(
                "update or replace pause set name = ?1, remedy = replace(remedy, ?2, ?1) where scope = 'folder' and name = ?2",
                (new, old),
            )

        self._commit.write(apply)

    def forget_failed(self, jobs: Sequence[int]) -> None:
        """These failed jobs' files are no longer in failed/: somebody dealt with them."""
        now = self._clock()

        def apply(connection: sqlite3.Connection) -> None:
            for job in jobs:
                connection.execute("update job set tried_again = id where id = ? and tried_again is null", (job,))
                connection.execute(
                    "insert into history (job, at, state, note) values (?,?,'failed','taken out of failed/ by a person')",
                    (job, now),
                )

        self._commit.write(apply)

    # Delivery -----------------------------------------------------------------------------------------------------

    def change(self, changes: Sequence[Change], absent: Absent = NOBODY) -> set[int]:
        """Take jobs to their next state, each with a history row; the jobs that could go.

        A job stays where it is if its state does not allow the step, if it would be the second one sending to its target, if it
        has another target by now, or if a newer one has been sent there before it (`overtaken`). One that is to be sent may pass
        those of folders that are `absent`.
        """
        if not changes:
            return set()
        now = self._clock()

        def apply(connection: sqlite3.Connection) -> set[int]:
            gone = {}
            for one in changes:
                if passing.step(connection, one, absent, now):
                    gone[one.job] = (one.job, now, one.state.value, utf8(one.note))
            connection.executemany("insert into history (job, at, state, note) values (?,?,?,?)", gone.values())
            return set(gone)

        return self._commit.write(apply)

    def note(self, job: int, note: str, columns: Mapping[str, Any]) -> None:
        """Set columns without a change of state: the instance that was fixed, the copy that was preserved."""
        now = self._clock()

        def apply(connection: sqlite3.Connection) -> None:
            names = "".join(f"{name} = ?, " for name in columns)
            values = [bound(column, value) for column, value in columns.items()]
            connection.execute(f"update job set {names}changed_at = ? where id = ?", (*values, now, job))
            connection.execute(
                "insert into history (job, at, state, note) select id, ?, state, ? from job where id = ?", (now, utf8(note), job)
            )

        self._commit.write(apply)

    def copying(self, job: int, temporary: str, final: str) -> None:
        """The file is about to be copied to another file system: under which name the copy grows, and which one it gets."""
        names = (os.fsencode(temporary), os.fsencode(final), job)
        self._commit.write(
            lambda connection: connection.execute("update job set copy_temporary = ?, copy_final = ? where id = ?", names)
        )

    def found(self, job: Job, record: str, key: str) -> ReadBackFound:
        """It is known now which record of which of REDCap's projects a file belongs to, and so what it is ordered by."""
        now = self._clock()

        def apply(connection: sqlite3.Connection) -> ReadBackFound:
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
            came = self._commit.write(apply)
        except sqlite3.IntegrityError:
            return ReadBackFound.ANOTHER_GOES
        if came is ReadBackFound.ENTERED and job.back_of is not None:
            self._commit.write(returned.take_over(job.id))
        return came

    def learn(self, project: str, kind: str, what: str, until: float) -> None:
        """Keep something that REDCap has told of a project until then (seconds since the epoch)."""
        now = self._clock()

        def apply(connection: sqlite3.Connection) -> None:
            connection.execute("delete from learned where until <= ?", (now,))
            if kind == "project_id":  # there is one
                connection.execute("delete from learned where project = ? and kind = ?", (project, kind))
            connection.execute("insert or replace into learned values (?,?,?,?)", (project, kind, utf8(what), until))

        self._commit.write(apply)

    def tell_read_back(self, job: Job, found: str, message: str, remedy: str | None) -> bool:
        """It is known whether REDCap has what was sent of a withdrawn job (yes, no, other); False if it is not withdrawn now."""
        return self._commit.write(returned.tell_read_back(job, found, message, remedy, self._clock()))

    def read_back_later(self, job: int, seconds: float) -> None:
        """Whether REDCap has what was sent of a withdrawn job is looked at again after `seconds`."""
        self._commit.write(returned.put_off(job, self._clock() + seconds))

    def blame(self, jobs: Sequence[int]) -> None:
        """These jobs' sends went wrong while the server was well."""
        if jobs:
            self._commit.write(
                lambda connection: connection.executemany(
                    "update job set faults = faults + 1 where id = ?", [(job,) for job in jobs]
                )
            )

    def recover(self) -> int:
        """At the start: whatever was being sent has an unknown outcome now. The number of such jobs."""
        now = self._clock()

        def apply(connection: sqlite3.Connection) -> int:
            connection.execute(
                "insert into history (job, at, state, note)"
                " select id, ?, 'unknown', 'dropcap ended while this was being sent' from job"
                f" where state in {OPEN_STATES} and state = 'sending'",
                (now,),
            )
            return connection.execute(
                f"update job set state = 'unknown', due = 0, changed_at = ? where state in {OPEN_STATES} and state = 'sending'",
                (now,),
            ).rowcount

        return self._commit.write(apply)

    def reroute(self, folder: str, address: Callable[[str], Address], jobs: Sequence[tuple[int, str]] | None = None) -> int:
        """The rules of a folder may have changed: give its waiting and held jobs, or some of them, their address anew."""
        if jobs is None:
            jobs = self.query.names(folder, (State.WAITING, State.HELD))
        led = [(job, where, self.keep_document(where.origin)) for job, where in ((job, address(name)) for job, name in jobs)]
        self._commit.write(readdressed.rerouted(led, self._clock()))
        return len(jobs)

    def look_for_records(self) -> None:
        """What waits for a record, or for leave to create one, is looked at now: the settings may be others."""
        self._commit.write(
            lambda connection: connection.execute(
                "update job set due = 0 where state in ('waiting', 'unknown') and due > 0"
                " and reason in ('no_record', 'create_limit')"
            )
        )

    def clock_was_set(self) -> int:
        """The clock went back, or may have before the start: what it had put off until a time far ahead is due now. How many
        jobs that is.
        """
        return self._commit.write(due_now(self._clock()))

    # Acts and documents -------------------------------------------------------------------------------------------

    def act(self, who: Who, what: Deed, **told: Any) -> None:
        """Enter that somebody has dropcap do something, before it is done."""
        now = self._clock()
        self._commit.write(lambda connection: act.enter(connection, now, who, what, told))

    def prune(self, jobs: Sequence[int], who: Who) -> int:
        """Take jobs that are over out of the ledger, with their history; how many those were. An act says so."""
        now = self._clock()
        return self._commit.write(lambda connection: prune(connection, jobs, now, who))

    def keep_document(self, text: str) -> str | None:
        """The SHA-256 (hex) of a text that is in the ledger from then on; None of an empty one."""
        if not text:
            return None
        known = self._documents.get(text)
        if known is None:
            known = hashlib.sha256(text.encode()).hexdigest()
            row = (known, text)
            self._commit.write(lambda connection: connection.execute("insert or ignore into document values (?,?)", row))
            if len(self._documents) > _MOST_DOCUMENTS:
                self._documents.clear()
            self._documents[text] = known
        return known

    # Pauses and counts ---------------------------------------------------------------------------------------------

    def pause(self, pause: Pause) -> None:
        """Enter or renew a pause."""
        p = pause
        self._commit.write(
            lambda connection: connection.execute(
                "insert or replace into pause values (?,?,?,?,?,?,?)",
                (p.scope, p.name, p.reason, p.message, p.remedy, p.since, int(p.until_resume)),
            )
        )

    def resume(self, scope: Scope, name: str) -> bool:
        """End a pause; False if there was none."""
        return self._commit.write(
            lambda connection: connection.execute("delete from pause where scope = ? and name = ?", (scope, name)).rowcount > 0
        )

    def count_created(self, folder: str, day: str, limit: int) -> bool:
        """Take one of the `limit` records that a folder may create on `day`; False if none is left."""

        def apply(connection: sqlite3.Connection) -> bool:
            connection.execute("insert or ignore into created values (?,?,0)", (folder, day))
            changed = connection.execute(
                "update created set number = number + 1 where folder = ? and day = ? and number < ?",
                (folder, day, limit),
            )
            return changed.rowcount > 0

        return self._commit.write(apply)

    def mismatched(self, folder: str, record: str, within: float) -> None:
        """A file's name did not agree with the record; what is older than `within` seconds is forgotten."""
        now = self._clock()

        def apply(connection: sqlite3.Connection) -> None:
            connection.execute("delete from mismatch where not at between ? and ?", (now - within, now + within))
            connection.execute("insert into mismatch values (?,?,?)", (folder, utf8(record), now))

        self._commit.write(apply)

    def forget_mismatches(self, places: Collection[tuple[str, str]]) -> None:
        """A person has looked at these folders' mismatches of these records: they are counted anew."""
        if places:
            rows = [(folder, utf8(record)) for folder, record in places]
            self._commit.write(
                lambda connection: connection.executemany("delete from mismatch where folder = ? and record = ?", rows)
            )

    def known_folder(self, folder: str) -> KnownFolder | None:
        """How a drop folder was seen before, if it was."""
        return self.query.known_folder(folder)

    def rebuilt(self, installation: str | None) -> None:
        """This ledger stands for one that is lost: what lies in in_progress/ may have been sent already.

        The folders know `installation`.
        """
        self.set_meta("rebuilt", str(self._clock()))
        if installation is not None:
            self.set_meta("installation", installation)
            self.installation = installation

    def set_meta(self, key: str, value: str) -> None:
        """Keep one word about the installation."""
        self._commit.write(lambda connection: connection.execute("insert or replace into meta values (?,?)", (key, value)))
