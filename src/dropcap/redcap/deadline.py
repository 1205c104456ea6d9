"""Breaks off requests that are to stop, or that have passed their deadline, whatever they wait for."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
from collections.abc import Callable
from enum import Enum

from dropcap.threads import begin

#: How late a stop or a deadline may be noticed, in seconds.
TICK = 0.1
_LINGER = 5.0  # the thread ends after so long without a request


class BrokenOff(Enum):
    """Why an exchange was broken off."""

    STOPPED = "stopped"
    DEADLINE = "deadline"


class Twin:
    """A second descriptor of a connection, for the watchdog alone; closed when nobody holds it any more.

    Its shutdown can then never meet a descriptor that was closed and given to another file in between, and it bypasses
    TLS, whose own shutdown would unlock the plain socket. A reply can outlive its connection, so both hold it.
    """

    def __init__(self, sock: socket.socket) -> None:
        self._socket = socket.socket(sock.family, sock.type, sock.proto, fileno=os.dup(sock.fileno()))

    def shutdown(self) -> None:
        """End the connection in both directions, whoever waits for it."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)

    def __del__(self) -> None:
        self._socket.close()


class Exchange:
    """One request and its reply, from before the connection until the reply is read.

    `began`: some byte of the request may have left. `complete`: all of them did. `fresh`: on a connection made for it.
    """

    def __init__(self, deadline: float, stop: threading.Event | None, ready: Callable[[], None] = lambda: None) -> None:
        """`ready` is called once there is a connection, right before the first byte goes; what it raises ends the exchange."""
        self.ready = ready
        self.began = False
        self.complete = False
        self.fresh = False
        self.broken_off: BrokenOff | None = None
        self._deadline = time.monotonic() + deadline
        self._stop = stop
        self._lock = threading.Lock()
        self._connection: Twin | None = None

    def attach(self, connection: Twin) -> None:
        """Watch this connection."""
        with self._lock:
            self._connection = connection
            if self.broken_off:
                connection.shutdown()

    def check(self, now: float) -> None:
        """Break the exchange off if it is time to."""
        if self.broken_off:
            return
        if self._stop is not None and self._stop.is_set():
            self._break_off(BrokenOff.STOPPED)
        elif now >= self._deadline:
            self._break_off(BrokenOff.DEADLINE)

    def close(self) -> None:
        """Let go of the connection."""
        with self._lock:
            self._connection = None

    def _break_off(self, why: BrokenOff) -> None:
        with self._lock:
            self.broken_off = why
            if self._connection is not None:
                self._connection.shutdown()


class ExchangeWatchdog:
    """One thread for all exchanges of the process; it lives only while there are any."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._exchanges: set[Exchange] = set()
        self._thread: threading.Thread | None = None

    def add(self, exchange: Exchange) -> None:
        """Watch an exchange from now on. Raises NoThread: nobody could break it off."""
        with self._lock:
            if self._thread is None:
                self._thread = begin(self._run, "redcap-watchdog")
            self._exchanges.add(exchange)

    def remove(self, exchange: Exchange) -> None:
        with self._lock:
            self._exchanges.discard(exchange)

    def _run(self) -> None:
        busy = time.monotonic()
        while True:
            time.sleep(TICK)
            now = time.monotonic()
            with self._lock:
                exchanges = list(self._exchanges)
                if exchanges:
                    busy = now
                elif now - busy > _LINGER:
                    self._thread = None
                    return
            for exchange in exchanges:
                exchange.check(now)


WATCHDOG = ExchangeWatchdog()
