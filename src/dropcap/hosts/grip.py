"""What a host may believe of its lease of one folder, at this moment, without asking anybody."""

from __future__ import annotations

import math
import time


def boot_time() -> float:
    """Seconds since the machine was started, by a clock that nobody sets and that goes on while the machine is suspended."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class Grip:
    """The lease of one folder as its holder knows it. Read by any thread: a field is replaced whole, there is no lock.

    Past `trusted_until` (`boot_time`) nothing is claimed, renamed or sent: somebody else may have taken the folder by then. A
    later beat may still find that nobody has. Once `lost`, it stays lost: whoever gets the folder again has a new grip.
    """

    def __init__(self, folder: str, fence: int, trusted_until: float) -> None:
        self.folder = folder
        self.fence = fence
        self.trusted_until = trusted_until
        self.lost = False

    @classmethod
    def taken(cls, folder: str, fence: int, asked: float, lease: float) -> Grip:
        """A lease of `lease` seconds that was asked for at `asked` (`boot_time`, from before the request)."""
        return cls(folder, fence, trusted_until(asked, lease))

    @classmethod
    def alone(cls, folder: str) -> Grip:
        """The grip of a host that shares its ledger with nobody: it always holds."""
        return cls(folder, 0, math.inf)

    def holds(self) -> bool:
        """Whether the folder is ours beyond doubt."""
        return not self.lost and boot_time() < self.trusted_until

    def left(self) -> float:
        """For how many seconds it holds if it is not renewed; 0 if it does not."""
        return 0.0 if self.lost else max(0.0, self.trusted_until - boot_time())

    def renew(self, until: float) -> None:
        """A beat was answered: trusted until then (`boot_time`), or as long as before if that is later."""
        self.trusted_until = max(self.trusted_until, until)

    def lose(self) -> None:
        """It belongs to somebody else, or was handed back."""
        self.lost = True


def trusted_until(asked: float, lease: float) -> float:
    """Until when a lease is trusted that was asked for at `asked`: two thirds, for those who act on a look at it."""
    return asked + lease * 2 / 3
