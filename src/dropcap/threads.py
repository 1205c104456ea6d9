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


def start(thread: threading.Thread) -> None:
    """Start a thread that was not started yet. It may be tried again.

    Raises:
        NoThread: there is none to be had.
    """
    try:
        thread.start()
    except RuntimeError:
        if thread.ident is not None:  # started twice
            raise
        raise NoThread from None


def begin(target: Callable[..., None], name: str | None = None, *args: Any) -> threading.Thread:
    """Start a thread that does not keep the process from ending. Raises NoThread, as `start`."""
    thread = threading.Thread(target=target, name=name, args=args, daemon=True)
    start(thread)
    return thread
