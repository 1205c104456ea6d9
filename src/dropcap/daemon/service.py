"""The daemon's main thread: start, stop, signals, reload."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import threading
import time
from collections.abc import Collection, Sequence
from concurrent.futures import Future
from pathlib import Path
from types import FrameType
from typing import Any, Protocol

import structlog

from dropcap import __version__
from dropcap.config.load import load
from dropcap.config.model import Config, Problem
from dropcap.daemon import control as command
from dropcap.daemon import log as logging
from dropcap.daemon import state
from dropcap.daemon.control import ASKED, LASTS, Control, still_open
from dropcap.daemon.engine import Engine, digested, live
from dropcap.daemon.log import Daily, compare, mask_of, stopped
from dropcap.daemon.opening import open_for_daemon, starting
from dropcap.daemon.prune import prune_step
from dropcap.daemon.state import SUSPECT, notify, only_one, prepare, reloading, suspect
from dropcap.display import many, shown
from dropcap.files.regular import ignore_lease_breaks
from dropcap.ledger.chain import NOBODY_KNOWS, AuditAction, AuditActor, AuditChannel
from dropcap.ledger.database import DatabaseError
from dropcap.ledger.job import State
from dropcap.reasons import Scope
from dropcap.snapshot import GOES_ON
from dropcap.threads import OF_A_FOLDER, REMEDY, SHORTAGE, WHY, NoThread, SerialExecutor, begin, make_sure, needed, spare

log = structlog.get_logger()

#: Seconds within which a client that asks for a reload hears what came of it: it waits for no share and no server.
_PATIENCE = 20.0
#: The same while the ledger cannot be written.
_LITTLE = 1.0


class Reload:
    """Has `engine` take up what is sound of the configuration file, whenever that is wanted."""

    def __init__(self, engine: Engine, path: Path, wake: threading.Event) -> None:
        """`wake` is set when `step` is to be called: something is wanted, or done."""
        self._engine = engine
        self._path = path
        self._wake = wake
        self.problems = engine.config.problems  # of the configuration as it was read last; replaced whole
        self.not_taken_up = [str(problem) for problem in self.problems]  # the same in sentences, until all is; replaced whole
        self._wanted = False
        self._asking = threading.Lock()
        self._asked: list[tuple[Future[list[str]], AuditActor]] = []  # who wants to know what comes of the next one
        self._answered: list[tuple[Future[list[str]], AuditActor]] = []  # the same of the one that has ended
        self._under_way = False
        self._thread: threading.Thread | None = None

    def reads(self, path: str) -> bool:
        """Whether that is the configuration file that it takes up."""
        with contextlib.suppress(OSError):
            return os.path.samefile(path, self._path)
        return os.path.abspath(path) == os.path.abspath(self._path)

    def want(self) -> None:
        """Take the configuration up soon."""
        self._wanted = True
        self._wake.set()

    def ask(self, actor: AuditActor) -> list[str]:
        """Have the configuration taken up for `who`; what of it was not, a sentence each.

        Raises:
            TimeoutError: it lasts, and goes on.
        """
        done: Future[list[str]] = Future()
        with self._asking:
            self._asked.append((done, actor))
        self.want()
        return done.result(_LITTLE if self._engine.ledger.trouble.unwritable else _PATIENCE)

    def step(self) -> bool:
        """Begin with what is wanted; whether that is under way. For the main thread."""
        if self._under_way or not self._wanted:
            return self._under_way
        self._wanted, self._under_way = False, True
        with self._asking:
            asked, self._asked = self._asked, []
        self._thread = spare(self._run, "reload", asked)
        if self._thread is None:
            self._run(asked)  # it is refused there
        return self._under_way

    def answer(self) -> None:
        """Tell those who asked what came of it, now that all goes by it. For the main thread."""
        answered, self._answered = self._answered, []
        for one, _ in answered:
            one.set_result(self.not_taken_up)

    def end(self, within: float) -> None:
        """Wait for what is under way, so many seconds at most."""
        if self._thread is not None:
            self._thread.join(within)

    def _run(self, asked: list[tuple[Future[list[str]], AuditActor]]) -> None:
        reloading()
        try:
            told = self._take_up([actor for _, actor in asked] or [NOBODY_KNOWS])
        except DatabaseError as error:
            told = [f"not all of the configuration was taken up: {self._engine.ledger.trouble.said(error)}"]
            log.error("config_problem", message=told[0])
        except Exception as error:
            told = [f"an error inside dropcap, so not all of the configuration was taken up: {error}"]
            log.error("internal_error", where="reload", error=f"{type(error).__name__}: {error}", exc_info=True)
        self.not_taken_up = told
        notify("READY=1")
        self._answered += asked
        self._under_way = False
        self._wake.set()

    def _take_up(self, by: Sequence[AuditActor]) -> list[str]:
        engine = self._engine
        config = load(self._path)
        self.problems = config.problems
        told = [str(problem) for problem in sorted(config.problems, key=lambda one: one.scope is not None)]
        whole = ""
        if config.fatal:
            whole = "the configuration cannot be used as a whole; the old one stays in force"
        elif config.state_dir != engine.config.state_dir:
            whole = "state_dir can only change with a restart; the old configuration stays in force"
        elif config.ledger != engine.config.ledger:
            whole = "ledger and lease can only change with a restart; the old configuration stays in force"
        else:
            try:
                make_sure(_begins(config, engine))
            except NoThread as error:
                whole = f"{error}; the old configuration stays in force"
        if whole:
            tell_problems(config.problems)
            log.error("config_problem", message=whole)
            return [*told, whole]
        for actor in by:
            engine.ledger.act(actor, AuditAction.RELOAD, dropcap=__version__, configuration=config.digest)
        logging.set_up(config.log.format, config.log.level, background=True, mask=mask_of(config))
        engine.reload(config)
        tell_problems(config.problems, engine.mistakes)
        log.info("reloaded", folders=sorted(engine.channels), projects=sorted(engine.config.projects))
        return told + [f"folder {name} goes on by its last good configuration" for name in sorted(engine.mistakes)]


def _begins(config: Config, engine: Engine) -> int:
    """How many threads are still to be had for `config`: those of a changed folder begin before the old ones have ended."""
    at_work = {name: one.folder.digest for name, one in engine.channels.items()}
    changed = [one for one in digested(config).folders.values() if at_work.get(one.name) != one.digest]
    lacking = needed(len(config.folders), config.uploads_at_once) - threading.active_count()
    return max(OF_A_FOLDER * len(changed), lacking)


def tell_problems(problems: tuple[Problem, ...], kept: Collection[str] = ()) -> None:
    """Write them to the log. `kept` are folders that go on as they were."""
    for problem in problems:
        if problem.scope is not None and problem.scope[0] is Scope.FOLDER and problem.scope[1] in kept:
            log.error("config_problem", message=str(problem), keeps=f"folder {problem.scope[1]} as it was")
            continue
        disables = f"{problem.scope[0]} {problem.scope[1]}" if problem.scope else "everything"
        log.error("config_problem", message=str(problem), disables=disables)


class Summary:
    """What `systemctl status` shows. The ledger is asked by a thread of its own: none of this waits for it."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._executor = SerialExecutor("ledger counts")
        self._asked: Future[dict[str, dict[str, int]]] | None = None
        self._counts = ""

    def line(self, not_taken_up: Sequence[str]) -> str:
        """What was under way when the ledger was asked last, and every trouble; `not_taken_up` is what the configuration holds
        that is not in force."""
        engine = self._engine
        self._ask()
        paused = [f"{pause.scope} {pause.name} paused ({pause.reason})" for pause in engine.delivery.breakers.pauses()]
        away = [f"folder {name} away" for name, one in engine.channels.items() if one.intake.away]
        stuck = [f"ledger cannot be written ({why})"] if (why := engine.ledger.trouble.unwritable) else []
        unanswered = [f"project {name}: {why}" for name, why in sorted(engine.inspector.unanswered().items())]
        more = f" (and {len(not_taken_up) - 1} more)" if len(not_taken_up) > 1 else ""
        mistakes = [f"configuration not wholly in force: {not_taken_up[0]}{more}"] if not_taken_up else []
        counts = [many(len(engine.channels), "folder"), *([self._counts] if self._counts else [])]
        return ", ".join(stuck + counts + paused + away + unanswered + mistakes)

    def _ask(self) -> None:
        if self._asked is not None:
            if not self._asked.done():
                return
            try:
                of = self._asked.result().values()
            except DatabaseError as error:
                self._counts = f"the ledger cannot be read ({error})"
            else:
                waiting = sum(its.get(state.value, 0) for its in of for state in GOES_ON)
                held, failed = (sum(its.get(state, 0) for its in of) for state in (State.HELD, State.FAILED))
                self._counts = f"{waiting} waiting, {held} held, {failed} failed"
        self._asked = self._executor.submit(LOOK, self._engine.ledger.query.counts)


