"""What a configuration says, as objects. Durations are seconds, sizes are bytes."""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta
from functools import cache
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from dropcap.config.secrets import ProxyAddress, ProxyCredentials, SecretError, TokenSource, credential_path, read_secret
from dropcap.config.values import is_loopback
from dropcap.display import shown
from dropcap.language import Language
from dropcap.reasons import NoticeKind, Scope
from dropcap.routing.pattern import Table
from dropcap.routing.route import NoRoute, Route, ignored, route
from dropcap.routing.rule import Rule
from dropcap.secret import Password, Secret

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
    events: frozenset[NoticeKind]
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
class CalledAddress:
    """A web address that is called every so many seconds while dropcap works."""

    url: SecretPlace
    every: float = 300.0


@dataclass(frozen=True, slots=True)
class Notify:
    """Notifications. Troubles that end within `after` seconds are not told; files are gathered for `digest` seconds."""

    recipients: tuple[Recipient, ...]
    after: float = 120.0
    digest: float = 900.0
    heartbeat: CalledAddress | None = None


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


PORT = 5432
LEASE = 60.0
#: Modes in which the client looks whether the server is the one that was meant.
_VERIFYING = ("verify-ca", "verify-full")


@dataclass(frozen=True, slots=True)
class SqliteLedger:
    """The ledger in `state_dir`, for one host."""

    def __str__(self) -> str:
        return "sqlite"


@dataclass(frozen=True, slots=True)
class PostgresLedger:
    """A ledger on PostgreSQL. `hosts` are tried in their order; one that begins with `/` is a directory with a socket."""

    hosts: tuple[tuple[str, int], ...]
    user: str
    database: str
    options: Mapping[str, str] = field(default_factory=dict)  # of libpq, as they stand in the URL
    secret: SecretPlace | None = None  # None: the database asks for no password, or `passfile` names a file that has it
    lease: float = LEASE  # seconds for which a host has a folder after its last beat

    def conninfo(self) -> dict[str, str]:
        """What libpq needs to know of the database, but for the password."""
        several = {"target_session_attrs": "read-write"} if len(self.hosts) > 1 else {}
        return {
            "host": ",".join(host for host, _ in self.hosts),
            "port": ",".join(str(port) for _, port in self.hosts),
            "user": self.user,
            "dbname": self.database,
            **several,
            **self.options,
        }

    def password(self) -> Password | None:
        """The password, read afresh; None if none is to be shown. Raises SecretError."""
        if self.secret is None:
            return None
        text = self.secret.read().reveal()
        if not text.isprintable():
            raise SecretError(
                f"{self.secret} does not hold a password in one line", "write the password into it, and nothing else"
            )
        return Password(text)

    @property
    def verified(self) -> bool:
        """Whether nobody on the way can stand in for the database."""
        if self.options.get("sslmode") in _VERIFYING:
            return True
        if self.options.get("sslrootcert") == "system" and "sslmode" not in self.options:  # libpq verifies all then
            return True
        return all(host.startswith("/") or is_loopback(host) for host, _ in self.hosts)

    def __str__(self) -> str:
        """For people: without options."""
        names = ",".join(_authority(host, port) for host, port in self.hosts)
        return f"postgresql://{self.user}@{names}/{self.database}"


LedgerAt = SqliteLedger | PostgresLedger


#: Extensions that REDCap is known to refuse, as its administrators can list more.
BLOCKED_EXTENSIONS = (  # noqa: SIM905 (easier to read and to sort as words)
    "ade adp apk appx bat cab chm cmd com cpl dll dmg exe hta htaccess ins isp iso jar js jse lib lnk mde msc msi msix msp mst "
    "nsh php php3 php4 php5 php7 phar phtml pif pl ps1 py scr sct sh shb sys vb vbe vbs vxd wsc wsf wsh"
).split()


#: REDCap counts all that comes from one address, the browsers of the staff behind it too, and bans it for good above its own
#: limit (600 a minute, if nobody has changed it): more than half of that is left to others.
REQUESTS_PER_MINUTE = 240


@cache
def _host(url: str) -> str:
    parts = urlsplit(url)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    return f"{(parts.hostname or '').lower()}:{port}"


@dataclass(frozen=True, slots=True)
class Project:
    """One REDCap project, reached with one token."""

    name: str
    url: str
    token_source: TokenSource
    project_id: int | None = None
    requests_per_minute: int = REQUESTS_PER_MINUTE
    connect_timeout: float = 10.0
    timeout: float = 120.0
    deadline: float = 3600.0
    max_size: int = 128 * 1024**2
    blocked_extensions: frozenset[str] = frozenset(BLOCKED_EXTENSIONS)
    ca_file: Path | None = None
    client_cert_file: Path | None = None
    client_key_file: Path | None = None
    proxy: ProxyAddress | None = None
    proxy_credentials: ProxyCredentials | None = None
    file: str = field(default="", compare=False)  # where it stands, for people
    line: int = field(default=0, compare=False)

    @property
    def host(self) -> str:
        """The server that is limited as one: host name and port."""
        return _host(self.url)

    @property
    def server(self) -> str:
        """What is paused as one: the server, and the way to it, whose troubles are no other way's."""
        shows = f" as {self.client_cert_file}" if self.client_cert_file is not None else ""
        return self.host + shows + (f" via {self.proxy}" if self.proxy is not None else "")

    def stands_still_with(self, server: str, until_resume: bool) -> bool:
        """Whether a pause of that name keeps from asking this project's server: of its own way, or one for a person to end."""
        return server == self.server or (until_resume and server == self.host)

    @property
    def api(self) -> str:
        """The server and the path of its API: the same however the url is spelled."""
        return self.host + urlsplit(self.url).path


