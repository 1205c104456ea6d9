"""What is wrong with a rule, as `check` and the daemon tell it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

Level = Literal["error", "warning", "unsure"]


@dataclass(frozen=True, slots=True)
class Disagreement:
    """One thing about a rule. `error`: no file of the rule, or of one of its words, can be stored. `warning`: probably
    not what is meant. `unsure`: REDCap does not tell. `rule` is empty for what concerns the whole folder.
    """

    level: Level
    folder: str
    rule: str
    key: str
    message: str
    remedy: str


def listed(names: Iterable[str]) -> str:
    """The first of many names, and how many more there are."""
    every = list(names)
    if not every:
        return "none"
    more = len(every) - 10
    return ", ".join(every[:10]) + (f" and {more} more" if more > 0 else "")