#: Seconds between two looks at whether all is alive.
LOOK = 5.0
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

    def link(self, actor: AuditActor) -> str | None: ...

    def ends(self, why: str) -> None: ...

    def stop(self) -> None: ...


class Desk:
    """Does what people ask of a running dropcap."""

    def __init__(self, engine: Engine, reload: Reload) -> None:
        self._engine = engine
        self._reload = reload
        self.watchers: _Watchers | None = None

    @property
    def problems(self) -> tuple[Problem, ...]:
        """Of the configuration as it was read last."""
        return self._reload.problems

    def on_the_page(self, asked: dict[str, Any], actor: AuditActor) -> dict[str, Any]:
        """As by the control socket; the ledger's acts and the log say who it was."""
        about: dict[str, Any] = {key: asked[key] for key in ("scope", "name") if key in asked}
        if "jobs" in asked:
            about["jobs"] = len(asked["jobs"])
        log.info("asked", do=asked["do"], by=shown(actor.label), way=actor.way.value, **about)
        return self.answer(asked, actor)

    def answer(self, asked: dict[str, Any], actor: AuditActor) -> dict[str, Any]:
        """Do it, for `who`. Raises KeyError or ValueError for what nobody asks."""
        engine, reload = self._engine, self._reload
        match asked.get("do"):
            case "status":
                return live(engine, engine.writable.why_not())
            case "dashboard":
                return {"link": None if self.watchers is None else self.watchers.link(actor)}
            case "reload":
                config_file = asked.get("config")
                if config_file is not None and not reload.reads(str(config_file)):
                    return {"error": f"it works by {engine.config.path}, not by {config_file}"}
                try:
                    return {"not_taken_up": reload.ask(actor)}
                except TimeoutError:
                    return {"error": _still(engine)}
            case "pause":
                engine.ledger.act(actor, AuditAction.PAUSE, scope=Scope(asked["scope"]), name=str(asked["name"]))
                engine.delivery.pause(command.pause_by_hand(Scope(asked["scope"]), asked["name"]))
                return {"done": True}
            case "release":
                name = str(asked["name"])
                engine.ledger.act(actor, AuditAction.PAUSE, scope=Scope.FOLDER, name=name, release=True)
                engine.delivery.pause(command.pause_by_hand(Scope.FOLDER, name))
                engine.release(name, True)
                channel = engine.channels.get(name) or engine.leaving(name)
                here = still_open(engine.config.folders[name].path, LASTS, channel.queue.filer if channel else None)
                other = engine.leases.kept_by(name, LASTS) if channel is None and not here else None
                return {"open": here if other is None else [f"by dropcap on host {other}"]}
            case "resume":
                scope, name = Scope(asked["scope"]), str(asked["name"])
                engine.ledger.act(actor, AuditAction.RESUME, scope=scope, name=name)
                if scope is Scope.FOLDER:
                    engine.release(name, False)
                return {"done": engine.delivery.resume(scope, name)}
            case "prune":
                return prune_step(engine, asked, actor)
            case "retry":
                jobs = command.select(
                    engine.ledger, asked["jobs"], failed=asked["failed"], held=asked["held"], folder=asked["folder"]
                )
                tried, cannot = command.retry(engine.ledger.for_people(), engine.config, jobs, actor)
                if engine.ledger.shared:
                    engine.ledger.set_meta(ASKED, str(time.time()))
                engine.delivery.queues.wake()
                for one in engine.channels.values():
                    one.intake.wake()
                return {"tried": tried, "cannot": cannot}
            case other:
                return {"error": f"dropcap {__version__} does not know how to `{other}`"}


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
        logging.set_up(self._config.log.format, self._config.log.level, background=True)
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
        state.status(f"starting: waiting for state_dir {config.state_dir}")
        prepare(config.state_dir)
        with only_one(config.state_dir):
            # The key of the mask lies in state_dir. No name is logged before.
            logging.set_up(config.log.format, config.log.level, background=True, mask=mask_of(config))
            log.info("started", version=__version__, config=str(config.path), state_dir=str(config.state_dir))
            tell_problems(config.problems)
            make_sure(needed(len(config.folders), config.uploads_at_once) - threading.active_count())
            opened = open_for_daemon(config)
            ledger, leases = opened.ledger, opened.leases
            state.status("starting: what waits is read from the ledger, and goes by the rules as they are now")
            with starting(config):
                engine = Engine(config, ledger, leases)
            reload = Reload(engine, config.path, self._wake)
            desk = Desk(engine, reload)
            control = Control(config.state_dir, desk.answer)
            try:
                with starting(config):
                    compare(ledger, config.state_dir)
                    ledger.act(
                        AuditActor.me(AuditChannel.ITSELF), AuditAction.STARTED, dropcap=__version__, configuration=config.digest
                    )
                    engine.start()
                if leases is not None:
                    leases.start(engine, ledger)
                engine.inspector.start()  # what it finds is told; nothing waits for it
                self._begin_to_watch(engine, desk)
                self._at_work = True
                state.notify("READY=1", f"STATUS=watching {many(len(engine.channels), 'folder')}")
                log.info("ready", folders=sorted(engine.channels), projects=sorted(config.projects))
                code = self._watch(engine, reload, desk)
            except NoThread as error:
                if not self._at_work:
                    raise
                log.error("check_problem", message=f"{WHY}: dropcap ends, and systemd starts it again", remedy=REMEDY)
                self._tell_of_the_end("The system gives dropcap no more threads: it ends, and systemd starts it again.")
                code = error.code
            finally:
                state.notify("STOPPING=1")
                log.info("stopping", under_way=engine.delivery.under_way(), within=engine.config.stop_within)
                control.close()
                if self._watchers is not None:
                    self._watchers.stop()
                ledger.give_up()
                reload.end(_RELOAD_ENDS)
                reload.answer()
                if leases is not None:
                    leases.end()
                engine.stop(0.0 if self._hurry else engine.config.stop_within)
                stopped(ledger, engine.config.state_dir)
                if leases is not None:
                    leases.stop(_UNANSWERED if ledger.trouble.unwritable else _HANDED_OVER, hands_over=not ledger.gone())
                opened.close(engine.config)
                log.info("stopped")
        return code

    def _begin_to_watch(self, engine: Engine, desk: Desk) -> None:
        """Notifications, metrics and pages, as far as somebody wants them: else nothing of it is imported."""
        config = engine.config
        if self._watchers is None and config.watched:
            from dropcap.daemon.watchers import Watchers

            self._watchers = desk.watchers = Watchers(engine, desk)
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

    def _watch(self, engine: Engine, reload: Reload, desk: Desk) -> int:
        every = min(LOOK, (state.watchdog_seconds() or LOOK) / 2)
        status_told, summary = "", Summary(engine)
        daily = Daily(engine.ledger, engine.config.state_dir)
        while not self._stop:
            if SHORTAGE.is_set():
                raise NoThread
            if self._hung_up:
                self._hung_up = False
                reload.want()
            if not reload.step():
                engine.start_channels()
                self._begin_to_watch(engine, desk)
                reload.answer()
            if engine.alive():
                state.notify("WATCHDOG=1")
            daily.look()
            status = summary.line(reload.not_taken_up)
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
                state.status(status)
                status_told = status
            self._wake.wait(every)
            self._wake.clear()
        return 0

    def _tell_of_the_end(self, why: str) -> None:
        if self._watchers is not None:
            self._watchers.ends(why)


def _still(engine: Engine) -> str:
    """Why a reload lasts."""
    if engine.ledger.trouble.unwritable:
        return f"the configuration is taken up later: {engine.ledger.trouble.said()}"
    return "the configuration is still being taken up; the log says `reloaded` when it is done"


def damaged(engine: Engine) -> bool:
    """Whether the ledger gives answers that no sound one gives."""
    return engine.ledger.trouble.damaged or (engine.config.state_dir / SUSPECT).exists()
