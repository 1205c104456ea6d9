"""Plots, drawn as SVG where the page is made: no script, no library, and words for those who do not see them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise

from dropcap.ledger.figures import BUCKETS

_WIDTH, _ZERO, _UP, _DOWN, _TOP = 314.0, 91, 80, 24, 8


@dataclass(frozen=True, slots=True)
class Bars:
    """One plot as paths; `words` tells what it shows."""

    done: str
    running: str  # the bar that still grows
    failed: str
    labels: tuple[tuple[float, str], ...]
    peak: tuple[float, int] | None
    words: str


@dataclass(frozen=True, slots=True)
class Row:
    """One bucket of the histogram."""

    name: str
    number: int
    width: float  # of 100


def hours(now: float) -> list[float]:
    """The edges of the last 24 hours, the running one last (seconds since the epoch)."""
    full = datetime.fromtimestamp(now).astimezone().replace(minute=0, second=0, microsecond=0).timestamp()
    return [full + 3600.0 * step for step in range(-23, 2)]


def days(now: float) -> list[float]:
    """The edges of the last 30 days, by the calendar."""
    today = datetime.fromtimestamp(now).astimezone().date()
    return [datetime.combine(today + timedelta(days=step), datetime.min.time()).timestamp() for step in range(-29, 2)]


def bars(edges: Sequence[float], numbers: Sequence[tuple[int, int]], unit: str) -> Bars:
    """`numbers` are the done and failed files between each two edges; `unit` is `hour` or `day`."""
    step = _WIDTH / len(numbers)
    wide = max(step - 2, 1)
    most_done = max((done for done, _ in numbers), default=0)
    most_failed = max((failed for _, failed in numbers), default=0)
    done, failed, running = [], [], ""
    for place, (its_done, its_failed) in enumerate(numbers):
        x = place * step + 1
        if its_done:
            height = max(_UP * its_done / most_done, 1.0)
            path = f"M{x:.1f} {_ZERO}v-{height:.1f}h{wide:.1f}v{height:.1f}"
            if place == len(numbers) - 1:
                running = path
            else:
                done.append(path + "z")
        if its_failed:
            failed.append(f"M{x:.1f} {_ZERO + 1}h{wide:.1f}v{max(_DOWN * its_failed / most_failed, 1.5):.1f}h-{wide:.1f}z")
    peak_at = next((place for place, (its, _) in enumerate(numbers) if its and its == most_done), None)
    return Bars(
        "".join(done),
        running,
        "".join(failed),
        _labels(edges, step, unit),
        None if peak_at is None else (min(max((peak_at + 0.5) * step, 10), _WIDTH - 10), most_done),
        _words(edges, numbers, unit),
    )


def _labels(edges: Sequence[float], step: float, unit: str) -> tuple[tuple[float, str], ...]:
    every = 6 if unit == "hour" else 7
    found = []
    for place, (begin, _) in enumerate(pairwise(edges)):
        when = datetime.fromtimestamp(begin)  # noqa: DTZ006 - people's own time
        if place % every == 1 and (place + 0.5) * step < _WIDTH - 45:
            found.append(((place + 0.5) * step, f"{when:%H:%M}" if unit == "hour" else f"{when.day} {when:%b}"))
    return (*found, (_WIDTH - 8, "now" if unit == "hour" else "today"))


def _words(edges: Sequence[float], numbers: Sequence[tuple[int, int]], unit: str) -> str:
    done, failed = sum(its for its, _ in numbers), sum(its for _, its in numbers)
    if not done and not failed:
        return "Nothing was stored, and nothing failed."
    most = max(its for its, _ in numbers)
    at = datetime.fromtimestamp(edges[[its for its, _ in numbers].index(most)])  # noqa: DTZ006 - people's own time
    when = f"from {at:%H:%M}" if unit == "hour" else f"on {at.day} {at:%B}"
    return f"{done:,} stored, at most {most:,} in one {unit}, {when}; {failed:,} failed."


_NAMES = ("≤ 5 s", "≤ 15 s", "≤ 1 min", "≤ 5 min", "≤ 15 min", "≤ 1 h", "≤ 4 h", "≤ 1 day", "> 1 day")


def histogram(numbers: Sequence[int]) -> list[Row]:
    """The buckets as rows, without the empty ones at both ends."""
    assert len(_NAMES) == len(BUCKETS) + 1
    most = max(numbers, default=0) or 1
    used = [place for place, number in enumerate(numbers) if number]
    shown = range(min(used, default=0), max(used, default=0) + 1)
    return [Row(_NAMES[place], numbers[place], 100 * numbers[place] / most) for place in shown if used]
