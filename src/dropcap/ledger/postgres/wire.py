"""A connection for short questions, and the watchdog that ends every wait."""

from __future__ import annotations

import contextlib
import os
import re
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any, Protocol

from dropcap.ledger.database import Unavailable
from dropcap.threads import begin

#: Seconds between two looks at what takes too long.
_LOOK = 0.5


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
        self._thread: threading.Thread | None = None

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
                self._thread = begin(self._run, "database watchdog")
        try:
            yield
        finally:
            with self._lock:
                del self._asked[number]

    def _run(self) -> None:
        while True:
            time.sleep(_LOOK)
            now = time.monotonic()
            with self._lock:
                for since, seconds, patience, wire in self._asked.values():
                    if now - since > min(seconds, patience.most):
                        with contextlib.suppress(OSError):
                            wire.shutdown(socket.SHUT_RDWR)


WATCHDOG = QuestionWatchdog()


#: Seconds after which a question is given up: nothing else ends the wait for a server that is frozen but keeps its sockets.
PATIENCE = 10.0
#: Who sends notices that the other end is gone by the second, who waits for an answer by the first: both are needed.
_TCP = {
    "connect_timeout": 3,
    "keepalives": 1,
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 10_000,
}
#: The same for the server's side, and bounds on what a client that is stopped may hold there.
_SESSION = {
    "synchronous_commit": "on",
    "statement_timeout": "10s",
    "lock_timeout": "2s",
    "idle_in_transaction_session_timeout": "5s",
    "client_connection_check_interval": "1s",
    "tcp_keepalives_idle": "5",
    "tcp_keepalives_interval": "2",
    "tcp_keepalives_count": "3",
    "tcp_user_timeout": "10s",
}
#: What libpq asks and supposes beside what it says.
_ASIDE = re.compile(
    r" Is the server running (on that host|locally) and accepting (TCP/IP )?connections( on that socket)?\?"
    r"| This probably means the server terminated abnormally before or while processing the request\."
)


class Fetched(Protocol):
    """What a statement has returned."""

    @property
    def rowcount(self) -> int:
        """How many rows it has changed or returned."""

    def fetchone(self) -> Any:
        """The next row, None after the last."""

    def fetchall(self) -> list[Any]:
        """All that are left."""


class WireConnection(Protocol):
    """What is used of a psycopg connection."""

    def execute(self, query: Any, params: Any = None) -> Fetched:
        """Run one statement."""

    def fileno(self) -> int:
        """Its socket."""

    def close(self) -> None:
        """End it."""


def open_wire(conninfo: str, application: str) -> WireConnection:
    """A connection in autocommit, bounded in all that it waits for; what `conninfo` itself sets of that holds.

    Raises psycopg.Error.
    """
    import psycopg
    from psycopg.conninfo import conninfo_to_dict

    settings: dict[str, Any] = {**_TCP, "application_name": application, **conninfo_to_dict(conninfo)}
    # Poolers between transactions know nothing of what was prepared, and refuse the session's settings among the parameters.
    connection = psycopg.connect(autocommit=True, prepare_threshold=None, **settings)
    try:
        calls = ", ".join(["set_config(%s, %s, false)"] * len(_SESSION))
        with contextlib.closing(_own(connection)) as own, WATCHDOG.over(own, PATIENCE):
            connection.execute(f"select {calls}".encode(), [word for pair in _SESSION.items() for word in pair])
    except BaseException:
        connection.close()
        raise
    return connection


class Connector:
    """How to connect to a database."""

    def __init__(self, conninfo: str, application: str) -> None:
        self._conninfo = conninfo
        self.application = application

    def conninfo(self) -> str:
        """The connection string. Raises Unavailable: it cannot be had now."""
        return self._conninfo

    def open(self) -> WireConnection:
        """A new connection. Raises psycopg.Error, Unavailable."""
        return open_wire(self.conninfo(), self.application)


def in_words(error: Exception) -> str:
    """What psycopg says, in one line, without what libpq asks and supposes."""
    said = _ASIDE.sub("", " ".join(str(error).split())).removeprefix("connection failed: ")
    return said or type(error).__name__


class Wire:
    """One connection, for one question at a time. Safe for threads: they wait for each other, `patience` each at most."""

    def __init__(self, connector: Connector, patience: float = PATIENCE) -> None:
        self._connector = connector
        self._patience = patience
        self._asking = threading.Lock()
        self._connection: WireConnection | None = None
        self._socket: socket.socket | None = None

    @contextlib.contextmanager
    def asking(self) -> Iterator[WireConnection]:
        """The connection, for a question. Raises Unavailable: the next one connects anew, and whether this one took effect is
        unknown."""
        import psycopg

        with self._asking:
            whole = False
            try:
                if self._connection is None:
                    self._connection = self._connector.open()
                    self._socket = _own(self._connection)
                with WATCHDOG.over(self._socket, self._patience):
                    yield self._connection
                whole = True
            except psycopg.Error as error:
                silent = "" if self._connection is None else "the database does not answer: "
                raise Unavailable(silent + in_words(error)) from error
            finally:
                if not whole:
                    self._drop()

    def close(self) -> None:
        """End the connection; a question after it would make a new one."""
        with self._asking:
            self._drop()

    def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(Exception):  # it is broken as a rule
                connection.close()
        if self._socket is not None:
            self._socket.close()
            self._socket = None


def _own(connection: WireConnection) -> socket.socket:
    """A connection's socket by a descriptor of our own: that of the connection may be closed, and be another file's, by the time
    that it is shut down.
    """
    return socket.socket(fileno=os.dup(connection.fileno()))
