"""HTTP as an upload needs it: what went out is known, an early reply is heard, and deadlines and stops hold.

There are no cookies, redirects, proxies or `.netrc`; and the connections (`connection`) have to know how far a request got,
which decides whether it may be sent again.
"""

from __future__ import annotations

import http.client
import ssl
import threading
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote, urlsplit

import truststore

from dropcap.reasons import Reason
from dropcap.redcap.connection import Connection, Pool, Server
from dropcap.redcap.deadline import WATCHDOG, BrokenOff, Exchange
from dropcap.redcap.head import Fields, Response

#: What may stand in a path or query besides letters and digits.
_SAFE = "/%:@!$&'()*+,;=~-._?"
#: Bytes that are decompressed at a time.
_READ = 64 * 1024


class ExchangeFailed(Exception):  # noqa: N818
    """No whole reply. `began`: some byte of the request may have reached the server.

    `again`: the server had closed an idle connection, and the request can be made anew.
    """

    def __init__(self, reason: Reason, message: str, *, began: bool, again: bool, stopped: bool = False) -> None:
        super().__init__(message)
        self.reason = reason
        self.began = began
        self.again = again
        self.stopped = stopped


def _trust(ca_file: Path | None) -> ssl.SSLContext:
    context = (
        truststore.SSLContext(ssl.PROTOCOL_TLS_CLIENT) if ca_file is None else ssl.create_default_context(cafile=str(ca_file))
    )
    context.set_alpn_protocols(["http/1.1"])
    return context


class Reply:
    """A reply whose head is there."""

    def __init__(self, response: Response, exchange: Exchange) -> None:
        self._response = response
        self._exchange = exchange
        self.status: int = response.status
        self.headers: Fields = response.headers
        #: The reply says where it ends, so that a cut is noticed.
        self.framed = response.framed
        self.request_complete = exchange.complete

    def chunks(self) -> Iterator[bytes]:
        """The body, decoded. Raises `ExchangeFailed` if it breaks off."""
        encoding = self.headers.get("Content-Encoding", "identity").strip().lower()
        try:
            if encoding == "identity":
                yield from self._response.pieces()
            else:
                yield from self._decompressed(encoding)
        except (http.client.HTTPException, OSError, zlib.error) as error:
            raise _failed(error, self._exchange) from error
        if self._exchange.broken_off:
            raise _failed(None, self._exchange)

    def _decompressed(self, encoding: str) -> Iterator[bytes]:
        """For a server that compresses unasked."""
        if encoding not in ("gzip", "x-gzip", "deflate"):
            raise zlib.error(f"the server sends the encoding {encoding!r}, which was not asked for")
        decoder = zlib.decompressobj(wbits=zlib.MAX_WBITS | 32)
        for chunk in self._response.pieces():
            while chunk and not decoder.eof:
                yield decoder.decompress(chunk, _READ)
                chunk = decoder.unconsumed_tail
        if not decoder.eof:
            raise zlib.error("the compressed reply broke off")

    def read(self, limit: int) -> tuple[bytes, bool]:
        """The body up to `limit` bytes, and whether it has ended there; that is all of it for sure if it is `framed`."""
        body = b""
        try:
            for chunk in self.chunks():
                body += chunk
                if len(body) > limit:
                    return body[:limit], False
        except ExchangeFailed as failed:
            if failed.stopped:
                raise
            return body, False
        return body, self.framed or not ("Content-Length" in self.headers or "Transfer-Encoding" in self.headers)


class Transport:
    """POST requests to one URL. May be shared by threads. Times are in seconds."""

    def __init__(
        self,
        url: str,
        *,
        connect_timeout: float,
        timeout: float,
        deadline: float,
        ca_file: Path | None,
        pool: int,
        user_agent: str,
    ) -> None:
        try:
            parts = urlsplit(url)
            host, port = (parts.hostname or "").encode("idna").decode(), parts.port
        except ValueError:
            host = ""
        if not host or parts.scheme not in ("http", "https"):
            raise ValueError(f"{url!r} is not the URL of a REDCap API, which looks like https://redcap.example.org/api/")
        tls = parts.scheme == "https"
        server = Server(host, port or (443 if tls else 80), _trust(ca_file) if tls else None, connect_timeout, timeout)
        self._pool = Pool(server, pool)
        self._deadline = deadline
        path = quote(f"{parts.path or '/'}{'?' if parts.query else ''}{parts.query}", safe=_SAFE)
        at = (f"[{host}]" if ":" in host else host) + ("" if port is None else f":{port}")
        self._head = (
            f"POST {path} HTTP/1.1\r\nHost: {at}\r\nUser-Agent: {user_agent}\r\nAccept: */*\r\nAccept-Encoding: identity\r\n"
        )

    @contextmanager
    def post(
        self, body: bytes | Iterable[bytes | memoryview], length: int, content_type: str, stop: threading.Event | None = None
    ) -> Iterator[Reply]:
        """Send `body` and give the reply, as soon as its head is there. Raises `ExchangeFailed`."""
        head = f"{self._head}Content-Type: {content_type}\r\nContent-Length: {length}\r\n\r\n".encode()
        exchange = Exchange(self._deadline, stop)
        connection: Connection | None = None
        response: Response | None = None
        WATCHDOG.add(exchange)
        try:
            try:
                connection = self._pool.connection(exchange)
                response = connection.ask(head, body, exchange)
            except (http.client.HTTPException, OSError) as error:
                raise _failed(error, exchange) from error
            yield Reply(response, exchange)
        finally:
            WATCHDOG.remove(exchange)
            exchange.close()
            if connection is not None:
                if response is not None and response.ended and response.kept and not exchange.broken_off:
                    self._pool.give_back(connection)
                else:
                    connection.close()

    def close(self) -> None:
        """Close all idle connections."""
        self._pool.close()


def _failed(error: Exception | None, exchange: Exchange) -> ExchangeFailed:
    began = exchange.began
    if exchange.broken_off is BrokenOff.STOPPED:
        return ExchangeFailed(Reason.UNREACHABLE, "stopped", began=began, again=False, stopped=True)
    if exchange.broken_off is BrokenOff.DEADLINE:
        return ExchangeFailed(Reason.UNREACHABLE, "the request took longer than `deadline` allows", began=began, again=False)
    if not began and isinstance(error, ssl.SSLError):
        return ExchangeFailed(Reason.CERTIFICATE, f"no trusted TLS connection: {_tls_words(error)}", began=False, again=False)
    timed_out = isinstance(error, TimeoutError)
    innermost = (isinstance(error, OSError) and error.strerror) or str(error or "connection lost")
    where = "while the request was under way" if began else "before anything was sent"
    message = f"the server was silent for too long {where}" if timed_out else f"no connection {where}: {innermost}"
    if began and not timed_out:
        message = f"the connection was lost {where}: {innermost}"
    return ExchangeFailed(Reason.UNREACHABLE, message, began=began, again=not exchange.fresh and not timed_out)


def _tls_words(fault: ssl.SSLError) -> str:
    return getattr(fault, "verify_message", "") or fault.reason or str(fault)
