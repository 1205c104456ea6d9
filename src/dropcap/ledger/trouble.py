"""What is wrong with one ledger: that it cannot be written for now, or that it is damaged."""

from __future__ import annotations

import threading

import structlog

from dropcap.ledger.errors import Damaged, DatabaseError, Unavailable

log = structlog.get_logger()


class Trouble:
    """Told in the log once each. Safe for threads."""

    def __init__(self, message: str, remedy: str) -> None:
        """What is told when it cannot be written: why stands for `{why}`."""
        self._message, self._remedy = message, remedy
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

    @property
    def remedy(self) -> str:
        """What to do where it cannot be written."""
        return self._remedy

    def said(self, error: object = None) -> str:
        """That nothing is written, why (for now, or for `error`), and what to do: one sentence without its full stop."""
        return f"{self._message.format(why=error or self._unwritable)}; {self._remedy}"

    def met(self, error: DatabaseError) -> None:
        """Somebody met `error` at the ledger."""
        if isinstance(error, Damaged):
            self._damaged = True
        elif isinstance(error, Unavailable):
            with self._lock:
                new, self._unwritable = not self._unwritable, str(error)
            if new:
                log.error("ledger_unwritable", message=self._message.format(why=error), remedy=self._remedy)

    def written(self) -> None:
        """A write went well."""
        if self._unwritable:
            with self._lock:
                told, self._unwritable = self._unwritable, ""
            if told:
                log.info("ledger_writable")
