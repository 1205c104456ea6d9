"""SQLite: connections, and a ledger in a file."""

from __future__ import annotations

import contextlib
import errno
import os
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from dropcap.ledger.database import (
    Conflict,
    Damaged,
    DatabaseError,
    ErrorLog,
    LedgerError,
    NoDescriptor,
    RowReader,
    Unavailable,
    Writer,
)
from dropcap.ledger.job import Change, digits
from dropcap.ledger.schema import OPEN_STATES, ColumnKind
from dropcap.ledger.sqlite.migrations import migrate

#: Pages of the write-ahead log after which it is written back into the ledger and begun anew.
_WAL_PAGES = 2000
#: What it is filled with, at a time.
_ZEROS = bytes(1 << 16)
#: Milliseconds for which the end waits for readers, to have all in the ledger's one file.
_LAST_CHECKPOINT = 2000

_DAMAGED = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}
#: What SQLite says, by no code of its own, of a header that was written over (sqlite3InitOne in its prepare.c).
_DAMAGED_HEADER = {"unsupported file format", "attached databases must use the same text encoding as main database"}
_UNWRITABLE = {
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_PERM,
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_LOCKED,
    sqlite3.SQLITE_PROTOCOL,
}


class SqliteConnection(sqlite3.Connection):
    """A connection that raises the errors of `ledger.errors`."""

    def execute(self, sql: str, values: Any = (), /) -> sqlite3.Cursor:
        """Run a statement. Raises DatabaseError."""
        try:
            return super().execute(sql, values)
        except sqlite3.Error as error:
            raise meant(error) from error

    def executemany(self, sql: str, rows: Iterable[Any], /) -> sqlite3.Cursor:
        """Run a statement for each of these rows. Raises DatabaseError."""
        try:
            return super().executemany(sql, rows)
        except sqlite3.Error as error:
            raise meant(error) from error

    def later(self, sql: str, rows: Sequence[Sequence[Any]], /) -> None:
        """The same. Raises DatabaseError."""
        self.executemany(sql, rows)

    def attempt(self, sql: str, values: Any, /) -> int:
        """Run a statement; how many rows it has changed, none if a rule of the ledger forbids it. Raises DatabaseError."""
        with contextlib.suppress(Conflict):
            return self.execute(sql, values).rowcount
        return 0

    def enter(self, table: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> list[int]:
        """Insert rows into a table that numbers them; their numbers, in order. Raises DatabaseError."""
        sql = f"insert into {table} ({', '.join(columns)}) values ({','.join('?' * len(columns))})"
        return [int(self.execute(sql, row).lastrowid or 0) for row in rows]

    def take(self, changes: Sequence[Change], now: float) -> set[int] | None:
        """SQLite is asked within this process: one after the other is as quick."""
        return None


class SqliteWriter(SqliteConnection):
    """The one that writes the ledger."""

    def begin(self, jobs: Sequence[int] = ()) -> None:
        """Begin to write; no other process does until the end."""
        self.execute("begin immediate")

    def version(self) -> int:
        """Another number than before if another connection has committed since."""
        return int(self.execute("pragma data_version").fetchone()[0])

    def newest(self) -> tuple[int, int]:
        """The numbers of the last entry and of the newest job. An entry that somebody has removed leaves its seal: its number is
        not used again."""
        (last,) = self.execute("select coalesce(max(id), 0) from history").fetchone()
        (sealed,) = self.execute("select coalesce(max(entry), 0) from seal").fetchone()
        if sealed > last:
            self.execute("delete from sqlite_sequence where name = 'history'")
            self.execute("insert into sqlite_sequence values ('history', ?)", (sealed,))
        (job,) = self.execute("select coalesce(max(job), 0) from history").fetchone()
        return int(max(last, sealed)), int(job)

    def may_write(self, folder: str | None, jobs: Sequence[int]) -> bool:
        """One process has the ledger, and so all folders."""
        return True

    def take_lease(self, folder: str, beat: int | None) -> int | None:
        """There is nobody to take it from."""
        return 0

    def commit(self) -> None:
        """Make it durable."""
        self.execute("commit")

    def rollback(self) -> None:
        """Take all back, unless SQLite has done it already, or its disk is gone."""
        if self.in_transaction:
            with contextlib.suppress(DatabaseError):
                self.execute("rollback")

    def was_committed(self) -> bool:
        """A commit that SQLite has not reported does not stand."""
        return False

    def close(self) -> None:
        """Close it; all of the ledger is in its one file then, unless somebody reads it at this moment."""
        with contextlib.suppress(DatabaseError):  # somebody reads, or the disk is full: the next start has all in any case
            self.execute(f"pragma busy_timeout = {_LAST_CHECKPOINT}")
            self.execute("pragma wal_checkpoint(truncate)")
        super().close()


def open_for_writing(path: Path) -> SqliteWriter:
    """The one connection that writes the ledger at `path`, which is made or migrated if need be.

    Raises:
        LedgerError: it cannot be opened; the message says what to do.
        Damaged: the file is damaged.
    """
    try:
        connection = sqlite3.connect(
            path, isolation_level=None, check_same_thread=False, cached_statements=256, factory=SqliteWriter
        )
    except sqlite3.OperationalError as error:
        raise LedgerError(f"{path} cannot be opened ({meant(error)}): state_dir must be writable for dropcap") from None
    connection.execute("pragma journal_mode = wal")
    connection.execute("pragma synchronous = full")
    connection.execute("pragma busy_timeout = 30000")
    connection.execute(f"pragma wal_autocheckpoint = {_WAL_PAGES}")
    migrate(connection)
    _grow_wal(connection, path)
    return connection


def _grow_wal(connection: SqliteConnection, path: Path) -> None:
    """Give the write-ahead log its full length at once.

    A commit that makes the file longer also has to write the file system's journal, which takes twice as long and holds up
    whoever creates or renames a file on that disk meanwhile. SQLite takes zeros for the end of the log. Not on a small disk,
    of which this would be a good part.
    """
    connection.execute("begin immediate")  # nobody else may be writing at its end
    try:
        with contextlib.suppress(OSError), open(f"{path}-wal", "r+b", buffering=0) as wal:
            more = _WAL_PAGES * 4200 - wal.seek(0, os.SEEK_END)
            disk = os.fstatvfs(wal.fileno())
            if 0 < more < disk.f_bavail * disk.f_frsize / 16:
                for piece in range(0, more, len(_ZEROS)):
                    wal.write(_ZEROS[: more - piece])
                os.fsync(wal.fileno())
    finally:
        connection.execute("rollback")


def open_for_reading(path: Path, *, patience: float = 30.0) -> SqliteConnection:
    """A connection that only reads; a writer is waited for so many seconds.

    After an orderly end, SQLite reads nothing where it may not make its files beside: a directory of others, a read-only disk.
    Nobody writes then, so it is told that the one file does not change. Raises DatabaseError.
    """
    uri = f"{path.absolute().as_uri()}?mode=ro"
    connection = _connect(uri)
    connection.execute(f"pragma busy_timeout = {int(patience * 1000)}")
    try:
        connection.execute("select 1 from sqlite_master limit 1")
    except DatabaseError as error:
        if not isinstance(error.__cause__, sqlite3.OperationalError):
            return connection  # it tells its reason when it is asked
        if os.path.exists(f"{path}-wal") or not os.access(path, os.R_OK):
            return connection
        connection.close()
        connection = _connect(f"{uri}&immutable=1")
    return connection


def _connect(uri: str) -> SqliteConnection:
    try:
        return sqlite3.connect(uri, uri=True, isolation_level=None, check_same_thread=False, factory=SqliteConnection)
    except sqlite3.Error as error:
        raise meant(error) from error


def meant(error: sqlite3.Error) -> DatabaseError:
    """What an error of SQLite's means."""
    code = getattr(error, "sqlite_errorcode", None)  # errors that Python itself raises have none
    primary = -1 if code is None else code & 0xFF
    if primary in _DAMAGED or (primary == sqlite3.SQLITE_ERROR and str(error) in _DAMAGED_HEADER):
        return Damaged(str(error))
    if primary == sqlite3.SQLITE_CANTOPEN and _no_descriptor():
        return NoDescriptor()
    if primary in _UNWRITABLE:
        return Unavailable(str(error))
    return (Conflict if isinstance(error, sqlite3.IntegrityError) else DatabaseError)(str(error))


def _no_descriptor() -> bool:
    """Whether there are fewer than a connection needs, for the ledger and its two files beside: SQLite does not tell."""
    with contextlib.ExitStack() as opened:
        try:
            for _ in range(3):
                opened.callback(os.close, os.open("/", os.O_RDONLY | os.O_CLOEXEC))
        except OSError as error:
            return error.errno in (errno.EMFILE, errno.ENFILE)
    return False


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

    def reader(self, trouble: ErrorLog | None = None) -> SqliteReader:
        """A way to read it."""
        return SqliteReader(self.path, trouble)

    @contextlib.contextmanager
    def snapshot(self) -> Iterator[SqliteConnection]:
        """All of it as of one moment. Raises DatabaseError."""
        with contextlib.closing(open_for_reading(self.path)) as connection:
            connection.text_factory = _as_text
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


def _as_text(kept: bytes) -> str:
    """Whatever somebody wrote there."""
    return kept.decode("utf-8", "backslashreplace")


class SqliteReader:
    """A connection for each thread, closed some time after its end."""

    def __init__(self, path: Path, trouble: ErrorLog | None) -> None:
        self._path = path
        self._trouble = trouble
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
            self._tell(told)
            raise told from error
        except Damaged as error:
            self._tell(error)
            raise

    def _tell(self, error: DatabaseError) -> None:
        if self._trouble is not None and isinstance(error, Damaged):
            self._trouble.met_asking(error)


def _identities(path: Path) -> dict[str, tuple[int, int]]:
    """What tells the ledger's files from others in their place; SQLite removes neither while it is open. Raises OSError."""
    found = {}
    for file in (str(path), f"{path}-wal"):
        with contextlib.suppress(FileNotFoundError):
            status = os.stat(file)
            found[file] = (status.st_dev, status.st_ino)
    return found


class SqliteMoving:
    """See `moving.MovingEngine`."""

    def unhurried(self, writer: Writer) -> None:
        """A transaction lasts as long as it lasts."""

    def bound(self, kind: ColumnKind, value: Any) -> Any:
        """A flag is a number."""
        return digits(value) if kind is ColumnKind.WHOLE else int(value) if kind is ColumnKind.FLAG else value

    def number_on(self, writer: Writer) -> None:
        """A job's number is one more than the highest, which is never pruned; that of an entry of the history is kept apart."""
        writer.newest()
