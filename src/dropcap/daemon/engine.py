"""All parts of a running dropcap, put together from a configuration, and one digest a folder of what decides where its files go.

A folder whose digest is the same runs on over a reload, and its jobs keep their addresses over a start. Every field of what was
parsed counts, so a new setting does by itself; what is for people alone, or made from the rest, says `compare=False`.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import resource
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import asdict, dataclass, fields, is_dataclass, replace
from datetime import datetime
from datetime import time as daytime
from pathlib import Path
from typing import Any, Protocol

import structlog

from dropcap import __version__
from dropcap.config.model import Config, Folder, Problem, Project
from dropcap.content.examiner import Examiner
from dropcap.daemon.channel import Channel
from dropcap.daemon.control import release, released_of, try_again
from dropcap.daemon.host_leases import HostLeases, UnsharedLeases
from dropcap.daemon.inspector import InspectedClient, Inspector
from dropcap.delivery.loop import Delivery
from dropcap.delivery.order import Order, takes_next
from dropcap.delivery.project_client import FOR_GOOD, Identities, redcap_for
from dropcap.filing.preserve import Keep
from dropcap.intake.mounts import Mounts
from dropcap.intake.owner import Run
from dropcap.ledger.job import Job, State
from dropcap.ledger.store import Ledger
from dropcap.preflight.drop_folder import exposed, keeps_copies
from dropcap.reasons import Reason, Scope
from dropcap.redcap.client import ProjectInfo
from dropcap.secret import Token
from dropcap.threads import SerialExecutor


def digested(config: Config) -> Config:
    """`config`, each of its folders with its digest. The projects of all folders have to be there."""
    choosing = {config.projects[folder.project].api for folder in config.folders.values() if _takes_next(folder)}
    return replace(
        config, folders={name: replace(one, digest=_digest(config, one, choosing)) for name, one in config.folders.items()}
    )


def _takes_next(folder: Folder) -> bool:
    return any(takes_next(rule.instance) for rule in folder.rules)


def _digest(config: Config, folder: Folder, choosing: set[str]) -> str:
    """Of the project only what orders files counts: its client is made anew with each configuration."""
    project = config.projects[folder.project]
    decides = [_parsed(folder), config.contact, project.api, project.project_id, project.api in choosing]
    return hashlib.sha256(json.dumps(decides, sort_keys=True).encode()).hexdigest()


def _parsed(value: object) -> object:
    """`value` as JSON can hold it. Raises TypeError for what nobody has said how to compare."""
    if is_dataclass(value):
        return {one.name: _parsed(getattr(value, one.name)) for one in fields(value) if one.compare}
    if isinstance(value, Mapping):
        return {str(key): _parsed(one) for key, one in value.items()}
    if isinstance(value, frozenset):
        return sorted(value)
    if isinstance(value, tuple):
        return [_parsed(one) for one in value]
    if isinstance(value, Path | daytime):
        return str(value)
    if value is None or isinstance(value, str | int | float):
        return value
    raise TypeError(f"a {type(value).__name__} cannot be compared")


_KIND, _DEVELOPMENT = "stage", "development"


class Stages:
    """The stages of all entries' projects. Safe for threads: single steps alone change them."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        learned = ledger.query.learned(time.time())
        self._in_development = {project for project, kind, what in learned if (kind, what) == (_KIND, _DEVELOPMENT)}

    def in_development(self, entry: str) -> bool:
        """Whether REDCap has told that an entry's project is in development, and not yet that it is in production."""
        return entry in self._in_development

    def learn(self, entry: str, project: ProjectInfo) -> bool:
        """REDCap has told the project of an entry; whether its stage is news. Durable on return."""
        if project.in_production is not self.in_development(entry):
            return False
        self._ledger.learn(entry, _KIND, _DEVELOPMENT, 0.0 if project.in_production else time.time() + FOR_GOOD)
        (self._in_development.discard if project.in_production else self._in_development.add)(entry)
        return True


class Configured(Protocol):
    """Who knows the configuration that is in force."""

    config: Config


