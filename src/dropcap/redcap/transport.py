"""HTTP as an upload needs it: what went out is known, an early reply is heard, and deadlines and stops hold."""

from __future__ import annotations

import contextlib
import os
import select
import socket
import ssl
import threading
import time
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum
from typing import Any

import requests
import urllib3
from requests.adapters import HTTPAdapter
from requests.structures import CaseInsensitiveDict
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

from dropcap import __version__
from dropcap.reasons import Reason
from dropcap.redcap.connect import ConnectError, ConnectionSettings, HeadReadingResponse, Trust, Tunnel
from dropcap.redcap.reply import CLIENT_CERTIFICATE
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
        """End the connection in both directions, also under a thread that waits for it."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)

    def __del__(self) -> None:
        self._socket.close()


class Exchange:
    """One request and its reply, from before the connection until the reply is read.

    `began`: some byte of the request may have left. `complete`: all of them did. `fresh`: on a connection made for it.
    """

    def __init__(self, deadline: float, stop: threading.Event | None, ready: Callable[[], None]) -> None:
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
        """Watch an exchange from now on."""
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


_AUTHORITY = (
    "name the hospital's certificate authority in `ca_file`, or install it in the system's trust store; "
    "check the host name in `url` and this machine's clock"
)
#: Of OpenSSL's names for what a server says (alerts): it wants a certificate of the client, or another one.
_OF_THE_CLIENT = ("CERTIFICATE", "UNKNOWN_CA", "ACCESS_DENIED")


class ExchangeFailed(Exception):  # noqa: N818
    """No whole reply. `began`: some byte of the request may have reached the server.

    `again`: the server had closed an idle connection, and the request can be made anew. `remedy` is empty if waiting is all
    there is to do.
    """

    def __init__(
        self, reason: Reason, message: str, *, began: bool, again: bool = False, stopped: bool = False, remedy: str = ""
    ) -> None:
        super().__init__(message)
        self.reason = reason
        self.began = began
        self.again = again
        self.stopped = stopped
        self.remedy = remedy


def failed(error: Exception | None, exchange: Exchange) -> ExchangeFailed:
    """What `error` (None: the exchange was broken off) means for the exchange."""
    began = exchange.began
    if exchange.broken_off is BrokenOff.STOPPED:
        return ExchangeFailed(Reason.UNREACHABLE, "stopped", began=began, stopped=True)
    if exchange.broken_off is BrokenOff.DEADLINE:
        return ExchangeFailed(Reason.UNREACHABLE, "the request took longer than `deadline` allows", began=began)
    if isinstance(error, ConnectError):
        return ExchangeFailed(error.reason, error.message, began=False, remedy=error.remedy)
    causes = list(_causes(error))
    fault = next((cause for cause in causes if isinstance(cause, ssl.SSLError)), None)
    if fault is not None and (of_tls := _of_tls(fault, began)) is not None:
        return of_tls
    timed_out = any(
        isinstance(cause, TimeoutError | urllib3.exceptions.TimeoutError)
        and not isinstance(cause, urllib3.exceptions.NewConnectionError)  # a time-out by inheritance only
        for cause in causes
    )
    last = causes[-1] if causes else None
    innermost = (isinstance(last, OSError) and last.strerror) or str(last or "connection lost")
    where = "while the request was under way" if began else "before anything was sent"
    message = f"the server was silent for too long {where}" if timed_out else f"no connection {where}: {innermost}"
    if began and not timed_out:
        message = f"the connection was lost {where}: {innermost}"
    return ExchangeFailed(Reason.UNREACHABLE, message, began=began, again=not exchange.fresh and not timed_out)


def _of_tls(fault: ssl.SSLError, began: bool) -> ExchangeFailed | None:
    if isinstance(fault, ssl.SSLEOFError | ssl.SSLZeroReturnError):  # it hung up
        return None
    name = fault.reason or ""
    said = getattr(fault, "verify_message", "") or name or str(fault)
    if "ALERT" in name and any(word in name for word in _OF_THE_CLIENT):
        # TLS 1.3 tells it only once the request may be on its way.
        message = f"the server does not take this machine's certificate, or wants one: {said}"
        return ExchangeFailed(Reason.CERTIFICATE, message, began=began, remedy=CLIENT_CERTIFICATE)
    if began:
        return None
    if "ALERT" in name:
        message = f"the server breaks the TLS handshake off: {said}"
        remedy = "ask its administrator whether it wants to see a certificate (`client_cert_file`), and which TLS it speaks"
        return ExchangeFailed(Reason.CERTIFICATE, message, began=False, remedy=remedy)
    return ExchangeFailed(Reason.CERTIFICATE, f"no trusted TLS connection: {said}", began=False, remedy=_AUTHORITY)


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """`error` and what it wraps: requests and urllib3 keep the cause in their arguments or in `reason`."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        inner = getattr(error, "reason", None)
        if not isinstance(inner, BaseException):
            inner = next((arg for arg in error.args if isinstance(arg, BaseException)), None)
        error = inner or error.__cause__ or error.__context__


