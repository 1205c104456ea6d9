"""What is so now: one model, taken in one place, for `status`, the operator's page, metrics and notifications."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from dropcap.config.model import Config, PostgresLedger, Project
from dropcap.delivery.workers import Uploading
from dropcap.intake.strays import LeftFiles
from dropcap.ledger.job import Job, LikeJobs, Pause, State
from dropcap.ledger.query import KNOWN_FOR, Query
from dropcap.ledger.reports import HostsNow, PeopleQuery
from dropcap.preflight.remark import NotPruned, not_pruned
from dropcap.reasons import Reason, Scope

#: Jobs that go on by themselves.
GOES_ON = (State.WAITING, State.SENDING, State.UNKNOWN, State.STORED, State.REFUSED)
#: Jobs of a kind, and entries of a folder, that are listed.
MOST_LISTED = 20
_ALL = 1_000_000
#: Files with a trouble of their own that are looked through for the names of those without one.
_LOOKED_THROUGH = 1000


@dataclass(frozen=True, slots=True)
class FolderNow:
    """One drop folder. What only the dropcap that works there knows is None where none of this host does."""

    name: str
    path: str | None  # None: not in the configuration (any more)
    project: str = ""
    counts: Mapping[str, int] = field(default_factory=dict)  # jobs by state, as `Query.counts` tells them
    done_today: int = 0
    oldest: float | None = None  # when the oldest file was claimed that goes on by itself
    last_drop: float | None = None
    copies_in: str | None = None  # where copies of what REDCap held are kept
    arriving: int | None = 0  # seen and not taken yet
    unsettled: tuple[str, ...] = ()  # of these, those that it has looked at
    settling: Mapping[str, str] | None = None  # what the first of them wait for
    not_taken: Mapping[str, str] | None = None
    left: LeftFiles | None = None  # what lay there at first and is left
    strays: LeftFiles | None = None  # what somebody put into done/ or failed/
    away: str | None = None
    full: bool | None = None
    cannot_file: str | None = None
    last_walk: float | None = None
    mistake: str | None = None  # what is wrong with its new configuration, so that it goes on by the last good one
    mistake_since: float | None = None
    overdue: float | None = None  # since when a file is missing that `expect` names
    host: str | None = None  # of several that share the ledger, the one that works there
    fence: int | None = None  # and its number among all that ever did

    def number(self, *states: State) -> int:
        """How many of its jobs are in these states."""
        return sum(self.counts.get(state.value, 0) for state in states)

    @property
    def going_on(self) -> int:
        """Files that go on by themselves."""
        return self.number(*GOES_ON)

    @property
    def waiting(self) -> int:
        """Those of them that are not being sent."""
        return self.going_on - self.sending

    @property
    def sending(self) -> int:
        return self.number(State.SENDING)

    @property
    def held(self) -> int:
        return self.number(State.HELD)

    @property
    def failed(self) -> int:
        """Files in failed/ that nobody has dealt with."""
        return self.number(State.FAILED)

    @property
    def stray_count(self) -> int:
        return 0 if self.strays is None else self.strays.count

    @property
    def here(self) -> bool:
        """Whether the dropcap of this host works there: it alone knows what lies there, and tells of it."""
        return self.arriving is not None

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
class Queued:
    """The files of one folder that wait without a trouble of their own: how many, the first of them, what stops all of them."""

    folder: str
    count: int
    first: tuple[Job, ...]
    server: str | None  # by host
    pause: Pause | None


@dataclass(frozen=True, slots=True)
class RequestLimit:
    """A server whose request limit is used up. `goes_on`: when the next request may go there (seconds since the epoch)."""

    server: str
    per_minute: int
    goes_on: float


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All of it. What only a running dropcap knows is None or empty where none answers; jobs are listed for `status` alone."""

    at: float
    version: str | None
    started: float | None
    alive: bool | None  # all its parts work
    running: bool = True  # a dropcap works with this state_dir
    answers: bool = True  # and answers what it is asked
    under_way: int | None = None
    unwritable: str = ""  # why the ledger takes nothing for now
    mend: str = ""  # and what to do
    damaged: bool = False
    folders: tuple[FolderNow, ...] = ()
    projects: tuple[ProjectNow, ...] = ()
    servers: tuple[ServerNow, ...] = ()
    pauses: tuple[Pause, ...] = ()
    next_tries: Mapping[tuple[str, str], float] = field(default_factory=dict)  # when what is paused is tried again
    limits: tuple[RequestLimit, ...] = ()
    uploads: tuple[Uploading, ...] = ()
    alike: tuple[LikeJobs, ...] = ()  # what waits for a reason, is held or failed
    problems: tuple[str, ...] = ()  # of the configuration
    hosts: HostsNow | None = None  # None: one host has the ledger for itself
    this_host: str | None = None  # of these, the one that was asked
    released: frozenset[str] = frozenset()  # folders that a person wants let go of
    lease: float = 0.0  # how long a folder waits for its host (seconds)
    not_pruned: tuple[NotPruned, ...] = ()  # folders in which nothing removes what `keep` says is over
    queued: tuple[Queued, ...] = ()
    held: tuple[Job, ...] = ()
    failed: tuple[Job, ...] = ()
    put_off: tuple[Job, ...] = ()
    read_back: tuple[Job, ...] = ()  # taken away after they were sent, moved back under another name, and looked for
    behind_held: tuple[tuple[Job, Job], ...] = ()  # a file that waits, and the held one before it to the same place

    @property
    def configured(self) -> tuple[FolderNow, ...]:
        """The folders that are to be worked in."""
        return tuple(one for one in self.folders if one.path is not None)

    @property
    def here(self) -> tuple[FolderNow, ...]:
        """Those in which this host works."""
        return tuple(one for one in self.configured if one.here)

    @property
    def sending(self) -> tuple[Uploading, ...]:
        """The uploads that have begun."""
        return tuple(one for one in self.uploads if one.began is not None)

    @property
    def oldest(self) -> float | None:
        """When the oldest file was claimed that goes on by itself."""
        return min((one.oldest for one in self.folders if one.oldest is not None), default=None)

    @property
    def groups(self) -> tuple[LikeJobs, ...]:
        """Files that wait for a person."""
        return tuple(one for one in self.alike if one.state in (State.HELD, State.FAILED))

    @property
    def needs_somebody(self) -> int:
        """How many these are."""
        return sum(one.count for one in self.groups)

    @property
    def down(self) -> tuple[str, ...]:
        """Servers that do not answer or refuse us."""
        return tuple(one.name for one in self.pauses if one.scope == Scope.SERVER and one.reason != Reason.BY_HAND)

    @property
    def others(self) -> bool:
        """Whether a dropcap works on another host."""
        return self.hosts is not None and any(host.id != self.this_host for host in self.hosts.alive)

    @property
    def stranded(self) -> tuple[str, ...]:
        """Folders that no living host has."""
        if self.hosts is None or not self.hosts.alive:
            return ()
        taken = {one.name for one in self.folders if one.here and not one.away}  # it may have been a moment ago
        return tuple(self.hosts.stranded(one.name for one in self.configured if one.name not in self.released | taken))

    @property
    def free(self) -> tuple[str, ...]:
        """Folders in which nobody works for the moment, though a host could."""
        if self.hosts is None or not self.hosts.alive:
            return ()
        stranded = self.stranded
        return tuple(name for name in self.hosts.free(one.name for one in self.configured) if name not in stranded)

    @property
    def ill(self) -> tuple[str, ...]:
        """Folders that somebody should look at, whatever their files do."""
        stranded = self.stranded
        return tuple(one.name for one in self.folders if one.ill or one.name in stranded)

    @property
    def stops(self) -> str:
        """Why nothing goes on at all: `not running`, `silent`, `unwritable` or `hangs`; empty if it does."""
        if not self.running:
            return "" if self.others else "not running"
        if not self.answers:
            return "silent"
        if self.unwritable or self.damaged:
            return "unwritable"
        return "" if self.alive else "hangs"

    @property
    def exit_code(self) -> int:
        """The verdict: 0 if all is well, 3 if it is but for a server, else 1."""
        if not self.answers or self.stops:
            return 1
        if self.down:
            return 3
        return 1 if self.pauses or self.groups or self.problems or self.ill or self.not_pruned else 0

    def paused(self, scope: Scope, name: str) -> Pause | None:
        """The pause of one thing."""
        return next((pause for pause in self.pauses if (pause.scope, pause.name) == (scope, name)), None)