class Keeping:
    """Makes them, by the configuration that is in force."""

    def __init__(self, configured: Configured) -> None:
        self._configured = configured
        self._real: dict[str, Path] = {}  # where folders lie once links are followed, as far as they were opened

    def of(self, folder: Folder) -> Keep:
        """The place of a folder's copies."""
        config = self._configured.config
        place = config.keeps_in(folder)
        return Keep(place, folder.min_free, config.state_dir, lambda: self._exposed(place), make_above=folder.preserve_in is None)

    def unsafe(self, folder: Folder, keep: Keep) -> str | None:
        """Why nothing may be taken from a folder: for the thread that opens it, which alone may hang on its share."""
        self._real[folder.name] = Path(os.path.realpath(folder.path))
        return keep.exposure() if keeps_copies(folder) else None

    def _exposed(self, place: Path) -> str | None:
        config = self._configured.config
        shares = {folder.path for folder in config.folders.values()} | set(self._real.values())
        return exposed(place, config.state_dir, shares, Mounts.now())


@dataclass(frozen=True, slots=True)
class Mistake:
    """Why a folder goes on by the rules that it had, and since when (seconds since the epoch)."""

    since: float
    problems: tuple[Problem, ...]

    @property
    def message(self) -> str:
        """One line for people."""
        first = self.problems[0]
        more = f" (and {len(self.problems) - 1} more)" if len(self.problems) > 1 else ""
        return f"its new configuration has a mistake, so it goes on by the last good one: {first}{more}"


def with_last_good(new: Config, old: Config, before: Mapping[str, Mistake], now: float) -> tuple[Config, dict[str, Mistake]]:
    """`new`, with what `old` has in the place of folders and projects that have mistakes now; and those folders. Pure.

    A folder that was not there before, or whose old place another one has by now, is left out.
    """
    wrong: dict[tuple[Scope, str], list[Problem]] = {}
    for problem in new.problems:
        if problem.scope is not None:
            wrong.setdefault(problem.scope, []).append(problem)
    projects = {
        **{name: old.projects[name] for kind, name in wrong if kind is Scope.PROJECT and name in old.projects},
        **new.projects,
    }
    folders = dict(new.folders)
    mistakes: dict[str, Mistake] = {}
    for kind, name in wrong:
        folder = old.folders.get(name) if kind is Scope.FOLDER and name not in folders else None
        if folder is None or folder.project not in projects or _in_the_way(folder.path, [f.path for f in folders.values()]):
            continue
        told = wrong.get((Scope.PROJECT, folder.project)) or wrong[Scope.FOLDER, name]
        folders[name] = folder
        mistakes[name] = Mistake(before[name].since if name in before else now, tuple(told))
    return replace(new, projects=projects, folders=folders), mistakes


def _in_the_way(path: Path, others: list[Path]) -> bool:
    return any(path.is_relative_to(other) or other.is_relative_to(path) for other in others)


#: Seconds for which the write is waited for; on a disk that takes it, it takes some milliseconds.
_PATIENCE = 1.0
_EVERY = 0.01
#: What is written: when it was looked last (seconds since the epoch); SQLite writes nothing where nothing changes.
_KEY = "looked at"


