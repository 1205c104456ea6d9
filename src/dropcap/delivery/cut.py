"""What ends an upload that is under way: a stop of dropcap, or a lease that this host could not renew in time."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

#: How often a wait looks whether the lease still holds (seconds).
_LOOK = 0.5


class Cut(threading.Event):
    """Set while everything is broken off, or the upload's folder may be another host's."""

    def __init__(self, break_off: threading.Event, holds: Callable[[], bool]) -> None:
        super().__init__()
        self._break_off = break_off
        self._holds = holds

    def is_set(self) -> bool:
        """Whether to end now."""
        return self._break_off.is_set() or not self._holds()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until it is set, at most so many seconds; whether it is."""
        end = None if timeout is None else time.monotonic() + timeout
        while not self.is_set():
            left = _LOOK if end is None else min(_LOOK, end - time.monotonic())
            if left <= 0:
                return False
            self._break_off.wait(left)
        return True
