"""Takes the snapshot that notifications, metrics and the operator's page go by."""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from datetime import datetime
from typing import Any, Protocol

import structlog

from dropcap.config.model import Config, Dashboard, Problem
from dropcap.daemon.engine import Engine, live
from dropcap.daemon.log import mask_of
from dropcap.display import shown
from dropcap.ledger.chain import AuditActor
from dropcap.ledger.database import TOLD, DatabaseError
from dropcap.ledger.reports import Figures
from dropcap.metrics import Tally, Textfile
from dropcap.notify.dead_mans_switch import DeadMansSwitch
from dropcap.notify.notifier import Naming, Notifier
from dropcap.snapshot import InLedger, Snapshot, read, taken
from dropcap.threads import begin

log = structlog.get_logger()

#: Seconds between two snapshots, and between two writings of the metrics.
EVERY = 2.0
_WRITE_EVERY = 15.0
_SOONEST = 0.2


class Asked(Protocol):
    """Who does what people ask of a running dropcap on its page, and knows the problems of the configuration."""

    @property
    def problems(self) -> tuple[Problem, ...]: ...

    def on_the_page(self, asked: dict[str, Any], actor: AuditActor) -> dict[str, Any]: ...


class _Page(Protocol):
    """`dashboard.server.DashboardServer`, whose libraries are imported only where there is a page."""

    page: Dashboard

    def start(self) -> None: ...

    def link(self, actor: AuditActor) -> str: ...

    def stop(self) -> None: ...


