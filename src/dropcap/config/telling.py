"""Who is told of what happens, and how: notifications, metrics, the operator's page, files that are expected."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from pathlib import Path

from dropcap.config.secret_file import SecretError, read_secret
from dropcap.config.token_source import credential_path
from dropcap.display import shown
from dropcap.reasons import Told
from dropcap.secret import Secret

#: Characters that the secret of the page has to have.
SHORTEST_SECRET = 16


@dataclass(frozen=True, slots=True)
class SecretPlace:
    """Where a secret lies: a file with mode 0600, or a credential of systemd's. Read anew each time."""

    what: str  # as people call it
    file: str | None
    credential: str | None

    def read(self) -> Secret:
        """The secret. Raises SecretError if it is missing, empty or open to everybody on this machine."""
        absent = f"write the {self.what.removesuffix(' file')} into it, with mode 0600"
        if self.file is not None:
            text = read_secret(self.file, self.what, absent)
        else:
            text = read_secret(credential_path(self.credential or ""), self.what, absent, private=False)
        if not text.strip():
            raise SecretError(f"{self} is empty", absent)
        return Secret(text.strip())

    def __str__(self) -> str:
        return (
            f"the {self.what} {shown(self.file)}" if self.file is not None else f"the credential {shown(self.credential or '')}"
        )


@dataclass(frozen=True, slots=True)
class Recipient:
    """One who is told. Without `projects` and `folders` it is told of everything; `names`: of names of files, too."""

    name: str
    url: SecretPlace
    events: frozenset[Told]
    projects: frozenset[str] = frozenset()
    folders: frozenset[str] = frozenset()
    names: bool = False

    @property
    def of_all(self) -> bool:
        """Whether it is told of what concerns no project or folder alone."""
        return not self.projects and not self.folders

    def concerned(self, projects: Collection[str], folders: Collection[str]) -> bool:
        """Whether it is told of what concerns these."""
        return self.of_all or not self.projects.isdisjoint(projects) or not self.folders.isdisjoint(folders)


@dataclass(frozen=True, slots=True)
class Notify:
    """Notifications. Troubles that end within `after` seconds are not told; files are gathered for `digest` seconds."""

    recipients: tuple[Recipient, ...]
    after: float = 120.0
    digest: float = 900.0


@dataclass(frozen=True, slots=True)
class Metrics:
    """The text file that node_exporter reads."""

    textfile: Path


@dataclass(frozen=True, slots=True)
class Dashboard:
    """The operator's page. `origin` is its address behind a proxy, as in `https://dropcap.example.org`."""

    host: str
    port: int
    secret: SecretPlace
    cert_file: Path | None = None
    key_file: Path | None = None
    origin: str | None = None

    @property
    def scheme(self) -> str:
        return "https" if self.cert_file is not None else "http"

    @property
    def own(self) -> str:
        """Where it listens, as an address."""
        return f"{self.scheme}://{_authority(self.host, self.port)}"

    @property
    def address(self) -> str:
        """Where people find it."""
        return self.origin or self.own

    @property
    def origins(self) -> frozenset[str]:
        """The addresses under which it may be asked for; anything else is another site's page."""
        hosts = {self.host} | ({"localhost", "127.0.0.1", "::1"} if self.host in _LOOPBACKS else set())
        own = {f"{self.scheme}://{_authority(host, self.port)}" for host in hosts}
        if self.port == _DEFAULT_PORTS[self.scheme]:  # which browsers leave out
            own |= {origin.rpartition(":")[0] for origin in own}
        return frozenset(own | ({self.origin} if self.origin else set()))

    @property
    def hosts(self) -> frozenset[str]:
        """What the Host header may say."""
        return frozenset(origin.partition("://")[2] for origin in self.origins)


_DEFAULT_PORTS = {"http": 80, "https": 443}
_LOOPBACKS = frozenset({"localhost", "127.0.0.1", "::1"})


def _authority(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_DAY = 86400.0
_TIME = re.compile(r"([01]?[0-9]|2[0-3]):([0-5][0-9])", re.ASCII)
#: Days that are looked back for one on which a file was expected.
_FURTHEST = 8


@dataclass(frozen=True, slots=True)
class Expect:
    """Files that a folder should get: on each of `days` (0 is Monday), one within the last `every` seconds; looked at at `by`,
    local time, or, without it, all the time; other days do not count then."""

    every: float
    days: frozenset[int] = frozenset(range(7))
    by: time | None = None

    def overdue(self, last: float | None, watched_since: float, now: float) -> float | None:
        """Since when a file is missing (seconds since the epoch), if one is: `last` is when the last one was dropped, if ever."""
        seen = max(last or 0.0, watched_since)  # a folder that is new has a whole time to go
        if self.by is None:
            at = self._runs_out(seen, now)
            return at if at < now else None
        when = self._looked_at(now, self.by)
        if when is None:
            return None
        day, at = when
        return at if seen < self._begins(day, at, self.by) else None

    def _runs_out(self, seen: float, now: float) -> float:
        """When `every` has gone by since `seen`, days on which nothing is expected not counted; at the earliest after `now`, if
        that is later than `now`."""
        left, at = self.every, seen
        while at <= now and len(self.days) < len(DAYS):
            day = datetime.fromtimestamp(at).astimezone().date()
            midnight = _moment(day + timedelta(days=1), time())
            if day.weekday() in self.days:
                if at + left <= midnight:
                    break
                left -= midnight - at
            at = midnight
        return at + left

    def _looked_at(self, now: float, by: time) -> tuple[date, float] | None:
        today = datetime.fromtimestamp(now).astimezone().date()
        for back in range(_FURTHEST):
            day = today - timedelta(days=back)
            at = _moment(day, by)
            if day.weekday() in self.days and at <= now:
                return day, at
        return None

    def _begins(self, day: date, at: float, by: time) -> float:
        """Whole days go by the calendar: the day on which clocks change has 23 hours or 25."""
        whole, rest = divmod(self.every, _DAY)
        return at - self.every if rest else _moment(day - timedelta(days=int(whole)), by)

    def __str__(self) -> str:
        days = ", ".join(DAYS[day] for day in sorted(self.days)) if len(self.days) < len(DAYS) else "every day"
        within = f"{self.every / _DAY:g} d" if self.every >= _DAY else f"{self.every / 3600:g} h"
        return f"one within {within}, {days}" + (f", by {self.by:%H:%M}" if self.by is not None else "")


def _moment(day: date, at: time) -> float:
    return datetime.combine(day, at).timestamp()


def clock_time(text: str) -> time | None:
    """`18:00`; None if it is no time of day."""
    found = _TIME.fullmatch(text.strip())
    return time(int(found.group(1)), int(found.group(2))) if found else None


def weekdays(text: str) -> frozenset[int] | None:
    """`mon-fri` or `mon`; None if it is neither."""
    first, dash, last = (word.strip().lower() for word in text.partition("-"))
    if first not in DAYS or (dash and last not in DAYS):
        return None
    begin, end = DAYS.index(first), DAYS.index(last if dash else first)
    return frozenset(day % len(DAYS) for day in range(begin, end + 1 if end >= begin else end + 1 + len(DAYS)))