_READ = 64 * 1024


def _pool_for(url: urllib3.util.Url, size: int, connection: ConnectionSettings) -> HTTPConnectionPool:
    options: dict[str, Any] = {
        "maxsize": size,
        "socket_options": [
            *HTTPConnection.default_socket_options,  # TCP_NODELAY
            (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
        ],
    }
    host = (url.host or "").strip("[]")
    if url.scheme == "https":
        tunnel = Tunnel(connection.proxy) if connection.proxy is not None else None
        return TlsPool(host, url.port or 443, trust=Trust(connection), tunnel=tunnel, **options)
    if connection.proxy is not None:
        raise ValueError("the token would cross the proxy in clear text: a way through a proxy needs https://")
    return PlainPool(host, url.port or 80, **options)


class _OneServer(HTTPAdapter):
    """An adapter for one server, with the trust store of our choice and no other."""

    def __init__(self, pool: HTTPConnectionPool) -> None:
        super().__init__(pool_maxsize=1)
        self._pool = pool

    def get_connection_with_tls_context(self, *args: Any, **kwargs: Any) -> HTTPConnectionPool:
        return self._pool

    def cert_verify(self, *args: Any, **kwargs: Any) -> None:
        """Nothing: the pool's context verifies. The adapter's own way would add certifi's authorities to it."""

    def build_response(self, req: requests.PreparedRequest, resp: urllib3.BaseHTTPResponse) -> requests.Response:
        """What a reply needs here, without cookies and history."""
        response = requests.Response()
        response.status_code = resp.status
        response.headers = CaseInsensitiveDict(resp.headers)
        response.raw = resp
        return response

    def close(self) -> None:
        super().close()
        self._pool.close()


class Reply:
    """A reply whose head is there."""

    def __init__(self, response: requests.Response, exchange: Exchange) -> None:
        self._raw: urllib3.BaseHTTPResponse = response.raw
        self._exchange = exchange
        self.status: int = response.status_code
        self.headers: Mapping[str, str] = response.headers
        #: The reply says where it ends, so that a cut is noticed.
        self.framed = self.headers.get("Content-Length", "").isdigit() or bool(getattr(self._raw, "chunked", False))
        self.request_complete = exchange.complete

    def chunks(self) -> Iterator[bytes]:
        """The body, decoded. Raises `failure.ExchangeFailed` if it breaks off."""
        encoding = self.headers.get("Content-Encoding", "identity").strip().lower()
        try:
            if encoding == "identity":
                yield from self._raw.stream(_READ, decode_content=False)
            else:
                yield from self._decompressed(encoding)
        except (urllib3.exceptions.HTTPError, OSError, zlib.error) as error:
            raise failed(error, self._exchange) from error
        if self._exchange.broken_off:
            raise failed(None, self._exchange)

    def _decompressed(self, encoding: str) -> Iterator[bytes]:
        """For a server that compresses unasked. urllib3 would not mind a stream without its end."""
        if encoding not in ("gzip", "x-gzip", "deflate"):
            raise zlib.error(f"the server sends the encoding {encoding!r}, which was not asked for")
        decoder = zlib.decompressobj(wbits=zlib.MAX_WBITS | 32)
        for chunk in self._raw.stream(_READ, decode_content=False):
            while chunk and not decoder.eof:
                yield decoder.decompress(chunk, _READ)
                chunk = decoder.unconsumed_tail
        if not decoder.eof:
            raise zlib.error("the compressed reply broke off")

    def read(self, limit: int) -> tuple[bytes, bool]:
        """The body up to `limit` bytes, and whether it has ended there; that is all of it for sure if it is `framed`."""
        body = bytearray()  # grows in place: joining bytes again and again would take time by the square of their number
        try:
            for chunk in self.chunks():
                body += chunk
                if len(body) > limit:
                    return bytes(body[:limit]), False
        except ExchangeFailed as broken:
            if broken.stopped:
                raise
            return bytes(body), False
        return bytes(body), self.framed or not ("Content-Length" in self.headers or "Transfer-Encoding" in self.headers)

    def close(self) -> None:
        # Closes the connection too if the body was not read to its end.
        self._raw.close()


@dataclass(frozen=True, slots=True)
class Timeouts:
    """The longest waits in seconds: for a connection, while nothing comes or goes, and for a request in all."""

    connect: float = 10.0
    silence: float = 120.0
    deadline: float = 3600.0


class Transport:
    """POST requests to one URL. May be shared by threads."""

    def __init__(self, url: str, timeouts: Timeouts, connection: ConnectionSettings, pool: int) -> None:
        try:
            parts = urllib3.util.parse_url(url)
        except urllib3.exceptions.LocationParseError:
            parts = urllib3.util.Url()
        if parts.scheme not in ("http", "https") or not parts.host:
            raise ValueError(f"{url!r} is not the URL of a REDCap API, which looks like https://redcap.example.org/api/")
        self._url = parts.url
        self._waits = urllib3.Timeout(connect=timeouts.connect, read=timeouts.silence)
        self._timeouts = timeouts
        self._adapter = _OneServer(_pool_for(parts, pool, connection))

    @contextmanager
    def post(
        self,
        body: bytes | Iterable[bytes | memoryview],
        length: int,
        content_type: str,
        stop: threading.Event | None,
        ready: Callable[[], None],
    ) -> Iterator[Reply]:
        """Send `body` and give the reply, as soon as its head is there. Raises `failure.ExchangeFailed`, and what `ready` raises,
        which is called right before the first byte."""
        request = requests.PreparedRequest()
        request.method = "POST"
        request.url = self._url
        request.body = body  # type: ignore[assignment]  # its pieces go to `_Watched.send`
        request.headers = CaseInsensitiveDict(
            {
                "User-Agent": f"dropcap/{__version__}",
                "Accept": "*/*",
                "Accept-Encoding": "identity",
                "Content-Type": content_type,
                "Content-Length": str(length),
            }
        )
        exchange = Exchange(self._timeouts.deadline, stop, ready)
        current.exchange = exchange
        current.silence = self._timeouts.silence
        WATCHDOG.add(exchange)
        try:
            try:
                reply = Reply(self._adapter.send(request, stream=True, timeout=self._waits), exchange)  # type: ignore[arg-type]
            except (requests.RequestException, urllib3.exceptions.HTTPError, OSError, ConnectError) as error:
                raise failed(error, exchange) from error
            try:
                yield reply
            finally:
                reply.close()
        finally:
            WATCHDOG.remove(exchange)
            exchange.close()

    def close(self) -> None:
        """Close all idle connections."""
        self._adapter.close()
