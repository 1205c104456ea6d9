"""The daemon: signals, systemd, control socket, reload."""

from __future__ import annotations

import os
import select
import signal
import threading
import time
from concurrent.futures import Future
from dataclasses import asdict
from functools import partial
from types import FrameType
from typing import Any, Protocol

import structlog

from dropcap import __version__
from dropcap.config.model import Config
from dropcap.daemon import command, systemd
from dropcap.daemon import log as logging
from dropcap.daemon.asked import ASKED
from dropcap.daemon.control import Control
from dropcap.daemon.engine import Engine
from dropcap.daemon.opening import open_for_daemon, starting
from dropcap.daemon.privacy import mask_of
from dropcap.daemon.prune_step import prune_step
from dropcap.daemon.released import LASTS, still_open
from dropcap.daemon.reload import Reload, tell_problems
from dropcap.daemon.state import SUSPECT, only_one, prepare, suspect
from dropcap.daemon.summary import summary
from dropcap.daemon.witness import Daily, compare, stopped
from dropcap.display import shown
from dropcap.files.lease import ignore_lease_breaks
from dropcap.ledger.act import Deed, Means, Who
from dropcap.reasons import Scope
from dropcap.threads import begin

log = structlog.get_logger()

#: Seconds between two looks at whether all is alive.
LOOK = 5.0
#: Unsettled files of a folder of which `status` is told what they wait for.
MOST_NOTES = 20
#: Seconds for which it is waited until other hosts may have this one's folders.
_HANDED_OVER = 5.0
#: The same where the database does not answer.
_UNANSWERED = 1.0
#: Seconds for which a start that is to stop may still come to its end. Nothing is lost with it: it may be killed at any moment.
_START_ENDS = 3.0
#: Seconds for which the end of a reload is waited for once dropcap stops.
_RELOAD_ENDS = 5.0


class _Watchers(Protocol):
    """`daemon.watchers.Watchers`, which is imported only where somebody is to be told."""

    def configure(self, config: Config) -> None: ...

    def start(self) -> None: ...

    def link(self, who: Who) -> str | None: ...

    def ends(self, why: str) -> None: ...

    def stop(self) -> None: ...


