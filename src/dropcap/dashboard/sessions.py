"""Who may see the page: a secret, or a link that is good once, traded for a cookie that says nothing."""

from __future__ import annotations

import hashlib
import hmac
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from dropcap.ledger.act import Means, Who
from dropcap.secret import Secret

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

    who: Who
    until: float
    told: list[str] = field(default_factory=list)


class Sessions:
    """In memory alone: a restart signs everybody out. For the event loop's thread, but for `link`, which any may call."""

    def __init__(self, secret: Callable[[], Secret], clock: Callable[[], float] = time.monotonic) -> None:
        """`secret` reads it afresh, and may raise SecretError."""
        self._secret = secret
        self._clock = clock
        self._sessions: dict[str, Session] = {}  # by the hash of the cookie
        self._links: dict[str, tuple[Who, float]] = {}  # by the hash of the code: who, and until when
        self._wrong: list[float] = []

    def sign_in(self, given: str, who: str) -> str | None:
        """A cookie for somebody who knows the secret; None if it is another. Raises SecretError, TooManyTries."""
        now = self._clock()
        self._wrong = [at for at in self._wrong if now - at < _MINUTE]
        if len(self._wrong) >= MOST_WRONG:
            raise TooManyTries
        # By hashes: what is compared has one length then, and may be any text.
        if not hmac.compare_digest(_hash(self._secret().reveal()), _hash(given.strip())):
            self._wrong.append(now)
            return None
        return self._begin(Who.on_the_page(" ".join(who.split())[:_LONGEST_NAME] or "somebody"))

    def link(self, who: Who) -> str:
        """A code with which the user `who` signs in once within `LINK_LASTS`."""
        now, code = self._clock(), secrets.token_urlsafe(24)
        for key, (_, until) in [*self._links.items()]:
            if until <= now:
                self._links.pop(key, None)
        self._links[_hash(code)] = (replace(who, way=Means.PAGE), now + LINK_LASTS)
        return code

    def trade(self, code: str) -> str | None:
        """A cookie for a code; None if it is not good (any more)."""
        link = self._links.pop(_hash(code), None)
        return self._begin(link[0]) if link is not None and link[1] > self._clock() else None

    def _begin(self, who: Who) -> str:
        now, cookie = self._clock(), secrets.token_urlsafe(32)
        self._sessions = {key: one for key, one in self._sessions.items() if one.until > now}
        while len(self._sessions) >= _MOST:
            self._sessions.pop(next(iter(self._sessions)))
        self._sessions[_hash(cookie)] = Session(who, now + LASTS)
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
