"""Threads, which the system may refuse: `TasksMax=` of the unit, `ulimit -u`, or no memory left."""

from __future__ import annotations

import errno
import threading
from collections.abc import Callable
from typing import Any

#: What to do where the system gives no more threads.
MORE_THREADS = "raise TasksMax= of the unit or the limit on processes (`ulimit -u`); dropcap tries again by itself"


class NoThread(OSError):  # noqa: N818 - of the system's making
    """The system gives dropcap no more threads now. Nothing has begun."""

    def __init__(self) -> None:
        super().__init__(errno.EAGAIN, "the system gives dropcap no more threads")


class DaemonThread:
    """A thread that does not keep the process from ending, started when there is one to be had.

    A `threading.Thread` whose start the system has refused cannot be started again since Python 3.13: each try makes a new one.
    """

    def __init__(self, target: Callable[[], None], name: str) -> None:
        self._target: Callable[[], None] | None = target
        self._name = name
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin; once. Raises NoThread: it may be tried again."""
        if self._target is None:
            raise RuntimeError(f"the thread {self._name} was started before")
        self._thread = begin(self._target, self._name)
        self._target = None  # it is a method of who has this thread: each would keep the other, and what it has open

    @property
    def ident(self) -> int | None:
        """As of a `threading.Thread`: None until it is started."""
        return None if self._thread is None else self._thread.ident

    def is_alive(self) -> bool:
        """Whether it runs."""
        return self._thread is not None and self._thread.is_alive()

    def join(self, within: float | None = None) -> None:
        """Wait for its end, so many seconds at most."""
        if self._thread is not None:
            self._thread.join(within)


def begin(target: Callable[..., None], name: str | None = None, *args: Any) -> threading.Thread:
    """Start a thread that does not keep the process from ending. Raises NoThread: there is none to be had."""
    thread = threading.Thread(target=target, name=name, args=args, daemon=True)
    try:
        thread.start()
    except RuntimeError:
        raise NoThread from None
    return thread
