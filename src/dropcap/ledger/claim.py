"""What is entered of files: claimed, moved back by a person, renamed, taken away; and jobs that get another address."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence

from dropcap.display import shown
from dropcap.ledger import chain
from dropcap.ledger.chain import FACTS, AuditAction, AuditActor, enter_what_changed, facts_of, user_name
from dropcap.ledger.database import OPEN_STATES, Conflict, Connection, forget_marks
from dropcap.ledger.job import RETURNS, Address, Mark, MarkKind, NewFile, Refusal, State, digits, utf8
from dropcap.ledger.query import MAY_HAVE_ARRIVED
from dropcap.ledger.writing import Writing, durable
from dropcap.reasons import Reason

_STATE = FACTS.index("state")
#: What an earlier attempt and a person have fixed for the place `{key}`, as SQL.
_FIXED = (
    "instance = case when key is {key} then instance else {instance} end,"
    " sent_over = case when key is {key} then sent_over else 0 end,"
    " preserved_sha256 = case when key is {key} then preserved_sha256 end, sha256 = case when key is {key} then sha256 end"
)
_OVERTAKEN_ELSEWHERE = "(reason is 'newer_went' and key is not {key})"
_NOT_OVERTAKEN = ", ".join(
    f"{column} = case when not {_OVERTAKEN_ELSEWHERE} then {column} end" for column in ("reason", "message", "remedy")
)
#: What a job was put off for, and until when: of another place that says nothing. What is held waits for its release, if it is
#: not judged anew.
_PUT_OFF = ", ".join(
    f"{column} = case when key is {{key}} or (state = 'held' and not {_OVERTAKEN_ELSEWHERE}) then {column}{other} end"
    for column, other in {"due": " else 0", "lookups": " else 0", "reason": "", "message": "", "remedy": ""}.items()
)
#: Of a job that was held: whether nobody knew then if it had arrived.
_BEFORE = "(select state from history where job = job.id and state <> 'held' order by id desc limit 1)"
_WAS_UNKNOWN = f"{_BEFORE} = 'unknown'"
#: The jobs that get another address. Not those that may have arrived where no rule leads any more, or where a newer one has gone:
#: there they are looked for. Nor those to a record that was found by its values, if they may have arrived there and nothing else
#: is changed.
_MOVES = (
    "(state = 'waiting' or (state = 'unknown' and key is null) or (state = 'held'"
    " and not (attempts > 0 and (reason in ('no_rule', 'bad_value', 'project_mismatch')"
    f" or (reason = 'newer_went' and {_WAS_UNKNOWN})))))"
    " and not (attempts > 0 and record <> '' and ?4 = ''"
    " and project = ?2 and event is ?5 and field = ?6 and takes_next = ?9)"
)
#: A file that may have arrived, under a name that leads nowhere: its job keeps the place, and is looked for there should the file
#: get its name back.
_STAYS = f"(?3 = '' and attempts > 0 and (state = 'unknown' or (state = 'held' and {_WAS_UNKNOWN})))"
_KEY = f"(case when {_STAYS} then key else ?7 end)"


def rename(connection: Connection, job: int, name: str, address: Address, origin: str | None, now: float) -> bool:
    """The file of an open job got another name; False if the job cannot take it now. Raises Conflict."""
    columns = {"project": 2, "rule": 3, "record": 4, "event": 5, "field": 6, "takes_next": 9, "origin": 10}
    moved = ", ".join(f"{column} = case when {_STAYS} then {column} else ?{number} end" for column, number in columns.items())
    sql = (
        f"update job set name=?11, {moved}, changed_at=?12, due=0,"
        f" {_FIXED.format(key=_KEY, instance='?8')}, {_NOT_OVERTAKEN.format(key=_KEY)}, key={_KEY},"
        f" state = case when state = 'unknown' or (state = 'held' and attempts > 0 and key is {_KEY}) then 'unknown'"
        " else 'waiting' end"
        " where id = ?1 and state in ('waiting', 'held', 'unknown')"
    )
    before = connection.execute(
        "select name, state, key, record, event, field, instance from job where id = ?", (job,)
    ).fetchone()
    went = connection.execute(sql, (*_values(job, address, origin), os.fsencode(name), now)).rowcount
    if went:
        history = "insert into history (job, at, state, note) select id, ?, state, ? from job where id = ?"
        connection.execute(history, (now, _renamed(*before, now=address.key), job))
    return went > 0


def _renamed(
    name: bytes, state: str, key: str | None, record: str, event: str | None, field: str, instance: int | None, *, now: str | None
) -> str:
    """The step in a job's history; with the place where the file may have arrived under its old name."""
    note = f"renamed by a person, before: {shown(os.fsdecode(name))}"
    if state != State.UNKNOWN or key == now:
        return note
    place = (record, event, field, None if instance is None else f"({instance})")
    return f"{note}; it may have arrived at {' '.join(shown(part) for part in place if part)}"