class Service:
    """One run of the daemon."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._wake = threading.Event()
        self._stop = False
        self._hurry = False
        self._hung_up = False  # SIGHUP: the configuration is to be taken up
        self._at_work = False
        self._woken, self._wakes = os.pipe()  # the main thread: by a signal, and by the end of `service`
        self._watchers: _Watchers | None = None
        self._watched_by: Config | None = None  # the configuration that they go by

    def run(self) -> int:
        """Work until SIGTERM or SIGINT; the exit code. A start that hangs then, on a disk or a database, is left as it is.

        Raises:
            StateError, AlreadyRunning, LedgerError: it cannot start; the message says what to do.
            NoThread: nor can it without threads.
        """
        self._signals()
        logging.set_up(self._config.log.format, self._config.log.level, background=True, mask=mask_of(self._config))
        over: Future[int] = Future()
        begin(self._run, "service", over)
        while not over.done():
            starting_ends = 0.0 if self._hurry else _START_ENDS
            # A signal that comes right before a wait without an end would not end it: its byte does.
            if select.select([self._woken], [], [], starting_ends if self._stop and not self._at_work else None)[0]:
                os.read(self._woken, 4096)
                self._wake.set()  # not in a handler: a second signal in its midst would wait for the first for ever
            elif not self._at_work:
                log.info("stopped")
                return 0
        return over.result()

    def _run(self, over: Future[int]) -> None:
        try:
            over.set_result(self._work())
        except BaseException as error:
            over.set_exception(error)
        os.write(self._wakes, b".")

    def _work(self) -> int:
        config = self._config
        systemd.status(f"starting: waiting for state_dir {config.state_dir}")
        prepare(config.state_dir)
        with only_one(config.state_dir):
            log.info("started", version=__version__, config=str(config.path), state_dir=str(config.state_dir))
            tell_problems(config.problems)
            opened = open_for_daemon(config)
            ledger, custody = opened.ledger, opened.custody
            systemd.status("starting: what waits is read from the ledger, and goes by the rules as they are now")
            with starting(config):
                engine = Engine(config, ledger, custody)
            reload = Reload(engine, config.path, self._wake.set)
            control = Control(config.state_dir, lambda asked, who: self._answer(engine, reload, asked, who))
            try:
                with starting(config):
                    compare(ledger, config.state_dir)
                    ledger.act(Who.me(Means.ITSELF), Deed.STARTED, dropcap=__version__, configuration=config.digest)
                    engine.start()
                if custody is not None:
                    custody.start(engine, ledger)
                self._begin_to_watch(engine, reload)
                self._at_work = True
                systemd.notify("READY=1", f"STATUS=watching {len(engine.channels)} folders")
                log.info("ready", folders=sorted(engine.channels), projects=sorted(config.projects))
                code = self._watch(engine, reload)
            finally:
                systemd.notify("STOPPING=1")
                log.info("stopping", under_way=engine.delivery.under_way(), within=engine.config.stop_within)
                control.close()
                if self._watchers is not None:
                    self._watchers.stop()
                ledger.give_up()
                reload.end(_RELOAD_ENDS)
                if custody is not None:
                    custody.end()
                engine.stop(0.0 if self._hurry else engine.config.stop_within)
                stopped(ledger, engine.config.state_dir)
                if custody is not None:
                    custody.stop(_UNANSWERED if ledger.trouble.unwritable else _HANDED_OVER, hands_over=not ledger.gone())
                opened.close(engine.config)
                log.info("stopped")
        return code

    def _begin_to_watch(self, engine: Engine, reload: Reload) -> None:
        """Notifications, metrics and pages, as far as somebody wants them: else nothing of it is imported."""
        config = engine.config
        if self._watchers is None and config.watched:
            from dropcap.daemon.watchers import Watchers

            answer = partial(self._asked_on_the_page, engine, reload)
            self._watchers = Watchers(engine, lambda: reload.problems, answer)
        elif self._watchers is not None and config is not self._watched_by:
            self._watchers.configure(config)
        self._watched_by = config
        if self._watchers is not None:
            self._watchers.start()

    def _signals(self) -> None:
        ignore_lease_breaks()
        signal.signal(signal.SIGTERM, self._on_stop)
        signal.signal(signal.SIGINT, self._on_stop)
        signal.signal(signal.SIGHUP, self._on_reload)
        os.set_blocking(self._wakes, False)
        signal.set_wakeup_fd(self._wakes, warn_on_full_buffer=False)

    def _on_stop(self, _: int, __: FrameType | None) -> None:
        self._hurry = self._stop
        self._stop = True

    def _on_reload(self, _: int, __: FrameType | None) -> None:
        self._hung_up = True

    def _watch(self, engine: Engine, reload: Reload) -> int:
        every = min(LOOK, (systemd.watchdog_seconds() or LOOK) / 2)
        status_told = ""
        daily = Daily(engine.ledger, engine.config.state_dir)
        while not self._stop:
            if self._hung_up:
                self._hung_up = False
                reload.want()
            if not reload.step():
                engine.start_channels()
                self._begin_to_watch(engine, reload)
            engine.inspector.start()  # what it finds is told; nothing waits for it
            if engine.alive():
                systemd.notify("WATCHDOG=1")
            daily.look()
            status = summary(engine, reload.not_taken_up)
            if damaged(engine):
                suspect(engine.config.state_dir)
                self._tell_of_the_end(
                    "The ledger is damaged: dropcap ends, since only a start can set it aside. No file is lost."
                )
                log.error(
                    "ledger_damaged",
                    message="the ledger is damaged: dropcap ends, since only a start can set it aside",
                    remedy="nothing, if systemd restarts dropcap; else start it. No file is lost",
                )
                return 1
            if gone := engine.ledger.gone():
                self._tell_of_the_end(f"{gone[0].upper()}{gone[1:]}.")
                event = "commits_lost" if engine.ledger.shared else "ledger_damaged"
                log.error(event, message=gone, remedy="nothing, if systemd restarts dropcap; else start it")
                return 1
            if status != status_told:
                systemd.status(status)
                status_told = status
            self._wake.wait(every)
            self._wake.clear()
        return 0

    def _tell_of_the_end(self, why: str) -> None:
        if self._watchers is not None:
            self._watchers.ends(why)

    def _asked_on_the_page(self, engine: Engine, reload: Reload, asked: dict[str, Any], who: Who) -> dict[str, Any]:
        """As by the control socket; the ledger's acts and the log say who it was."""
        about: dict[str, Any] = {key: asked[key] for key in ("scope", "name") if key in asked}
        if "jobs" in asked:
            about["jobs"] = len(asked["jobs"])
        log.info("asked", do=asked["do"], by=shown(who.told), way=who.way.value, **about)
        return self._answer(engine, reload, asked, who)

    def _answer(self, engine: Engine, reload: Reload, asked: dict[str, Any], who: Who) -> dict[str, Any]:
        match asked.get("do"):
            case "status":
                return view(engine)
            case "dashboard":
                return {"link": None if self._watchers is None else self._watchers.link(who)}
            case "reload":
                config_file = asked.get("config")
                if config_file is not None and not reload.reads(str(config_file)):
                    return {"error": f"it works by {engine.config.path}, not by {config_file}"}
                try:
                    return {"not_taken_up": reload.ask(who)}
                except TimeoutError:
                    return {"error": _still(engine)}
            case "pause":
                engine.ledger.act(who, Deed.PAUSE, scope=Scope(asked["scope"]), name=str(asked["name"]))
                engine.delivery.pause(command.pause_by_hand(Scope(asked["scope"]), asked["name"]))
                return {"done": True}
            case "release":
                name = str(asked["name"])
                engine.ledger.act(who, Deed.PAUSE, scope=Scope.FOLDER, name=name, release=True)
                engine.delivery.pause(command.pause_by_hand(Scope.FOLDER, name))
                engine.release(name, True)
                channel = engine.channels.get(name)
                if channel is not None:
                    return {"open": still_open(channel.folder.path, LASTS, channel.queue.lent)}
                other = engine.allotment.kept_by(name, LASTS)
                return {"open": [] if other is None else [f"by dropcap on host {other}"]}
            case "resume":
                scope, name = Scope(asked["scope"]), str(asked["name"])
                engine.ledger.act(who, Deed.RESUME, scope=scope, name=name)
                if scope is Scope.FOLDER:
                    engine.release(name, False)
                return {"done": engine.delivery.resume(scope, name)}
            case "prune":
                return prune_step(engine, asked, who)
            case "retry":
                jobs = command.select(
                    engine.ledger, asked["jobs"], failed=asked["failed"], held=asked["held"], folder=asked["folder"]
                )
                tried, cannot = command.retry(engine.ledger.for_people(), engine.config, jobs, who)
                if engine.ledger.shared:
                    engine.ledger.set_meta(ASKED, str(time.time()))
                engine.delivery.wake()
                for one in engine.channels.values():
                    one.intake.wake()
                return {"tried": tried, "cannot": cannot}
            case other:
                return {"error": f"dropcap {__version__} does not know how to `{other}`"}


