"""Taking up a changed configuration, in a thread of its own: where the ledger cannot be written, it lasts until that can be."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import Future
from pathlib import Path

import structlog

from dropcap import __version__
from dropcap.config.load import load
from dropcap.config.model import Problem
from dropcap.daemon import log as logging
from dropcap.daemon import systemd
from dropcap.daemon.engine import Engine
from dropcap.daemon.privacy import mask_of
from dropcap.ledger.act import NOBODY_KNOWS, Deed, Who
from dropcap.ledger.errors import DatabaseError
from dropcap.reasons import Scope
from dropcap.threads import NoThread, begin

log = structlog.get_logger()

#: Seconds within which whoever asks for a reload is told what came of it: it waits for no share and no server.
_PATIENCE = 20.0
#: The same while the ledger cannot be written.
_LITTLE = 1.0


class Reload:
    """Has `engine` take up what is sound of the configuration file, whenever that is wanted."""

    def __init__(self, engine: Engine, path: Path, wake: Callable[[], None]) -> None:
        """`wake` is called when `step` is to be: something is wanted, or done."""
        self._engine = engine
        self._path = path
        self._wake = wake
        self.problems = engine.config.problems  # of the configuration as it was read last; replaced whole
        self.not_taken_up = [str(problem) for problem in self.problems]  # the same in sentences, until all is; replaced whole
        self._wanted = False
        self._asking = threading.Lock()
        self._asked: list[tuple[Future[list[str]], Who]] = []  # who wants to know what comes of the next one
        self._thread: threading.Thread | None = None

    def reads(self, path: str) -> bool:
        """Whether that is the configuration file that it takes up."""
        with contextlib.suppress(OSError):
            return os.path.samefile(path, self._path)
        return os.path.abspath(path) == os.path.abspath(self._path)

    def want(self) -> None:
        """Take the configuration up soon."""
        self._wanted = True
        self._wake()

    def ask(self, who: Who) -> list[str]:
        """Have the configuration taken up for `who`; what of it was not, a sentence each.

        Raises:
            TimeoutError: it lasts, and goes on.
        """
        done: Future[list[str]] = Future()
        with self._asking:
            self._asked.append((done, who))
        self.want()
        return done.result(_LITTLE if self._engine.ledger.trouble.unwritable else _PATIENCE)

    def step(self) -> bool:
        """Begin with what is wanted; whether that is under way. For the main thread."""
        if self._thread is not None and self._thread.is_alive():
            return True
        self._thread = None
        if not self._wanted:
            return False
        self._wanted = False
        with self._asking:
            asked, self._asked = self._asked, []
        try:
            self._thread = begin(self._run, "reload", asked)
        except NoThread:  # then here
            self._run(asked)
        return self._thread is not None

    def end(self, within: float) -> None:
        """Wait for what is under way, so many seconds at most."""
        if self._thread is not None:
            self._thread.join(within)

    def _run(self, asked: list[tuple[Future[list[str]], Who]]) -> None:
        systemd.reloading()
        try:
            told = self._take_up([who for _, who in asked] or [NOBODY_KNOWS])
        except DatabaseError as error:
            told = [f"not all of the configuration was taken up: {self._engine.ledger.trouble.said(error)}"]
            log.error("config_problem", message=told[0])
        except Exception as error:
            told = [f"an error inside dropcap, so not all of the configuration was taken up: {error}"]
            log.error("internal_error", where="reload", error=f"{type(error).__name__}: {error}", exc_info=True)
        self.not_taken_up = told
        systemd.notify("READY=1")
        for one, _ in asked:
            one.set_result(told)
        self._wake()

    def _take_up(self, by: Sequence[Who]) -> list[str]:
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
        if whole:
            tell_problems(config.problems)
            log.error("config_problem", message=whole)
            return [*told, whole]
        for who in by:
            engine.ledger.act(who, Deed.RELOAD, dropcap=__version__, configuration=config.digest)
        logging.set_up(config.log.format, config.log.level, background=True, mask=mask_of(config))
        engine.reload(config)
        tell_problems(config.problems, engine.mistakes)
        log.info("reloaded", folders=sorted(engine.channels), projects=sorted(engine.config.projects))
        return told + [f"folder {name} goes on by its last good configuration" for name in sorted(engine.mistakes)]


def tell_problems(problems: tuple[Problem, ...], kept: Collection[str] = ()) -> None:
    """Write them to the log. `kept` are folders that go on as they were."""
    for problem in problems:
        if problem.scope is not None and problem.scope[0] is Scope.FOLDER and problem.scope[1] in kept:
            log.error("config_problem", message=str(problem), keeps=f"folder {problem.scope[1]} as it was")
            continue
        disables = f"{problem.scope[0]} {problem.scope[1]}" if problem.scope else "everything"
        log.error("config_problem", message=str(problem), disables=disables)
