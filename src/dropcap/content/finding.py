"""What an examination has found."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Wholeness(Enum):
    """Whether a file has all that its writer meant to write."""

    WHOLE = "whole"
    CUT = "cut"
    UNDECIDED = "undecided"  # of no known format, or not to be told: counts as whole


@dataclass(frozen=True, slots=True)
class Finding:
    """A verdict; `why` says of what was seen to be cut what is missing, for people."""

    verdict: Wholeness
    why: str = ""

    @property
    def is_cut(self) -> bool:
        """Whether something is seen to be missing."""
        return self.verdict is Wholeness.CUT


WHOLE = Finding(Wholeness.WHOLE)
UNDECIDED = Finding(Wholeness.UNDECIDED)


def cut(why: str) -> Finding:
    """Something is missing: `why`."""
    return Finding(Wholeness.CUT, why)
