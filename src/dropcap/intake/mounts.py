"""What is mounted where, whether this machine alone writes there, and whether its inode numbers can be relied on."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from dropcap.files.tree import Tree

#: Only the kernel of this machine writes there, by this machine's clock. All else is taken for a network file system,
#: which costs patience and nothing more.
_LOCAL_KINDS = (
    "ext2 ext3 ext4 xfs btrfs zfs tmpfs ramfs overlay aufs f2fs jfs reiserfs bcachefs nilfs2 vfat msdos exfat ntfs3 "
    "hfs hfsplus udf iso9660 squashfs"
)
_LOCAL = frozenset(_LOCAL_KINDS.split())

#: Local, but a file gets a new inode number whenever the kernel has forgotten it.
_NUMBERED_ANEW = frozenset({"vfat", "msdos", "exfat"})
#: Network file systems whose servers number the files. FUSE is not among them: most of its file systems (smbnetfs, sshfs) number
#: a file anew when the kernel has forgotten it or another machine has renamed it, which no quick probe can show.
_NUMBERED_BY_SERVER = frozenset({"nfs", "nfs4", "ceph", "lustre", "gpfs", "beegfs", "ocfs2", "gfs2", "afs"})
#: They do so with the option `serverino` only, which the kernel takes back from a server that cannot.
_NUMBERED_BY_OPTION = frozenset({"cifs", "smb3"})

_OCTAL = re.compile(r"\\([0-7]{3})")


@dataclass(frozen=True, slots=True)
class Mount:
    """One line of mountinfo."""

    device: int  # st_dev of what lies there; btrfs subvolumes and some FUSE show another
    point: str
    kind: str
    source: str
    options: frozenset[str] = frozenset()  # those of the file system

    @property
    def local(self) -> bool:
        return self.kind in _LOCAL

    @property
    def stable_inodes(self) -> bool:
        """Whether a file keeps its inode number for as long as it is there, also when it is renamed."""
        if self.kind in _NUMBERED_BY_OPTION:
            return "serverino" in self.options
        return self.kind in _NUMBERED_BY_SERVER or (self.local and self.kind not in _NUMBERED_ANEW)

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
        # Of two mounts on one point the later hides the earlier: max() keeps the first, so the list is reversed.
        return max(reversed(same or above), key=lambda mount: len(mount.point), default=UNKNOWN)

    def stable_inodes(self, path: str) -> bool:
        """Whether files keep their inode numbers in the directory at the absolute `path` and in all that is mounted beneath."""
        beneath = [mount for mount in self._mounts if mount.point != path and _beneath(mount.point, path)]
        return all(mount.stable_inodes for mount in [self.of(path), *beneath])

    def divides(self, path: str) -> bool:
        """Whether something is mounted beneath the absolute `path`, so that a file may have to be copied to be moved."""
        return any(mount.point != path and _beneath(mount.point, path) for mount in self._mounts)


def open_tree(path: Path) -> Tree:
    """The folder at `path`, which knows whether its inode numbers are to be relied on. Raises OSError."""
    return Tree(path, stable_inodes=Mounts.now().stable_inodes(os.path.realpath(path)))


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
    options = frozenset(rest[2].split(",")) if len(rest) > 2 else frozenset()
    return Mount(os.makedev(int(major), int(minor)), _plain(head[4]), rest[0], _plain(rest[1]), options)


def _plain(text: str) -> str:
    # The kernel escapes bytes; a name that is not ASCII otherwise comes through as it is.
    return _OCTAL.sub(lambda match: chr(int(match[1], 8)), text)
