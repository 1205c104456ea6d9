"""What every request passes first: not too many, asked of us by name, and changed by our own pages alone."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import HTTPConnection
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from dropcap.config.telling import Dashboard

#: Requests a second that are worked at, and how many more may come at once.
A_SECOND, AT_ONCE = 30.0, 120.0
#: The longest body of a form (bytes).
LONGEST = 256 * 1024

_CSP = (
    "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src 'self' data:; form-action 'self';"
    " base-uri 'none'; frame-ancestors 'none'"
)
_HEADERS = {
    "Content-Security-Policy": _CSP,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",  # no-referrer makes our own Origin `null`
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}


class Bucket:
    """So many a second, some more at once."""

    def __init__(self, a_second: float, at_once: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._a_second, self._at_once, self._clock = a_second, at_once, clock
        self._left, self._last = at_once, clock()

    def take(self) -> bool:
        """Whether one more is let through."""
        now = self._clock()
        self._left = min(self._at_once, self._left + (now - self._last) * self._a_second)
        self._last = now
        if self._left < 1.0:
            return False
        self._left -= 1.0
        return True


def may_change(origins: Iterable[str], host: str, fetch_site: str | None, origin: str | None, has_cookie: bool) -> bool:
    """Whether a request that changes something comes from our own pages, by what the browser says of it.

    `host` is the Host header, which is ours. On plain http to another host than loopback no browser says `fetch_site`.
    """
    if fetch_site is not None:
        return fetch_site in ("same-origin", "none")
    if origin is not None:
        return origin in origins and origin.partition("://")[2] == host
    return not has_cookie


class Gate:
    """An ASGI application around another."""

    def __init__(self, app: ASGIApp, page: Dashboard, inside: Callable[[HTTPConnection], bool]) -> None:
        """`inside` says whether who asks is signed in: strangers' requests use up none of theirs."""
        self._app = app
        self._page = page
        self._inside = inside
        self._strangers, self._theirs = Bucket(A_SECOND, AT_ONCE), Bucket(A_SECOND, AT_ONCE)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        refused = self._refused(scope)
        if refused is not None:
            await refused(scope, receive, send)
            return

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers[name] = value
                headers.setdefault("Cache-Control", "no-store")
            await send(message)

        await self._app(scope, receive, with_headers)

    def _refused(self, scope: Scope) -> PlainTextResponse | None:
        bucket = self._theirs if self._inside(HTTPConnection(scope)) else self._strangers
        if not bucket.take():
            return PlainTextResponse("too many requests\n", 429, {"Retry-After": "2", "Connection": "close"})
        headers = Headers(scope=scope)
        host = headers.get("host", "").lower()
        if host not in self._page.hosts:
            return PlainTextResponse("this is not the address of this page\n", 421, {"Connection": "close"})
        if scope["method"] in ("GET", "HEAD"):
            return None
        if scope["method"] != "POST":
            return PlainTextResponse("not possible\n", 405)
        length = headers.get("content-length", "")
        if not length.isdecimal() or int(length) > LONGEST:
            return PlainTextResponse("too long\n", 413, {"Connection": "close"})
        ours = may_change(
            self._page.origins, host, headers.get("sec-fetch-site"), headers.get("origin"), has_cookie="cookie" in headers
        )
        return None if ours else PlainTextResponse("this was asked by another site's page\n", 403)
