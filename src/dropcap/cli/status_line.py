"""One line of what `dropcap status` says to people."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum


class Level(IntEnum):
    """How bad it is; the worst comes first."""

    ALL = 0  # everything stands still
    BAD = 1
    WAIT = 2
    WELL = 3


@dataclass(frozen=True, slots=True)
class StatusLine:
    """One thing to tell. `files` are as many as it concerns, `names` the first of them, `then` a command that brings it on."""

    level: Level
    word: str
    text: str
    then: str = ""
    files: int = 0
    names: tuple[str, ...] = ()
