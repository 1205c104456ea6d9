"""Connections to one server, that tell how far a request got and hear a reply that comes early."""

from __future__ import annotations

import contextlib
import io
import select
import socket
import ssl
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass

from dropcap.redcap.deadline import Exchange, Twin
from dropcap.redcap.head import Response

#: After the sending broke, a reply is either on its way or will never come. Seconds.
_LATE_REPLY = 5.0

Body = bytes | Iterable[bytes | memoryview]


@dataclass(frozen=True, slots=True)
class Server:
    """Where to connect; `tls` if it is to be by TLS. `silence` is the longest (seconds) while a request is under way."""

    host: str
    port: int
    tls: ssl.SSLContext | None
    connect_timeout: float
    silence: float


class Connection:
    """A connection to a server, for one exchange at a time. All methods raise OSError as sockets do."""

    def __init__(self, server: Server, exchange: Exchange) -> None:
        self._silence = server.silence
        sock = socket.create_connection((server.host, server.port), server.connect_timeout)
        try:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            self._twin: Twin | None = Twin(sock)
            exchange.fresh = True
            exchange.attach(self._twin)  # before the TLS handshake, which is thus watched as well
            if server.tls is not None:
                sock = server.tls.wrap_socket(sock, server_hostname=server.host)
            # Of a plain socket we ask ourselves whether it is ready, where that is needed: Python would before each call.
            sock.settimeout(0.0 if server.tls is None else self._silence)
        except BaseException:
            sock.close()
            raise
        self._sock = sock
        self._plain = server.tls is None
        self._readable, self._either = select.poll(), select.poll()
        self._readable.register(sock, select.POLLIN)
        self._either.register(sock, select.POLLIN | select.POLLOUT)

    def close(self) -> None:
        """Let go of it."""
        self._sock.close()
        self._twin = None  # the connection ends with its last descriptor

    def again(self, exchange: Exchange) -> bool:
        """Use it for another exchange, unless the server has closed it or said something unasked."""
        if self._twin is None or self._readable.poll(0):
            return False
        exchange.attach(self._twin)
        return True

    def ask(self, head: bytes, body: Body, exchange: Exchange) -> Response:
        """Send a request; the reply, as soon as its head is there. Raises http.client.HTTPException where that is none."""
        try:
            self._send(head, body, exchange)
            exchange.complete = True
        except OSError:
            if exchange.broken_off or not exchange.began:
                raise
            # The server may have answered before it closed, or instead of reading on: let the reply be read.
        patience = self._silence if exchange.complete else min(self._silence, _LATE_REPLY)
        response = Response(io.BufferedReader(_Incoming(self, patience)))
        response.kept = response.kept and exchange.complete  # half a request is on it: never to be used again
        return response

    def _send(self, head: bytes, body: Body, exchange: Exchange) -> None:
        """The head goes out in one piece with the beginning of the body."""
        pieces = iter((body,) if isinstance(body, bytes) else body)
        self._transmit(b"".join((head, next(pieces, b""))), exchange, ready=True)
        for piece in pieces:
            self._transmit(piece, exchange)

    def _transmit(self, data: bytes | memoryview, exchange: Exchange, *, ready: bool = False) -> None:
        """`ready`: it was just seen that there is nothing to read, and it takes something."""
        if not self._plain:
            # Something to read may be a session ticket here, so it says nothing.
            exchange.began = True
            self._sock.sendall(data)
            return
        rest = memoryview(data)
        while rest:
            if not ready:
                self._await_taker()
            exchange.began, ready = True, False
            try:
                rest = rest[self._sock.send(rest) :]
            except BlockingIOError:
                continue

    def _await_taker(self) -> None:
        ready = self._either.poll(self._silence * 1000)
        if not ready:
            raise TimeoutError(f"the server took no data for {self._silence:g} seconds")
        if ready[0][1] != select.POLLOUT:
            raise BrokenPipeError("the server answered or closed before it had the whole request")

    def receive_into(self, buffer: memoryview, patience: float) -> int:
        """Wait so many seconds for something to read, and read it; 0 at the end."""
        if not self._plain:
            self._sock.settimeout(patience)
            return self._sock.recv_into(buffer)
        while True:
            if not self._readable.poll(patience * 1000):
                raise TimeoutError(f"the server was silent for {patience:g} seconds")
            with contextlib.suppress(BlockingIOError):  # what had come was no good
                return self._sock.recv_into(buffer)


class _Incoming(io.RawIOBase):
    """What comes in on a connection; closing it leaves the connection open."""

    def __init__(self, connection: Connection, patience: float) -> None:
        self._connection = connection
        self._patience = patience

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview, /) -> int:  # type: ignore[override]
        return self._connection.receive_into(buffer, self._patience)


class Pool:
    """Idle connections to one server. Safe for threads."""

    def __init__(self, server: Server, size: int) -> None:
        """`size` is how many are kept."""
        self._server = server
        self._size = size
        self._idle: deque[Connection] = deque()

    def connection(self, exchange: Exchange) -> Connection:
        """An idle connection that is still good, the one used last, or a new one. Raises OSError."""
        while True:
            try:
                idle = self._idle.pop()
            except IndexError:
                return Connection(self._server, exchange)
            if idle.again(exchange):
                return idle
            idle.close()

    def give_back(self, connection: Connection) -> None:
        """It is good for another exchange."""
        if len(self._idle) < self._size:
            self._idle.append(connection)
        else:
            connection.close()

    def close(self) -> None:
        """Close all that are idle."""
        while self._idle:
            self._idle.pop().close()
