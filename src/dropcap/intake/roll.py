"""Names that lie in a directory, to be compared with those that should: eight bytes each, since there can be very many."""

from __future__ import annotations

from array import array
from bisect import bisect_left

_PARTS = 256


class Roll:
    """A set of names from which names can be struck. For one thread.

    It knows them by 64 bits of a hash that is another one in every process: of a hundred thousand, two are alike once in
    three thousand million processes, and then one of them is taken for the other until the next start.
    """

    def __init__(self) -> None:
        self._parts = [array("q") for _ in range(_PARTS)]
        self._struck: list[bytearray] = []
        self._left = 0

    def __len__(self) -> int:
        """How many were added and not struck."""
        return self._left

    def add(self, name: str) -> None:
        """Each name once, and all of them before the first is struck."""
        number = hash(name)
        self._parts[number % _PARTS].append(number)
        self._left += 1

    def strike(self, name: str) -> bool:
        """Whether the name is there; it is not any more."""
        where = self._where(name)
        if where is None:
            return False
        part, place = where
        self._struck[part][place] = 1
        self._left -= 1
        return True

    def __contains__(self, name: str) -> bool:
        return self._where(name) is not None

    def _where(self, name: str) -> tuple[int, int] | None:
        if not self._struck:  # sorted part by part, so that no list of them all is ever in memory
            self._parts = [array("q", sorted(part)) for part in self._parts]
            self._struck = [bytearray(len(part)) for part in self._parts]
        number = hash(name)
        part = number % _PARTS
        numbers, struck = self._parts[part], self._struck[part]
        place = bisect_left(numbers, number)
        while place < len(numbers) and numbers[place] == number:
            if not struck[place]:
                return part, place
            place += 1
        return None