@dataclass(frozen=True, slots=True)
class InLedger:
    """What the ledger tells of all folders; true until it is written to, or the day ends. `last_drops`: when a file was claimed
    last, if that was asked; `released`: those that a person wants let go of."""

    counts: Mapping[str, Mapping[str, int]]
    done_today: Mapping[str, int]
    oldest: Mapping[str, float]
    alike: tuple[LikeJobs, ...]
    last_drops: Mapping[str, float] = field(default_factory=dict)
    released: frozenset[str] = frozenset()


def read(query: PeopleQuery, folders: Collection[str], now: float) -> InLedger:
    """Of these folders, and of those that left the configuration. Raises DatabaseError."""
    # By way of the date alone: on the day that the clocks change, midnight has another offset than now.
    midnight = datetime.combine(datetime.fromtimestamp(now).astimezone().date(), datetime.min.time()).timestamp()
    counts = query.counts()
    names = {*folders, *counts}
    done = {name: query.ended_since(name, midnight, State.DONE) for name in names}
    waiting = [name for name, its in counts.items() if any(its.get(state.value) for state in GOES_ON)]
    oldest = {job.folder: job.claimed_at for name in waiting for job in query.in_state(GOES_ON, name, 1)}
    return InLedger(counts, done, oldest, tuple(query.alike()))


