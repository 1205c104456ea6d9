"""The log: one JSON object a line on standard error, or text for people (design, part 6)."""

from __future__ import annotations

import atexit
import contextlib
import json
import logging
import queue
import sys
import threading
import time
from datetime import UTC, datetime
from functools import cache, lru_cache
from typing import Any, TextIO

from dropcap.display import shown
from dropcap.log import Log, told_to, with_traceback

_log = Log()

#: What a terminal shows a level in.
_COLOURS = {"debug": "36", "info": "32", "warning": "33", "error": "31"}

#: Lines that wait to be written at most; further ones are counted and lost.
MOST = 100_000
#: Seconds in which lines come together for one write, and those that the end waits for a reader that hangs.
TOGETHER, LAST = 0.005, 2.0


def set_up(format_: str | None = None, level: str = "info", stream: TextIO | None = None, *, background: bool = False) -> None:
    """Write the log to `stream` (standard error). `format_` None: text on a terminal, else JSON.

    `background`: lines are written a few milliseconds later, by a thread of its own; the daemon's way.
    """
    stream = stream or sys.stderr
    lines = _background(stream) if background else _Lines(stream)
    if format_ is None:
        format_ = "text" if stream.isatty() else "json"
    write = _json if format_ == "json" else _Text(colours=stream.isatty())
    told_to(lambda *line: lines.write(write(*line)), level)
    # watchdog, urllib3 and others speak through logging; what they warn of belongs into the same log.
    logging.basicConfig(handlers=[_Others()], level=logging.WARNING, force=True)


@cache
def _background(stream: TextIO) -> _Background:
    return _Background(stream)


class _Lines:
    """Writes whole lines, one write each, and never fails: a log that cannot be written must not stop a file."""

    _lock = threading.Lock()

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, message: str) -> None:
        try:
            with self._lock:
                self._stream.write(message + "\n")
                self._stream.flush()
        except (OSError, ValueError):
            pass


class _Background(_Lines):
    """Lines that another thread writes, many at once where many come: a reader that hangs then stops no file either."""

    def __init__(self, stream: TextIO) -> None:
        super().__init__(stream)
        self._lines: queue.SimpleQueue[str | threading.Event] = queue.SimpleQueue()
        self._lost = 0
        self._losing = threading.Lock()
        self._thread = threading.Thread(target=self._run, name="log", daemon=True)
        self._thread.start()
        atexit.register(self.flush)

    def write(self, message: str) -> None:
        if self._lines.qsize() < MOST or threading.current_thread() is self._thread:
            self._lines.put(message)
        else:
            with self._losing:
                self._lost += 1

    def flush(self) -> None:
        """Wait until all lines so far are written, unless the reader hangs."""
        written = threading.Event()
        self._lines.put(written)
        written.wait(LAST)

    def _run(self) -> None:
        while True:
            taken = [self._lines.get()]
            time.sleep(TOGETHER)
            with contextlib.suppress(queue.Empty):
                while True:
                    taken.append(self._lines.get_nowait())
            if lines := [line for line in taken if isinstance(line, str)]:
                super().write("\n".join(lines))
            for waiting in taken:
                if isinstance(waiting, threading.Event):
                    waiting.set()
            if self._lost:
                with self._losing:
                    lost, self._lost = self._lost, 0
                _log.error("log_lost", lines=lost, message="nobody read the log for too long")


class _Others(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        _log.warning("library", library=record.name, message=record.getMessage())


def _json(level: str, event: str, keys: dict[str, Any]) -> str:
    return _JSON.encode({"timestamp": _now(), "level": level, "event": event, **with_traceback(_escaped(keys))})


class _Text:
    """Lines for people: the time, the level, the event, its keys; a traceback below."""

    def __init__(self, colours: bool) -> None:
        self._coloured = _coloured if colours else _plain

    def __call__(self, level: str, event: str, keys: dict[str, Any]) -> str:
        keys = with_traceback(_escaped(keys))
        trace = keys.pop("exception", "")
        colour = self._coloured
        said = [f"{colour(key, '36')}={_value(value)}" for key, value in keys.items()]
        line = " ".join([colour(_now(), "2"), colour(f"{level:7}", _COLOURS[level]), colour(f"{event:20}", "1"), *said]).rstrip()
        return "\n".join([line, *(shown(below) for below in trace.splitlines())])


def _coloured(text: str, code: str) -> str:
    return f"\x1b[{code}m{text}\x1b[0m"


def _plain(text: str, _code: str) -> str:
    return text


def _value(value: Any) -> str:
    """As it is if nobody can mistake where it ends, else as Python writes it."""
    return value if type(value) is str and value and not set(value) & set(" =\"'\\") else repr(value)


def _now() -> str:
    seconds, rest = divmod(time.time_ns(), 10**9)
    return f"{_second(seconds)}.{rest // 10**6:03d}Z"


@lru_cache(maxsize=4)
def _second(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")


def _escaped(keys: dict[str, Any]) -> dict[str, Any]:
    # Whatever comes from a name or a server may hold control or bidi characters, or bytes that are not UTF-8.
    for key, value in keys.items():
        if type(value) is str and not (value.isascii() and value.isprintable()):
            keys[key] = shown(value)
    return keys


_JSON = json.JSONEncoder(ensure_ascii=False, default=repr)  # made once: json.dumps makes one for each line
