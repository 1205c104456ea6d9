"""What is wrong with one ledger: that it cannot be written for now, or that it is damaged."""

from __future__ import annotations

import math
import threading
import time

import structlog

from dropcap.ledger.errors import Damaged, DatabaseError, Unavailable

log = structlog.get_logger()

#: For so long (seconds) after a good answer what a question met is no news: it may have been asked before that.
_LATE = 2.0


class Trouble:
    """Told in the log once each. Safe for threads."""

    def __init__(self, message: str, remedy: str) -> None:
        """What is told when it cannot be written: why stands for `{why}`."""
        self._message, self._remedy = message, remedy
        self._lock = threading.Lock()
        self._damaged = False
        self._unwritable = ""  # since a write was refused
        self._unanswered = ""  # since a question was
        self._well = -math.inf  # when the last trouble was over (monotonic)

    @property
    def damaged(self) -> bool:
        """Whether an answer came that no sound ledger gives."""
        return self._damaged

    @property
    def unwritable(self) -> str:
        """Why nothing can be written for now, empty if all is well."""
        return self._unwritable or self._unanswered

    @property
    def remedy(self) -> str:
        """What to do where it cannot be written."""
        return self._remedy

    def said(self, error: object = None) -> str:
        """That nothing is written, why (for now, or for `error`), and what to do: one sentence without its full stop."""
        return f"{self._message.format(why=error or self.unwritable)}; {self._remedy}"

    def met(self, error: DatabaseError) -> None:
        """Who writes met `error` at the ledger."""
        if isinstance(error, Damaged):
            self._damaged = True
        elif isinstance(error, Unavailable):
            self._now(str(error), self._unanswered)

    def met_asking(self, error: DatabaseError) -> None:
        """Who asks met `error` at the ledger; until `answers`."""
        if isinstance(error, Unavailable):
            if time.monotonic() - self._well > _LATE:
                self._now(self._unwritable, str(error))
        else:
            self.met(error)

    def written(self) -> None:
        """A write went well."""
        if self.unwritable:
            self._now("", "")

    def answers(self) -> None:
        """A question was answered."""
        if self._unanswered:
            self._now(self._unwritable, "")

    def _now(self, unwritable: str, unanswered: str) -> None:
        with self._lock:
            before = self.unwritable
            self._unwritable, self._unanswered = unwritable, unanswered
            now = self.unwritable
        if now and not before:
            log.error("ledger_unwritable", message=self._message.format(why=now), remedy=self._remedy)
        elif before and not now:
            self._well = time.monotonic()
            log.info("ledger_writable")