def taken(
    config: Config,
    query: PeopleQuery,
    seen: InLedger,
    live: Mapping[str, Any] | None,
    now: float,
    problems: tuple[str, ...] = (),
    only: str | None = None,
) -> Snapshot:
    """What the configuration, the ledger and (`live`) a running dropcap tell; of the folder `only` alone, if it is given.

    Raises DatabaseError.
    """
    told = live or {}
    its: Mapping[str, Mapping[str, Any]] = told.get("folders", {})
    hosts = query.hosts()
    names = [only] if only is not None else sorted({*config.folders, *its, *seen.counts})
    pauses = tuple(pause for pause in _pauses(query, told.get("pauses")) if only is None or concerns(config, pause, only))
    by_name = {(pause.scope, str(pause.name)): pause for pause in pauses}
    tries = {(one["scope"], one["name"]): at for one in told.get("pauses", ()) if (at := one.get("next_try")) is not None}
    uploads = [Uploading(**{key: one[key] for key in Uploading.__dataclass_fields__}) for one in told.get("uploads", ())]
    its_host = {project.host for name in names if (project := _project(config, name)) is not None}
    return Snapshot(
        at=now,
        version=told.get("version"),
        started=told.get("started"),
        alive=told.get("alive"),
        answers=live is not None,
        under_way=told.get("under_way"),
        unwritable=told.get("unwritable") or "",
        mend=query.database.unwritable[1],
        damaged=told.get("damaged", False),
        folders=tuple(_folder(config, seen, name, its.get(name), hosts) for name in names),
        projects=tuple(
            ProjectNow(one.name, one.host, one.server, by_name.get(key), tries.get(key))
            for one in config.projects.values()
            for key in [(Scope.PROJECT, one.name)]
        ),
        servers=_servers(config, told.get("servers", {}), by_name, tries),
        pauses=pauses,
        next_tries=tries,
        limits=tuple(
            RequestLimit(host, config.limit_of(host), room)
            for host, room in told.get("limited", {}).items()
            if only is None or host in its_host
        ),
        uploads=tuple(one for one in uploads if only in (None, one.folder)),
        alike=tuple(one for one in seen.alike if only in (None, one.folder)),
        problems=problems,
        hosts=hosts,
        this_host=told.get("host"),
        released=seen.released if hosts is not None else frozenset(),
        lease=config.ledger.lease if isinstance(config.ledger, PostgresLedger) else 0.0,
    )


def _folder(
    config: Config,
    seen: InLedger,
    name: str,
    live: Mapping[str, Any] | None,
    hosts: HostsNow | None,
) -> FolderNow:
    folder = config.folders.get(name)
    lease = None if hosts is None else hosts.lease(name)
    holder = None if hosts is None or lease is None else hosts.holder(name)
    told = live or {}
    return FolderNow(
        name=name,
        path=told["path"] if live is not None else str(folder.path) if folder is not None else None,
        project=folder.project if folder is not None else "",
        counts=seen.counts.get(name, {}),
        done_today=seen.done_today.get(name, 0),
        oldest=seen.oldest.get(name),
        last_drop=seen.last_drops.get(name),
        copies_in=str(config.keeps_in(folder)) if folder is not None else None,
        arriving=len(live["unsettled"]) + live.get("behind", 0) if live is not None else None,
        unsettled=tuple(told.get("unsettled", ())),
        settling=told.get("notes"),
        not_taken=told.get("not_taken"),
        left=_left(told.get("left")),
        strays=_left(told.get("strays")),
        away=told.get("away"),
        full=told.get("full"),
        cannot_file=told.get("cannot_file") or None,
        last_walk=told.get("last_walk"),
        mistake=told.get("mistake"),
        mistake_since=told.get("mistake_since"),
        overdue=told.get("overdue"),
        host=None if hosts is None or holder is None else hosts.called(holder),
        fence=None if lease is None else lease.fence,
    )


