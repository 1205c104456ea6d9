"""The log: one JSON object a line on standard error, or text for people (design, part 6)."""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import MutableMapping
from datetime import UTC, datetime
from typing import Any, TextIO

import structlog

from dropcap.display import shown

_LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}
_FIRST = ("timestamp", "level", "event")


def set_up(format_: str | None = None, level: str = "info", stream: TextIO | None = None) -> None:
    """Write the log to `stream` (standard error). `format_` None: text on a terminal, else JSON."""
    stream = stream or sys.stderr
    if format_ is None:
        format_ = "text" if stream.isatty() else "json"
    last: list[Any]
    if format_ == "json":
        last = [_one_line_exceptions, _ordered, structlog.processors.JSONRenderer(ensure_ascii=False)]
    else:
        last = [structlog.processors.format_exc_info, structlog.dev.ConsoleRenderer(colors=stream.isatty())]
    structlog.configure(
        processors=[_stamp, structlog.processors.add_log_level, _escape, *last],
        wrapper_class=structlog.make_filtering_bound_logger(_LEVELS[level]),
        logger_factory=lambda *_: _Lines(stream),
        cache_logger_on_first_use=False,
    )
    # watchdog, urllib3 and others speak through logging; what they warn of belongs into the same log.
    logging.basicConfig(handlers=[_Others()], level=logging.WARNING, force=True)


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


class _Others(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        structlog.get_logger().warning("library", library=record.name, message=record.getMessage())


def _stamp(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    event["timestamp"] = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return event


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


def _ordered(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    return {key: event[key] for key in _FIRST if key in event} | dict(event)
