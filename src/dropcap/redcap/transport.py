"""HTTP as an upload needs it: what went out is known, an early reply is heard, and deadlines and stops hold.

requests' adapter is driven without a Session: there are no cookies, no redirects, and neither proxies of the environment nor
`.netrc` to look up; and the connections (`connection`) have to know how far a request got, which decides whether it may be
sent again.
"""

from __future__ import annotations

import socket
import threading
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import requests
import urllib3
from requests.adapters import HTTPAdapter
from requests.structures import CaseInsensitiveDict
from urllib3.connection import HTTPConnection
from urllib3.connectionpool import HTTPConnectionPool

from dropcap.reasons import Reason
from dropcap.redcap.connection import PlainPool, TlsPool, current
from dropcap.redcap.deadline import WATCHDOG, Exchange
from dropcap.redcap.failure import ExchangeFailed, failed
from dropcap.redcap.trust import Trust
from dropcap.redcap.tunnel import Tunnel
from dropcap.redcap.way import DIRECT, NoWay, Way
from dropcap.threads import NoThread

_READ = 64 * 1024


def _pool_for(url: urllib3.util.Url, size: int, way: Way) -> HTTPConnectionPool:
    options: dict[str, Any] = {
        "maxsize": size,
        "socket_options": [
            *HTTPConnection.default_socket_options,  # TCP_NODELAY
            (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
        ],
    }
    host = (url.host or "").strip("[]")
    if url.scheme == "https":
        tunnel = Tunnel(way.proxy) if way.proxy is not None else None
        return TlsPool(host, url.port or 443, trust=Trust(way), tunnel=tunnel, **options)
    if way.proxy is not None:
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


class Transport:
    """POST requests to one URL. May be shared by threads. Times are in seconds."""

    def __init__(
        self,
        url: str,
        *,
        connect_timeout: float,
        timeout: float,
        deadline: float,
        way: Way = DIRECT,
        pool: int,
        user_agent: str,
    ) -> None:
        try:
            parts = urllib3.util.parse_url(url)
        except urllib3.exceptions.LocationParseError:
            parts = urllib3.util.Url()
        if parts.scheme not in ("http", "https") or not parts.host:
            raise ValueError(f"{url!r} is not the URL of a REDCap API, which looks like https://redcap.example.org/api/")
        self._url = parts.url
        self._timeouts = urllib3.Timeout(connect=connect_timeout, read=timeout)
        self._silence = timeout
        self._deadline = deadline
        self._user_agent = user_agent
        self._adapter = _OneServer(_pool_for(parts, pool, way))

    @contextmanager
    def post(
        self,
        body: bytes | Iterable[bytes | memoryview],
        length: int,
        content_type: str,
        stop: threading.Event | None = None,
        ready: Callable[[], None] = lambda: None,
    ) -> Iterator[Reply]:
        """Send `body` and give the reply, as soon as its head is there. Raises `failure.ExchangeFailed`, and what `ready` raises,
        which is called right before the first byte."""
        request = requests.PreparedRequest()
        request.method = "POST"
        request.url = self._url
        request.body = body  # type: ignore[assignment]  # its pieces go to `_Watched.send`
        request.headers = CaseInsensitiveDict(
            {
                "User-Agent": self._user_agent,
                "Accept": "*/*",
                "Accept-Encoding": "identity",
                "Content-Type": content_type,
                "Content-Length": str(length),
            }
        )
        exchange = Exchange(self._deadline, stop, ready)
        current.exchange = exchange
        current.silence = self._silence
        try:
            WATCHDOG.add(exchange)
        except NoThread as error:  # nobody could break it off: it does not begin
            raise ExchangeFailed(Reason.UNREACHABLE, f"nothing was sent: {error.strerror}", began=False, again=False) from error
        try:
            try:
                reply = Reply(self._adapter.send(request, stream=True, timeout=self._timeouts), exchange)  # type: ignore[arg-type]
            except (requests.RequestException, urllib3.exceptions.HTTPError, OSError, NoWay) as error:
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
