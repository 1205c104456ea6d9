"""Reading the ledger: a connection for each thread, and jobs from rows. Never writes, may run beside a daemon."""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from dropcap.ledger.job import (
    Job,
    State,
)
from dropcap.ledger.trouble import is_damage

_COLUMNS = ", ".join(Job.__dataclass_fields__)


class Rows:
    """Read access, one connection a thread, closed some time after its end.

    `met` is told of errors that only a damaged ledger gives.
    """

    def __init__(self, path: Path, met: Callable[[sqlite3.Error], None] = lambda _: None) -> None:
        self._path = path
        self._met = met
        self._local = threading.local()
        self._all: dict[threading.Thread, sqlite3.Connection] = {}
        self._lock = threading.Lock()

    def _connection(self) -> sqlite3.Connection:
        connection: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if connection is None:
            connection = _open(self._path)
            self._local.connection = connection
            with self._lock:
                for thread in [thread for thread in self._all if not thread.is_alive()]:
                    self._all.pop(thread).close()
                self._all[threading.current_thread()] = connection
        return connection

    def close(self) -> None:
        """Close the connections of all threads."""
        with self._lock:
            for connection in self._all.values():
                connection.close()
            self._all.clear()

    def _rows(self, sql: str, *values: Any) -> Iterator[Any]:
        try:
            return iter(self._connection().execute(sql, values).fetchall())
        except sqlite3.Error as error:
            if is_damage(error):
                self._met(error)
            raise

    def _each(self, sql: str, *values: Any) -> Iterator[Any]:
        """Like `_rows`, but not all in memory at once."""
        try:
            yield from self._connection().execute(sql, values)
        except sqlite3.Error as error:
            if is_damage(error):
                self._met(error)
            raise

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
        """Which scripts of `MIGRATIONS` have made it what it is."""
        return int(next(self._rows("pragma user_version"))[0])

    def meta(self, key: str) -> str | None:
        """One word about the installation."""
        row = next(self._rows("select value from meta where key = ?", key), None)
        return str(row[0]) if row else None

    def check(self) -> None:
        """Look at the whole ledger.

        Raises:
            sqlite3.DatabaseError: it is damaged.
        """
        said = next(self._rows("pragma quick_check(1)"))[0]
        if said != "ok":
            error = sqlite3.DatabaseError(" ".join(str(said).split()))
            error.sqlite_errorcode = sqlite3.SQLITE_CORRUPT  # as SQLite says it itself, so that it is taken for damage
            raise error


def _open(path: Path) -> sqlite3.Connection:
    """After an orderly end, SQLite reads nothing where it may not make its files beside: a directory of others, a read-only disk.

    Nobody writes then, so it is told that the one file does not change.
    """
    uri = f"{path.absolute().as_uri()}?mode=ro"
    connection = sqlite3.connect(uri, uri=True, isolation_level=None, check_same_thread=False)
    connection.execute("pragma busy_timeout = 30000")
    try:
        connection.execute("select 1 from sqlite_master limit 1")
    except sqlite3.OperationalError:
        if os.path.exists(f"{path}-wal") or not os.access(path, os.R_OK):
            return connection  # it tells its reason when it is asked
        connection.close()
        connection = sqlite3.connect(f"{uri}&immutable=1", uri=True, isolation_level=None, check_same_thread=False)
    return connection


def _job(row: Any) -> Job:
    values = list(row)
    values[2] = os.fsdecode(values[2])
    values[3] = State(values[3])
    values[_TAKES_NEXT] = bool(values[_TAKES_NEXT])
    for place in (_MTIME, _INODE, _SENT_CTIME):  # the digits, where they are too many for SQLite
        values[place] = None if values[place] is None else int(values[place])
    for place in (_FILED, _PRESERVED):
        if values[place] is not None:
            values[place] = os.fsdecode(values[place])
    return Job(*values)


_NAMES = list(Job.__dataclass_fields__)
_MTIME, _INODE = _NAMES.index("mtime_ns"), _NAMES.index("inode")
_TAKES_NEXT = _NAMES.index("takes_next")
_SENT_CTIME = _NAMES.index("sent_ctime_ns")
_FILED = _NAMES.index("filed_as")
_PRESERVED = _NAMES.index("preserved_as")
