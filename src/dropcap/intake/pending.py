"""Files that were seen and not claimed yet: when to look at each again."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Collection, Iterator, KeysView
from dataclasses import dataclass

from dropcap.files.lease import Lease
from dropcap.intake.settle import RestTime, Seen, Sight, rest_note, settled_at


@dataclass(slots=True)
class Waiting:
    """One such file. `at` is the monotonic time (seconds) of the next look, `note` says what it waits for.

    `rests`: it waits for nothing but the end of its rest, which comes by itself.
    """

    seen: Seen
    pace: RestTime
    at: float
    note: str
    rests: bool = True

    def put_off(self, seconds: float, note: str, *, rests: bool = False) -> None:
        """Look at it again after so many seconds; until then it waits for what `note` says."""
        self.at, self.note, self.rests = time.monotonic() + seconds, note, rests


class Pending:
    """The files of one folder that wait, by where they lie in it. For one thread."""

    def __init__(self) -> None:
        self._files: dict[str, Waiting] = {}

    def __len__(self) -> int:
        return len(self._files)

    @property
    def names(self) -> KeysView[str]:
        """Their names, as they are at any time."""
        return self._files.keys()

    def unchanged(self, name: str, status: os.stat_result, stable_inodes: bool) -> bool:
        """Whether the file waits already and is as it was, so that `see` has nothing to learn."""
        waiting = self._files.get(name)
        return waiting is not None and waiting.seen.sight.shows(status, stable_inodes)

    def see(self, name: str, sight: Sight, pace: RestTime, *, hinted: bool) -> None:
        """The file was looked at. `hinted`: something happened to it, so that a reason to wait longer may have passed."""
        now = time.monotonic()
        before = self._files.get(name)
        seen = Seen.again(before.seen if before else None, sight, now, time.time_ns())
        if before is not None and before.seen is seen and not hinted:
            return
        at = settled_at(seen, pace, Lease.FREE)
        self._files[name] = Waiting(seen, pace, at, rest_note(seen, pace, Lease.FREE))

    def put_off(self, name: str, seconds: float, note: str) -> None:
        """Look at the file again after `seconds` at the earliest, for a reason that `note` gives."""
        waiting = self._files.get(name)
        if waiting is not None:
            waiting.at, waiting.note, waiting.rests = max(waiting.at, time.monotonic() + seconds), note, False

    def drop(self, name: str) -> None:
        """The file is gone, or somebody's care now."""
        self._files.pop(name, None)

    def drop_beneath(self, directory: str, but: Collection[str]) -> None:
        """Everything beneath `directory` ("" for the whole) is gone, except these."""
        if directory:
            prefix = f"{directory}/"
            gone = {name for name in self._files if name.startswith(prefix)}.difference(but)
        else:
            gone = self._files.keys() - but
        for name in gone:
            del self._files[name]

    def moving(self, now: float) -> tuple[int, int]:
        """How many files' time has come, and how many others wait for nothing but their first rest.

        Those that somebody changes again and again may never have rested.
        """
        ready = resting = 0
        for one in self._files.values():
            if one.at <= now:
                ready += 1
            elif one.rests and one.seen.since == one.seen.first:
                resting += 1
        return ready, resting

    def due(self) -> list[tuple[str, Waiting]]:
        """The files whose time has come, in the order in which they were dropped."""
        now = time.monotonic()
        ready = [(name, waiting) for name, waiting in self._files.items() if waiting.at <= now]
        ready.sort(key=lambda item: (item[1].seen.sight.ctime_ns, item[0]))
        return ready

    def __iter__(self) -> Iterator[str]:
        return iter(self._files)

    def next(self) -> float:
        """When the next file is due (monotonic), `math.inf` if none waits."""
        return min((waiting.at for waiting in self._files.values()), default=math.inf)

    def resting(self) -> int:
        """How many files wait for nothing but the end of their rest."""
        return sum(waiting.rests for waiting in self._files.values())

    def sights(self) -> Iterator[Sight]:
        """The files that wait, as they were seen last."""
        return (waiting.seen.sight for waiting in self._files.values())

    def since(self) -> dict[str, tuple[float, str]]:
        """What waits, since when (seconds since the epoch) and for what; first what waits for more than its rest."""
        offset = time.time() - time.monotonic()
        files = sorted(self._files.items(), key=lambda one: one[1].rests)
        return {name: (waiting.seen.first + offset, waiting.note) for name, waiting in files}
