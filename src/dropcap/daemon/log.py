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
from collections.abc import MutableMapping
from datetime import UTC, datetime
from functools import cache, lru_cache
from typing import Any, TextIO

import structlog
from structlog.typing import Processor

from dropcap.daemon import journal
from dropcap.display import shown
from dropcap.secret import without_tokens
from dropcap.threads import DaemonThread

_LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}
_FIRST = ("timestamp", "level", "event")

#: Lines that wait to be written at most; further ones are counted and lost.
MOST = 100_000
#: Seconds in which lines come together for one write, and those that the end waits for a reader that hangs.
TOGETHER, LAST = 0.005, 2.0


def set_up(
    format_: str | None = None,
    level: str = "info",
    stream: TextIO | None = None,
    *,
    background: bool = False,
    mask: Processor | None = None,
) -> None:
    """Write the log to `stream` (standard error). `format_` None: text on a terminal, else JSON.

    `mask` takes names out of a line. `background`: lines are written a few milliseconds later, by a thread of its own; the
    daemon's way.
    """
    stream = stream or sys.stderr
    lines = _background(stream) if background else _Lines(stream)
    if format_ is None:
        format_ = "text" if stream.isatty() else "json"
    last: list[Any]
    masks = [mask] if mask is not None else []
    if format_ == "json":
        last = [_one_line_exceptions, _veil, *masks, _ordered, _as_json]
    else:
        last = [structlog.processors.format_exc_info, _veil, *masks, structlog.dev.ConsoleRenderer(colors=stream.isatty())]
    if journal.reads(stream):
        last[-1] = _for_the_journal(last[-1])
    structlog.configure(
        processors=[_stamp, structlog.processors.add_log_level, _escape, *last],
        wrapper_class=structlog.make_filtering_bound_logger(_LEVELS[level]),
        logger_factory=lambda *_: lines,
        # A reload changes all of this for loggers that are there: one that `bind` has made would keep what it was made with.
        cache_logger_on_first_use=False,
    )
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

    def msg(self, message: str) -> None:
        try:
            with self._lock:
                self._stream.write(message + "\n")
                self._stream.flush()
        except (OSError, ValueError):
            pass

    debug = info = warning = error = critical = exception = log = msg


class _Background(_Lines):
    """Lines that another thread writes, many at once where many come: a reader that hangs then stops no file either."""

    def __init__(self, stream: TextIO) -> None:
        super().__init__(stream)
        self._lines: queue.SimpleQueue[str | threading.Event] = queue.SimpleQueue()
        self._lost = 0
        self._losing = threading.Lock()
        self._thread = DaemonThread(self._run, "log")
        self._thread.start()
        atexit.register(self.flush)

    def msg(self, message: str) -> None:
        if self._lines.qsize() < MOST or threading.get_ident() == self._thread.ident:
            self._lines.put(message)
        else:
            with self._losing:
                self._lost += 1

    debug = info = warning = error = critical = exception = log = msg

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
                super().msg("\n".join(lines))
            for waiting in taken:
                if isinstance(waiting, threading.Event):
                    waiting.set()
            if self._lost:
                with self._losing:
                    lost, self._lost = self._lost, 0
                structlog.get_logger().error("log_lost", lines=lost, message="nobody read the log for too long")


class _Others(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        structlog.get_logger().warning("library", library=record.name, message=without_tokens(record.getMessage()))


def _stamp(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    seconds, rest = divmod(time.time_ns(), 10**9)
    event["timestamp"] = f"{_second(seconds)}.{rest // 10**6:03d}Z"
    return event


@lru_cache(maxsize=4)
def _second(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")


def _escape(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    # Whatever comes from a name or a server may hold control or bidi characters, or bytes that are not UTF-8.
    for key, value in event.items():
        if type(value) is str and not (value.isascii() and value.isprintable()):
            event[key] = shown(value)
    return event


def _one_line_exceptions(_: Any, method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    if event.get("exc_info"):
        return structlog.processors.format_exc_info(None, method, event)
    return event


def _veil(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    # Whatever a library could not make sense of may stand in its error.
    for key in ("error", "exception"):
        if type(event.get(key)) is str:
            event[key] = without_tokens(event[key])
    return event


def _plain(value: Any) -> str:
    return repr(value)


_JSON = json.JSONEncoder(ensure_ascii=False, default=_plain)  # made once: json.dumps makes one for each line


def _for_the_journal(render: Any) -> Any:
    def rendered(logger: Any, method: str, event: MutableMapping[str, Any]) -> str:
        return journal.with_priority(str(render(logger, method, event)), str(event.get("level", method)))

    return rendered


def _as_json(_: Any, __: str, event: MutableMapping[str, Any]) -> str:
    return _JSON.encode(event)


def _ordered(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    return {key: event[key] for key in _FIRST if key in event} | dict(event)
