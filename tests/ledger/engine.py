"""The two engines of the ledger as their tests use them: one contract, and a hand that meddles with what they keep."""

from __future__ import annotations

import contextlib
import itertools
import sqlite3
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dropcap.ledger.chain import Head
from dropcap.ledger.database import Database
from dropcap.ledger.proof import Proof, prove
from dropcap.ledger.reports import Figures
from dropcap.ledger.sqlite import SqliteDatabase
from dropcap.ledger.store import Ledger

if TYPE_CHECKING:  # the extra [postgres] may not be installed
    from tests.postgres.cluster import Cluster

#: A statement, alone or with its values (`?` in both engines).
Statement = str | tuple[str, Sequence[Any]]


class Engine(ABC):
    """An empty ledger that an engine keeps."""

    name: str

    def __init__(self) -> None:
        self._open: list[Ledger] = []

    @abstractmethod
    def database(self) -> Database:
        """Where it is, as another process would name it."""

    @abstractmethod
    def rows(self, *statements: Statement) -> list[Any]:
        """What the last of these statements answers. All on one connection that knows nothing of dropcap, each committed."""

    @property
    def sqlite(self) -> bool:
        return self.name == "sqlite"

    def open(self, clock: Callable[[], float] = time.time) -> Ledger:
        """It is opened; closed at the test's end, if it was not before."""
        ledger = Ledger(self.database(), clock=clock)
        self._open.append(ledger)
        return ledger

    def surgery(self, *statements: Statement) -> None:
        """Change what it keeps, behind its back."""
        self.rows(*statements)

    def prove(self, heads: Iterable[Head] = ()) -> Proof:
        return prove(self.database(), heads)

    def said(self, *heads: Head) -> list[str]:
        """What is found to be wrong with it."""
        return [str(one) for one in self.prove(heads).broken]

    @contextlib.contextmanager
    def figures(self) -> Iterator[Figures]:
        made = Figures(self.database())
        yield made
        made.close()

    def close(self) -> None:
        for ledger in self._open:
            ledger.close()


class SqliteEngine(Engine):
    """In a file."""

    name = "sqlite"

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.path = folder / "ledger.db"

    def database(self) -> SqliteDatabase:
        return SqliteDatabase(self.path)

    def rows(self, *statements: Statement) -> list[Any]:
        with contextlib.closing(sqlite3.connect(self.path, isolation_level=None)) as connection:
            return [connection.execute(*_whole(one)).fetchall() for one in statements][-1]


class PostgresEngine(Engine):
    """In one database that the tests of a process use one after the other: each finds it as it was when it was made."""

    name = "postgresql"

    def __init__(self, dsn: str) -> None:
        import psycopg

        super().__init__()
        self.dsn = dsn
        with contextlib.closing(Ledger(self.database())):
            pass
        self._executor = psycopg.connect(dsn, autocommit=True)
        tables = self.rows("select tablename from pg_tables where schemaname = 'public' order by 1")
        self._tables = [table for (table,) in tables]
        self._new = {table: rows for table in self._tables if (rows := self.rows(f"select * from {table}"))}

    @classmethod
    @contextlib.contextmanager
    def new(cls, cluster: Cluster) -> Iterator[PostgresEngine]:
        """In a database of its own."""
        made = cls(cluster.create_database())
        yield made
        made.close()
        made.end()

    def database(self) -> Any:
        from dropcap.ledger.postgres.database import PostgresDatabase
        from dropcap.ledger.postgres.wire import Connector

        return PostgresDatabase(Connector(self.dsn, "tests"))

    def rows(self, *statements: Statement) -> list[Any]:
        answers = []
        for sql, values in map(_whole, statements):
            cursor = self._executor.execute(sql.replace("?", "%s").encode(), values or None)
            answers.append(cursor.fetchall() if cursor.description else [])
        return answers[-1]

    def begin_anew(self) -> None:
        """As it was when it was made."""
        self.close()
        self._open.clear()
        numbered = {table: len(self._new.get(table, ())) + 1 for table in ("job", "history", "chain")}
        with self._executor.transaction(), self._executor.pipeline():
            for table in self._tables:
                self._executor.execute(f"delete from {table}".encode())
            for table, number in numbered.items():
                self._executor.execute(f"alter table {table} alter column id restart with {number}".encode())
            for table, rows in self._new.items():
                for row in rows:
                    marks = ", ".join(["%s"] * len(row))
                    self._executor.execute(f"insert into {table} values ({marks})".encode(), row)

    def end(self) -> None:
        self._executor.close()


def _whole(statement: Statement) -> tuple[str, Sequence[Any]]:
    return (statement, ()) if isinstance(statement, str) else statement


def ticking(start: float = 1_800_000_000.25, step: float = 1.0) -> Callable[[], float]:
    """A clock that goes on by `step` seconds with each look at it."""
    return itertools.count(start, step).__next__
