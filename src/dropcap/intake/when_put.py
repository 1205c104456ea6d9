"""When a file was put where it lies, as the times of directories tell."""

from __future__ import annotations

import os
from dataclasses import dataclass, field


def above_of(name: str) -> str:
    """The directory that it lies in."""
    return name.rpartition("/")[0]


@dataclass(slots=True)
class Directories:
    """What is known of a directory and of those beneath it, from before they were listed (nanoseconds since the epoch)."""

    changed: dict[str, int] = field(default_factory=dict)
    came: dict[str, int] = field(default_factory=dict)  # when they may have been moved there, with all that is in them

    def add(self, name: str, status: os.stat_result, above: int) -> None:
        """`above` is when the directory that it lies in was changed. Whoever renames a directory changes nothing in it."""
        moved = min(status.st_ctime_ns, above) if status.st_ctime_ns > status.st_mtime_ns else 0
        self.changed[name] = status.st_mtime_ns
        self.came[name] = max(moved, self.came.get(above_of(name), 0))

    def put_at(self, name: str, status: os.stat_result) -> int:
        """When that file was put there at the latest. To change its rights changes it, and not its directory."""
        directory = above_of(name)
        return max(min(status.st_ctime_ns, self.changed.get(directory, status.st_ctime_ns)), self.came.get(directory, 0))
