"""Files that lie there and were not looked at closely yet, oldest first: a few bytes each, since there can be very many."""

from __future__ import annotations

import os
from array import array


class Backlog:
    """Names, each with the time (nanoseconds) of its file's last change of place. For one thread."""

    def __init__(self) -> None:
        self._clear()

    def _clear(self) -> None:
        self._names = bytearray()  # one behind the other
        self._ends = array("Q")
        self._times = array("q")
        self._order = array("L")
        self._next = 0

    def __len__(self) -> int:
        return len(self._order) - self._next

    def add(self, name: str, changed_ns: int) -> None:
        """Put a file at the end. One that is there already may be added again."""
        self._order.append(len(self._times))
        self._names += os.fsencode(name)
        self._ends.append(len(self._names))
        self._times.append(changed_ns)

    def sort(self) -> None:
        """Bring all that is left into the order of time."""
        # Time and place in one number each: half as much memory as a key beside each place.
        both = [self._times[one] << 32 | one for one in self._order[self._next :]]
        both.sort()
        self._order = array("L", (one & 0xFFFFFFFF for one in both))
        self._next = 0

    def first_changed_ns(self) -> int:
        """The time of the first one; there must be one."""
        return self._times[self._order[self._next]]

    def take(self, number: int) -> list[str]:
        """Take the first ones, at most so many."""
        chosen = self._order[self._next : self._next + number]
        self._next += len(chosen)
        taken = [os.fsdecode(bytes(self._names[self._ends[one - 1] if one else 0 : self._ends[one]])) for one in chosen]
        if self._next == len(self._order):
            self._clear()
        return taken
