"""Reading a file to judge it, within bounds of bytes and time; and what an examination can find."""

from __future__ import annotations

import os
import time
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


MIB = 1024**2
#: Searches read so much at a time.
CHUNK = 256 * 1024


class BeyondBoundsError(Exception):
    """An examination would need more than it may have: the file stays undecided."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """What an examination may use: bytes read, seconds of CPU, seconds of time."""

    read: int
    cpu: float
    time: float


#: A first look, which nearly every file needs no more than.
QUICK = Bounds(2 * MIB, 0.01, 5.0)
#: The most that is spent on any file.
FULL = Bounds(64 * MIB, 0.5, 20.0)


class Reader:
    """An open file and what is left of its bounds. For one thread; `fd` stays the caller's."""

    def __init__(self, fd: int, bounds: Bounds = FULL) -> None:
        """Raises OSError if the file cannot be looked at."""
        self._fd = fd
        self.size = os.fstat(fd).st_size
        self._left = bounds.read
        self._cpu_ends = time.thread_time() + bounds.cpu
        self._ends = time.monotonic() + bounds.time

    def check(self) -> None:
        """To be called now and then during long work on what was read.

        Raises:
            BeyondBoundsError: the time is over.
        """
        if time.thread_time() > self._cpu_ends or time.monotonic() > self._ends:
            raise BeyondBoundsError

    def at(self, offset: int, length: int) -> bytes:
        """The bytes there, fewer at the end of the file.

        Raises:
            BeyondBoundsError: it may not read so much, or the time is over.
            OSError: it cannot be read.
        """
        length = max(0, min(length, self.size - offset)) if offset >= 0 else 0
        self._left -= length + 64  # even a small read costs time
        if self._left < 0:
            raise BeyondBoundsError
        self.check()
        parts = []
        while length > 0:
            part = os.pread(self._fd, length, offset)
            if not part:
                break  # it is shorter by now: a change has it looked at again
            parts.append(part)
            offset += len(part)
            length -= len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def find(self, needle: bytes, start: int) -> int:
        """Where `needle` is first found from `start` on, -1 if it is not. Raises as `at`."""
        while start < self.size:
            found = self.at(start, CHUNK).find(needle)
            if found >= 0:
                return start + found
            start += CHUNK - len(needle) + 1
        return -1

    def only_nuls(self, start: int) -> bool:
        """Whether there is nothing but NULs from `start` on. Raises as `at`."""
        while start < self.size:
            part = self.at(start, CHUNK)
            if part.count(0) != len(part) or not part:
                return False
            start += len(part)
        return True
