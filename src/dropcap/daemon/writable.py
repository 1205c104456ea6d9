"""Whether the ledger can be written at this moment: where nobody has tried lately, a small write tells."""

from __future__ import annotations

import time
from concurrent.futures import Future

from dropcap.files.hand import Hand
from dropcap.ledger.store import Ledger
from dropcap.threads import NoThread

#: Seconds for which the write is waited for; on a disk that takes it, it takes some milliseconds.
_PATIENCE = 1.0
_EVERY = 0.01
#: What is written: when it was looked last (seconds since the epoch); SQLite writes nothing where nothing changes.
_KEY = "looked at"


class Writable:
    """Tries to write the ledger. May be asked by any thread."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._hand = Hand("ledger look")
        self._tried: Future[None] | None = None  # the write that was begun last

    def why_not(self) -> str:
        """Why the ledger cannot be written; empty if it can, or has not said within a second."""
        end = time.monotonic() + _PATIENCE
        if self._ledger.trouble.unwritable:  # what could not be written is tried again each second: it tells when it is over
            return self._ledger.trouble.unwritable
        tried = self._tried
        if tried is None or tried.done():
            try:
                tried = self._tried = self._hand.begin(lambda: self._ledger.set_meta(_KEY, f"{time.time():.6f}"), _PATIENCE)
            except NoThread:
                return ""
        while not (tried.done() or self._ledger.trouble.unwritable) and time.monotonic() < end:
            time.sleep(_EVERY)
        return self._ledger.trouble.unwritable
