"""The daemon: signals, systemd, control socket, reload."""

from __future__ import annotations

import contextlib
import os
import queue
import signal
import threading
import time
from collections.abc import Callable, Collection
from concurrent.futures import Future
from dataclasses import asdict
from pathlib import Path
from types import FrameType
from typing import Any, TypeVar

import structlog

from dropcap import __version__
from dropcap.config.load import load
from dropcap.config.model import Config, Problem
from dropcap.daemon import command, systemd
from dropcap.daemon import log as logging
from dropcap.daemon.control import Control, Overdue
from dropcap.daemon.engine import Engine
from dropcap.daemon.released import LASTS, still_open
from dropcap.daemon.state import SUSPECT, close_ledger, only_one, open_ledger, prepare, suspect
from dropcap.daemon.summary import summary
from dropcap.intake.lease import ignore_lease_breaks
from dropcap.reasons import Scope

T = TypeVar("T")

log = structlog.get_logger()

#: Seconds between two looks at whether all is alive.
LOOK = 5.0
#: Unsettled files of a folder of which `status` is told what they wait for.
MOST_NOTES = 20
#: Seconds within which a reload is done: it waits for no share and no server.
_RELOAD_LASTS = 25.0


class Service:
    """One run of the daemon."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._wake = threading.Event()
        self._stop = False
        self._hurry = False
        self._reload = False
        self._tasks: queue.SimpleQueue[tuple[Callable[[], Any], Future[Any]]] = queue.SimpleQueue()  # of other threads
        self._not_taken_up = [str(problem) for problem in config.problems]

    def run(self) -> int:
        """Work until SIGTERM or SIGINT; the exit code.

        Raises:
            StateError, AlreadyRunning, LedgerError: it cannot start; the message says what to do.
            NoThread: nor can it without threads.
        """
        config = self._config
        prepare(config.state_dir)
        with only_one(config.state_dir):
            self._signals()
            log.info("started", version=__version__, config=str(config.path), state_dir=str(config.state_dir))
            _tell_problems(config.problems)
            ledger = open_ledger(config.state_dir)
            engine = Engine(config, ledger)
            control = Control(config.state_dir, lambda asked: self._answer(engine, asked))
            try:
                engine.start()
                systemd.notify("READY=1", f"STATUS=watching {len(engine.channels)} folders")
                log.info("ready", folders=sorted(engine.channels), projects=sorted(config.projects))
                code = self._watch(engine)
            finally:
                systemd.notify("STOPPING=1")
                log.info("stopping", under_way=engine.delivery.under_way(), within=config.stop_within)
                control.close()
                engine.stop(0.0 if self._hurry else self._config.stop_within)
                close_ledger(ledger)
                log.info("stopped")
        return code

    def _signals(self) -> None:
        ignore_lease_breaks()
        signal.signal(signal.SIGTERM, self._on_stop)
        signal.signal(signal.SIGINT, self._on_stop)
        signal.signal(signal.SIGHUP, self._on_reload)

    def _on_stop(self, _: int, __: FrameType | None) -> None:
        self._hurry = self._stop
        self._stop = True
        self._wake.set()

    def _on_reload(self, _: int, __: FrameType | None) -> None:
        self._reload = True
        self._wake.set()

    def _watch(self, engine: Engine) -> int:
        every = min(LOOK, (systemd.watchdog_seconds() or LOOK) / 2)
        status_told = ""
        while not self._stop:
            if self._reload:
                self._reload = False
                self._take_up(engine)
            self._do_tasks()
            engine.start_channels()
            engine.housekeeping.look()
            engine.inspector.start()  # what it finds is told; nothing waits for it
            if engine.alive():
                systemd.notify("WATCHDOG=1")
            status = summary(engine, self._not_taken_up)
            if damaged(engine):
                suspect(engine.config.state_dir)
                log.error(
                    "ledger_damaged",
                    message="the ledger is damaged: dropcap ends, since only a start can set it aside",
                    remedy="nothing, if systemd restarts dropcap; else start it. No file is lost",
                )
                return 1
            if engine.ledger.gone():
                log.error(
                    "ledger_damaged",
                    message="the ledger's files were removed or replaced: dropcap ends, and a start begins a new one",
                    remedy="nothing, if systemd restarts dropcap; else start it. Change nothing in state_dir while it runs",
                )
                return 1
            if status != status_told:
                systemd.status(status)
                status_told = status
            self._wake.wait(every)
            self._wake.clear()
        return 0

    def _take_up(self, engine: Engine) -> list[str]:
        """Take up what is sound of the configuration; what was not taken up."""
        systemd.reloading()
        config = load(self._config.path)
        told = [str(problem) for problem in sorted(config.problems, key=lambda one: one.scope is not None)]
        whole = ""
        if config.fatal:
            whole = "the configuration cannot be used as a whole; the old one stays in force"
        elif config.state_dir != self._config.state_dir:
            whole = "state_dir can only change with a restart; the old configuration stays in force"
        if whole:
            _tell_problems(config.problems)
            log.error("config_problem", message=whole)
            told.append(whole)
        else:
            self._config = config
            logging.set_up(config.log.format, config.log.level, background=True)
            engine.reload(config)
            engine.housekeeping.soon()
            _tell_problems(config.problems, engine.mistakes)
            told += [f"folder {name} goes on by its last good configuration" for name in sorted(engine.mistakes)]
            log.info("reloaded", folders=sorted(engine.channels), projects=sorted(engine.config.projects))
        self._not_taken_up = told
        systemd.notify("READY=1")
        return told

    def _do_tasks(self) -> None:
        """Do what other threads have asked the main thread for, but for what they no longer wait for."""
        with contextlib.suppress(queue.Empty):
            while True:
                task, done = self._tasks.get_nowait()
                if done.set_running_or_notify_cancel():
                    try:
                        done.set_result(task())
                    except Exception as error:
                        done.set_exception(error)

    def _by_main(self, task: Callable[[], T]) -> T:
        """Have the main thread do something. Raises Overdue: it has not begun with it, and will not."""
        done: Future[T] = Future()
        self._tasks.put((task, done))
        self._wake.set()
        try:
            return done.result(_RELOAD_LASTS)
        except TimeoutError:
            if done.cancel():
                raise Overdue from None
            return done.result()  # it is at it

    def _answer(self, engine: Engine, asked: dict[str, Any]) -> dict[str, Any]:
        match asked.get("do"):
            case "status":
                return view(engine)
            case "reload":
                config_file = asked.get("config")
                if config_file is not None and not _same_file(config_file, self._config.path):
                    return {"error": f"it works by {self._config.path}, not by {config_file}"}
                return {"not_taken_up": self._by_main(lambda: self._take_up(engine))}
            case "pause":
                engine.delivery.pause(command.pause_by_hand(Scope(asked["scope"]), asked["name"]))
                return {"done": True}
            case "release":
                name = asked["name"]
                engine.delivery.pause(command.pause_by_hand(Scope.FOLDER, name))
                engine.release(name, True)
                one = engine.channels.get(name)
                return {"open": still_open(one.folder.path, LASTS, one.queue.lent) if one is not None else []}
            case "resume":
                scope, name = Scope(asked["scope"]), asked["name"]
                if scope is Scope.FOLDER:
                    engine.release(name, False)
                return {"done": engine.delivery.resume(scope, name)}
            case "retry":
                jobs = command.select(
                    engine.ledger, asked["jobs"], failed=asked["failed"], held=asked["held"], folder=asked["folder"]
                )
                tried, cannot = command.retry(engine.ledger, engine.config, jobs)
                engine.delivery.wake()
                for one in engine.channels.values():
                    one.intake.wake()
                return {"tried": tried, "cannot": cannot}
            case other:
                return {"error": f"dropcap {__version__} does not know how to `{other}`"}


def _same_file(one: str, other: Path) -> bool:
    with contextlib.suppress(OSError):
        return os.path.samefile(one, other)
    return os.path.abspath(one) == os.path.abspath(other)


def _tell_problems(problems: tuple[Problem, ...], kept: Collection[str] = ()) -> None:
    """`kept` are folders that go on as they were."""
    for problem in problems:
        if problem.scope is not None and problem.scope[0] == "folder" and problem.scope[1] in kept:
            log.error("config_problem", message=str(problem), keeps=f"folder {problem.scope[1]} as it was")
            continue
        disables = f"{problem.scope[0]} {problem.scope[1]}" if problem.scope else "everything"
        log.error("config_problem", message=str(problem), disables=disables)


def damaged(engine: Engine) -> bool:
    """Whether the ledger gives answers that no sound one gives."""
    return engine.ledger.trouble.damaged or (engine.config.state_dir / SUSPECT).exists()


def view(engine: Engine) -> dict[str, Any]:
    """What only the running daemon knows, for `status`."""
    return {
        "running": True,
        "version": __version__,
        "started": engine.started,
        "now": time.time(),
        "alive": engine.alive(),
        "under_way": engine.delivery.under_way(),
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
                "mistake_since": engine.mistakes[name].since if name in engine.mistakes else None,
            }
            for name, one in engine.channels.items()
        },
        "pauses": [
            {"scope": p.scope, "name": p.name, "reason": p.reason, "message": p.message, "remedy": p.remedy, "since": p.since}
            for p in engine.pauses()
        ],
    }
