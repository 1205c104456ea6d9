"""Takes the picture that notifications, metrics and the operator's page go by."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Protocol

import structlog

from dropcap import __version__
from dropcap.config.model import Config, Dashboard, Problem
from dropcap.daemon.engine import Engine
from dropcap.daemon.log import mask_of
from dropcap.display import shown
from dropcap.ledger.act import Who
from dropcap.ledger.database import TOLD, DatabaseError
from dropcap.ledger.job import Pause, State
from dropcap.ledger.reports import Figures, HostsNow
from dropcap.metrics.families import Tally, Textfile
from dropcap.notify.notifier import Naming, Notifier
from dropcap.picture.facts import FailureGroup, FolderNow, HostNow, Picture, ProjectNow, ServerNow, UploadFacts
from dropcap.reasons import Scope
from dropcap.threads import NoThread, begin


@dataclass(frozen=True, slots=True)
class _Read:
    counts: dict[str, dict[str, int]]
    oldest: dict[str, float]
    done: dict[str, int]
    groups: tuple[FailureGroup, ...]


class Gatherer:
    """For one thread at a time. Raises DatabaseError where the ledger cannot be read."""

    def __init__(self, engine: Engine, figures: Figures) -> None:
        self._engine = engine
        self._figures = figures
        self._last_drops: dict[str, float] = {}
        self._counted = 0  # jobs up to this number are in `_last_drops`
        self._read: tuple[object, _Read] | None = None  # and what it was true of
        self._told: Picture | None = None

    def picture(self, problems: tuple[Problem, ...]) -> Picture:
        """What is so now; `problems` are those of the configuration. While the ledger does not answer: what was so, and that."""
        engine = self._engine
        try:
            self._told = self._seen(problems)
        except TOLD:
            if self._told is None or not engine.ledger.trouble.unwritable:
                raise
            now, unwritable = time.time(), engine.ledger.trouble.unwritable
            self._told = replace(self._told, at=now, alive=engine.alive(), uploads=(), unwritable=unwritable)
        return self._told

    def _seen(self, problems: tuple[Problem, ...]) -> Picture:
        engine, now = self._engine, time.time()
        read = self._of_the_ledger(now)
        hosts = self._figures.hosts()
        pauses = {(pause.scope, str(pause.name)): pause for pause in engine.pauses()}
        ahead = now - time.monotonic()
        tries = {what: at + ahead for what, at in engine.delivery.breakers.next_tries().items()}
        return Picture(
            at=now,
            version=__version__,
            started=engine.started,
            alive=engine.alive(),
            folders=self._folders(now, read) + self._elsewhere(read, hosts),
            projects=tuple(
                ProjectNow(p.name, p.host, p.server, pauses.get((Scope.PROJECT, p.name)), tries.get((Scope.PROJECT, p.name)))
                for p in engine.config.projects.values()
            ),
            servers=self._servers(pauses, tries),
            pauses=tuple(pauses.values()),
            uploads=tuple(
                UploadFacts(one.job, one.folder, one.file, one.size, one.sent, one.seconds_left(now))
                for one in engine.delivery.progress.uploads()
            ),
            groups=read.groups,
            problems=tuple(str(problem) for problem in problems if not problem.echo),
            unwritable=engine.ledger.trouble.unwritable,
            mend=engine.ledger.trouble.remedy,
            damaged=engine.ledger.trouble.damaged,
            hosts=() if hosts is None else self._hosts(hosts),
        )

    def _of_the_ledger(self, now: float) -> _Read:
        """What the ledger tells; read anew only if it was written to."""
        today = datetime.fromtimestamp(now).astimezone().date()
        names = tuple({*self._engine.channels, *self._engine.config.folders})
        key = (threading.get_ident(), self._figures.version(), today, names)
        if self._read is not None and self._read[0] == key:
            return self._read[1]
        fresh, self._counted = self._figures.claimed(self._counted)
        for folder, last in fresh.items():
            self._last_drops[folder] = max(last, self._last_drops.get(folder, 0.0))
        midnight = datetime.combine(today, datetime.min.time()).timestamp()
        done = {name: self._figures.ended_since(name, midnight, State.DONE) for name in names}
        read = _Read(self._figures.counts(), self._figures.oldest_waiting(), done, self._groups())
        self._read = (key, read)
        return read

    def _folders(self, now: float, read: _Read) -> tuple[FolderNow, ...]:
        found = []
        for name, one in self._engine.channels.items():
            intake = one.intake
            arriving = len(intake.unsettled) + intake.behind
            known = self._figures.known_folder(name)
            last = self._last_drops.get(name)
            overdue = None
            if one.folder.expect is not None and known is not None and not arriving and not intake.away:
                overdue = one.folder.expect.overdue(last, known.first_seen, now)
            mistake = self._engine.mistakes.get(name)
            found.append(
                FolderNow(
                    name=name,
                    project=one.folder.project,
                    path=str(one.folder.path),
                    counts=read.counts.get(name, {}),
                    arriving=arriving,
                    done_today=read.done.get(name, 0),
                    away=str(intake.away) if intake.away else None,
                    full=bool(intake.full),
                    cannot_file=str(one.queue.filer.waiting_for_room() or ""),
                    mistake=mistake.message if mistake is not None else None,
                    strays=intake.strays.count,
                    left=intake.left.count,
                    not_taken=len(intake.not_taken),
                    oldest=read.oldest.get(name),
                    last_drop=last,
                    overdue=overdue,
                )
            )
        return tuple(found)

    def _elsewhere(self, read: _Read, hosts: HostsNow | None) -> tuple[FolderNow, ...]:
        """The folders in which other hosts work: what the ledger tells of them."""
        if hosts is None:
            return ()
        found = []
        stranded = hosts.stranded(self._engine.config.folders.keys() - self._engine.released)
        for name in sorted(self._engine.config.folders.keys() - self._engine.channels.keys()):
            folder, holder = self._engine.config.folders[name], hosts.holder(name)
            found.append(
                FolderNow(
                    name=name,
                    project=folder.project,
                    path=str(folder.path),
                    counts=read.counts.get(name, {}),
                    done_today=read.done.get(name, 0),
                    away="it is away for every host" if name in stranded else None,
                    oldest=read.oldest.get(name),
                    last_drop=self._last_drops.get(name),
                    elsewhere=f"on {hosts.called(holder)}" if holder is not None else "no host works in it just now",
                )
            )
        return tuple(found)

    def _hosts(self, hosts: HostsNow) -> tuple[HostNow, ...]:
        folders, here = self._engine.config.folders, self._engine.allotment.host
        return tuple(
            HostNow(
                hosts.called(host),
                host.id == here,
                host.started,
                tuple(hosts.of(host, folders)),
                tuple(sorted(folders.keys() & set(host.lacks))),
            )
            for host in hosts.alive
        )

    def _servers(self, pauses: dict[tuple[Scope, str], Pause], tries: dict[tuple[Scope, str], float]) -> tuple[ServerNow, ...]:
        found: dict[str, ServerNow] = {}
        for line in self._engine.lines.values():
            server, host = line.project.server, line.project.host
            before = found.get(server)
            heard = max(filter(None, (line.client.heard, before.heard if before is not None else None)), default=None)
            used, limit = line.client.used()
            pause = pauses.get((Scope.SERVER, server)) or pauses.get((Scope.SERVER, host))
            found[server] = ServerNow(server, pause, tries.get((Scope.SERVER, server)), heard, used, limit)
        return tuple(found.values())

    def _groups(self) -> tuple[FailureGroup, ...]:
        groups = []
        for one in self._figures.wait_for_somebody():
            job = self._figures.job(one.newest)
            message, remedy = (job.message or "", job.remedy or "") if job is not None else ("", "")
            groups.append(FailureGroup(one.folder, one.state, one.reason, one.number, one.since, one.newest, message, remedy))
        return tuple(groups)


log = structlog.get_logger()

#: Seconds between two pictures, and between two writings of the metrics.
EVERY = 2.0
_WRITE_EVERY = 15.0
_SOONEST = 0.2

Answer = Callable[[dict[str, Any], Who], dict[str, Any]]


class _Page(Protocol):
    """`dashboard.server.DashboardServer`, whose libraries are imported only where there is a page."""

    page: Dashboard

    def start(self) -> None: ...

    def link(self, who: Who) -> str: ...

    def stop(self) -> None: ...


class Watchers:
    """`start` and `configure` are called by the main thread."""

    def __init__(self, engine: Engine, problems: Callable[[], tuple[Problem, ...]], answer: Answer) -> None:
        """`problems` are those of the configuration; `answer` does what people ask of a running dropcap."""
        self._engine = engine
        self._problems = problems
        self._answer = answer
        self._figures = Figures(engine.ledger.database, engine.ledger.trouble)
        self._gatherer = Gatherer(engine, self._figures)
        self._lock = threading.Lock()  # of the gatherer and the tally
        self._picture: Picture | None = None
        self._tally: Tally | None = None
        self._notifier: Notifier | None = None
        self._textfile: Textfile | None = None
        self._dashboard: _Page | None = None
        self._written = 0.0
        self._thread: threading.Thread | None = None
        self._wake = threading.Event()
        self._stopped = False
        self.configure(engine.config)

    def configure(self, config: Config) -> None:
        """Go by the configuration: begin, change or end what watches."""
        if config.notify is None and self._notifier is not None:
            self._notifier.stop()
            self._notifier = None
        elif config.notify is not None and self._notifier is not None:
            self._notifier.configure(config.notify)
        elif config.notify is not None:
            self._notifier = Notifier(config.state_dir, config.notify, self._naming)
        self._textfile = self._new_textfile(config)
        self._configure_dashboard(config)
        if not config.watched:
            self._engine.missing({})
        self._written = 0.0
        self._wake.set()

    def _naming(self) -> Naming:
        """As the configuration says that is in force now: a reload that masks names has been answered before `configure`."""
        mask = mask_of(self._engine.config)
        return shown if mask is None else mask.file

    def _configure_dashboard(self, config: Config) -> None:
        if self._dashboard is not None and (config.dashboard is None or self._dashboard.page != config.dashboard):
            self._dashboard.stop()
            self._dashboard = None
        if config.dashboard is None or self._dashboard is not None:
            return
        try:
            from dropcap.dashboard.server import DashboardServer
        except ImportError as error:
            _lacks(f"dashboard: is set, and {error.name} is missing: there is no page", "web")
            return
        from dropcap.dashboard.wires import Wires

        wires = Wires(lambda: self._engine.config, self.picture, self.metrics, self._answer, self._engine.alive, self._figures)
        self._dashboard = DashboardServer(config.dashboard, wires)

    def link(self, who: Who) -> str | None:
        """The address of the page with a code that signs `who` in once; None if there is no page."""
        if self._dashboard is None:
            return None
        return self._dashboard.link(who)

    def _new_textfile(self, config: Config) -> Textfile | None:
        if config.metrics is None:
            return None
        try:
            import prometheus_client  # noqa: F401
        except ImportError:
            _lacks("metrics: is set, and its library is missing: no file is written", "metrics")
            return None
        return Textfile(config.metrics.textfile)

    def start(self) -> None:
        """Begin, if that is not done yet; if there is no thread to be had, the next call tries again."""
        try:
            if (self._thread is None or not self._thread.is_alive()) and self._engine.config.watched:
                self._thread = begin(self._run, "watchers")
            if self._dashboard is not None:
                self._dashboard.start()
        except NoThread:
            self._thread = None

    def _run(self) -> None:
        while not self._stopped and self._engine.config.watched:
            try:
                self._look()
            except DatabaseError as error:  # the main thread deals with a damaged ledger
                log.debug("check_problem", where="watchers", message=f"the ledger cannot be read ({error})")
            except Exception as error:
                log.error("internal_error", where="watchers", error=f"{type(error).__name__}: {error}", exc_info=True)
            self._wake.wait(self._every())
            self._wake.clear()

    def _every(self) -> float:
        """Whoever wants to hear within a second is looked for that often."""
        notify = self._engine.config.notify
        return EVERY if notify is None else max(_SOONEST, min(EVERY, notify.after or EVERY, notify.digest))

    def _look(self) -> None:
        picture = self.picture(0.0)
        self._engine.missing({one.name: one.overdue for one in picture.folders if one.overdue is not None})
        notifier, textfile = self._notifier, self._textfile  # a reload may just be replacing them
        if notifier is not None:
            notifier.look(picture, self._figures)
        if textfile is not None and time.monotonic() - self._written >= _WRITE_EVERY:
            self._written = time.monotonic()
            textfile.write(self.metrics(picture))

    def picture(self, oldest: float = EVERY * 2) -> Picture:
        """What is so now, or was so `oldest` seconds ago at most. From any thread. Raises DatabaseError."""
        known = self._picture
        if known is not None and 0 <= time.time() - known.at < oldest:
            return known
        with self._lock:
            self._picture = self._gatherer.picture(self._problems())
            return self._picture

    def metrics(self, picture: Picture | None = None) -> bytes:
        """All figures in Prometheus's format. From any thread. Raises DatabaseError, ImportError."""
        from dropcap.metrics.families import exposition

        picture = picture or self.picture()
        with self._lock:
            self._tally = self._tally or Tally()
            self._tally.take_up(self._figures)
            return exposition(picture, self._tally)

    def ends(self, why: str) -> None:
        """dropcap is about to end for a reason that people should know."""
        if self._notifier is not None:
            self._notifier.ends(why)

    def stop(self) -> None:
        """End all of it, waiting for nobody."""
        self._stopped = True
        self._wake.set()
        if self._notifier is not None:
            self._notifier.stop()
        if self._dashboard is not None:
            self._dashboard.stop()
        self._figures.close()


def _lacks(message: str, extra: str) -> None:
    log.error("check_problem", message=message, remedy=f"install it: pip install 'dropcap-redcap[{extra}]'")