def reroute(connection: Connection, jobs: Sequence[tuple[int, Address, str | None]], now: float) -> None:
    """The rules may have changed: these waiting and held jobs, of as many as a statement may have values, get their address anew,
    each with its origin."""
    elsewhere = _OVERTAKEN_ELSEWHERE.format(key="?7")
    anew = (
        "insert into history (job, at, state, note) select id, ?11, 'waiting',"
        " 'its rules have changed: it is judged anew at its new place' from job"
        f" where id = ?1 and state = 'held' and {elsewhere} and {_MOVES}"
    )
    sql = (
        "update job set project=?2, rule=?3, record=?4, event=?5, field=?6, takes_next=?9, origin=?10,"
        f" state = case when state = 'held' and {elsewhere} then 'waiting' else state end,"
        f" {_FIXED.format(key='?7', instance='?8')}, {_PUT_OFF.format(key='?7')}, key=?7 where id = ?1 and {_MOVES}"
    )
    there = _of_another_project(connection, jobs)
    values = [_values(job, address, origin) for job, address, origin in jobs if job not in there]
    before = facts_of(connection, [job for job, *_ in jobs])
    held = {job for job, facts in before.items() if facts[_STATE] == State.HELD}
    connection.executemany(anew, [(*its, now) for its in values if its[0] in held])
    connection.executemany(sql, values)
    enter_what_changed(connection, before, now, "the configuration of its folder has changed")


def _of_another_project(connection: Connection, jobs: Sequence[tuple[int, Address, str | None]]) -> set[int]:
    """Those of them that are held and may have arrived, in another project than the entry leads to now: they keep that place."""
    leads = {job: {address.project, _project(address.key)} for job, address, _ in jobs}
    held = f"state = 'held' and attempts > 0 and key is not null and {_BEFORE} in ('unknown', 'sending')"
    sql = f"select id, key from job where id in ({','.join('?' * len(leads))}) and {held}"
    return {job for job, key in connection.execute(sql, tuple(leads)).fetchall() if _project(key) not in leads[job]}


def _project(key: str | None) -> str:
    """What orders files to one project, or the name of an entry of which nobody knows where it leads."""
    return (key or "").partition("\0")[0]


def _values(job: int, address: Address, origin: str | None) -> tuple[object, ...]:
    a = address
    place = (a.project, a.rule, utf8(a.record), utf8(a.event), a.field, utf8(a.key), a.instance)
    return (job, *place, a.takes_next, origin)


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


_FOLDER = (
    "insert into folder values (?,?,?,?,?) on conflict (folder) do update"
    " set path = excluded.path, marker = excluded.marker, mount = excluded.mount"
)


