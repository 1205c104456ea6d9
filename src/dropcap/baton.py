"""Threads that take turns, so that they do not wrestle for the interpreter.

Each system call gives the interpreter's lock away. Where a dozen threads want it, whoever made a call of five
microseconds gets it back only after two changes of thread, which cost more than the call: in a burst of small files that
was more than half of all CPU. Whoever carries the baton through its small calls finds the interpreter free afterwards.

The baton protects nothing. It is put down for everything that waits (the disk, the network, the ledger), and a carrier
that does not come back in time, since a dead share holds it, is no longer waited for.
"""

from __future__ import annotations

import threading
from types import TracebackType

#: Seconds that a carrier is waited for; many times what the longest stretch of small calls takes.
PATIENCE = 0.05


class Baton:
    """`with baton:` carries it, `with baton.down:` puts it down for something that waits, if this thread carries it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._carried = threading.local()
        self.down = _Down(self)

    def __enter__(self) -> None:
        self.pick_up()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.put_down()

    def pick_up(self) -> None:
        """Wait for the baton, but not for ever."""
        lock = self._lock
        if not lock.acquire(timeout=PATIENCE):
            lock = threading.Lock()
            lock.acquire()  # before anybody else can, who might be the next not to come back
            self._lock = lock
        self._carried.lock = lock

    def put_down(self) -> bool:
        """Let others go; whether this thread carried the baton."""
        lock = getattr(self._carried, "lock", None)
        if lock is None:
            return False
        self._carried.lock = None
        lock.release()
        return True


class _Down:
    def __init__(self, baton: Baton) -> None:
        self._baton = baton
        self._put = threading.local()

    def __enter__(self) -> None:
        self._put.down = self._baton.put_down()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._put.down:
            self._baton.pick_up()


BATON = Baton()
