"""Threads, which the system may refuse: `TasksMax=` of the unit, `ulimit -u`, or no memory left.

One rule: a command or a start ends with exit code 5, a reload is refused as a whole, and a daemon at work lets the uploads that
are under way end and then ends with code 5, so that systemd starts it again.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

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


def make_sure(count: int) -> None:
    """Raises NoThread: the system does not give so many threads now. None of them is left."""
    over = threading.Event()
    tried: list[threading.Thread] = []
    try:
        for _ in range(count):
            thread = spare(over.wait)
            if thread is None:
                raise NoThread
            tried.append(thread)
    finally:
        over.set()
        for thread in tried:
            thread.join()


def spare(target: Callable[..., object], name: str | None = None, *args: Any) -> threading.Thread | None:
    """Start a thread that does not keep the process from ending, if there is one to be had: it can be done without."""
    thread = threading.Thread(target=target, name=name, args=args, daemon=True)
    try:
        thread.start()
    except RuntimeError:
        return None
    return thread


def begin(target: Callable[..., object], name: str | None = None, *args: Any) -> threading.Thread:
    """Start a thread that does not keep the process from ending. Raises NoThread."""
    thread = threading.Thread(target=target, name=name, args=args, daemon=True)
    start(thread)
    return thread


def start(thread: threading.Thread) -> None:
    """Start a thread, once. Raises NoThread: a daemon ends then."""
    try:
        thread.start()
    except RuntimeError:
        SHORTAGE.set()
        raise NoThread from None
