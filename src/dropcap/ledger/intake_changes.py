"""What intake enters in the ledger: claims, marks, files that people have moved, known folders."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence

from dropcap.display import shown
from dropcap.ledger import act, readdressed, returned
from dropcap.ledger.act import Deed, Who, user_name
from dropcap.ledger.database import Connection
from dropcap.ledger.errors import Conflict
from dropcap.ledger.job import Address, KnownFolder, Mark, MarkKind, NewFile, Refusal, State
from dropcap.ledger.marks import forget_marks
from dropcap.ledger.schema import OPEN_STATES
from dropcap.ledger.transition import digits, utf8
from dropcap.ledger.writing import Writing
from dropcap.reasons import Reason

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
                job = returned.go_on(connection, folder, file, now)
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
                returned.stands_apart(connection, job, file, shown(file.name), now)
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
                f"update job set may_have_arrived = {returned.MAY_HAVE_ARRIVED},"
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
            return self._write(readdressed.renamed(job, name, address, origin, self._clock()), jobs=[job])
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
