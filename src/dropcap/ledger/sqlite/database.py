"""A ledger in a file: who opens it, and how it is told from another one in its place."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from dropcap.ledger.database import RowReader
from dropcap.ledger.errors import Damaged, DatabaseError
from dropcap.ledger.schema import OPEN_STATES
from dropcap.ledger.sqlite.connection import SqliteConnection, SqliteWriter, meant, open_for_reading, open_for_writing


class SqliteDatabase:
    """The ledger at a path."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._files: dict[str, tuple[int, int]] = {}

    def writer(self) -> SqliteWriter:
        """The connection that writes. Raises LedgerError, DatabaseError."""
        connection = open_for_writing(self.path)
        self._files = _identities(self.path)
        return connection

    def reader(self, met: Callable[[DatabaseError], None] = lambda _: None) -> SqliteReader:
        """A way to read it."""
        return SqliteReader(self.path, met)

    @contextlib.contextmanager
    def snapshot(self) -> Iterator[SqliteConnection]:
        """All of it as of one moment. Raises DatabaseError."""
        with contextlib.closing(open_for_reading(self.path)) as connection:
            connection.text_factory = lambda text: text.decode("utf-8", "backslashreplace")  # whatever somebody wrote there
            connection.execute("begin")
            yield connection

    def schema_version(self, reader: RowReader) -> int:
        """Which scripts of `MIGRATIONS` have made it what it is."""
        return int(reader.rows("pragma user_version", ())[0][0])

    def check(self, reader: RowReader) -> None:
        """Look at the whole ledger. Raises Damaged."""
        said = reader.rows("pragma quick_check(1)", ())[0][0]
        if said != "ok":
            raise Damaged(" ".join(str(said).split()))

    @property
    def commits(self) -> int:
        """Nobody counts them."""
        return 0

    def gone(self) -> str:
        """That its files were removed or replaced under whoever writes it."""
        try:
            gone = not self._files.items() <= _identities(self.path).items()
        except OSError:
            gone = False  # it cannot be told
        return "the ledger's files were removed or replaced: dropcap ends, and a start begins a new one" if gone else ""

    def has_text(self, column: str) -> str:
        """Whether the text `?`, in small letters, stands in a column of text, as SQL."""
        return f"instr(lower({column}), ?)"

    def name_has(self, column: str) -> str:
        """Whether the bytes `?`, in small letters, stand in a name, as SQL."""
        return f"instr(lower(cast({column} as text)), cast(? as text))"

    @property
    def open_by_key(self) -> str:
        """That `older` is open, where it is looked for by its key, as SQL."""
        return f"older.state in {OPEN_STATES}"

    @property
    def sent_by_key(self) -> str:
        """That `older` is being sent, or its outcome is unknown, where it is looked for by its key, as SQL."""
        return "older.state in ('sending', 'unknown')"

    @property
    def shared(self) -> bool:
        """One process has it."""
        return False

    def give_up(self, *, silent: bool) -> None:
        """It always answers."""

    @property
    def unwritable(self) -> tuple[str, str]:
        """What is told when it cannot be written."""
        return (
            "the ledger in state_dir cannot be written ({why}), so nothing is taken or sent meanwhile",
            "make room on the disk of state_dir, or let dropcap's user write there; dropcap goes on by itself",
        )


class SqliteReader:
    """A connection for each thread, closed some time after its end."""

    def __init__(self, path: Path, met: Callable[[DatabaseError], None]) -> None:
        self._path = path
        self._met = met
        self._local = threading.local()
        self._all: dict[threading.Thread, SqliteConnection] = {}
        self._lock = threading.Lock()

    def _connection(self) -> SqliteConnection:
        connection: SqliteConnection | None = getattr(self._local, "connection", None)
        if connection is None:
            connection = open_for_reading(self._path)
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

    def rows(self, sql: str, values: Sequence[Any]) -> list[Any]:
        """All rows of an answer. Raises DatabaseError."""
        with self._telling():
            return self._connection().execute(sql, values).fetchall()

    def each(self, sql: str, values: Sequence[Any]) -> Iterator[Any]:
        """The rows of an answer, not all in memory at once. Raises DatabaseError."""
        with self._telling():
            yield from self._connection().execute(sql, values)

    def changes(self) -> int:
        """Another number than before, on the same thread, if anything was written meanwhile."""
        return int(self.rows("pragma data_version", ())[0][0])

    @contextlib.contextmanager
    def _telling(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            told = meant(error)
            if isinstance(told, Damaged):
                self._met(told)
            raise told from error
        except Damaged as error:
            self._met(error)
            raise


def _identities(path: Path) -> dict[str, tuple[int, int]]:
    """What tells the ledger's files from others in their place; SQLite removes neither while it is open. Raises OSError."""
    found = {}
    for file in (str(path), f"{path}-wal"):
        with contextlib.suppress(FileNotFoundError):
            status = os.stat(file)
            found[file] = (status.st_dev, status.st_ino)
    return found
