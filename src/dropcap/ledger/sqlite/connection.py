"""SQLite's connections: what they raise means the same in every engine."""

from __future__ import annotations

import contextlib
import errno
import os
import sqlite3
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from dropcap.ledger.errors import Conflict, Damaged, DatabaseError, LedgerError, NoDescriptor, Unavailable
from dropcap.ledger.sqlite.migrations import migrate
from dropcap.ledger.transition import Change

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
