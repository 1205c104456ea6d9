"""One connection to the database as the ledger uses it: its SQL, its values, its errors, and an end to every wait."""

from __future__ import annotations

import contextlib
import logging
import socket
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import psycopg
from psycopg import errors
from psycopg.adapt import Loader

from dropcap.ledger.errors import Conflict, Damaged, DatabaseError, Unavailable
from dropcap.ledger.postgres.dialect import as_was, bound, translated
from dropcap.ledger.postgres.steps import take
from dropcap.ledger.postgres.watchdog import ANY, WATCHDOG, Patience
from dropcap.ledger.postgres.wire import in_words
from dropcap.ledger.transition import Change

Connect = Callable[[], Any]

#: What passes by itself, by the first two characters of its SQLSTATE: the connection, an operator's word, a lack of room, the
#: state of a transaction that another one has ended.
_PASSES = ("08", "57", "53", "58", "55", "40", "25")
#: What a statement may take (seconds), if the server itself has not ended it by then.
_PATIENCE = 11.0

logging.getLogger("psycopg").setLevel(logging.CRITICAL)  # all that it warns of is raised as well


class _Text(Loader):
    def load(self, data: Any) -> str:
        return as_was(bytes(data).decode())


class _Number(Loader):
    """`numeric` is used for whole numbers: of more than 64 bits, and for sums. What a hand has made of one stays no number."""

    def load(self, data: Any) -> int | float:
        text = bytes(data).decode()
        return int(text) if text.lstrip("-").isdecimal() else float(text)


class PostgresConnection:
    """A connection in autocommit, made when it is needed first and anew when it is broken."""

    def __init__(self, connect: Connect, patience: Patience = ANY) -> None:
        self._connect = connect
        self._patience = patience
        self._wire: psycopg.Connection[Any] | None = None
        self._socket: socket.socket | None = None

    @property
    def opened(self) -> bool:
        """Whether it was made already; the other end may have gone since."""
        return self._wire is not None

    @property
    def wire(self) -> psycopg.Connection[Any]:
        """For what is asked in PostgreSQL's own words. Raises DatabaseError."""
        if self._wire is None or self._wire.closed or self._wire.broken:
            self.close()
            with meant():
                self._wire = self._connect()
            self._wire.adapters.register_loader("text", _Text)
            self._wire.adapters.register_loader("numeric", _Number)
            self._socket = socket.socket(fileno=socket.dup(self._wire.fileno()))
            try:
                with meant(), WATCHDOG.over(self._socket, _PATIENCE, self._patience):
                    self.connected(self._wire)
            except BaseException:
                self.close()
                raise
        return self._wire

    @property
    def made(self) -> bool:
        """Whether there is a connection, be it broken."""
        return self._wire is not None

    def connected(self, wire: psycopg.Connection[Any]) -> None:
        """A new connection was made."""

    @contextlib.contextmanager
    def asking(self, seconds: float = _PATIENCE) -> Iterator[psycopg.Connection[Any]]:
        """The connection for some statements that together take so long at most. Raises DatabaseError."""
        wire = self.wire
        with meant(), WATCHDOG.over(self._socket, seconds, self._patience):
            yield wire

    def execute(self, statement: str, values: Sequence[Any] = (), /) -> psycopg.Cursor[Any]:
        """Run a statement. Raises DatabaseError."""
        text = translated(statement)
        with self.asking() as wire:
            return wire.execute(text.encode(), bound(text, values))

    def executemany(self, statement: str, rows: Iterable[Sequence[Any]], /) -> None:
        """Run a statement for each of these rows, on one way. Raises DatabaseError."""
        text = translated(statement)
        given = [bound(text, row) for row in rows]
        if given:
            with self.asking() as wire, wire.cursor() as cursor:
                cursor.executemany(text.encode(), given)

    def later(self, statement: str, rows: Sequence[Sequence[Any]], /) -> None:
        """The same. Raises DatabaseError."""
        self.executemany(statement, rows)

    def attempt(self, statement: str, values: Sequence[Any], /) -> int:
        """Run a statement; how many rows it has changed, none if a rule of the ledger forbids it. Raises DatabaseError."""
        self.execute("savepoint attempt")
        try:
            changed = self.execute(statement, values).rowcount
        except Conflict:
            self.execute("rollback to attempt")
            changed = 0
        self.execute("release attempt")
        return changed

    def enter(self, table: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> list[int]:
        """Insert rows into a table that numbers them; their numbers, in order. Raises DatabaseError."""
        if not rows:
            return []
        with self.asking() as wire:
            numbers = wire.execute(
                "select nextval(pg_get_serial_sequence(%s, 'id')) from generate_series(1, %s)", (table, len(rows))
            ).fetchall()
        marks = ",".join("?" * (len(columns) + 1))
        ids = sorted(int(number) for (number,) in numbers)
        self.executemany(
            f"insert into {table} (id, {', '.join(columns)}) values ({marks})",
            [(number, *row) for number, row in zip(ids, rows, strict=True)],
        )
        return ids

    def take(self, changes: Sequence[Change], now: float) -> set[int] | None:
        """Take jobs to their next states, in as few statements as can be. Raises DatabaseError."""
        with self.asking(4 * _PATIENCE) as wire:
            return take(wire, changes, now)

    def close(self) -> None:
        """Close it; the next statement makes it anew."""
        if self._socket is not None:
            self._socket.close()
        if self._wire is not None:
            with contextlib.suppress(Exception):  # it is broken as a rule
                self._wire.close()
        self._wire = self._socket = None


@contextlib.contextmanager
def meant() -> Iterator[None]:
    """What psycopg raises, as what it means."""
    try:
        yield
    except psycopg.Error as raised:
        error = raised
        while isinstance(error.__context__, psycopg.Error):  # what came of the first one tells less
            error = error.__context__
        state = error.sqlstate or ""
        said = in_words(error)
        if isinstance(error, errors.UniqueViolation | errors.CheckViolation):
            raise Conflict(said) from error
        if isinstance(error, errors.DataCorrupted | errors.IndexCorrupted):
            raise Damaged(said) from error
        lost = isinstance(error, psycopg.OperationalError | psycopg.InterfaceError) and not state
        if lost or state.startswith(_PASSES):
            raise Unavailable(said) from error
        raise DatabaseError(said) from error
    except OSError as error:
        raise Unavailable(str(error)) from error
