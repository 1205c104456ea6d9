"""What has ended, counted: every step of the ledger once."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from dropcap.ledger.figures import BUCKETS, Ended, Figures
from dropcap.ledger.job import State
from dropcap.ledger.outcome import Result


@dataclass(slots=True)
class Lasted:
    """How long the files of one folder took, from drop to done."""

    buckets: list[int] = field(default_factory=lambda: [0] * (len(BUCKETS) + 1))
    seconds: float = 0.0


class Tally:
    """Sums over all jobs that this ledger knows. For one thread at a time."""

    def __init__(self) -> None:
        self._until = 0  # steps up to this number are counted
        self.done: dict[tuple[str, str], int] = {}  # by folder and result
        self.failed: dict[tuple[str, str], int] = {}  # by folder and reason
        self.bytes: dict[str, int] = {}  # by project: what REDCap has taken
        self.lasted: dict[str, Lasted] = {}

    def take_up(self, figures: Figures) -> None:
        """Count what has ended since the last time. Raises DatabaseError."""
        newest = figures.newest_step()
        if newest > self._until:
            self._add(figures.ended(self._until, newest))
        self._until = newest

    def _add(self, ended: Iterable[Ended]) -> None:
        for one in ended:
            if one.state is State.FAILED:
                key = (one.folder, one.reason)
                self.failed[key] = self.failed.get(key, 0) + one.number
                continue
            result = one.result or Result.STORED
            self.done[one.folder, result] = self.done.get((one.folder, result), 0) + one.number
            if result != Result.ALREADY_THERE:
                self.bytes[one.project] = self.bytes.get(one.project, 0) + one.bytes
            lasted = self.lasted.setdefault(one.folder, Lasted())
            lasted.buckets[one.bucket] += one.number
            lasted.seconds += one.seconds