def _pauses(query: PeopleQuery, told: Collection[Mapping[str, Any]] | None) -> list[Pause]:
    """As the running dropcap has them, which is ahead of its ledger; without one, or from an older one, those of the ledger."""
    keys = Pause.__dataclass_fields__
    if told is None or any(key not in one for one in told for key in keys):
        return query.pauses()
    return [Pause(**{key: one[key] for key in keys} | {"scope": Scope(one["scope"])}) for one in told]


def _left(told: Mapping[str, Any] | None) -> LeftFiles | None:
    return None if told is None else LeftFiles(told["count"], tuple(told["first"]), told["message"], told["remedy"])


def _servers(
    config: Config,
    asked: Mapping[str, tuple[float | None, int, int]],
    pauses: Mapping[tuple[Scope, str], Pause],
    tries: Mapping[tuple[str, str], float],
) -> tuple[ServerNow, ...]:
    """`asked`: when each was heard last, and its requests."""
    hosts = {one.server: one.host for one in config.projects.values()}
    return tuple(
        ServerNow(
            server,
            pauses.get((Scope.SERVER, server)) or pauses.get((Scope.SERVER, host)),
            tries.get((Scope.SERVER, server)),
            *asked.get(server, (None, 0, 0)),
        )
        for server, host in hosts.items()
    )


def listed(config: Config, query: Query, now: Snapshot, only: str | None, every: Collection[str] = ()) -> dict[str, Any]:
    """The jobs that `status` names, by fields of a snapshot: the first `held`, `failed` and `waiting` ones, of kinds in `every`
    all. Raises DatabaseError."""
    most = {kind: _ALL if kind in every else MOST_LISTED for kind in ("held", "failed", "waiting")}
    behind = query.behind_held(only, MOST_LISTED)
    apart = {one.job: one.folder for one in now.sending} | {newer.id: newer.folder for newer, _ in behind}
    names = [one.name for one in now.folders]
    return {
        "queued": tuple(
            _queued(config, query, one, now, {job for job, of in apart.items() if of == one.name}, most["waiting"])
            for one in now.folders
        ),
        "held": tuple(query.in_state((State.HELD,), only, most["held"])),
        "failed": tuple(query.failed(only, most["failed"])),
        "put_off": tuple(query.put_off(only, most["waiting"])),
        "read_back": tuple(query.read_back(now.at - KNOWN_FOR, only, MOST_LISTED)),
        "behind_held": tuple(behind),
        "not_pruned": tuple(not_pruned(config, query, [name for name in names if name in config.folders], now.at)),
    }


def _queued(config: Config, query: Query, folder: FolderNow, now: Snapshot, apart: Collection[int], most: int) -> Queued:
    """`apart`: jobs that are told elsewhere."""
    project = _project(config, folder.name)
    stopped = [pause for pause in now.pauses if concerns(config, pause, folder.name)]
    pause = min(stopped, key=lambda one: not one.until_resume, default=None)
    its = pause.reason if pause is not None else None  # what waits for that reason waits for the end of the pause
    put_off = sum(
        one.count
        for one in now.alike
        if one.folder == folder.name and one.state in (State.WAITING, State.UNKNOWN) and one.reason != its
    )
    count = max(0, folder.going_on - put_off - len(apart))
    first: list[Job] = []
    if count:
        some = query.in_state(GOES_ON, folder.name, most + min(put_off, _LOOKED_THROUGH) + len(apart))
        plain = (job for job in some if job.reason in (None, its) or job.state not in (State.WAITING, State.UNKNOWN))
        first = [job for job in plain if job.id not in apart]
    return Queued(folder.name, count, tuple(first[:most]), project.host if project else None, pause)


def _project(config: Config, folder_name: str) -> Project | None:
    folder = config.folders.get(folder_name)
    return config.projects.get(folder.project) if folder else None


def concerns(config: Config, pause: Pause, folder_name: str) -> bool:
    """Whether a pause stops the files of a folder."""
    project = _project(config, folder_name)
    if pause.scope == Scope.SERVER:
        return project is not None and project.stands_still_with(pause.name, pause.until_resume)
    return (pause.scope, pause.name) in {(Scope.FOLDER, folder_name), (Scope.PROJECT, project.name if project else None)}
