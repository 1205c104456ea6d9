"""What SQLite's errors say about the ledger's file: that it cannot be written for now, or that it is damaged."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
from pathlib import Path

import structlog

log = structlog.get_logger()

_DAMAGED = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}
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


class Trouble:
    """What is wrong with one ledger; told in the log once each. Safe for threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._damaged = False
        self._unwritable = ""

    @property
    def damaged(self) -> bool:
        """Whether an answer came that no sound ledger gives."""
        return self._damaged

    @property
    def unwritable(self) -> str:
        """Why nothing can be written for now, empty if all is well."""
        return self._unwritable

    def met(self, error: sqlite3.Error) -> None:
        """Somebody met `error` at the ledger."""
        if is_damage(error):
            self._damaged = True
        elif passes(error):
            with self._lock:
                new, self._unwritable = not self._unwritable, str(error)
            if new:
                log.error(
                    "ledger_unwritable",
                    message=f"the ledger in state_dir cannot be written ({error}): nothing is taken or sent meanwhile",
                    remedy="make room on the disk of state_dir, or let dropcap's user write there; dropcap goes on by itself",
                )

    def written(self) -> None:
        """A write went well."""
        if self._unwritable:
            with self._lock:
                told, self._unwritable = self._unwritable, ""
            if told:
                log.info("ledger_writable")


def identities(path: Path) -> dict[str, tuple[int, int]]:
    """What tells the ledger's files from others in their place; SQLite removes neither while it is open. Raises OSError."""
    found = {}
    for file in (str(path), f"{path}-wal"):
        with contextlib.suppress(FileNotFoundError):
            status = os.stat(file)
            found[file] = (status.st_dev, status.st_ino)
    return found


def is_damage(error: sqlite3.Error) -> bool:
    """Whether the ledger's file holds what no sound one does."""
    return _primary(error) in _DAMAGED


def passes(error: BaseException) -> bool:
    """Whether the same write can go well later: once there is room on the disk, say."""
    return isinstance(error, sqlite3.Error) and _primary(error) in _UNWRITABLE


def _primary(error: sqlite3.Error) -> int:
    code = getattr(error, "sqlite_errorcode", None)  # errors that Python itself raises have none
    return -1 if code is None else code & 0xFF
