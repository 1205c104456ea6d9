"""What is mounted where, and whether this machine alone writes there."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

#: Only the kernel of this machine writes there, by this machine's clock. All else is taken for a network file system,
#: which costs patience and nothing more.
_LOCAL_KINDS = (
    "ext2 ext3 ext4 xfs btrfs zfs tmpfs ramfs overlay aufs f2fs jfs reiserfs bcachefs nilfs2 vfat msdos exfat ntfs3 "
    "hfs hfsplus udf iso9660 squashfs"
)
_LOCAL = frozenset(_LOCAL_KINDS.split())

_OCTAL = re.compile(r"\\([0-7]{3})")


@dataclass(frozen=True, slots=True)
class Mount:
    """One line of mountinfo."""

    device: int  # st_dev of what lies there; btrfs subvolumes and some FUSE show another
    point: str
    kind: str
    source: str

    @property
    def local(self) -> bool:
        return self.kind in _LOCAL

    def __str__(self) -> str:
        """File system and source, as a person would name them: `nfs4 filer:/export/consents`."""
        return f"{self.kind} {self.source}"


#: What is said of a path when nothing is known: not to be trusted with leases or clocks.
UNKNOWN = Mount(0, "/", "unknown", "unknown")


class Mounts:
    """A picture of the mount table, to be taken anew when it may have changed."""

    def __init__(self, lines: Iterable[str]) -> None:
        parsed = (_parse(line) for line in lines)
        self._mounts = [mount for mount in parsed if mount is not None]

    @classmethod
    def now(cls) -> Mounts:
        """The mounts that this process sees; none if /proc is not to be read."""
        try:
            data = Path("/proc/self/mountinfo").read_bytes()
        except OSError:
            return cls(())
        return cls(os.fsdecode(data).split("\n"))

    def of(self, path: str, device: int | None = None) -> Mount:
        """The mount that the absolute `path` lies on.

        `device` (st_dev) decides between mounts that lie on top of one another, or that a path alone would miss.
        """
        above = [mount for mount in self._mounts if _beneath(path, mount.point)]
        same = [mount for mount in above if mount.device == device]
        # Of two mounts on one point the later hides the earlier: max() keeps the first, hence the reversal.
        return max(reversed(same or above), key=lambda mount: len(mount.point), default=UNKNOWN)


def _beneath(path: str, point: str) -> bool:
    return point == "/" or path == point or path.startswith(point + "/")


def _parse(line: str) -> Mount | None:
    # 36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw,errors=continue
    fields, separator, tail = line.partition(" - ")
    head = fields.split(" ")
    rest = tail.split(" ")
    if not separator or len(head) < 6 or len(rest) < 2:
        return None
    major, _, minor = head[2].partition(":")
    if not (major.isdecimal() and minor.isdecimal()):
        return None
    return Mount(os.makedev(int(major), int(minor)), _plain(head[4]), rest[0], _plain(rest[1]))


def _plain(text: str) -> str:
    # The kernel escapes bytes; a name that is not ASCII otherwise comes through as it is.
    return _OCTAL.sub(lambda match: chr(int(match[1], 8)), text)