def _still(engine: Engine) -> str:
    """Why a reload lasts."""
    if engine.ledger.trouble.unwritable:
        return f"the configuration is taken up later: {engine.ledger.trouble.said()}"
    return "the configuration is still being taken up; the log says `reloaded` when it is done"


def damaged(engine: Engine) -> bool:
    """Whether the ledger gives answers that no sound one gives."""
    return engine.ledger.trouble.damaged or (engine.config.state_dir / SUSPECT).exists()


def view(engine: Engine) -> dict[str, Any]:
    """What only the running daemon knows, for `status`."""
    ahead = time.time() - time.monotonic()
    tries = {key: at + ahead for key, at in engine.delivery.health.next_tries().items()}
    return {
        "running": True,
        "host": engine.allotment.host,
        "version": __version__,
        "started": engine.started,
        "now": time.time(),
        "alive": engine.alive(),
        "unwritable": engine.writable.why_not(),
        "under_way": engine.delivery.under_way(),
        "uploads": [asdict(upload) for upload in engine.delivery.progress.uploads()],
        "limited": engine.delivery.limited(),
        "folders": {
            name: {
                "path": str(one.folder.path),
                "away": one.intake.away,
                "full": one.intake.full,
                "not_taken": one.intake.not_taken,
                "unsettled": one.intake.unsettled,
                "behind": one.intake.behind,
                "notes": dict(list(one.intake.notes.items())[:MOST_NOTES]),
                "left": asdict(one.intake.left),
                "strays": asdict(one.intake.strays),
                "cannot_file": one.queue.filer.waiting_for_room(),
                "last_walk": one.intake.last_walk,
                "mistake": engine.mistakes[name].message if name in engine.mistakes else None,
                "overdue": engine.overdue.get(name),
                "mistake_since": engine.mistakes[name].since if name in engine.mistakes else None,
            }
            for name, one in engine.channels.items()
        },
        "pauses": [
            {
                "scope": p.scope,
                "name": p.name,
                "reason": p.reason,
                "message": p.message,
                "remedy": p.remedy,
                "since": p.since,
                "next_try": tries.get((p.scope, p.name)),
            }
            for p in engine.pauses()
        ],
    }
