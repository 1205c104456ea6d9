"""Many jobs' steps in few statements: what travels is data, and one round trip takes it all.

Jobs that go the same way (to the same state, with the same columns) go in one statement, which also enters their histories.
The rules are those of `ledger.passing` for jobs that pass nobody. They are to decide as if the jobs had gone one after the other,
but no job of a statement sees what another one of it has done. Where that could tell, all is taken back, and they do.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import psycopg

from dropcap.ledger.job import TRANSITIONS, State
from dropcap.ledger.postgres.dialect import as_kept
from dropcap.ledger.transition import ENDS, Change, bound, utf8

#: The types of a job's columns that a step may set; the others are text.
_TYPES = {
    **dict.fromkeys(("instance", "attempts", "faults", "lookups", "sent_over", "again_of", "tried_again", "back_of"), "bigint"),
    **dict.fromkeys(("due", "ended_at", "seconds", "read_back", "claimed_at"), "double precision"),
    **dict.fromkeys(("name", "filed_as", "preserved_as", "copy_temporary", "copy_final"), "bytea"),
    **dict.fromkeys(("may_have_arrived", "takes_next"), "boolean"),
    **dict.fromkeys(("sent_ctime_ns", "mtime_ns", "inode"), "numeric"),
    "size": "bigint",
}

#: Whether a job may go there depends on others.
_ALONE = frozenset({State.SENDING, State.UNKNOWN})
#: Another one is on its way to its place.
_ANOTHER_GOES = (
    "exists (select 1 from job other where other.key = job.key and other.id <> job.id"
    " and other.state || '' in ('sending', 'unknown'))"
)
_WENT = (
    "newer.id > greatest(job.id, job.sent_over) and newer.field = job.field"
    " and coalesce(newer.instance, 1) = coalesce(job.instance, 1) and newer.attempts > 0"
    " and (newer.state in ('sending', 'unknown', 'held', 'stored', 'done')"
    " or (newer.state = 'withdrawn' and newer.may_have_arrived and coalesce(newer.found, 'yes') = 'yes'))"
)
#: A newer one has gone to its place: `passing.NEWER_WENT`, of the job's own columns.
_OVERTAKEN = (
    "(job.state = 'waiting' and not (job.takes_next and job.instance is null) and ("
    f"exists (select 1 from job newer where newer.key = job.key and {_WENT})"
    f" or exists (select 1 from job newer where newer.record = job.record and newer.record <> '' and newer.project = job.project"
    f" and newer.event is not distinct from job.event and {_WENT})))"
)


def take(wire: psycopg.Connection[Any], changes: Sequence[Change], now: float) -> set[int] | None:
    """Take jobs to their next states, each with an entry in its history, within a transaction; those that could go.

    None if it may matter which of them goes first, or if one cannot be entered at all: nothing was changed, and they are to be
    taken one after the other.
    """
    asked = []
    try:
        with wire.pipeline():
            wire.execute(b"savepoint steps")
            for some in _rounds(changes):
                asked += [wire.execute(*_statement(alike, now)) for alike in _alike(some)]
        went = [cursor.fetchall() for cursor in asked]
    except (psycopg.IntegrityError, psycopg.DataError, psycopg.ProgrammingError, ValueError, TypeError):
        went = None
    if went is None or any(_meet(together) for together in went):
        wire.execute("rollback to savepoint steps")
        return None
    return {int(job) for together in went for _, _, job, *_ in together}


def _meet(together: Sequence[Any]) -> bool:
    """Whether of jobs that went in one statement to where only one may be, some have, or had, the same place."""
    places: set[tuple[Any, ...]] = set()
    if together and len(together[0]) == 3:
        return False
    for _, _, _, moved, project, event, field, before, after in together:
        its = {(project, event, field, record) for record in (before, after) if record}
        if its & places or (moved and len(together) > 1):
            return True
        places |= its
    return False


def _rounds(changes: Sequence[Change]) -> list[list[Change]]:
    """Steps in their order: no job and no key twice in a round, and what depends on others' states stands apart from what makes
    them."""
    rounds: list[list[Change]] = [[]]
    seen: set[int | str] = set()
    kind: State | None = None
    for one in changes:
        its = one.state if one.state in _ALONE else None
        key = one.target[0] if its and one.target else None
        named: set[int | str] = {one.job} if key is None else {one.job, key}
        if not seen.isdisjoint(named) or its is not kind:
            rounds.append([])
            seen.clear()
        kind = its
        seen |= named
        rounds[-1].append(one)
    return rounds


def _alike(changes: Sequence[Change]) -> list[list[Change]]:
    """The steps of a round by their ways; of those that depend on others only what stands together."""
    ways: list[tuple[tuple[Any, ...], list[Change]]] = []
    for one in changes:
        way = (one.state, tuple(one.columns), one.target is not None)
        known = ways[-1:] if one.state in _ALONE else ways
        its = next((those for other, those in known if other == way), None)
        if its is None:
            ways.append((way, [one]))
        else:
            its.append(one)
    return [those for _, those in ways]


def _statement(changes: Sequence[Change], now: float) -> tuple[bytes, dict[str, Any]]:
    first = changes[0]
    columns = list(first.columns)
    values: dict[str, Any] = {
        "now": now,
        "jobs": [one.job for one in changes],
        "notes": [as_kept(utf8(one.note)) for one in changes],
    }
    given = ["%(jobs)s::bigint[]", "%(notes)s::text[]"]
    names = ["job", "note"]
    for number, column in enumerate(columns):
        kind = _TYPES.get(column, "text")
        values[f"c{number}"] = [_as(kind, as_kept(bound(column, one.columns[column]))) for one in changes]
        given.append(f"%(c{number})s::{kind}[]")
        names.append(f"c{number}")
    where = ["job.id = given.job", f"job.state in ({_before(first.state)})"]
    if first.target is not None:
        values["keys"] = [as_kept(one.target[0]) if one.target else None for one in changes]
        values["fields"] = [as_kept(one.target[1]) if one.target else None for one in changes]
        given += ["%(keys)s::text[]", "%(fields)s::text[]"]
        names += ["key", "field"]
        where.append("job.key is not distinct from given.key and job.field = given.field")
    if first.state in (State.SENDING, State.UNKNOWN):
        where.append(f"not {_ANOTHER_GOES}")
    if first.state is State.SENDING:
        where.append(f"not {_OVERTAKEN}")
    sets = "".join(f", {column} = given.c{number}" for number, column in enumerate(columns))
    ended = ", ended_at = %(now)s" if first.state in ENDS else ""
    source = f"unnest({', '.join(given)}) with ordinality as given ({', '.join(names)}, nth)"
    told = "job.id"
    if first.state in _ALONE:
        source += " join job before on before.id = given.job"
        told += (
            ", before.state = 'unknown' and (before.record, before.instance) is distinct from (job.record, job.instance),"
            " job.project, job.event, job.field, before.record, job.record"
        )
    # The entries are numbered in the order of the steps.
    text = (
        f"with gone as (update job set state = '{first.state.value}', changed_at = %(now)s{ended}{sets} from {source}"
        f" where {' and '.join(where)} returning given.note, given.nth, {told}),"
        " entered as (insert into history (job, at, state, note)"
        f" select id, %(now)s, '{first.state.value}', note from gone order by nth)"
        " select * from gone"
    )
    return text.encode(), values


def _as(kind: str, value: Any) -> Any:
    """A value of a column: all that go together have one type."""
    return float(value) if kind == "double precision" and value is not None else value


def _before(state: State) -> str:
    return ", ".join(f"'{before.value}'" for before, after in TRANSITIONS.items() if state in after)
