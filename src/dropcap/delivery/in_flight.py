"""The jobs whose turn is under way."""

from __future__ import annotations

import threading
from collections.abc import Collection


class InFlight:
    """Jobs that the deciding thread has given a turn, and that are not taken from the ledger again before it is over.

    It alone adds; whoever ends a turn discards. Safe for threads.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._jobs: set[int] = set()

    def add(self, job: int) -> None:
        """Its turn begins."""
        with self._lock:
            self._jobs.add(job)

    def discard(self, jobs: Collection[int]) -> None:
        """Their turns are over."""
        with self._lock:
            self._jobs.difference_update(jobs)

    def __contains__(self, job: object) -> bool:
        with self._lock:
            return job in self._jobs

    def __len__(self) -> int:
        with self._lock:
            return len(self._jobs)
