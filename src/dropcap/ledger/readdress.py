"""Jobs that get another address: their files were renamed, or their rules have changed."""

from __future__ import annotations

import os
from collections.abc import Sequence

from dropcap.display import shown
from dropcap.ledger.chain import FACTS, enter_what_changed, facts_of
from dropcap.ledger.database import Connection
from dropcap.ledger.job import Address, State, utf8

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
