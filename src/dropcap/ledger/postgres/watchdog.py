"""An end to every wait for a server that is frozen but keeps its sockets: no setting of the socket tells that from a slow one."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator

from dropcap.threads import DaemonThread, NoThread

#: Seconds between two looks at what takes too long.
_LOOK = 0.5
#: Seconds without a question after which the thread ends.
_IDLE = 60.0


class Patience:
    """How long connections may wait for an answer: as long as each question says, and `most` seconds at that."""

    def __init__(self) -> None:
        self.most = float("inf")


ANY = Patience()


class QuestionWatchdog:
    """Shuts down the sockets of questions that take too long. One thread, for all connections of the process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._asked: dict[int, tuple[float, float, Patience, socket.socket]] = {}
        self._number = 0
        self._thread: DaemonThread | None = None

    @contextlib.contextmanager
    def over(self, wire: socket.socket | None, seconds: float, patience: Patience = ANY) -> Iterator[None]:
        """What is done meanwhile takes so many seconds at most: then its end of the connection is shut down."""
        if wire is None:
            yield
            return
        with self._lock:
            self._number += 1
            number = self._number
            self._asked[number] = (time.monotonic(), seconds, patience, wire)
            if self._thread is None:
                with contextlib.suppress(NoThread):  # the server's own limits are left then
                    thread = DaemonThread(self._run, "database watchdog")
                    thread.start()
                    self._thread = thread
        try:
            yield
        finally:
            with self._lock:
                del self._asked[number]

    def _run(self) -> None:
        idle = time.monotonic()
        while True:
            time.sleep(_LOOK)
            now = time.monotonic()
            with self._lock:
                if self._asked:
                    idle = now
                elif now - idle > _IDLE:
                    self._thread = None
                    return
                for since, seconds, patience, wire in self._asked.values():
                    if now - since > min(seconds, patience.most):
                        with contextlib.suppress(OSError):
                            wire.shutdown(socket.SHUT_RDWR)


WATCHDOG = QuestionWatchdog()
