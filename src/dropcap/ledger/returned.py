"""Files that a person took out of in_progress/ and moved back, when what was sent of them may have arrived.

Under the same name the old job goes on. Under another one, which may mean another patient, there is a new job; the old one is
read back beside it and told. A new job for the very same place takes over the instance that the old one had chosen.
"""

from __future__ import annotations

import os
from collections.abc import Callable

from dropcap.ledger.database import Connection
from dropcap.ledger.job import RETURNS, Job, NewFile, State
from dropcap.ledger.transition import digits, utf8

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
