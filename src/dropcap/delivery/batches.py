"""Batches: small files of one folder that a thread sends one after the other.

To start a file costs a commit of the ledger and a change of threads; where a file takes a millisecond, that is most of its time.
How many go together depends on how long they have taken of late: at a slow server each goes alone, and a batch never keeps
others waiting for long.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar

Item = TypeVar("Item")

#: Seconds that a batch is meant to last, and those after which it gives back what it has not begun.
LASTS, OVERDUE = 0.1, 0.3
#: Files in a batch at most: so many have an unknown outcome after a crash, for each thread, and are read back.
MOST = 32


class Pace:
    """How long the small files of a folder take. May be used by several threads: a lost update does no harm."""

    def __init__(self) -> None:
        self._seconds = LASTS  # the first go alone

    def took(self, seconds: float) -> None:
        """A file took so long, from its opening to REDCap's answer."""
        self._seconds += (seconds - self._seconds) / 4

    def length(self) -> int:
        """How many files are worth a batch."""
        return max(1, min(MOST, int(LASTS / max(self._seconds, 1e-4))))


@dataclass(slots=True)
class _Batch(Generic[Item]):
    folder: str
    length: int
    items: list[Item]


class Batches(Generic[Item]):
    """Files shared out to free threads: each gets one first, then each that may take more does, evenly."""

    def __init__(self, threads: int) -> None:
        self._threads = threads
        self._batches: list[_Batch[Item]] = []

    def full(self) -> bool:
        """Whether no file can go any more."""
        return len(self._batches) >= self._threads and all(len(batch.items) >= batch.length for batch in self._batches)

    def room(self, folder: str, alone: bool) -> bool:
        """Whether another file of the folder can go; `alone`: not behind others."""
        return len(self._batches) < self._threads or (not alone and self._shortest(folder) is not None)

    def add(self, folder: str, length: int, item: Item) -> None:
        """Give the file to a thread; there must be room. `length` is how many may go with it."""
        batch = self._shortest(folder) if len(self._batches) >= self._threads else None
        if batch is None:
            self._batches.append(_Batch(folder, length, [item]))
        else:
            batch.items.append(item)

    def all(self) -> list[list[Item]]:
        """What each thread is to do."""
        return [batch.items for batch in self._batches]

    def _shortest(self, folder: str) -> _Batch[Item] | None:
        open_batches = [batch for batch in self._batches if batch.folder == folder and len(batch.items) < batch.length]
        return min(open_batches, key=lambda batch: len(batch.items), default=None)
