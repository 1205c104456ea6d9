"""The state of one running dropcap at one moment. Times are seconds since the epoch."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from dropcap.ledger.job import Pause, State
from dropcap.reasons import Scope


@dataclass(frozen=True, slots=True)
class FolderNow:
    """One drop folder."""

    name: str
    project: str
    path: str
    counts: dict[str, int]  # jobs by state, as `Query.counts` tells them
    arriving: int = 0  # seen and not taken yet
    done_today: int = 0
    away: str | None = None
    full: bool = False
    cannot_file: str = ""
    mistake: str | None = None  # what is wrong with its new configuration, so that it goes on by the last good one
    strays: int = 0
    left: int = 0
    not_taken: int = 0
    oldest: float | None = None  # when the oldest file that waits was claimed
    last_drop: float | None = None
    overdue: float | None = None  # since when a file is missing that `expect` names
    elsewhere: str = ""  # of several hosts that share the ledger, the other one that works there, or that none does

    def number(self, *states: State) -> int:
        """How many of its jobs are in these states."""
        return sum(self.counts.get(state.value, 0) for state in states)

    @property
    def waiting(self) -> int:
        """Files that go on by themselves and are not being sent."""
        return self.number(State.WAITING, State.UNKNOWN, State.STORED, State.REFUSED)

    @property
    def ill(self) -> bool:
        """Whether somebody should look at it, whatever its files do."""
        return bool(self.away or self.full or self.cannot_file or self.mistake or self.overdue)


@dataclass(frozen=True, slots=True)
class ProjectNow:
    """One project, and what it is reached by."""

    name: str
    host: str  # of its REDCap
    server: str  # the way there, see `Project.server`
    pause: Pause | None = None
    next_try: float | None = None


@dataclass(frozen=True, slots=True)
class ServerNow:
    """One way to a REDCap."""

    name: str
    pause: Pause | None = None
    next_try: float | None = None  # when it is asked again
    heard: float | None = None  # when an answer came last, in this run
    used: int = 0  # requests of the last minute
    limit: int = 0  # 0: none


@dataclass(frozen=True, slots=True)
class HostNow:
    """One host of several that share the ledger."""

    name: str
    here: bool  # the one whose picture this is
    started: float
    folders: tuple[str, ...]  # in which it works
    lacks: tuple[str, ...]  # that are away for it


@dataclass(frozen=True, slots=True)
class UploadFacts:
    """A file that is being sent."""

    job: int
    folder: str
    name: str
    size: int
    sent: int
    seconds_left: float | None


@dataclass(frozen=True, slots=True)
class FailureGroup:
    """Files of one folder that wait for somebody for the same reason."""

    folder: str
    state: State  # held or failed
    reason: str
    number: int
    since: float
    newest: int  # the number of a job
    message: str = ""  # of that one
    remedy: str = ""


@dataclass(frozen=True, slots=True)
class Picture:
    """All of it."""

    at: float
    version: str
    started: float
    alive: bool
    folders: tuple[FolderNow, ...] = ()
    projects: tuple[ProjectNow, ...] = ()
    servers: tuple[ServerNow, ...] = ()
    pauses: tuple[Pause, ...] = ()
    uploads: tuple[UploadFacts, ...] = ()
    groups: tuple[FailureGroup, ...] = ()
    problems: tuple[str, ...] = ()  # of the configuration, as it was taken up last
    unwritable: str = ""  # why the ledger takes nothing for now
    mend: str = ""  # and what to do
    damaged: bool = False
    hosts: tuple[HostNow, ...] = ()  # that are alive; none where one has the ledger for itself

    @property
    def here(self) -> tuple[FolderNow, ...]:
        """The folders in which this host works: it alone knows what lies there, and tells of it."""
        return tuple(folder for folder in self.folders if not folder.elsewhere)

    @property
    def needs_somebody(self) -> int:
        """Files that wait for a person."""
        return sum(group.number for group in self.groups)

    @property
    def down(self) -> tuple[ServerNow, ...]:
        """Servers that do not answer or refuse us, by themselves."""
        return tuple(server for server in self.servers if server.pause is not None)

    def paused(self, scope: Scope, name: str) -> Pause | None:
        """The pause of one thing."""
        return next((pause for pause in self.pauses if (pause.scope, pause.name) == (scope, name)), None)

    @property
    def well(self) -> bool:
        """Whether there is nothing to look at."""
        ill = self.pauses or self.groups or self.problems or self.unwritable or self.damaged
        return self.alive and not ill and not any(folder.ill or folder.strays for folder in self.folders)


def folders_of(picture: Picture, projects: Iterable[str]) -> tuple[str, ...]:
    """The folders that deliver to some projects."""
    wanted = set(projects)
    return tuple(folder.name for folder in picture.folders if folder.project in wanted)
