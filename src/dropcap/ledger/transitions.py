"""The conditions under which a job's step may be taken."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass

from dropcap.ledger.database import Conflict, Connection
from dropcap.ledger.job import Change, State, update_of, values_of
from dropcap.ledger.schema import open_by_key
from dropcap.reasons import Reason

_PASSED = "its folder was away, and a file that was dropped later has gone to the same place in REDCap meanwhile"
_OVERTAKEN = "its folder was away when nobody knew whether it had arrived, and files that were dropped later have gone before it"
_PASSED_REMEDY = (
    "if this one is to go there all the same: dropcap retry JOB (the other one is preserved); else take it out of in_progress/"
)
_OVERTAKEN_REMEDY = "dropcap retry JOB: REDCap is read back first, and it is sent if it is not there"


#: Whether a file that was claimed later than a job (number, key, project, record, event, field, instance) may have arrived at its
#: place. What a place is called in keys changes with what is known of the project, and with the rules of others.
NEWER_WENT = " union all ".join(
    f"select 1 from job where {place} and id > ?1 and field = ?6 and coalesce(instance, 1) = coalesce(?7, 1) and attempts > 0"
    " and (state in ('sending', 'unknown', 'held', 'stored', 'done')"
    " or (state = 'withdrawn' and may_have_arrived and coalesce(found, 'yes') = 'yes'))"
    for place in ("key = ?2", "record = ?4 and record <> '' and project = ?3 and event is ?5")
)
#: Those values of a job, None if it is still to choose its instance: it has no place yet that another one could have taken. What
#: a person has let it go over has not gone before it.
PLACE = (
    "select case when sent_over > id then sent_over else id end, key, project, record, event, field, instance from job"
    " where id = ? and not (takes_next and instance is null)"
)


#: How long a file that was taken away is known again (seconds).
KNOWN_FOR = 7 * 86400.0
#: Whether what was sent of a job that can be withdrawn may have arrived, as SQL. One that waits has its instance of `next` still
#: if an earlier send may have gone there.
MAY_HAVE_ARRIVED = (
    "(may_have_arrived or state = 'unknown' or (attempts > 0 and (state = 'held'"
    " or (state = 'waiting' and sent_sha256 is not null and instance is not null))))"
)


@dataclass(frozen=True, slots=True)
class Absent:
    """The drop folders that are not there. Nobody waits for those that are `long` gone; `next` for none that is away `now`."""

    long: frozenset[str] = frozenset()
    now: frozenset[str] = frozenset()


#: All folders are there.
NOBODY = Absent()


def may_pass(absent: Absent) -> tuple[str, tuple[str, ...]]:
    """Whether `job` may pass `older`, of the same key, as SQL with its values."""
    away = absent.now | absent.long
    if not away:
        return "false", ()
    long, now = (",".join("?" * len(names)) for names in (absent.long, away))
    sql = (
        "older.state <> 'sending' and not (older.state = 'unknown' and"
        " (older.id > job.id or (older.takes_next and older.instance is null)))"
        f" and (older.folder in ({long}) or (job.takes_next and older.folder in ({now})))"
    )
    return sql, (*sorted(absent.long), *sorted(away))


def step(connection: Connection, one: Change, absent: Absent, now: float) -> bool:
    """Take a job to its next state, and past those that it may pass if it is to be sent; False if it could not go."""
    if one.state is State.SENDING and overtaken(connection, one.job, f"{PLACE} and state = 'waiting'"):
        return False
    if one.state is not State.SENDING or absent == NOBODY:
        return connection.attempt(update_of(one), values_of(one, now)) > 0
    connection.execute("savepoint step")
    went = 0
    with contextlib.suppress(Conflict):
        _make_way(connection, one.job, absent, now)
        went = connection.execute(update_of(one), values_of(one, now)).rowcount
    if not went:
        connection.execute("rollback to step")
    connection.execute("release step")
    return went > 0


def overtaken(connection: Connection, job: int, place_of: str = PLACE) -> bool:
    """Whether a newer one has gone to the place of a job, and no person has said that this one is to go there all the same."""
    place = connection.execute(place_of, (job,)).fetchone()
    return place is not None and connection.execute(NEWER_WENT, place).fetchone() is not None


def _make_way(connection: Connection, job: int, absent: Absent, now: float) -> None:
    """A job is about to be sent: of those that it passes, those to its place are marked, and those that may have been sent are
    held."""
    passes, values = may_pass(absent)
    passed = connection.execute(
        "select older.id, older.state, older.field = job.field and not job.takes_next"
        " and (not older.takes_next or older.instance is not null)"
        " and coalesce(older.instance, 1) = coalesce(job.instance, 1)"
        " from job join job older on older.key = job.key and older.id < job.id"
        f" where job.id = ? and {open_by_key('older')} and older.state in ('waiting', 'held', 'unknown')"
        f" and (older.state = 'unknown' or older.reason is not 'newer_went') and {passes}",
        (job, *values),
    ).fetchall()
    for older, state, same_place in passed:
        held = state in (State.HELD, State.UNKNOWN)
        if not same_place and state != State.UNKNOWN:
            continue
        message, remedy = (_PASSED, _PASSED_REMEDY) if same_place else (_OVERTAKEN, _OVERTAKEN_REMEDY)
        connection.execute(
            "update job set state = ?, reason = ?, message = ?, remedy = ?, changed_at = ?, sent_over = 0 where id = ?",
            (State.HELD if held else State.WAITING, Reason.NEWER_WENT, message, remedy, now, older),
        )
        note = f"job {job} passes it, since its folder is away"
        connection.execute(
            "insert into history (job, at, state, note) select id, ?, state, ? from job where id = ?", (now, note, older)
        )
