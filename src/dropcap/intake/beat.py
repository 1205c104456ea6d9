"""The beat in an owner marker: a sign that the run of dropcap that works in the folder is alive."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

#: How often the marker is written (seconds), and how long a run may work in the folder by what it wrote last. Whoever could not
#: write for so long takes and sends nothing there.
EVERY, LASTS = 30.0, 60.0
#: A marker that has not moved for so long is nobody's (seconds): longer than `LASTS`, for shares that show changes late.
LEFT_AFTER = 90.0

_BEAT = re.compile(r"([0-9a-f]{16})([0-9a-f]{16}) ([0-9a-f]{16})")
_OVER = "0" * 16


def clock() -> float:
    """Seconds that go on while the machine sleeps, and that nobody sets."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


@dataclass(frozen=True, slots=True)
class Beat:
    """One beat, always 49 characters long.

    `home` stands for a `state_dir` on a machine since its start, `run` for one run of dropcap; `tick` is another one each time.
    """

    home: str
    run: str
    tick: str

    def __str__(self) -> str:
        return f"{self.home}{self.run} {self.tick}"

    @property
    def over(self) -> bool:
        """Whether the run has ended and said so."""
        return self.tick == _OVER

    @classmethod
    def parse(cls, value: object) -> Beat | None:
        """What `str` made of a beat; None for anything else."""
        match = _BEAT.fullmatch(value) if isinstance(value, str) else None
        return cls(*match.groups()) if match else None


@dataclass(frozen=True, slots=True)
class Run:
    """One run of dropcap, from its start to its end."""

    home: str
    number: str

    @classmethod
    def of(cls, state_dir: Path) -> Run:
        """A new run with that `state_dir`, which must be there.

        Two runs of one home are never alive at once, since the lock of `state_dir` keeps them apart. A copy of `state_dir`, also
        on a copy of the machine, is another home; so is the same one after the machine has started anew. Raises OSError.
        """
        status = os.stat(state_dir)
        boot = b""
        with contextlib.suppress(OSError):
            boot = Path("/proc/sys/kernel/random/boot_id").read_bytes()
        home = hashlib.sha256(boot + b"%d %d" % (status.st_dev, status.st_ino)).hexdigest()[:16]
        return cls(home, secrets.token_hex(8))

    @classmethod
    def of_installation(cls, installation: str) -> Run:
        """A new run of one of several hosts that share a ledger: they are one home, and the ledger says which of them works in a
        folder."""
        return cls(hashlib.sha256(b"shared " + installation.encode()).hexdigest()[:16], secrets.token_hex(8))

    def beat(self) -> Beat:
        """The next beat."""
        return Beat(self.home, self.number, secrets.token_hex(8))

    def over(self) -> Beat:
        """What it leaves behind when it ends."""
        return Beat(self.home, self.number, _OVER)

    def knows(self, beat: Beat | None) -> bool:
        """Whether nobody else can be alive who left this: a run of the same home, or one that said that it ended."""
        return beat is None or beat.over or beat.home == self.home


class Vigil:
    """Watches by its own clock whether somebody keeps a folder. For one thread."""

    def __init__(self, lasts: float = LEFT_AFTER, now: Callable[[], float] = clock) -> None:
        self._lasts = lasts
        self._now = now
        self._sign: bytes | None = None
        self._since = 0.0
        self.moved = False
        self.another = False  # the folder's marker named another installation, when it was there last

    def look(self, sign: bytes) -> float:
        """Take in what is there now, read anew; for how many seconds more it must not move to be nobody's, 0 if it is."""
        now = self._now()
        if sign != self._sign:
            self.moved = self._sign is not None
            self._sign, self._since = sign, now
        return max(0.0, self._since + self._lasts - now)

    def forget(self) -> None:
        """The folder is ours: what was seen before tells nothing any more."""
        self._sign, self.moved, self.another = None, False, False
