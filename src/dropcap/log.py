"""Telling what happens: an event's name and its keys. Who has something to tell does it here; `daemon/log` says where it goes."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable
from typing import Any

#: From what only developers read to what somebody has to see to.
LEVELS = ("debug", "info", "warning", "error")

#: What takes a line: its level, its event, and its keys (`exc_info`: an exception, or True for the one that is being handled).
Sink = Callable[[str, str, dict[str, Any]], None]


class Log:
    """Tells events, each with the keys that were bound beforehand: `Log(folder="consents").info("folder_watched")`."""

    __slots__ = ("_bound",)

    def __init__(self, **bound: Any) -> None:
        self._bound = bound

    def debug(self, event: str, /, **keys: Any) -> None:
        self._tell("debug", event, keys)

    def info(self, event: str, /, **keys: Any) -> None:
        self._tell("info", event, keys)

    def warning(self, event: str, /, **keys: Any) -> None:
        self._tell("warning", event, keys)

    def error(self, event: str, /, **keys: Any) -> None:
        self._tell("error", event, keys)

    def exception(self, event: str, /, **keys: Any) -> None:
        """An error, with the traceback of the exception that is being handled."""
        self._tell("error", event, {"exc_info": True, **keys})

    def _tell(self, level: str, event: str, keys: dict[str, Any]) -> None:
        levels, sink = _told
        if level in levels:
            sink(level, event, {**self._bound, **keys})


def told_to(sink: Sink, level: str = "debug") -> None:
    """From now on everything that is told, from this level up, goes to `sink`, from any thread."""
    global _told
    _told = (frozenset(LEVELS[LEVELS.index(level) :]), sink)


def with_traceback(keys: dict[str, Any]) -> dict[str, Any]:
    """The keys of a line, `exc_info` replaced by the text `exception`."""
    error = keys.pop("exc_info", None)
    if error is True:
        error = sys.exception()
    if error:
        keys["exception"] = "".join(traceback.format_exception(error)).rstrip()
    return keys


def _plainly(level: str, event: str, keys: dict[str, Any]) -> None:
    said = " ".join(f"{key}={value!r}" for key, value in with_traceback(keys).items())
    print(f"{level}: {event} {said}", file=sys.stderr)


#: Which levels are told, and whom.
_told: tuple[frozenset[str], Sink] = (frozenset(LEVELS[1:]), _plainly)
