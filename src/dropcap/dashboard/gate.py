"""Who may see the operator's page: hosts, forms, sign-in links, sessions."""

from __future__ import annotations

import hashlib
import hmac
import secrets
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import HTTPConnection
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from dropcap.config.model import Dashboard
from dropcap.ledger.chain import AuditActor, AuditChannel
from dropcap.secret import Secret

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

    def __init__(self, a_second: float, at_once: float) -> None:
        self._a_second, self._at_once = a_second, at_once
        self._left, self._last = at_once, 0.0

    def take(self, now: float) -> bool:
        """Whether one more is let through, by a clock that is never set (seconds)."""
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
    """An ASGI application around another. Strangers' requests use up none of those of people who are signed in."""

    def __init__(self, app: ASGIApp, page: Dashboard, sessions: Sessions) -> None:
        self._app = app
        self._page = page
        self._sessions = sessions
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
        signed_in = self._sessions.of(cookie_in(HTTPConnection(scope), self._page)) is not None
        bucket = self._theirs if signed_in else self._strangers
        if not bucket.take(time.monotonic()):
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


def cookie_of(request: HTTPConnection, page: Dashboard) -> tuple[str, bool]:
    """The cookie's name, and whether it goes over TLS alone."""
    behind = page.origin is not None and request.headers.get("host", "").lower() == page.origin.partition("://")[2]
    safe = (page.origin if behind and page.origin else page.own).startswith("https:")
    return ("__Host-dropcap", True) if safe else ("dropcap", False)


def cookie_in(request: HTTPConnection, page: Dashboard) -> str | None:
    """What the cookie of a request says."""
    return request.cookies.get(cookie_of(request, page)[0])


#: Seconds for which somebody stays signed in, and for which a link is good.
LASTS, LINK_LASTS = 12 * 3600.0, 60.0
#: Wrong secrets within a minute after which nobody can sign in by a secret for a minute. Links go on.
MOST_WRONG = 5
_MINUTE = 60.0
_MOST = 200
_LONGEST_NAME = 60


@dataclass(slots=True)
class Session:
    """Somebody who is signed in; `told` is what is to be said on the next page."""

    actor: AuditActor
    until: float
    told: list[str] = field(default_factory=list)


class Sessions:
    """In memory alone: a restart signs everybody out. For the event loop's thread, but for `link`, which any may call."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._sessions: dict[str, Session] = {}  # by the hash of the cookie
        self._links: dict[str, tuple[AuditActor, float]] = {}  # by the hash of the code: who, and until when
        self._wrong: list[float] = []

    def sign_in(self, secret: Secret, given: str, who: str) -> str | None:
        """A cookie for somebody who knows the secret; None if what was given is another. Raises TooManyTries."""
        now = self._clock()
        self._wrong = [at for at in self._wrong if now - at < _MINUTE]
        if len(self._wrong) >= MOST_WRONG:
            raise TooManyTries
        # By hashes: what is compared has one length then, and may be any text.
        if not hmac.compare_digest(_hash(secret.reveal()), _hash(given.strip())):
            self._wrong.append(now)
            return None
        return self._begin(AuditActor.on_the_page(" ".join(who.split())[:_LONGEST_NAME] or "somebody"))

    def link(self, actor: AuditActor) -> str:
        """A code with which the user `actor` signs in once within `LINK_LASTS`."""
        now, code = self._clock(), secrets.token_urlsafe(24)
        for key, (_, until) in [*self._links.items()]:
            if until <= now:
                self._links.pop(key, None)
        self._links[_hash(code)] = (replace(actor, way=AuditChannel.PAGE), now + LINK_LASTS)
        return code

    def trade(self, code: str) -> str | None:
        """A cookie for a code; None if it is not good (any more)."""
        link = self._links.pop(_hash(code), None)
        return self._begin(link[0]) if link is not None and link[1] > self._clock() else None

    def _begin(self, actor: AuditActor) -> str:
        now, cookie = self._clock(), secrets.token_urlsafe(32)
        self._sessions = {key: one for key, one in self._sessions.items() if one.until > now}
        while len(self._sessions) >= _MOST:
            self._sessions.pop(next(iter(self._sessions)))
        self._sessions[_hash(cookie)] = Session(actor, now + LASTS)
        return cookie

    def of(self, cookie: str | None) -> Session | None:
        """Who has this cookie."""
        found = self._sessions.get(_hash(cookie)) if cookie else None
        return found if found is not None and found.until > self._clock() else None

    def sign_out(self, cookie: str | None) -> None:
        """The cookie is good no more."""
        if cookie:
            self._sessions.pop(_hash(cookie), None)


class TooManyTries(Exception):  # noqa: N818 - a state, no fault
    """Too many wrong secrets came in the last minute."""


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