class Writable:
    """Tries to write the ledger. May be asked by any thread."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._executor = SerialExecutor("ledger look")
        self._tried: Future[None] | None = None  # the write that was begun last

    def why_not(self) -> str:
        """Why the ledger cannot be written; empty if it can, or has not said within a second."""
        end = time.monotonic() + _PATIENCE
        if self._ledger.trouble.unwritable:  # what could not be written is tried again each second: it tells when it is over
            return self._ledger.trouble.unwritable
        tried = self._tried
        if tried is None or tried.done():
            tried = self._tried = self._executor.submit(_PATIENCE, self._ledger.set_meta, _KEY, f"{time.time():.6f}")
        while not (tried.done() or self._ledger.trouble.unwritable) and time.monotonic() < end:
            time.sleep(_EVERY)
        return self._ledger.trouble.unwritable


log = structlog.get_logger()

#: Unsettled files of a folder of which it is told what they wait for.
_MOST_NOTES = 20
#: As many as the unit grants.
DESCRIPTORS = 65536


class Engine:
    """Intake, ledger and delivery at work."""

    def __init__(self, config: Config, ledger: Ledger, leases: HostLeases | None = None) -> None:
        """`leases` says in which folders this host works, if it shares its ledger with others."""
        _allow_descriptors()
        self.config = config = digested(config)
        self.ledger = ledger
        self.leases: HostLeases = leases or UnsharedLeases()
        self.started = time.time()
        self.run = Run.of_installation(ledger.installation) if ledger.shared else Run.of(config.state_dir)
        self.examiner = Examiner()
        self.inspector = Inspector(self)
        self.order = Order(config.projects.values(), config.folders.values(), ledger.query.told_projects())
        self._keeping = Keeping(self)
        self.delivery = Delivery(ledger, self.order, self.leases)
        self._identities = Identities(ledger, self.order)
        self._stages = Stages(ledger)
        self.writable = Writable(ledger)
        self.clients = self._clients(config)
        self.overdue: dict[str, float] = {}  # folders that miss a file which `expect` names, and since when; replaced whole
        self.mistakes: dict[str, Mistake] = {}  # folders that go on by their last good configuration
        self.channels: dict[str, Channel] = {}
        self._left: dict[str, Channel] = {}  # out of the configuration; one of that name may come back
        self.released: set[str] = set()
        self._releasing = threading.Lock()
        self._arranging = threading.Lock()  # who builds channels, or has delivery take them up
        self._beginning = threading.Lock()  # starting threads of channels: `service`, `reload` and `leases` each do
        self._taken_up = True  # whether delivery has all channels as they are
        self._renew(config)

    def _clients(self, config: Config) -> dict[str, InspectedClient]:
        return {
            project.name: InspectedClient(
                project,
                redcap_for(config, project, self.leases.window),
                self.inspector,
                self,
            )
            for project in config.projects.values()
        }

    def identified(self, project: Project, told: ProjectInfo | None, token: Token) -> None:
        """REDCap has told whose a project's token is, or (None) does not. Raises RedcapError if it is not that project's."""
        self._identities.admit(project, told, token)
        if told is not None and self._stages.learn(project.name, told):
            for name, channel in self.channels.items():
                if channel.folder.project == project.name:
                    self._changed(name)

    def _renew(self, config: Config) -> None:
        """Channels for all folders; those that are new or changed are to be started."""
        with self._releasing:
            self.released = {*released_of(self.ledger.query)}.intersection(config.folders)
        channels: dict[str, Channel] = {}
        for folder in config.folders.values():
            handle = self.leases.lease_handle(folder.name)
            if handle is None:
                continue
            old = self.channels.get(folder.name) or self._left.pop(folder.name, None)
            if old is not None and old.folder.digest == folder.digest and old.lease_handle is handle and not old.retired:
                channels[folder.name] = old
                continue
            keep = self._keeping.of(folder)
            channels[folder.name] = Channel(self, folder, config.contact, keep, handle, old)
        for name, gone in self.channels.items():
            if name not in channels:
                gone.retire()
                self._left[name] = gone
        self.channels = channels

    def missing(self, overdue: dict[str, float]) -> None:
        """These folders miss a file since then."""
        before, self.overdue = self.overdue, overdue
        for folder in before.keys() ^ overdue.keys():
            self._changed(folder)

    def in_development(self, project: str) -> bool:
        """Whether REDCap has told that a project is in development, and not yet that it is in production."""
        return self._stages.in_development(project)

    def unsafe(self, folder: Folder, keep: Keep) -> str | None:
        """Why nothing may be taken from a folder; may hang on its share."""
        return self._keeping.unsafe(folder, keep)

    def mistake(self, folder: str) -> str | None:
        """What is wrong with a folder's new configuration, since when; None if nothing is."""
        mistake = self.mistakes.get(folder)
        if mistake is None:
            return None
        since = datetime.fromtimestamp(mistake.since).astimezone()
        return f"since {since:%Y-%m-%d %H:%M}: {mistake.message}"

    def _take_up(self) -> None:
        self.delivery.take_up(
            {name: one.queue for name, one in self.channels.items()},
            self.clients,
            uploads_at_once=self.config.uploads_at_once,
            small_file=self.config.small_file,
            elsewhere=frozenset(self.config.folders.keys() - self.channels.keys()),
        )

    def start(self) -> None:
        """Begin to take and deliver."""
        with self._arranging:
            for one in self.channels.values():
                self._rerouted(one.folder)
            self._take_up()
        self.ledger.keep_trying()
        self.delivery.start()
        self.start_channels()

    def arrange(self) -> None:
        """Work in the folders that are this host's now, and in no others; what is under way in those ends there. Waits for no
        share."""
        with self._arranging:
            before = self.channels if self._taken_up else {}
            self._taken_up = False
            self._renew(self.config)
            for name, one in self.channels.items():
                if before.get(name) is not one:
                    self._rerouted(one.folder)
            self._take_up()
            self._taken_up = True
        self.start_channels()

    def agree(self, asked: bool) -> None:
        """Go by what other hosts have entered: pauses, folders that are to be let go of; `asked`: and what a person wants tried
        again. What the ledger kept from being arranged is, too."""
        if not self._taken_up:
            self.arrange()
        if self.delivery.agree():
            self.delivery.queues.wake()
        released = {*released_of(self.ledger.query)}.intersection(self.config.folders)
        with self._releasing:
            changed, self.released = released ^ self.released, released
        for name in changed & self.channels.keys():
            self.channels[name].intake.look_now()
        if asked:
            self.delivery.queues.wake()
            for one in self.channels.values():
                one.intake.wake()

    def leaving(self, folder: str) -> Channel | None:
        """The channel of a folder that this host does not work in any more."""
        return self._left.get(folder)

    def forget(self, folder: str) -> None:
        """Nothing is under way any more in a folder that another host is to have."""
        self._left.pop(folder, None)

    def release(self, folder: str, released: bool) -> None:
        """Let go of a folder, or take it up again; durable on return, and begun."""
        with self._releasing:
            release(self.ledger, folder, released)
            self.released = self.released - {folder} | ({folder} if released else set())
        if folder in self.channels:
            self.channels[folder].intake.look_now()

    def start_channels(self) -> None:
        """Begin with the folders that have not begun: all at first, or those that a reload or a lease brings. For all threads."""
        with self._beginning:
            for one in self.channels.values():
                one.start()

    def stop(self, within: float) -> None:
        """Take nothing more; let uploads end for so many seconds."""
        self.inspector.stop()
        self.ledger.give_up()
        for one in self.channels.values():
            one.intake.stop(0.0)
        self.delivery.stop(within)
        end = time.monotonic() + 2.0
        for one in self.channels.values():
            one.intake.stop(max(0.0, end - time.monotonic()))
        if not self.delivery.under_way():
            for within in (0.0, 2.0):  # all at once, then each
                end = time.monotonic() + within
                for one in [*self.channels.values(), *self._left.values()]:
                    one.intake.leave(max(0.0, end - time.monotonic()))
        self.examiner.close()

    def _changed(self, folder: str) -> None:
        if folder in self.channels:
            self.channels[folder].page.changed()

    def _rerouted(self, folder: Folder) -> None:
        """Jobs that were entered by another configuration go where the present one sends them."""
        key = f"rules {folder.name}"
        if self.ledger.query.meta(key) != folder.digest:
            jobs = self.ledger.query.names(folder.name, (State.WAITING, State.HELD))
            self.ledger.reroute(folder.name, [(job, self.order.address(folder, name)) for job, name in jobs])
            self.ledger.set_meta(key, folder.digest)

    def alive(self) -> bool:
        """Whether every loop goes round (a thread that waits for a dead share or a full state disk does not count against it)."""
        if self.ledger.trouble.unwritable:
            return True
        channels = all(one.intake.alive(120.0) and one.queue.filer.alive() for one in self.channels.values())
        return self.delivery.alive() and self.leases.alive() and channels

    def idle(self) -> bool:
        """Whether there is nothing that could be done now."""
        return all(one.intake.idle.is_set() or one.intake.away for one in self.channels.values()) and self.delivery.idle()

    def held(self, folder: str | None = None) -> list[Job]:
        """Held jobs that this host may try again."""
        held = self.ledger.query.in_state((State.HELD,), folder, limit=1_000_000)
        return [job for job in held if job.folder in self.channels or not self.ledger.shared]

    def release_held(self, held: Sequence[Job]) -> None:
        """Held jobs are tried again with a clean slate."""
        try_again(self.ledger, held)
        self.delivery.queues.wake()

    def _released_by_reload(self, job: Job) -> bool:
        """A person alone sends an older file over a newer one, or one that may be in another project."""
        return job.reason != Reason.NEWER_WENT and not (job.reason == Reason.PROJECT_MISMATCH and self.order.elsewhere(job))

    def reload(self, config: Config) -> None:
        """Take up a changed configuration; what is under way ends as it began. Waits for no share.

        A folder that has a mistake now goes on as it was.
        """
        before = self.mistakes
        config, self.mistakes = with_last_good(config, self.config, before, time.time())
        config = digested(config)
        self.order.configure(config.projects.values(), config.folders.values())
        with self._arranging:
            self._taken_up = False
            self._renew(config)
            self.config = config
            self.clients = self._clients(config)
            for one in self.channels.values():
                self._rerouted(one.folder)  # before delivery takes up jobs anew, which then go by the new rules
            self._take_up()
            self._taken_up = True
        self.leases.configured(config)
        self.delivery.try_paused()
        self.release_held([job for job in self.held() if self._released_by_reload(job)])
        self.start_channels()
        for name in {*before, *self.mistakes}:
            self._changed(name)
        self.inspector.again()


