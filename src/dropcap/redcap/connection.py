"""urllib3's connections, made to tell how far a request got and to hear a reply that comes early."""

from __future__ import annotations

import select
import socket
import ssl
import threading
from typing import Any

from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

from dropcap.redcap.deadline import Exchange, Twin
from dropcap.redcap.head import HeadReadingResponse
from dropcap.redcap.trust import Trust
from dropcap.redcap.tunnel import Tunnel

#: After the sending broke, a reply is either on its way or will never come. Seconds.
_LATE_REPLY = 5.0

#: The thread's `exchange` and the longest `silence` it allows, in seconds: urllib3 passes nothing of ours to a connection.
current = threading.local()


class _Watched:
    """What plain and TLS connections have in common: joined head and body, early replies, and the exchange's marks."""

    sock: Any
    timeout: Any
    response_class = HeadReadingResponse
    _twin: Twin | None = None

    def _new_conn(self) -> socket.socket:
        sock: socket.socket = self._reach()
        exchange: Exchange = current.exchange
        exchange.fresh = True
        self._twin = Twin(sock)
        exchange.attach(self._twin)  # before the TLS handshake, which is thus watched as well
        self._pass(sock)
        return sock

    def _reach(self) -> socket.socket:
        sock: socket.socket = super()._new_conn()  # type: ignore[misc]
        return sock

    def _pass(self, sock: socket.socket) -> None:
        """What has to be done on a connection before it is one to the server."""

    def close(self) -> None:
        super().close()  # type: ignore[misc]
        self._twin = None

    def request(self, *args: Any, **kwargs: Any) -> None:
        exchange: Exchange = current.exchange
        if self.sock is None:
            self.connect()  # type: ignore[attr-defined]
        elif not exchange.fresh and self._twin is not None:
            exchange.attach(self._twin)
        exchange.ready()
        self.timeout = current.silence
        self.sock.settimeout(self.timeout)
        self._head: bytes | None = None
        self._holding = True
        try:
            super().request(*args, **kwargs)  # type: ignore[misc]
            if self._head is not None:
                self._transmit(self._head)
        except OSError:
            if exchange.broken_off or not exchange.began:
                raise
            # The server may have answered before it closed, or instead of reading on: let the reply be read.
            return
        exchange.complete = True

    def getresponse(self) -> Any:
        exchange: Exchange = current.exchange
        if exchange.complete:
            self._await()
            return super().getresponse()  # type: ignore[misc]
        self.timeout = min(current.silence, _LATE_REPLY)
        response = super().getresponse()  # type: ignore[misc]
        self.close()  # half a request is on it: never to be used again
        return response

    def _await(self) -> None:
        if not isinstance(self.sock, ssl.SSLSocket) or not self.sock.pending():
            poll = select.poll()
            poll.register(self.sock, select.POLLIN)
            poll.poll(self.timeout * 1000)

    def send(self, data: bytes | memoryview) -> None:
        """Called with the head first. It is held back to go out in one piece with the beginning of the body."""
        if self._holding:
            self._holding = False
            self._head = bytes(data)
            return
        if self._head is not None:
            data, self._head = self._head + data, None
        self._transmit(data)

    def _transmit(self, data: bytes | memoryview) -> None:
        exchange: Exchange = current.exchange
        if isinstance(self.sock, ssl.SSLSocket):
            # Something to read may be a session ticket here, so it says nothing.
            exchange.began = True
            self.sock.sendall(data)
            return
        poll = select.poll()
        poll.register(self.sock, select.POLLIN | select.POLLOUT)
        rest = memoryview(data)
        while rest:
            ready = poll.poll(0)
            if not ready:
                ready = poll.poll(current.silence * 1000)
            if not ready:
                raise TimeoutError(f"the server took no data for {current.silence:g} seconds")
            if ready[0][1] != select.POLLOUT:
                raise BrokenPipeError("the server answered or closed before it had the whole request")
            exchange.began = True
            rest = rest[self.sock.send(rest) :]


class _PlainConnection(_Watched, HTTPConnection):  # type: ignore[misc]
    pass


class _TlsConnection(_Watched, HTTPSConnection):  # type: ignore[misc]
    """Perhaps through a tunnel, which plain connections never are."""

    def __init__(self, *args: Any, trust: Trust, tunnel: Tunnel | None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._trust = trust
        self._tunnel_through = tunnel

    def connect(self) -> None:
        self.ssl_context = self._trust.context()
        self.cert_reqs = self.ssl_context.verify_mode
        super().connect()

    def _reach(self) -> socket.socket:
        if self._tunnel_through is None:
            return super()._reach()
        return self._tunnel_through.reach(self.timeout, self.socket_options)

    def _pass(self, sock: socket.socket) -> None:
        if self._tunnel_through is None:
            return
        try:
            self._tunnel_through.open(sock, self.host, self.port, self.timeout)
        except BaseException:
            sock.close()
            raise
        sock.settimeout(self.timeout)


class PlainPool(HTTPConnectionPool):
    ConnectionCls = _PlainConnection


class TlsPool(HTTPSConnectionPool):
    ConnectionCls = _TlsConnection
