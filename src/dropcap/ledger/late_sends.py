"""Places where a host that was lost may still have been sending: they are looked at once more when nothing of that can be under
way any longer. PostgreSQL alone: nobody takes over from a host that has its ledger for itself.
"""

from __future__ import annotations

from collections.abc import Callable

from dropcap.ledger.database import Connection
from dropcap.ledger.schema import OPEN_STATES

_ENTER = (
    "insert into late_send (job, folder, due)"
    f" select id, folder, ? from job where state in {OPEN_STATES} and state = 'sending' and folder = ?"
    " on conflict (job) do update set due = excluded.due"
)
DUE = "select job from late_send where due <= ? order by due limit ?"
#: What was stored last at the place of a job, and whether something is on its way there.
STORED = (
    "where project = ? and record = ? and event is ? and field = ? and instance is ? and attempts > 0 and record <> ''"
    " and state in ('stored', 'done') order by id desc limit 1"
)
OPEN_THERE = (
    f"where state in {OPEN_STATES} and state in ('sending', 'unknown') and project = ? and record = ? and event is ?"
    " and field = ? and instance is ? limit 1"
)


def enter(connection: Connection, folder: str, due: float) -> None:
    """What is being sent in a folder that is taken over; before it gets its unknown outcome."""
    connection.execute(_ENTER, (due, folder))


def over(job: int) -> Callable[[Connection], None]:
    """It was looked at."""

    def apply(connection: Connection) -> None:
        connection.execute("delete from late_send where job = ?", (job,))

    return apply


def put_off(job: int, until: float) -> Callable[[Connection], None]:
    """It is looked at later."""

    def apply(connection: Connection) -> None:
        connection.execute("update late_send set due = ? where job = ?", (until, job))

    return apply
