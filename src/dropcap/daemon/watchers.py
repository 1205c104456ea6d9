"""Those who watch a running dropcap: notifications, metrics, files that are expected, the operator's page.

One thread takes a picture of all every few seconds and shows it to them. Where none of them is configured, it does not run.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any, Protocol

import structlog

from dropcap.config.model import Config, Problem
from dropcap.config.telling import Dashboard
from dropcap.daemon.engine import Engine
from dropcap.daemon.gather import Gatherer
from dropcap.daemon.privacy import mask_of
from dropcap.display import shown
from dropcap.ledger.act import Who
from dropcap.ledger.errors import DatabaseError
from dropcap.ledger.figures import Figures
from dropcap.metrics.tally import Tally
from dropcap.metrics.textfile import Textfile
from dropcap.notify.notifier import Naming, Notifier
from dropcap.picture.facts import Picture
from dropcap.threads import NoThread, begin

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
        self._figures = Figures(engine.ledger.database, engine.ledger.trouble.met)
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
