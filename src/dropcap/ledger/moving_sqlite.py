"""What is SQLite's own when a ledger is written as a whole (`moving.Engine`)."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from dropcap.ledger.moved import Kind
from dropcap.ledger.transition import digits


class OnSqlite:
    """For a connection in autocommit mode."""

    @contextmanager
    def whole(self, connection: sqlite3.Connection) -> Iterator[None]:
        """See `moving.Engine`."""
        connection.execute("begin immediate")
        try:
            yield
            connection.execute("commit")
        except BaseException:
            connection.rollback()
            raise

    def bound(self, kind: Kind, value: Any) -> Any:
        """See `moving.Engine`."""
        return digits(value) if kind is Kind.WHOLE else int(value) if kind is Kind.FLAG else value

    def number_on(self, connection: sqlite3.Connection) -> None:
        """See `moving.Engine`. A job's number is one more than the highest, which is never pruned."""
        sql = "select max(coalesce((select max(id) from history), 0), coalesce((select max(entry) from seal), 0))"
        (last,) = connection.execute(sql).fetchone()
        connection.execute("delete from sqlite_sequence where name = 'history'")
        connection.execute("insert into sqlite_sequence values ('history', ?)", (last,))
