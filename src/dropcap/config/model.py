"""What a configuration says, as objects. Durations are seconds, sizes are bytes."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from dropcap.config.ledger_at import LedgerAt, SqliteLedger
from dropcap.config.proxy import ProxyAddress, ProxyCredentials
from dropcap.config.telling import Dashboard, Expect, Metrics, Notify
from dropcap.config.token_source import TokenSource
from dropcap.language.speaker import Language
from dropcap.reasons import Scope
from dropcap.routing.rule import Rule
from dropcap.routing.table import Table

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
    digest: str = field(default="", compare=False)  # of all that decides what becomes of its files (`daemon/digest`)


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
    """One thing that is wrong in the configuration, and what to do about it.

    `scope` is None if nothing can start, else the project or folder that it disables, by its kind and name.
    """

    file: str
    line: int
    key: str
    message: str
    remedy: str
    scope: tuple[Scope, str] | None = None
    echo: bool = False  # told by another problem already; this one says what else cannot be used

    @property
    def where(self) -> str:
        """`FILE:LINE: KEY`, as far as there is a line and a key."""
        return (f"{self.file}:{self.line}" if self.line else self.file) + (f": {self.key}" if self.key else "")

    def __str__(self) -> str:
        return f"{self.where}: {self.message}; {self.remedy}"


@dataclass(frozen=True, slots=True)
class Doubt:
    """One thing that is probably not meant. `error`: no file can be stored as it is meant."""

    level: Literal["error", "warning"]
    file: str
    line: int
    key: str
    message: str
    remedy: str

    @property
    def where(self) -> str:
        """`FILE:LINE: KEY`."""
        return f"{self.file}:{self.line}: {self.key}"


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
    doubts: tuple[Doubt, ...] = ()
    digest: str = ""  # the SHA-256 of its files as they were read: of the one, or of what sha256sum says of all
    broken: tuple[Folder, ...] = ()  # folders that have problems, as far as they can be read: for `check` alone

    @property
    def watched(self) -> bool:
        """Whether somebody is to be told of what happens, beyond the log and the folders' pages."""
        return bool(self.notify or self.metrics or self.dashboard or any(one.expect for one in self.folders.values()))

    @property
    def told(self) -> tuple[Problem, ...]:
        """The problems as people are told of them, each once."""
        return tuple(problem for problem in self.problems if not problem.echo)

    @property
    def fatal(self) -> tuple[Problem, ...]:
        """The problems that keep dropcap from starting at all."""
        return tuple(problem for problem in self.problems if problem.scope is None)

    def keeps_in(self, folder: Folder) -> Path:
        """Where copies of what REDCap held are kept, before files of `folder` replace it."""
        return (folder.preserve_in or self.preserved) / folder.name

    @property
    def preserved(self) -> Path:
        """Where copies lie, folder by folder, if `preserve_in` does not say otherwise."""
        return self.state_dir / "preserved"

    def limit_of(self, host: str) -> int:
        """Requests a minute for `host`: the lowest that any of its projects names, 0 for no limit."""
        limits = [p.requests_per_minute for p in self.projects.values() if p.host == host and p.requests_per_minute]
        return min(limits, default=0)
