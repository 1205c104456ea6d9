"""Runs: small files of one folder that a thread sends one after the other.

To start a file costs a commit of the ledger and a change of threads; where a file takes a millisecond, that is most of its time.
How many go together depends on how long they have taken of late: at a slow server each goes alone, and a run never keeps
others waiting for long.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar

Item = TypeVar("Item")

#: Seconds that a run is meant to last, and those after which it gives back what it has not begun.
RUN, OVERDUE = 0.1, 0.3
#: Files in a run at most: so many have an unknown outcome after a crash, for each thread, and are read back.
MOST = 32


class Pace:
    """How long the small files of a folder take. May be used by several threads: a lost update does no harm."""

    def __init__(self) -> None:
        self._seconds = RUN  # the first go alone

    def took(self, seconds: float) -> None:
        """A file took so long, from its opening to REDCap's answer."""
        self._seconds += (seconds - self._seconds) / 4

    def length(self) -> int:
        """How many files are worth a run."""
        return max(1, min(MOST, int(RUN / max(self._seconds, 1e-4))))


@dataclass(slots=True)
class _Run(Generic[Item]):
    folder: str
    length: int
    items: list[Item]


class Runs(Generic[Item]):
    """Files shared out to free threads: each gets one first, then each that may take more does, evenly."""

    def __init__(self, threads: int) -> None:
        self._threads = threads
        self._runs: list[_Run[Item]] = []

    def full(self) -> bool:
        """Whether no file can go any more."""
        return len(self._runs) >= self._threads and all(len(run.items) >= run.length for run in self._runs)

    def room(self, folder: str, alone: bool) -> bool:
        """Whether another file of the folder can go; `alone`: not behind others."""
        return len(self._runs) < self._threads or (not alone and self._shortest(folder) is not None)

    def add(self, folder: str, length: int, item: Item) -> None:
        """Give the file to a thread; there must be room. `length` is how many may go with it."""
        run = self._shortest(folder) if len(self._runs) >= self._threads else None
        if run is None:
            self._runs.append(_Run(folder, length, [item]))
        else:
            run.items.append(item)

    def all(self) -> list[list[Item]]:
        """What each thread is to do."""
        return [run.items for run in self._runs]

    def _shortest(self, folder: str) -> _Run[Item] | None:
        open_runs = [run for run in self._runs if run.folder == folder and len(run.items) < run.length]
        return min(open_runs, key=lambda run: len(run.items), default=None)
