"""When is a dropped file complete? Pure: what was seen, and when, decides."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass, replace
from functools import cache

from dropcap.files.lease import Lease

#: Two looks at a file must lie at least so far apart (seconds) where only their being equal speaks for it.
BETWEEN_LOOKS = 0.1


@dataclass(frozen=True, slots=True)
class Sight:
    """What changes when a file changes. Times are in nanoseconds since 1970 by the clock of the file system.

    `inode` is 0 where inode numbers are not to be relied on.
    """

    size: int
    mtime_ns: int
    ctime_ns: int
    inode: int

    @classmethod
    def of(cls, stat: os.stat_result, stable_inodes: bool = True) -> Sight:
        return cls(stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino if stable_inodes else 0)

    def shows(self, stat: os.stat_result, stable_inodes: bool = True) -> bool:
        """Whether `of` the same would be equal to this one."""
        return (
            self.mtime_ns == stat.st_mtime_ns
            and self.ctime_ns == stat.st_ctime_ns
            and self.size == stat.st_size
            and (not stable_inodes or self.inode == stat.st_ino)
        )

    def same_bytes(self, other: Sight) -> bool:
        """Equal but for the ctime, which a rename changes as well."""
        return (self.size, self.mtime_ns, self.inode) == (other.size, other.mtime_ns, other.inode)


@dataclass(frozen=True, slots=True)
class Seen:
    """A file as last seen. `since` is the monotonic time (seconds) at which it was first seen just so."""

    sight: Sight
    since: float
    first: float  # when it was first seen at all
    rested: float = 0.0  # seconds since its last change, by its times, when it was first seen just so

    @classmethod
    def again(cls, before: Seen | None, sight: Sight, now: float, wall_ns: int) -> Seen:
        """The file was looked at, after `before`. `now` and `wall_ns` are the monotonic and the wall clock at that moment.

        The wall clock is asked only now: it may be set while the file rests.
        """
        if before is not None and before.sight == sight:
            return before
        age = max(0, wall_ns - max(sight.mtime_ns, sight.ctime_ns)) / 1e9  # times in the future prove nothing
        if before is None:
            return cls(sight, now, now, age)
        return cls(sight, now, before.first, min(age, now - before.since))  # it was another one then


@dataclass(frozen=True, slots=True)
class RestTime:
    """How long a file must rest, in seconds, and whether its file system keeps our time."""

    closed: float  # where a lease says that nobody writes
    quiet: float  # where nothing says so
    local: bool

    def for_another_page(self) -> RestTime:
        """The pace of a file whose name was taken a moment ago: who wrote that one may come back to this one too."""
        return replace(self, closed=max(self.closed, self.quiet))


def settled_at(seen: Seen, pace: RestTime, lease: Lease) -> float:
    """The monotonic time from which the file counts as settled if nothing changes; `math.inf` while somebody writes."""
    if lease is Lease.WRITER:
        return math.inf
    if not pace.local or lease is Lease.UNKNOWN:
        return seen.since + max(pace.quiet, BETWEEN_LOOKS)
    rest = pace.closed if seen.sight.size else max(pace.quiet, pace.closed)
    return quiet_since(seen, pace) + rest


def quiet_since(seen: Seen, pace: RestTime) -> float:
    """The monotonic time since which the file has not changed, as far as that is known: it may be longer."""
    # On a share another machine may be writing, and its clock may stamp the file: only our own watching counts.
    return seen.since - seen.rested if pace.local else seen.since


def rest_note(seen: Seen, pace: RestTime, lease: Lease) -> str:
    """What a file that nobody writes to waits for, in words for people."""
    if not pace.local or lease is Lease.UNKNOWN:
        return _rest("rests", pace.quiet, "settle_quiet")
    if not seen.sight.size:
        return _rest("is empty", max(pace.quiet, pace.closed), "settle_quiet")
    return _rest("rests", pace.closed, "settle_closed")


@cache  # one text for all files, of which there may be many
def _rest(state: str, seconds: float, key: str) -> str:
    return f"{state}: it is taken once it has not changed for {seconds:g} s ({key})"
