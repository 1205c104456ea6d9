"""What `dropcap status` reports, gathered from the ledger and from the dropcap that runs."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from enum import IntEnum
from typing import Any, ClassVar

import click

from dropcap import __version__
from dropcap.cli import screen
from dropcap.cli.configured import known
from dropcap.cli.jobs import stamp
from dropcap.cli.screen import many, typed, when
from dropcap.config.model import Config, PostgresLedger
from dropcap.daemon.control import released_of
from dropcap.daemon.state import running
from dropcap.display import shown
from dropcap.ledger.job import Job, LikeJobs, Pause, State
from dropcap.ledger.query import Query
from dropcap.ledger.reports import HostAtWork, HostsNow
from dropcap.ledger.transitions import KNOWN_FOR
from dropcap.preflight.retention import NotPruned, not_pruned
from dropcap.reasons import Reason, Scope

_WAITING = (State.WAITING, State.SENDING, State.UNKNOWN, State.STORED, State.REFUSED)
#: Jobs of a kind, and entries of a folder, that are told one by one.
MOST_TOLD = 20
_ALL = 1_000_000
#: Files with a trouble of their own that are looked through for the names of those without one.
_LOOKED_THROUGH = 1000


@dataclass(frozen=True, slots=True)
class FolderStatus:
    """One folder. What only a running dropcap knows is None without one."""

    name: str
    path: str | None  # None: not in the configuration (any more)
    copies_in: str | None  # where copies of what REDCap held are kept
    waiting: int
    sending: int  # of those: entered as being sent
    held: int
    failed: int
    done_today: int
    arriving: int | None
    unsettled: tuple[str, ...]  # of these, those that it has looked at
    away: str | None
    full: bool | None
    cannot_file: str | None
    last_walk: float | None
    not_taken: dict[str, str] | None
    settling: dict[str, str] | None  # what the first of the arriving files wait for
    mistake: str | None  # what is wrong with its new configuration, so that it goes on by the last good one
    mistake_since: float | None
    left: dict[str, Any] | None  # what lay there at first and is left: count, first, message, remedy
    overdue: float | None  # since when a file is missing that `expect` names
    strays: dict[str, Any] | None  # what somebody put into done/ or failed/: the same
    host: str | None = None  # of several, the one that works there
    fence: int | None = None  # and its number among all that ever did

    @property
    def troubled(self) -> bool:
        """Whether somebody should look at it."""
        return bool(self.held or self.failed or self.away or self.full or self.cannot_file or self.mistake or self.overdue)


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
class InMotion:
    """A file that is being sent: bytes so far, bytes in all, and since when (seconds since the epoch)."""

    job: int
    folder: str
    file: str
    sent: int
    size: int
    began: float


@dataclass(frozen=True, slots=True)
class Status:
    """Everything that `status` tells."""

    running: bool  # a dropcap works with this state_dir
    answers: bool  # and answers what it is asked
    alive: bool | None  # all its parts work
    version: str | None
    started: float | None
    under_way: int | None
    unwritable: str | None  # why the ledger cannot be written
    folders: list[FolderStatus]
    pauses: list[Pause]
    next_tries: Mapping[tuple[str, str], float]  # when what is paused is tried again
    limits: list[RequestLimit]
    moving: list[InMotion]
    queued: list[Queued]
    alike: list[LikeJobs]
    held: list[Job]
    failed: list[Job]
    put_off: list[Job]
    read_back: list[Job]  # taken away after they were sent, moved back under another name, and looked for: of the last week
    behind_held: list[tuple[Job, Job]]  # a file that waits, and the held one before it to the same place
    oldest: float | None  # when the oldest file was claimed that goes on by itself
    problems: list[str]  # of the configuration file as it is now
    mend: str  # what to do where the ledger cannot be written
    hosts: HostsNow | None  # None: one host has the ledger for itself
    here: str | None  # of these, the one that was asked
    released: frozenset[str]  # folders that a person wants let go of
    lease: float  # how long a folder waits for its host (seconds)
    not_pruned: list[NotPruned]  # folders in which nothing removes what `keep` says is over

    @property
    def others(self) -> bool:
        """Whether a dropcap works on another host."""
        return self.hosts is not None and any(host.id != self.here for host in self.hosts.alive)

    @property
    def configured(self) -> list[str]:
        """The folders that are to be worked in."""
        return [one.name for one in self.folders if one.path is not None]

    @property
    def stranded(self) -> list[str]:
        """Folders that no living host has."""
        well = {one.name for one in self.folders if one.arriving is not None and not one.away}  # here: it has just been taken
        wanted = [name for name in self.configured if name not in self.released | well]
        return self.hosts.stranded(wanted) if self.hosts is not None and self.hosts.alive else []

    @property
    def free(self) -> list[str]:
        """Folders in which nobody works for the moment, though a host could."""
        if self.hosts is None or not self.hosts.alive:
            return []
        return [name for name in self.hosts.free(self.configured) if name not in self.stranded]

    @property
    def exit_code(self) -> int:
        """What the command ends with."""
        if not self.answers or not self.alive or self.unwritable:
            return 1
        if any(pause.scope == Scope.SERVER and pause.reason != Reason.BY_HAND for pause in self.pauses):
            return 3
        troubled = any(folder.troubled for folder in self.folders) or self.stranded or self.not_pruned
        return 1 if self.pauses or self.problems or troubled else 0


def gathered(config: Config, ledger: Query, view: dict[str, Any] | None, only: str | None, every: Collection[str] = ()) -> Status:
    """What the configuration, the ledger and (`view`) a running dropcap tell; of the folder `only` alone, if it is given.

    Of jobs that are `held`, `failed` or `waiting` the first are told, of those kinds in `every` all.
    """
    most = {kind: _ALL if kind in every else MOST_TOLD for kind in ("held", "failed", "waiting")}
    counts = ledger.counts()
    live: dict[str, dict[str, Any]] = view["folders"] if view else {}
    names = sorted({*config.folders, *live, *counts})
    if only is not None:
        names = [known("folder", only, names)]
    # By way of the date alone: on the day that the clocks change, midnight has another offset than now.
    midnight = datetime.combine(datetime.now().astimezone().date(), datetime.min.time()).timestamp()
    pauses = [pause for pause in ledger.pauses() if only is None or _concerns(config, pause, only)]
    alike = ledger.alike(only)
    told = view or {}
    moving = _moving(told, only)
    behind = ledger.behind_held(only, MOST_TOLD)
    hosts = ledger.hosts()
    elsewhere = {one.job: one.folder for one in moving} | {newer.id: newer.folder for newer, _ in behind}  # told apart
    return Status(
        running=view is not None or running(config.state_dir),
        answers=view is not None,
        alive=told.get("alive"),
        version=told.get("version"),
        started=told.get("started"),
        under_way=told.get("under_way"),
        unwritable=told.get("unwritable"),
        folders=[_at(_folder(config, ledger, name, counts.get(name, {}), live.get(name), midnight), hosts) for name in names],
        pauses=pauses,
        next_tries={(p["scope"], p["name"]): at for p in told.get("pauses", ()) if (at := p.get("next_try")) is not None},
        limits=_limits(config, told, only),
        moving=moving,
        queued=[
            _queued(config, ledger, name, counts.get(name, {}), alike, pauses, _in(name, elsewhere), most["waiting"])
            for name in names
        ],
        alike=alike,
        held=ledger.in_state((State.HELD,), only, most["held"]),
        failed=ledger.failed(only, most["failed"]),
        put_off=ledger.put_off(only, most["waiting"]),
        read_back=ledger.read_back(time.time() - KNOWN_FOR, only, MOST_TOLD),
        oldest=min((job.claimed_at for job in ledger.in_state(_WAITING, only, 1)), default=None),
        behind_held=behind,
        problems=[str(problem) for problem in config.told],
        mend=ledger.database.unwritable[1],
        hosts=hosts,
        here=told.get("host"),
        released=frozenset(names) & released_of(ledger) if hosts is not None else frozenset(),
        lease=config.ledger.lease if isinstance(config.ledger, PostgresLedger) else 0.0,
        not_pruned=not_pruned(config, ledger, [name for name in names if name in config.folders], time.time()),
    )


def _at(folder: FolderStatus, hosts: HostsNow | None) -> FolderStatus:
    """With the host that works there."""
    lease = None if hosts is None else hosts.lease(folder.name)
    if hosts is None or lease is None:
        return folder
    holder = hosts.holder(folder.name)
    return replace(folder, host=None if holder is None else hosts.called(holder), fence=lease.fence)


def _folder(
    config: Config, ledger: Query, name: str, counts: dict[str, int], live: dict[str, Any] | None, midnight: float
) -> FolderStatus:
    if live is not None:
        path = live["path"]
    else:
        path = str(config.folders[name].path) if name in config.folders else None
    live = live or {}
    return FolderStatus(
        name=name,
        path=path,
        copies_in=str(config.keeps_in(config.folders[name])) if name in config.folders else None,
        waiting=_waiting(counts),
        sending=counts.get(State.SENDING.value, 0),
        held=counts.get("held", 0),
        failed=counts.get("failed", 0),
        done_today=ledger.ended_since(name, midnight, State.DONE),
        arriving=len(live["unsettled"]) + live.get("behind", 0) if live else None,
        unsettled=tuple(sorted(live.get("unsettled", ()))),
        away=live.get("away"),
        full=live.get("full"),
        cannot_file=live.get("cannot_file") or None,
        last_walk=live.get("last_walk"),
        not_taken=live.get("not_taken"),
        settling=live.get("notes"),
        mistake=live.get("mistake"),
        mistake_since=live.get("mistake_since"),
        left=live.get("left"),
        overdue=live.get("overdue"),
        strays=live.get("strays"),
    )


def _waiting(counts: Mapping[str, int]) -> int:
    return sum(counts.get(state.value, 0) for state in _WAITING)


def _in(folder: str, jobs: Mapping[int, str]) -> frozenset[int]:
    return frozenset(job for job, of in jobs.items() if of == folder)


def _queued(
    config: Config,
    ledger: Query,
    name: str,
    counts: Mapping[str, int],
    alike: list[LikeJobs],
    pauses: list[Pause],
    elsewhere: Collection[int],
    most: int,
) -> Queued:
    folder = config.folders.get(name)
    project = config.projects.get(folder.project) if folder else None
    stopped = [pause for pause in pauses if _concerns(config, pause, name)]
    pause = min(stopped, key=lambda one: not one.until_resume, default=None)
    its = pause.reason if pause is not None else None  # what waits for that reason waits for the end of the pause
    put_off = sum(
        one.count for one in alike if one.folder == name and one.state in (State.WAITING, State.UNKNOWN) and one.reason != its
    )
    count = max(0, _waiting(counts) - put_off - len(elsewhere))
    first: list[Job] = []
    if count:
        some = ledger.in_state(_WAITING, name, most + min(put_off, _LOOKED_THROUGH) + len(elsewhere))
        plain = (job for job in some if job.reason in (None, its) or job.state not in (State.WAITING, State.UNKNOWN))
        first = [job for job in plain if job.id not in elsewhere]
    return Queued(name, count, tuple(first[:most]), project.host if project else None, pause)


def _limits(config: Config, told: Mapping[str, Any], only: str | None) -> list[RequestLimit]:
    found = [RequestLimit(host, config.limit_of(host), room) for host, room in told.get("limited", {}).items()]
    folder = config.folders.get(only) if only is not None else None
    project = config.projects.get(folder.project) if folder else None
    return [one for one in found if only is None or (project is not None and project.host == one.server)]


def _moving(told: Mapping[str, Any], only: str | None) -> list[InMotion]:
    keys = InMotion.__dataclass_fields__
    found = (InMotion(**{key: one[key] for key in keys}) for one in told.get("uploads", ()) if one["began"] is not None)
    return [one for one in found if only in (None, one.folder)]


def _concerns(config: Config, pause: Pause, folder_name: str) -> bool:
    folder = config.folders.get(folder_name)
    project = config.projects.get(folder.project) if folder else None
    if pause.scope == Scope.SERVER:
        return project is not None and project.stands_still_with(pause.name, pause.until_resume)
    return (pause.scope, pause.name) in {(Scope.FOLDER, folder_name), (Scope.PROJECT, project.name if project else None)}


class Level(IntEnum):
    """How bad it is; the worst comes first."""

    ALL = 0  # everything stands still
    BAD = 1
    WAIT = 2
    WELL = 3


@dataclass(frozen=True, slots=True)
class StatusLine:
    """One thing to tell. `files` are as many as it concerns, `names` the first of them, `then` a command that brings it on."""

    level: Level
    word: str
    text: str
    then: str = ""
    files: int = 0
    names: tuple[str, ...] = ()


#: Seconds, beyond a lease, after which a folder that a host could have is one that somebody should look after.
_LONG = 60.0
#: Names that are told of many.
_FEW = 3


def hosts_told(status: Status) -> list[StatusLine]:
    """A line for each host that is alive, and for each that is gone since not long ago."""
    if status.hosts is None:
        return []
    return [*(_alive(status, status.hosts, host) for host in status.hosts.alive), *_gone(status.hosts), *_elsewhere(status)]


def _alive(status: Status, hosts: HostsNow, host: HostAtWork) -> StatusLine:
    here = ", here" if host.id == status.here else ""
    version = f", dropcap {host.version}" if host.version != __version__ else ""
    lacks = sorted(set(host.lacks) & set(status.configured))
    missing = f"; it lacks {_names(lacks)}" if lacks else ""
    text = f"{shown(hosts.called(host))}{here}, since {when(host.started)}{version}{missing}"
    works = len(hosts.of(host, status.configured))
    return StatusLine(Level.WAIT if lacks or not works else Level.WELL, many(works, "folder"), text)


def _gone(hosts: HostsNow) -> Iterator[StatusLine]:
    for host in hosts.gone:
        yield StatusLine(Level.WAIT, "gone", f"{shown(host.name)}, since {when(host.until)}")


def _elsewhere(status: Status) -> Iterator[StatusLine]:
    if any(one.host is not None and one.arriving is None for one in status.folders):
        yield StatusLine(Level.WELL, "", "what arrives in a folder, and whether its disk has room, is told on its own host")


def not_here(status: Status) -> str:
    """That no dropcap runs on this host, though some do elsewhere."""
    alive = () if status.hosts is None else status.hosts.alive
    names = _names([status.hosts.called(host) for host in alive]) if status.hosts is not None else ""
    return f"no dropcap runs on this host; {many(len(alive), 'other')} {'does' if len(alive) == 1 else 'do'}: {names}"


def stranded(status: Status) -> Iterator[StatusLine]:
    """Folders in which nobody works and will."""
    told = {one.name for one in status.folders if one.away}  # by the host that was asked, and why
    for name in status.stranded:
        if name in told:
            continue
        text = f"{shown(name)} is away for every host, so nothing is taken from it; mount it on one"
        yield StatusLine(Level.BAD, "folder", text, f"dropcap check --folder {typed(name)}")
    for name in status.free:
        if _untaken_for(status, name) > _LONG + status.lease:
            text = f"{shown(name)}: no host has taken it for {_untaken_for(status, name) / 60:.0f} min; look into their logs"
            yield StatusLine(Level.BAD, "folder", text, "journalctl -u dropcap")


def free(status: Status) -> Iterator[StatusLine]:
    """Folders that a host is about to take."""
    for name in status.free:
        if _untaken_for(status, name) <= _LONG + status.lease:
            yield StatusLine(Level.WAIT, "folder", f"{shown(name)}: no host works in it just now; one takes it by itself")


def _untaken_for(status: Status, folder: str) -> float:
    return 0.0 if status.hosts is None else status.hosts.untaken_for(folder, time.time())


def as_json(config: Config, status: Status) -> list[dict[str, Any]]:
    """All hosts of the last day."""
    hosts = status.hosts or HostsNow()
    return [
        {
            "host": shown(host.name),
            "pid": host.pid,
            "id": host.id,
            "here": host.id == status.here,
            "alive": host.alive,
            "version": host.version,
            "same_configuration": host.configuration == config.digest,
            "started": stamp(host.started),
            "until": stamp(host.until),
            "folders": hosts.of(host, status.configured),
            "lacks": list(host.lacks),
        }
        for host in hosts.hosts
    ]


def _names(names: list[str]) -> str:
    more = f" and {len(names) - _FEW} more" if len(names) > _FEW else ""
    return ", ".join(shown(name) for name in names[:_FEW]) + more


@dataclass(frozen=True, slots=True)
class LedgerAway:
    """What is known without the ledger: `why` it cannot be read, and of the dropcap on this host whether it runs, and answers."""

    CODE: ClassVar[int] = 1

    why: str
    running: bool
    view: dict[str, Any] | None

    @classmethod
    def of(cls, config: Config, view: dict[str, Any] | None, why: str) -> LedgerAway:
        """`view`: what the dropcap of this host has answered."""
        return cls(why, view is not None or running(config.state_dir), view)

    @property
    def then(self) -> str:
        """What becomes of the files."""
        if self.running:
            return "The dropcap of this host waits for it: nothing is taken or sent meanwhile, and it goes on by itself."
        return "No dropcap runs on this host."


def tell_away(away: LedgerAway) -> None:
    """Print it."""
    word = "NOT WELL"
    screen.entry(word, f"{away.why[0].upper()}{away.why[1:]}. {away.then}", len(word) + 2, screen.BAD)
    here = "running" if away.running else "not running"
    click.echo(" " * (len(word) + 2) + f"As of {screen.at_second(time.time())}. dropcap {__version__}, {here} here.")


def away_json(away: LedgerAway) -> dict[str, Any]:
    """The same for programs: of the keys of `status --json` those that are known."""
    told = away.view or {}
    return {
        "ok": False,
        "exit_code": LedgerAway.CODE,
        "verdict": f"NOT WELL: {away.why}. {away.then}",
        "waits_for_somebody": [{"files": 0, "message": away.why, "first": [], "command": None}],
        "goes_on_by_itself": [],
        "running": away.running,
        "answers": away.view is not None,
        "alive": told.get("alive"),
        "version": told.get("version"),
        "started": stamp(told.get("started")),
        "under_way": told.get("under_way"),
        "ledger_unwritable": away.why,
    }
