"""The request limit of a server that several hosts keep together."""

from __future__ import annotations

import threading

from dropcap.hosts.heartbeat import boot_time
from dropcap.ledger.database import Unavailable
from dropcap.ledger.postgres import leases
from dropcap.ledger.postgres.wire import Wire, WireConnection
from dropcap.redcap.window import WINDOW, Allowance

#: Seconds after which a grant is void: the window is longer than REDCap's minute by so much.
GOOD_FOR = 1.0
#: Seconds after which the database is asked again where it does not answer.
TRY_AGAIN = 1.0
#: The least wait (seconds) where there was room that others took first.
_LEAST = 0.05


class SharedWindow(Allowance):
    """At most `per_minute` requests of `server` in any minute, of all hosts that share the ledger; the database counts.

    Where it does not answer, there is no room: who waits goes on waiting. An answer that comes too late grants nothing, and what
    it has entered counts all the same. A `wire` may serve many windows; who made it closes it. A stop is noticed within the time
    to connect and the wire's `patience`.
    """

    def __init__(self, wire: Wire, server: str, per_minute: int, window: float = WINDOW) -> None:
        super().__init__(per_minute)
        self._wire = wire
        self._server = server
        self._window = window
        self._granted = threading.local()  # when each thread asked for what it was granted last

    def try_acquire(self) -> float:
        """Enter a request and return 0.0, or return the seconds after which to ask again. Raises nothing."""
        if self.per_minute <= 0:
            return 0.0
        try:
            while True:
                asked = boot_time()
                with self._wire.asking() as connection:
                    wait = self._grant(connection)
                if wait > 0:
                    return wait
                self._granted.asked = asked
                if self.fresh():
                    return 0.0
        except (Unavailable, OSError):
            return TRY_AGAIN

    def fresh(self) -> bool:
        """Whether the calling thread's last grant may still be used: if it is not within a second, ask for another one."""
        return self.per_minute <= 0 or boot_time() - getattr(self._granted, "asked", float("-inf")) <= GOOD_FOR

    def used(self) -> int:
        """Requests of the last minute, whichever host made them; 0 where nothing is counted or the database does not answer."""
        if self.per_minute <= 0:
            return 0
        try:
            with self._wire.asking() as connection:
                return leases.used(connection, self._server, self._window)
        except (Unavailable, OSError):
            return 0

    def close(self) -> None:
        """Nothing: the wire belongs to who made it."""

    def _grant(self, connection: WireConnection) -> float:
        if leases.grant(connection, self._server, self.per_minute, self._window):
            return 0.0
        return max(_LEAST, leases.wait(connection, self._server, self.per_minute, self._window))
