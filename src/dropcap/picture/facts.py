"""What is so now, in one piece, and what is wrong of it: for notifications, metrics and the operator's page."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from dropcap.ledger.job import Pause, State
from dropcap.reasons import Reason, Scope, Told, explained


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


@dataclass(frozen=True, slots=True)
class Condition:
    """Something that is not well. `key` is the same for as long as it lasts; `projects` and `folders` are concerned, none: all.

    `text` is for those who are told no names of files; `at_once` is told without waiting for it to end by itself.
    """

    key: str
    kind: Told
    text: str
    remedy: str
    since: float
    projects: tuple[str, ...] = ()
    folders: tuple[str, ...] = ()
    at_once: bool = False


def conditions(picture: Picture) -> tuple[Condition, ...]:
    """All that is wrong now, but for files that wait for somebody."""
    return (*_of_all(picture), *_pauses(picture), *(one for folder in picture.folders for one in _of_folder(folder, picture.at)))


def _of_all(picture: Picture) -> Iterator[Condition]:
    if picture.damaged:
        remedy = "No file is lost. Find out why the disk damaged it."
        yield Condition("ledger damaged", Told.LEDGER, "The ledger is damaged.", remedy, picture.at, at_once=True)
    elif picture.unwritable:
        text = "The ledger cannot be written: nothing is taken or sent."
        yield Condition("ledger", Told.LEDGER, text, f"{picture.mend[:1].upper()}{picture.mend[1:]}.", picture.at)
    if picture.problems:
        number = len(picture.problems)
        text = f"The configuration has {number} {'problem' if number == 1 else 'problems'}; what they concern is out of service."
        yield Condition(
            "configuration", Told.MISCONFIGURED, text, "Run: dropcap check. Then: dropcap reload", picture.at, at_once=True
        )
    if not picture.alive:
        text = "A part of dropcap hangs."
        yield Condition("alive", Told.ENDED, text, "Look into its log, then restart it.", picture.at)


def _pauses(picture: Picture) -> Iterator[Condition]:
    for pause in picture.pauses:
        named: tuple[str, ...] = (pause.name,)
        if pause.scope == Scope.FOLDER:
            projects, folders = _project_of(picture, pause.name), named
        elif pause.scope == Scope.PROJECT:
            projects, folders = named, folders_of(picture, named)
        else:
            projects = tuple(one.name for one in picture.projects if pause.name in (one.server, one.host))
            folders = folders_of(picture, projects)
        why = " by hand." if pause.reason == Reason.BY_HAND else f". {explained(pause.reason).title}."
        yield Condition(
            f"pause {pause.scope} {pause.name}",
            Told.PAUSED,
            f"The {pause.scope} {pause.name} is paused{why}",
            _what_next(pause),
            pause.since,
            projects,
            folders,
            at_once=pause.until_resume,
        )


def _what_next(pause: Pause) -> str:
    if pause.until_resume:
        return f"It stays so until somebody runs: dropcap resume --{pause.scope} {pause.name}"
    if not pause.passes:
        return "Run: dropcap check. Once that is mended, it goes on by itself. Files wait and are safe."
    return "It is asked again by itself, and goes on once it is well. Files wait and are safe."


def _project_of(picture: Picture, folder: str) -> tuple[str, ...]:
    return tuple(one.project for one in picture.folders if one.name == folder)


def _of_folder(folder: FolderNow, now: float) -> Iterator[Condition]:
    projects, folders = (folder.project,), (folder.name,)
    if folder.away:
        text = f"The folder {folder.name} is away: nothing is taken from it."
        yield Condition(
            f"away {folder.name}", Told.AWAY, text, f"Run: dropcap status --folder {folder.name}", now, projects, folders
        )
    if folder.full or folder.cannot_file:
        text = f"The disk of the folder {folder.name} is full, or takes no files."
        yield Condition(
            f"full {folder.name}", Told.AWAY, text, "Make room there. dropcap goes on by itself.", now, projects, folders
        )
    if folder.mistake:
        text = f"The folder {folder.name} goes on by its last good configuration: the new one has a mistake."
        yield Condition(
            f"mistake {folder.name}", Told.MISCONFIGURED, text, "Run: dropcap check", now, projects, folders, at_once=True
        )
    if folder.overdue is not None:
        text = f"Nothing was dropped into the folder {folder.name}, and a file was expected."
        remedy = "Ask those who drop files there, or look at what writes them."
        yield Condition(f"expected {folder.name}", Told.EXPECTED, text, remedy, folder.overdue, projects, folders, at_once=True)
