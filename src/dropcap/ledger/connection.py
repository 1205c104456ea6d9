"""The connection that writes the ledger."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from pathlib import Path

from dropcap.ledger.schema import LedgerError, migrate

#: Pages of the write-ahead log after which it is written back into the ledger and begun anew.
_WAL_PAGES = 2000


def open_for_writing(path: Path) -> sqlite3.Connection:
    """The one connection that writes the ledger at `path`, which is made or migrated if need be.

    Raises:
        LedgerError: it cannot be opened; the message says what to do.
        sqlite3.DatabaseError: the file is damaged.
    """
    try:
        connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, cached_statements=256)
    except sqlite3.OperationalError as error:
        raise LedgerError(f"{path} cannot be opened ({error}): state_dir must be writable for dropcap") from None
    connection.execute("pragma journal_mode = wal")
    connection.execute("pragma synchronous = full")
    connection.execute("pragma busy_timeout = 30000")
    connection.execute(f"pragma wal_autocheckpoint = {_WAL_PAGES}")
    migrate(connection)
    _grow_wal(connection, path)
    return connection


def _grow_wal(connection: sqlite3.Connection, path: Path) -> None:
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
                wal.write(bytes(more))
                os.fsync(wal.fileno())
    finally:
        connection.execute("rollback")
