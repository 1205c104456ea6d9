"""The rows of one question, so many at a time: there can be more than a process should hold."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Any

from dropcap.ledger.postgres.connection import PostgresConnection
from dropcap.ledger.postgres.dialect import bound, translated

#: Rows that travel at a time.
AT_ONCE = 2000
#: What the server may take until the first of them is there, or the next (seconds): it may have to sort all.
_PATIENCE = 3600.0
_NAMES = itertools.count()


class Stream:
    """An answer within a transaction that reads. All raise DatabaseError."""

    rowcount = -1

    def __init__(self, connection: PostgresConnection, sql: str, values: Sequence[Any]) -> None:
        text = translated(sql)
        self._connection = connection
        self._rows: list[Any] = []
        self._all = False
        with connection.asking(_PATIENCE) as wire:
            self._cursor = wire.cursor(name=f"stream{next(_NAMES)}")
            self._cursor.execute(text.encode(), bound(text, values))
        self._more()

    def _more(self) -> None:
        with self._connection.asking(_PATIENCE):
            self._rows = self._cursor.fetchmany(AT_ONCE)
            self._rows.reverse()
            self._all = len(self._rows) < AT_ONCE
            if self._all:
                self._cursor.close()

    def fetchone(self) -> Any:
        """The next row, None if there is none."""
        if not self._rows and not self._all:
            self._more()
        return self._rows.pop() if self._rows else None

    def fetchall(self) -> list[Any]:
        """The rows that are left."""
        return list(self)

    def __iter__(self) -> Iterator[Any]:
        """The rows that are left, one after the other."""
        return iter(self.fetchone, None)


class Snapshot(PostgresConnection):
    """A transaction that sees all as of one moment. What is selected there comes as a stream."""

    def execute(self, statement: str, values: Sequence[Any] = (), /) -> Any:
        """Run a statement. Raises DatabaseError."""
        return Stream(self, statement, values) if statement.startswith("select") else super().execute(statement, values)

    def begin(self) -> None:
        """Begin, without a limit to what it may take."""
        self.execute("begin isolation level repeatable read read only")
        self.execute("set local statement_timeout = 0")
        self.execute("set local idle_in_transaction_session_timeout = 0")
