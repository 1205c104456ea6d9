"""What a clock was ahead for: it has put off jobs, and stands right now."""

from __future__ import annotations

from collections.abc import Callable

from dropcap.ledger.database import Connection

#: No delay of ours is longer (seconds): what waits for the next day's new records waits longest.
LONGEST_DELAY = 26 * 3600.0
#: What was entered so much later than now (seconds) was entered by a clock that was ahead.
_AHEAD = 1.0


def due_now(now: float) -> Callable[[Connection], int]:
    """Make due what no clock that goes right can have put off until then, or what was put off at a time that is still to come;
    of how many jobs that is so. A job that only waits for the next day's new records is put off by its date alone."""

    def change(connection: Connection) -> int:
        jobs = connection.execute(
            "update job set due = 0 where state in ('waiting', 'unknown') and due > ?1 and"
            " (due > ?1 + ?2 or (changed_at > ?1 + ?3 and reason is not 'create_limit'))",
            (now, LONGEST_DELAY, _AHEAD),
        )
        back = connection.execute("update job set read_back = ?1 where read_back > ?1 + ?2", (now, LONGEST_DELAY))
        return jobs.rowcount + back.rowcount

    return change


def due_by_our_clock(connection: Connection, now: float, folder: str) -> None:
    """Another host has put off a folder's jobs, by a clock that may be ahead of ours: none is put off for longer than it was."""
    connection.execute(
        "update job set due = ?1 + due - changed_at where folder = ?2 and state in ('waiting', 'unknown') and due > ?1"
        " and changed_at > ?1",
        (now, folder),
    )
    connection.execute("update job set read_back = ?1 where folder = ?2 and read_back > ?1", (now, folder))