class IntakeChanges(Writing):
    """What is entered of files."""

    def claim(self, folder: str, files: Sequence[NewFile], address: Callable[[str], Address]) -> list[int]:
        """Enter files that now lie in in_progress/; the numbers of their jobs, in order.

        A file that is back under the name that it had goes on under its old number.

        Raises:
            Conflict: a job of that folder and name is open, or the place of one that is back is in use.
        """
        led = [(where, self.keep_document(where.origin)) for where in (address(file.name) for file in files)]
        return self._claim(folder, files, led)

    @durable
    def _claim(
        self, now: float, folder: str, files: Sequence[NewFile], addresses: Sequence[tuple[Address, str | None]]
    ) -> list[int]:
        with self._writing(folder) as connection:
            jobs = [_go_on(connection, folder, file, now) for file in files]
            fresh = [
                (file, _row(folder, file, where, origin, now))
                for job, file, (where, origin) in zip(jobs, files, addresses, strict=True)
                if job is None
            ]
            numbers = connection.enter("job", _CLAIMED, [row for _, row in fresh])
            entered = [(job, file) for job, (file, _) in zip(numbers, fresh, strict=True)]
            for job, file in entered:
                if file.again_of is not None:
                    connection.execute("update job set tried_again = ? where id = ?", (job, file.again_of))
                    connection.execute(_STILL_TO_BE_LOOKED_FOR, (job, file.again_of))
            connection.executemany(
                "insert into history (job, at, state, note) values (?,?,?,?)",
                [(job, now, "waiting", _came(file)) for job, file in entered],
            )
            for job, file in entered:
                _stand_apart(connection, job, file, now)
            forget_marks(connection, folder, [file.name for file in files])
            new = iter(numbers)
            return [next(new) if job is None else job for job in jobs]

    def mark(self, folder: str, marks: Sequence[Mark]) -> None:
        """Remember what was seen of files that lie in a folder; a mark of the same kind and name is replaced."""
        rows = [
            (folder, os.fsencode(m.name), m.kind.value, m.size, digits(m.mtime_ns), digits(m.ctime_ns), digits(m.inode), m.since)
            for m in marks
        ]
        self._marks(folder, rows)

    @durable
    def _marks(self, _now: float, folder: str, rows: Sequence[Sequence[object]]) -> None:
        with self._writing(folder) as connection:
            # As `forget_marks` does: of two threads' writes in one commit, the second one is to have the last word.
            connection.later(_MARK, rows)

    @durable
    def unmark(self, _now: float, folder: str, names: Sequence[str], kinds: Sequence[MarkKind] = tuple(MarkKind)) -> None:
        """Forget the marks of these kinds and names."""
        with self._writing(folder) as connection:
            forget_marks(connection, folder, names, kinds)

    @durable
    def withdraw(
        self, now: float, job: int, note: str = "taken out of in_progress/ by a person", *, folder: str | None = None
    ) -> bool:
        """End a job whose file is no longer there; False if its state does not allow that now: it may just be being sent.

        `folder` is the one that has found it out, where the job's own may be another.
        """
        with self._writing(folder, () if folder else [job]) as connection:
            went = connection.execute(
                f"update job set may_have_arrived = {MAY_HAVE_ARRIVED},"
                " state = 'withdrawn', reason = 'vanished', changed_at = ?, ended_at = ?"
                " where id = ? and state in ('waiting', 'held', 'unknown')",
                (now, now, job),
            ).rowcount
            if went:
                connection.execute("insert into history (job, at, state, note) values (?,?,'withdrawn',?)", (job, now, note))
            return went > 0

    def rename_open(self, job: int, name: str, address: Address) -> bool:
        """The file of an open job got another name; False if the job cannot take it now."""
        origin = self.keep_document(address.origin)
        try:
            return self._rename_open(job, name, address, origin)
        except Conflict:
            return False

    @durable
    def _rename_open(self, now: float, job: int, name: str, address: Address, origin: str | None) -> bool:
        with self._writing(jobs=[job]) as connection:
            return rename(connection, job, name, address, origin, now)

    def keep_left_marks(self, folder: str, marks: str) -> None:
        """Keep which files of a folder are left that lay there at first."""
        self.set_meta(f"left {folder}", marks)

    def remember_folder(self, folder: str, path: str, marker: str, mount: str) -> None:
        """Keep how a drop folder was seen: its marker and its mount."""
        self._execute(_FOLDER, (folder, path, marker, mount, self._clock()), folder)

    @durable
    def rename_folder(self, now: float, old: str, new: str) -> None:
        """What was dropped into a folder belongs to it under its new name too, as does a pause by hand."""
        with self._writing() as connection:
            chain.enter(connection, now, AuditActor.me(), AuditAction.RENAME, {"from": old, "to": new})
            for rename in _RENAMES:
                connection.execute(rename, (new, old))

    @durable
    def forget_failed(self, now: float, jobs: Sequence[int]) -> None:
        """These failed jobs' files are no longer in failed/: somebody dealt with them."""
        note = "taken out of failed/ by a person"
        with self._writing(jobs=jobs) as connection:
            connection.executemany(
                "update job set tried_again = id where id = ? and tried_again is null", [(job,) for job in jobs]
            )
            connection.executemany(
                "insert into history (job, at, state, note) values (?,?,'failed',?)", [(job, now, note) for job in jobs]
            )


def _row(folder: str, file: NewFile, a: Address, origin: str | None, now: float) -> tuple[object, ...]:
    """The columns `_CLAIMED` of a new job."""
    state = State.REFUSED if file.refusal else State.WAITING
    why = file.refusal or Refusal(Reason.NONE, "", "")
    owner = None if file.owner is None else utf8(user_name(file.owner)) or None
    return (
        *(folder, os.fsencode(file.name), state.value),
        *(a.project, a.rule, utf8(a.record), utf8(a.event), a.field, a.instance, a.takes_next, utf8(a.key)),
        *(file.size, digits(file.mtime_ns), digits(file.inode), file.again_of, now, now),
        *(file.owner, owner, origin),
        *(why.reason.value or None, utf8(why.message) or None, utf8(why.remedy) or None),
        *(file.found, int(file.found)),  # it counts as sent
    )