def live(engine: Engine, unwritable: str) -> dict[str, Any]:
    """What only the running daemon knows, from memory; `unwritable`: why the ledger cannot be written."""
    ahead = time.time() - time.monotonic()
    tries = {key: at + ahead for key, at in engine.delivery.breakers.next_tries().items()}
    pauses = engine.delivery.breakers.pauses()
    return {
        "running": True,
        "host": engine.leases.host,
        "version": __version__,
        "started": engine.started,
        "now": time.time(),
        "alive": engine.alive(),
        "unwritable": unwritable,
        "under_way": engine.delivery.under_way(),
        "uploads": [asdict(upload) for upload in engine.delivery.progress.uploads()],
        "limited": engine.delivery.limited(),
        "folders": {name: _folder(engine, one) for name, one in engine.channels.items()},
        "pauses": [asdict(pause) | {"next_try": tries.get((pause.scope, pause.name))} for pause in pauses],
    }


def _folder(engine: Engine, one: Channel) -> dict[str, Any]:
    intake, mistake = one.intake, engine.mistakes.get(one.folder.name)
    return {
        "path": str(one.folder.path),
        "away": intake.away,
        "full": intake.full,
        "not_taken": intake.not_taken,
        "unsettled": intake.unsettled,
        "behind": intake.behind,
        "notes": dict(list(intake.notes.items())[:_MOST_NOTES]),
        "left": asdict(intake.left),
        "strays": asdict(intake.strays),
        "cannot_file": one.queue.filer.waiting_for_room(),
        "last_walk": intake.last_walk,
        "mistake": mistake.message if mistake is not None else None,
        "overdue": engine.overdue.get(one.folder.name),
        "mistake_since": mistake.since if mistake is not None else None,
    }


def _allow_descriptors() -> None:
    """Take as many descriptors as we may have: each folder needs about ten, and a shell or cron gives 1024 at first."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, DESCRIPTORS)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
