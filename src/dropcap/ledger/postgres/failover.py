"""After a fail-over: what the database has acknowledged may be lost, so that what waits may have been sent already.

The database's timeline is another one then, and whoever writes first finds it: in the same transaction all that waits is put
aside, to be read back job by job (`DeliveryChanges.look_back`) before anything is sent. What was being sent stays so: its host
goes on, or loses its lease.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import psycopg
import structlog

from dropcap.reasons import Reason

log = structlog.get_logger()

#: What putting all aside may take (seconds): it grows with what waits, and a second try would take as long.
PATIENCE = 600.0
#: The timeline on which a server writes, as SQL.
_TIMELINE = "substr(pg_walfile_name(pg_current_wal_insert_lsn()), 1, 8)"
_MESSAGE = "the database has failed over: whether this was sent already is looked up in REDCap first"
_REMEDY = "nothing: dropcap goes on by itself"
_NOTE = "a fail-over of the database may have lost that this was sent"


@dataclass(frozen=True)
class FailedOver:
    """So many jobs were put aside."""

    jobs: int

    def tell(self) -> None:
        """It is durable."""
        log.warning(
            "failed_over",
            jobs=self.jobs,
            message="the database has failed over, and may have lost what it had acknowledged: REDCap is read back before"
            " files are sent that wait",
            remedy="nothing for the files; synchronous replication loses nothing (docs/several-hosts.md)",
        )


def how_to_ask(wire: psycopg.Connection[Any]) -> str:
    """How this server is asked for its timeline, as SQL; `null` if it does not tell this role. Raises psycopg.Error: it is a
    standby."""
    try:
        wire.execute(f"select {_TIMELINE}".encode())
    except (psycopg.errors.InsufficientPrivilege, psycopg.errors.UndefinedFunction, psycopg.errors.FeatureNotSupported):
        return "null"
    return _TIMELINE


def settle(wire: psycopg.Connection[Any], before: str | None, now: str | None) -> FailedOver | None:
    """Within a transaction that has the turn: if the timeline is another one than `before`, put aside what waits, which may take
    PATIENCE."""
    if now is None or now == before:
        return None
    wire.execute(b"update turn set timeline = %s", (now,))
    if before is None:
        return None
    at = time.time()
    wire.execute(b"set local statement_timeout = 0")
    wire.execute(
        b"insert into history (job, at, state, note) select id, %s, 'held', %s from job where state in ('waiting', 'held')"
        b" order by id",
        (at, _NOTE),
    )
    # One that was held already waits on for a person, whose `retry` has it read back since it counts as sent.
    wire.execute(b"update job set attempts = 1 where state = 'held' and attempts = 0")
    gone = wire.execute(
        b"update job set state = 'held', may_have_arrived = true, attempts = greatest(attempts, 1), changed_at = %s,"
        b" reason = %s, message = %s, remedy = %s where state = 'waiting'",
        (at, Reason.NOT_CONFIRMED.value, _MESSAGE, _REMEDY),
    )
    return FailedOver(gone.rowcount)
