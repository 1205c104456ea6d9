"""Jobs that get another address, and files that were sent and moved back."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence

from dropcap.ledger.chain import FACTS, enter_what_changed, facts_of
from dropcap.ledger.database import Connection
from dropcap.ledger.job import RETURNS, Address, Job, NewFile, State, digits, utf8
from dropcap.ledger.job import renamed as renamed_note

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


def renamed(job: int, name: str, address: Address, origin: str | None, now: float) -> Callable[[Connection], bool]:
    """The file of an open job got another name; False if the job cannot take it now. May raise Conflict."""
    place = {"project": 2, "rule": 3, "record": 4, "event": 5, "field": 6, "takes_next": 9, "origin": 10}
    moved = ", ".join(f"{column} = case when {_STAYS} then {column} else ?{number} end" for column, number in place.items())
    sql = (
        f"update job set name=?11, {moved}, changed_at=?12, due=0,"
        f" {_FIXED.format(key=_KEY, instance='?8')}, {_NOT_OVERTAKEN.format(key=_KEY)}, key={_KEY},"
        f" state = case when state = 'unknown' or (state = 'held' and attempts > 0 and key is {_KEY}) then 'unknown'"
        " else 'waiting' end"
        " where id = ?1 and state in ('waiting', 'held', 'unknown')"
    )

    def change(connection: Connection) -> bool:
        before = connection.execute(
            "select name, state, key, record, event, field, instance from job where id = ?", (job,)
        ).fetchone()
        cursor = connection.execute(sql, (*_values(job, address, origin), os.fsencode(name), now))
        if cursor.rowcount:
            history = "insert into history (job, at, state, note) select id, ?, state, ? from job where id = ?"
            connection.execute(history, (now, renamed_note(*before, now=address.key), job))
        return cursor.rowcount > 0

    return change


def rerouted(jobs: Sequence[tuple[int, Address, str | None]], now: float) -> Callable[[Connection], None]:
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

    def change(connection: Connection) -> None:
        there = _of_another_project(connection, jobs)
        values = [_values(job, address, origin) for job, address, origin in jobs if job not in there]
        before = facts_of(connection, [job for job, *_ in jobs])
        held = {job for job, facts in before.items() if facts[_STATE] == State.HELD}
        connection.executemany(anew, [(*its, now) for its in values if its[0] in held])
        connection.executemany(sql, values)
        enter_what_changed(connection, before, now, "the configuration of its folder has changed")

    return change


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


#: How long a file that was taken away is known again (seconds).
KNOWN_FOR = 7 * 86400.0

#: Whether what was sent of a job that can be withdrawn may have arrived, as SQL. One that waits has its instance of `next` still
#: if an earlier send may have gone there.
MAY_HAVE_ARRIVED = (
    "(may_have_arrived or state = 'unknown' or (attempts > 0 and (state = 'held'"
    " or (state = 'waiting' and sent_sha256 is not null and instance is not null))))"
)

#: The jobs that may go on again, as SQL: `model.RETURNS`.
_CAN_RETURN = "((state = 'withdrawn' and may_have_arrived) or (state = 'done' and filed_as is null))"

#: The new and the old job go to the same place, as SQL; of entries of one project the key tells. A number of an instance that a
#: rule gives is not `next`'s.
_SAME_PLACE = (
    "(new.project = old.project or new.key = old.key) and new.record = old.record and new.record <> '' and new.event is old.event"
    " and new.field = old.field and (new.instance is null or new.instance is old.instance)"
)

Write = Callable[[Connection], bool]


def go_on(connection: Connection, folder: str, file: NewFile, now: float) -> int | None:
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


def stands_apart(connection: Connection, job: int, file: NewFile, shown_name: str, now: float) -> None:
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
    note = f"moved back by a person as {shown_name}: job {job}" + (" goes on with it" if taken_over else "")
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


def take_over(job: int) -> Write:
    """Once the record of a new job is known: the instance that the older job of its file had chosen there is its own."""

    def change(connection: Connection) -> bool:
        taken_over = _take_over(connection, job, "waiting")
        if taken_over:
            note = "goes on with the instance of the job whose file it was"
            connection.execute(
                "insert into history (job, at, state, note) select id, changed_at, state, ? from job where id = ?", (note, job)
            )
        return taken_over

    return change


def _take_over(connection: Connection, job: int, state: str) -> bool:
    cursor = connection.execute(
        "update job as new set (state, instance, sent_sha256, sha256, preserved_sha256) ="
        " (select ?, old.instance, old.sent_sha256, old.sha256, old.preserved_sha256 from job old where old.id = new.back_of)"
        " where id = ? and state = 'waiting' and exists"
        f" (select 1 from job old where old.id = new.back_of and {_SAME_PLACE})",
        (state, job),
    )
    return cursor.rowcount > 0


def tell_read_back(job: Job, found: str, message: str, remedy: str | None, now: float) -> Write:
    """It is known whether REDCap has what was sent of a withdrawn job: `found` is yes, no or other."""

    def change(connection: Connection) -> bool:
        cursor = connection.execute(
            "update job set read_back = null, found = ?, message = ?, remedy = ?, changed_at = ?"
            " where id = ? and state = 'withdrawn' and read_back is not null",
            (found, utf8(message), utf8(remedy), now, job.id),
        )
        if cursor.rowcount:
            connection.execute(
                "insert into history (job, at, state, note) values (?,?,'withdrawn',?)",
                (job.id, now, utf8(f"read back: {message}")),
            )
        return cursor.rowcount > 0

    return change


def put_off(job: int, until: float) -> Write:
    """A withdrawn job is read back later."""
    sql = "update job set read_back = ? where id = ? and read_back is not null"
    return lambda connection: connection.execute(sql, (until, job)).rowcount > 0
