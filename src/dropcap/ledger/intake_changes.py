"""What intake enters in the ledger: claims, marks, files that people have moved, known folders."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Sequence

from dropcap.display import shown
from dropcap.ledger import act, readdressed, returned
from dropcap.ledger.act import Deed, Who, user_name
from dropcap.ledger.job import Address, KnownFolder, Mark, MarkKind, NewFile, Refusal, State
from dropcap.ledger.transition import digits, forget_marks, utf8
from dropcap.ledger.writing import Writing
from dropcap.reasons import Reason


class IntakeChanges(Writing):
    """What is entered of files."""

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

    def known_folder(self, folder: str) -> KnownFolder | None:
        """How a drop folder was seen before, if it was."""
        return self.query.known_folder(folder)