class Watchers:
    """`start` and `configure` are called by the main thread."""

    def __init__(self, engine: Engine, desk: Asked) -> None:
        self._engine = engine
        self._desk = desk
        self.figures = Figures(engine.ledger.database, engine.ledger.trouble)
        self._lock = threading.Lock()  # of what is read of the ledger and the tally
        self._last_drops: dict[str, float] = {}
        self._counted = 0  # jobs up to this number are in `_last_drops`
        self._read: tuple[object, InLedger] | None = None  # and what it was true of
        self._snapshot: Snapshot | None = None
        self._tally: Tally | None = None
        self._notifier: Notifier | None = None
        self._switch: DeadMansSwitch | None = None
        self._textfile: Textfile | None = None
        self._dashboard: _Page | None = None
        self._written = 0.0
        self._thread: threading.Thread | None = None
        self._wake = threading.Event()
        self._stopped = False
        self.configure(engine.config)

    def configure(self, config: Config) -> None:
        """Go by the configuration: begin, change or end what watches."""
        notify = config.notify if config.notify is not None and config.notify.recipients else None
        if notify is None and self._notifier is not None:
            self._notifier.stop()
            self._notifier = None
        elif notify is not None and self._notifier is not None:
            self._notifier.configure(notify)
        elif notify is not None:
            self._notifier = Notifier(config.state_dir, notify, self._naming)
        called = config.notify.heartbeat if config.notify is not None else None
        self._switch = DeadMansSwitch(called) if called is not None else None
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
        self._dashboard = DashboardServer(config.dashboard, self)

    @property
    def config(self) -> Config:
        """The configuration in force."""
        return self._engine.config

    def alive(self) -> bool:
        """Whether all loops go round."""
        return self._engine.alive()

    def answer(self, asked: dict[str, Any], actor: AuditActor) -> dict[str, Any]:
        """Do what somebody asks for on the page."""
        return self._desk.on_the_page(asked, actor)

    def link(self, actor: AuditActor) -> str | None:
        """The address of the page with a code that signs `who` in once; None if there is no page."""
        if self._dashboard is None:
            return None
        return self._dashboard.link(actor)

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
        """Begin, if that is not done yet."""
        if (self._thread is None or not self._thread.is_alive()) and self._engine.config.watched:
            self._thread = begin(self._run, "watchers")
        if self._dashboard is not None:
            self._dashboard.start()

    def _run(self) -> None:
        while not self._stopped and self._engine.config.watched:
            if (switch := self._switch) is not None:
                switch.look(self._engine.alive())
            try:
                self._look()
            except DatabaseError as error:  # the main thread deals with a damaged ledger
                log.debug("check_problem", where="watchers", message=f"the ledger cannot be read ({error})")
            except Exception as error:
                log.error("internal_error", where="watchers", error=f"{type(error).__name__}: {error}", exc_info=True)
            self._wake.wait(self._every())
            self._wake.clear()

    def _every(self) -> float:
        """For recipients who are to be notified within a second, it looks that often."""
        notify = self._engine.config.notify
        return EVERY if notify is None else max(_SOONEST, min(EVERY, notify.after or EVERY, notify.digest))

    def _look(self) -> None:
        with self._lock:
            overdue = self._overdue(time.time())
        self._engine.missing(overdue)
        now = self.snapshot(0.0)
        notifier, textfile = self._notifier, self._textfile  # a reload may just be replacing them
        if notifier is not None:
            notifier.look(now, self.figures)
        if textfile is not None and time.monotonic() - self._written >= _WRITE_EVERY:
            self._written = time.monotonic()
            textfile.write(self.metrics(now))

    def _overdue(self, now: float) -> dict[str, float]:
        """Folders that miss a file which `expect` names, and since when. Raises DatabaseError."""
        self._of_the_ledger(now)
        found = {}
        for name, one in self._engine.channels.items():
            if one.folder.expect is None or one.intake.unsettled or one.intake.behind or one.intake.away:
                continue
            known = self.figures.known_folder(name)
            since = one.folder.expect.overdue(self._last_drops.get(name), known.first_seen, now) if known is not None else None
            if since is not None:
                found[name] = since
        return found

    def _of_the_ledger(self, now: float) -> InLedger:
        """What the ledger tells; read anew only if it was written to, or on another day."""
        names = {*self._engine.channels, *self._engine.config.folders}
        key = (threading.get_ident(), self.figures.version(), datetime.fromtimestamp(now).astimezone().date(), names)
        if self._read is None or self._read[0] != key:
            fresh, self._counted = self.figures.claimed(self._counted)
            for folder, last in fresh.items():
                self._last_drops[folder] = max(last, self._last_drops.get(folder, 0.0))
            self._read = (key, read(self.figures, names, now))
        return self._read[1]

    def snapshot(self, oldest: float = EVERY * 2) -> Snapshot:
        """What is so now, or was so `oldest` seconds ago at most. From any thread. While the ledger does not answer: what was so,
        and that. Raises DatabaseError."""
        known, trouble = self._snapshot, self._engine.ledger.trouble
        if known is not None and 0 <= time.time() - known.at < oldest:
            return known
        with self._lock:
            try:
                self._snapshot = self._taken(time.time())
            except TOLD:
                if known is None or not trouble.unwritable:
                    raise
                alive = self._engine.alive()
                self._snapshot = replace(known, at=time.time(), alive=alive, uploads=(), unwritable=trouble.unwritable)
            return self._snapshot

    def _taken(self, now: float) -> Snapshot:
        engine, trouble = self._engine, self._engine.ledger.trouble
        servers: dict[str, tuple[float | None, int, int]] = {}
        for client in engine.clients.values():
            before = servers.get(client.project.server, (None, 0, 0))[0]
            heard = max(filter(None, (client.redcap.heard, before)), default=None)
            servers[client.project.server] = (heard, *client.redcap.used())
        return taken(
            engine.config,
            self.figures,
            replace(self._of_the_ledger(now), last_drops=self._last_drops, released=frozenset(engine.released)),
            live(engine, trouble.unwritable) | {"servers": servers, "damaged": trouble.damaged},
            now,
            tuple(str(problem) for problem in self._desk.problems if not problem.echo),
        )

    def metrics(self, now: Snapshot | None = None) -> bytes:
        """All figures in Prometheus's format. From any thread. Raises DatabaseError, ImportError."""
        from dropcap.metrics import exposition

        now = now or self.snapshot()
        with self._lock:
            self._tally = self._tally or Tally()
            self._tally.take_up(self.figures)
            return exposition(now, self._tally)

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
        self.figures.close()


def _lacks(message: str, extra: str) -> None:
    log.error("check_problem", message=message, remedy=f"install it: pip install 'dropcap-redcap[{extra}]'")
