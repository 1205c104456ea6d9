"""A thread that does file work for others, who wait for it only so long: a file system that hangs holds it, and not them."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar, TypeVarTuple

from dropcap.threads import begin

T = TypeVar("T")
Given = TypeVarTuple("Given")

#: Seconds without work after which the thread ends; it begins anew when there is some.
_IDLE = 30.0


class Hand:
    """Does one thing after the other. May be asked by any number of threads."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._acts: queue.SimpleQueue[tuple[Callable[..., Any], tuple[Any, ...], Future[Any], float]] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._overdue: float | None = None  # when nobody waits any more for the act in hand

    def do(self, within: float, act: Callable[[*Given], T], *given: *Given) -> T:
        """What `act` returns or raises, given the rest. Raises TimeoutError (an OSError) if that takes longer than `within`
        seconds, and at once while an act before it does; one that was not begun until then never is."""
        overdue = self._overdue
        if overdue is not None and time.monotonic() > overdue:
            raise TimeoutError
        done = self.begin(within, act, *given)
        try:
            return done.result(within)
        except TimeoutError:
            done.cancel()
            raise

    def begin(self, within: float, act: Callable[[*Given], T], *given: *Given) -> Future[T]:
        """Let `act` be done after all that was asked for before, and do not wait."""
        done: Future[T] = Future()
        with self._lock:
            if self._thread is None:
                self._thread = begin(self._work, self._name)
            self._acts.put((act, given, done, within))
        return done

    def _work(self) -> None:
        while True:
            try:
                act, given, done, within = self._acts.get(timeout=_IDLE)
            except queue.Empty:
                with self._lock:
                    if self._acts.empty():
                        self._thread = None
                        return
                continue
            if not done.set_running_or_notify_cancel():
                continue
            self._overdue = time.monotonic() + within
            try:
                done.set_result(act(*given))
            except BaseException as error:  # it is the asking thread's
                done.set_exception(error)
            finally:
                self._overdue = None