def _came(file: NewFile) -> str:
    if file.again_of:
        return f"tried again after job {file.again_of}"
    return "found in in_progress/: REDCap may have it, and is asked first" if file.found else "claimed"


#: The jobs that may go on again, as SQL: `job.RETURNS`.
_CAN_RETURN = "((state = 'withdrawn' and may_have_arrived) or (state = 'done' and filed_as is null))"

#: The new and the old job go to the same place, as SQL; of entries of one project the key tells. A number of an instance that a
#: rule gives is not `next`'s.
_SAME_PLACE = (
    "(new.project = old.project or new.key = old.key) and new.record = old.record and new.record <> '' and new.event is old.event"
    " and new.field = old.field and (new.instance is null or new.instance is old.instance)"
)


def _go_on(connection: Connection, folder: str, file: NewFile, now: float) -> int | None:
    """The old job of a file that is back under its name is open again; its number, None if it can not.

    Raises:
        Conflict: another job of its name, or one that is being sent to its place, is in the way.
    """
    if file.back is None or not file.back.goes_on:
        return None
    states = {before: after for before, after in RETURNS.items() if after is State.UNKNOWN}
    marks = ", ".join(f"'{state.value}'" for state in states)
    cursor = connection.execute(
        "update job set state = 'unknown', size = ?, mtime_ns = ?, inode = ?, changed_at = ?, ended_at = null, due = 0,"
        " reason = null, message = null, remedy = null, created = null, result = null, confirmed = null, seconds = null,"
        " may_have_arrived = false, read_back = null, found = null"
        f" where id = ? and folder = ? and name = ? and state in ({marks}) and {_CAN_RETURN}",
        (file.size, digits(file.mtime_ns), digits(file.inode), now, file.back.job, folder, os.fsencode(file.name)),
    )
    if not cursor.rowcount:
        return None
    for other in file.back.others:
        _to_be_read_back(connection, other, file.back.sha256, now)
    note = "moved back by a person: read back before anything is sent again"
    connection.execute("insert into history (job, at, state, note) values (?,?,'unknown',?)", (file.back.job, now, note))
    return file.back.job


def _stand_apart(connection: Connection, job: int, file: NewFile, now: float) -> None:
    """`job` was entered for the file of an older job under another name: the older one is read back and told.

    Raises:
        Conflict: another job is being sent to the place that both have.
    """
    if file.back is None:
        return
    old = file.back.job
    for one in (old, *file.back.others):
        _to_be_read_back(connection, one, file.back.sha256, now)
    connection.execute("update job set back_of = ? where id = ?", (old, job))
    taken_over = _take_over(connection, job, "unknown")
    note = f"moved back by a person as {shown(file.name)}: job {job}" + (" goes on with it" if taken_over else "")
    connection.execute(
        "insert into history (job, at, state, note) select id, ?, state, ? from job where id = ?", (now, utf8(note), old)
    )
    state, told = ("unknown", ", to the same place: read back before anything is sent") if taken_over else ("waiting", "")
    note = f"its file was that of job {old}, which may have arrived{told}"
    connection.execute("insert into history (job, at, state, note) values (?,?,?,?)", (job, now, state, note))


def _to_be_read_back(connection: Connection, job: int, sha256: str, now: float) -> None:
    """Once for each time that it was withdrawn."""
    connection.execute(
        "update job set sent_sha256 = coalesce(sent_sha256, ?), read_back = ?"
        " where id = ? and state = 'withdrawn' and may_have_arrived and found is null and read_back is null",
        (sha256, now, job),
    )


def take_over(connection: Connection, job: int) -> None:
    """Once the record of a new job is known: the instance that the older job of its file had chosen there is its own."""
    if _take_over(connection, job, "waiting"):
        note = "goes on with the instance of the job whose file it was"
        connection.execute(
            "insert into history (job, at, state, note) select id, changed_at, state, ? from job where id = ?", (note, job)
        )


def _take_over(connection: Connection, job: int, state: str) -> bool:
    cursor = connection.execute(
        "update job as new set (state, instance, sent_sha256, sha256, preserved_sha256) ="
        " (select ?, old.instance, old.sent_sha256, old.sha256, old.preserved_sha256 from job old where old.id = new.back_of)"
        " where id = ? and state = 'waiting' and exists"
        f" (select 1 from job old where old.id = new.back_of and {_SAME_PLACE})",
        (state, job),
    )
    return cursor.rowcount > 0
