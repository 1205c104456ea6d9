"""What is wrong with one ledger: not writable, damaged, or written while a clock was ahead."""

from __future__ import annotations

import math
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import structlog

from dropcap.ledger.database import Connection, Damaged, Database, DatabaseError, Unavailable
from dropcap.ledger.job import Job, State
from dropcap.ledger.sqlite.database import SqliteDatabase

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


log = structlog.get_logger()

#: For so long (seconds) after a good answer what a question met is no news: it may have been asked before that.
_LATE = 2.0


class Trouble:
    """Told in the log once each. Safe for threads."""

    def __init__(self, message: str, remedy: str) -> None:
        """What is told when it cannot be written: why stands for `{why}`."""
        self._message, self._remedy = message, remedy
        self._lock = threading.Lock()
        self._damaged = False
        self._unwritable = ""  # since a write was refused
        self._unanswered = ""  # since a question was
        self._well = -math.inf  # when the last trouble was over (monotonic)

    @property
    def damaged(self) -> bool:
        """Whether an answer came that no sound ledger gives."""
        return self._damaged

    @property
    def unwritable(self) -> str:
        """Why nothing can be written for now, empty if all is well."""
        return self._unwritable or self._unanswered

    @property
    def remedy(self) -> str:
        """What to do where it cannot be written."""
        return self._remedy

    def said(self, error: object = None) -> str:
        """That nothing is written, why (for now, or for `error`), and what to do: one sentence without its full stop."""
        return f"{self._message.format(why=error or self.unwritable)}; {self._remedy}"

    def met(self, error: DatabaseError) -> None:
        """Who writes met `error` at the ledger."""
        if isinstance(error, Damaged):
            self._damaged = True
        elif isinstance(error, Unavailable):
            self._now(str(error), self._unanswered)

    def met_asking(self, error: DatabaseError) -> None:
        """Who asks met `error` at the ledger; until `answers`."""
        if isinstance(error, Unavailable):
            if time.monotonic() - self._well > _LATE:
                self._now(self._unwritable, str(error))
        else:
            self.met(error)

    def written(self) -> None:
        """A write went well."""
        if self.unwritable:
            self._now("", "")

    def answers(self) -> None:
        """A question was answered."""
        if self._unanswered:
            self._now(self._unwritable, "")

    def _now(self, unwritable: str, unanswered: str) -> None:
        with self._lock:
            before = self.unwritable
            self._unwritable, self._unanswered = unwritable, unanswered
            now = self.unwritable
        if now and not before:
            log.error("ledger_unwritable", message=self._message.format(why=now), remedy=self._remedy)
        elif before and not now:
            self._well = time.monotonic()
            log.info("ledger_writable")


_COLUMNS = ", ".join(Job.__dataclass_fields__)


class Rows:
    """Read access for any thread. All raise DatabaseError.

    `met` is told of errors that only a damaged ledger gives.
    """

    def __init__(self, place: Database | Path, met: Callable[[DatabaseError], None] = lambda _: None) -> None:
        """A path is that of a ledger in a file."""
        self.database: Database = SqliteDatabase(place) if isinstance(place, Path) else place
        self._reader = self.database.reader(met)

    def close(self) -> None:
        """Close the connections of all threads."""
        self._reader.close()

    def _rows(self, sql: str, *values: Any) -> Iterator[Any]:
        return iter(self._reader.rows(sql, values))

    def _each(self, sql: str, *values: Any) -> Iterator[Any]:
        """Like `_rows`, but not all in memory at once."""
        return self._reader.each(sql, values)

    def _jobs(self, tail: str, *values: Any) -> list[Job]:
        return [_job(row) for row in self._rows(f"select {_COLUMNS} from job {tail}", *values)]

    def _each_job(self, tail: str, *values: Any) -> Iterator[Job]:
        """Like `_jobs`, but not all in memory at once."""
        return map(_job, self._each(f"select {_COLUMNS} from job {tail}", *values))

    def job(self, job: int) -> Job | None:
        """One job by its number."""
        found = self._jobs("where id = ?", job)
        return found[0] if found else None

    def version(self) -> int:
        """The version of its schema."""
        return self.database.schema_version(self._reader)

    def meta(self, key: str) -> str | None:
        """One word about the installation."""
        row = next(self._rows("select value from meta where key = ?", key), None)
        return str(row[0]) if row else None

    def metas(self, prefix: str) -> dict[str, str]:
        """All words about the installation whose keys begin so, by what follows in the key."""
        rows = self._rows(f"select key, value from meta where substr(key, 1, {len(prefix)}) = ?", prefix)
        return {str(key)[len(prefix) :]: str(value) for key, value in rows}

    def check(self) -> None:
        """Look at the whole ledger. Raises Damaged."""
        self.database.check(self._reader)


def _job(row: Any) -> Job:
    values = list(row)
    values[2] = os.fsdecode(values[2])
    values[3] = State(values[3])
    for place in (_TAKES_NEXT, _MAY_HAVE_ARRIVED):
        values[place] = bool(values[place])
    for place in (_MTIME, _INODE, _SENT_CTIME):  # the digits, where they are too many for SQLite
        values[place] = None if values[place] is None else int(values[place])
    for place in (_FILED, _PRESERVED):
        if values[place] is not None:
            values[place] = os.fsdecode(values[place])
    return Job(*values)


_NAMES = list(Job.__dataclass_fields__)
_MTIME, _INODE = _NAMES.index("mtime_ns"), _NAMES.index("inode")
_TAKES_NEXT, _MAY_HAVE_ARRIVED = _NAMES.index("takes_next"), _NAMES.index("may_have_arrived")
_SENT_CTIME = _NAMES.index("sent_ctime_ns")
_FILED = _NAMES.index("filed_as")
_PRESERVED = _NAMES.index("preserved_as")