@dataclass(frozen=True, slots=True)
class Folder:
    """One watched folder and its rules."""

    name: str
    path: Path
    project: str
    rules: tuple[Rule, ...]
    subfolders: bool = True
    rescan: float = 60.0
    settle_closed: float = 5.0
    settle_quiet: float = 15.0
    first_start: str = "take"
    min_free: int = 100 * 1024**2
    preserve_in: Path | None = None
    group: str | None = None
    mode: int | None = None
    ignore: tuple[str, ...] = ()
    expect: Expect | None = None
    language: Language = Language.EN  # of the texts in the share
    page_refresh: float | None = None  # how soon the status page renews itself; None: 60, or 300 while it needs somebody
    file: str = field(default="", compare=False)  # where it and its rules stand, for people
    line: int = field(default=0, compare=False)
    configuration: str = field(default="", compare=False)  # the digest of the `Config` that it was read from
    digest: str = field(default="", compare=False)  # of all that decides what becomes of its files (`daemon/engine`)

    def leaves(self, name: str) -> str:
        """Why a file of that relative name is left alone; empty if it is not."""
        if why := ignored(name, self.ignore):
            return why
        return "this folder has subfolders: false" if "/" in name and not self.subfolders else ""

    def route(self, name: str) -> Route | NoRoute:
        """Where a file of that relative name goes, or why nowhere."""
        return route(self.rules, self.name, name)


@dataclass(frozen=True, slots=True)
class Log:
    format: str | None = None  # json | text | None: text on a terminal, else json
    level: str = "info"


@dataclass(frozen=True, slots=True)
class Retention:
    """For how long what is over is kept (seconds); None: for ever. There is none for failed/, which REDCap never got."""

    done: float | None = None  # files in done/ that were read back
    preserved: float | None = None  # copies of what REDCap held
    history: float | None = None  # jobs of which no file is left
    empty_subfolders: float | None = None  # of a drop folder, that dropcap has emptied

    @property
    def ends(self) -> bool:
        """Whether anything is ever to be removed."""
        return any(value is not None for value in (self.done, self.preserved, self.history, self.empty_subfolders))


@dataclass(frozen=True, slots=True)
class Privacy:
    """Whether names of files and records stand in the log as they are (`clear`), or as a keyed hash (`mask`)."""

    names: str = "clear"


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong, or probably not meant, in the configuration, and what to do about it.

    `scope` is None if nothing can start, else the project or folder that it disables, by its kind and name.
    """

    file: str
    line: int
    key: str
    message: str
    remedy: str
    scope: tuple[Scope, str] | None = None
    echo: bool = False  # told by another problem already; this one says what else cannot be used
    level: Literal["error", "warning"] = "error"  # of what is only doubted: an error means that no file can be stored as is meant

    @property
    def where(self) -> str:
        """`FILE:LINE: KEY`, as far as there is a line and a key."""
        return (f"{self.file}:{self.line}" if self.line else self.file) + (f": {self.key}" if self.key else "")

    def __str__(self) -> str:
        return f"{self.where}: {self.message}; {self.remedy}"


@dataclass(frozen=True, slots=True)
class Config:
    """The whole configuration. `projects` and `folders` hold the sound ones only; problems name the others."""

    path: Path
    state_dir: Path
    ledger: LedgerAt = field(default_factory=SqliteLedger)
    contact: str = ""
    uploads_at_once: int = 4
    small_file: int = 1024**2
    stop_within: float = 90.0
    log: Log = field(default_factory=Log)
    keep: Retention = field(default_factory=Retention)
    privacy: Privacy = field(default_factory=Privacy)
    projects: dict[str, Project] = field(default_factory=dict)
    folders: dict[str, Folder] = field(default_factory=dict)
    tables: dict[str, Table] = field(default_factory=dict)
    notify: Notify | None = None
    metrics: Metrics | None = None
    dashboard: Dashboard | None = None
    problems: tuple[Problem, ...] = ()
    doubts: tuple[Problem, ...] = ()  # what is probably not meant, and keeps nothing from starting
    digest: str = ""  # the SHA-256 of its files as they were read: of the one, or of what sha256sum says of all
    broken: tuple[Folder, ...] = ()  # folders that have problems, as far as they can be read: for `check` alone

    @property
    def watched(self) -> bool:
        """Whether somebody is to be told of what happens, beyond the log and the folders' pages."""
        return bool(self.notify or self.metrics or self.dashboard or any(one.expect for one in self.folders.values()))

    @property
    def reported(self) -> tuple[Problem, ...]:
        """The problems as people are told of them, each once."""
        return tuple(problem for problem in self.problems if not problem.echo)

    @property
    def fatal(self) -> tuple[Problem, ...]:
        """The problems that keep dropcap from starting at all."""
        return tuple(problem for problem in self.problems if problem.scope is None)

    def keeps_in(self, folder: Folder) -> Path:
        """Where copies of what REDCap held are kept, before files of `folder` replace it."""
        return (folder.preserve_in or self.preserved) / folder.name

    def kept_at(self, folder: str, name: str | None) -> str | None:
        """Where the copy of that name lies. An earlier dropcap kept copies in the drop folder, and named them from there."""
        return name if name is None or folder not in self.folders else os.path.join(self.folders[folder].path, name)

    @property
    def preserved(self) -> Path:
        """Where copies lie, folder by folder, if `preserve_in` does not say otherwise."""
        return self.state_dir / "preserved"

    def limit_of(self, host: str) -> int:
        """Requests a minute for `host`: the lowest that any of its projects names, 0 for no limit."""
        limits = [p.requests_per_minute for p in self.projects.values() if p.host == host and p.requests_per_minute]
        return min(limits, default=0)
