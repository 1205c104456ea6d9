"""Threads, which the system may refuse: `TasksMax=` of the unit, `ulimit -u`, or no memory left.

And `Hand`: one that does file work for others, who wait for it only so long. A file system that hangs holds it, and not them.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar, TypeVarTuple

WHY = "the system gives dropcap no more threads"
REMEDY = "raise TasksMax= of the unit (`systemctl edit dropcap`) or the limit on processes (`ulimit -u`)"
#: Set once a thread that was needed could not be started.
SHORTAGE = threading.Event()

#: Threads of a folder: intake, filing, sign of life, inotify, copies, marks, and two that examine its files.
OF_A_FOLDER = 8
#: Threads of an upload: one sends, one hashes.
_OF_AN_UPLOAD = 2
#: All others: the daemon's own (`docs/inside.md`), four requests of the page, a few commands.
_OTHERS = 24


class NoThread(SystemExit):
    """The system gives dropcap no more threads. Where it is raised nothing goes on, as after a kill: no `except Exception`
    catches it, so it ends its thread, or the process with code 5."""

    code = 5

    def __init__(self) -> None:
        super().__init__(5)

    def __str__(self) -> str:
        return f"{WHY}: {REMEDY}"


def needed(folders: int, uploads_at_once: int) -> int:
    """How many threads a daemon may have at once, its process that examines files included."""
    return _OTHERS + OF_A_FOLDER * folders + _OF_AN_UPLOAD * uploads_at_once


#: Held while threads are tried: one that is needed meanwhile waits for those to be gone, and is not refused because of them.
_starting = threading.Lock()


def make_sure(count: int) -> None:
    """Raises NoThread: the system does not give so many threads now. None of them is left."""
    over = threading.Event()
    tried: list[threading.Thread] = []
    with _starting:
        try:
            for _ in range(count):
                thread = threading.Thread(target=over.wait, daemon=True)
                if not _started(thread):
                    raise NoThread
                tried.append(thread)
        finally:
            over.set()
            for thread in tried:
                thread.join()


def spare(target: Callable[..., object], name: str | None = None, *args: Any) -> threading.Thread | None:
    """Start a thread that does not keep the process from ending, if there is one to be had: it can be done without."""
    thread = threading.Thread(target=target, name=name, args=args, daemon=True)
    with _starting:
        return thread if _started(thread) else None


def begin(target: Callable[..., object], name: str | None = None, *args: Any) -> threading.Thread:
    """Start a thread that does not keep the process from ending. Raises NoThread."""
    thread = threading.Thread(target=target, name=name, args=args, daemon=True)
    start(thread)
    return thread


def start(thread: threading.Thread) -> None:
    """Start a thread, once. Raises NoThread: a daemon ends then."""
    with _starting:
        started = _started(thread)
    if not started:
        SHORTAGE.set()
        raise NoThread


def _started(thread: threading.Thread) -> bool:
    """Start it, if the system gives one."""
    try:
        thread.start()
    except RuntimeError as error:
        if "start new thread" not in str(error):  # Python's only words for that
            raise
        return False
    return True


T = TypeVar("T")
Given = TypeVarTuple("Given")

#: Seconds without work after which the thread ends; it begins anew when there is some.
_IDLE = 30.0


class SerialExecutor:
    """Runs one task after the other, in a thread of its own. Any number of threads may submit."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._tasks: queue.SimpleQueue[tuple[Callable[..., Any], tuple[Any, ...], Future[Any], float]] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._overdue: float | None = None  # when nobody waits any more for the task that runs

    def run(self, within: float, task: Callable[[*Given], T], *given: *Given) -> T:
        """What `task` returns or raises, given the rest. Raises TimeoutError (an OSError) if that takes longer than `within`
        seconds, and at once while a task before it does; one that was not begun until then never is."""
        overdue = self._overdue
        if overdue is not None and time.monotonic() > overdue:
            raise TimeoutError
        done = self.submit(within, task, *given)
        try:
            return done.result(within)
        except TimeoutError:
            done.cancel()
            raise

    def submit(self, within: float, task: Callable[[*Given], T], *given: *Given) -> Future[T]:
        """Run `task` after all that were submitted before, and do not wait."""
        done: Future[T] = Future()
        with self._lock:
            if self._thread is None:
                self._thread = begin(self._work, self._name)
            self._tasks.put((task, given, done, within))
        return done

    def _work(self) -> None:
        while True:
            try:
                task, given, done, within = self._tasks.get(timeout=_IDLE)
            except queue.Empty:
                with self._lock:
                    if self._tasks.empty():
                        self._thread = None
                        return
                continue
            if not done.set_running_or_notify_cancel():
                continue
            self._overdue = time.monotonic() + within
            try:
                done.set_result(task(*given))
            except BaseException as error:  # it is the asking thread's
                done.set_exception(error)
            finally:
                self._overdue = None
