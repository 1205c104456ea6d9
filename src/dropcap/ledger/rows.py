"""Reading the ledger: jobs from rows. Never writes, may run beside a daemon."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from dropcap.ledger.database import Database
from dropcap.ledger.errors import DatabaseError
from dropcap.ledger.job import Job, State
from dropcap.ledger.sqlite.database import SqliteDatabase

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
