from __future__ import annotations

import os
from pathlib import Path

import pytest

from dropcap.intake.mounts import UNKNOWN, Mounts
from tests import needs

TABLE = r"""
22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
30 22 0:40 / /srv/drop rw,relatime - nfs4 filer:/export/drop\040box rw,vers=4.2
31 30 0:41 / /srv/drop/inner rw - tmpfs tmpfs rw
32 22 0:42 / /srv/with\040space rw master:1 shared:2 propagate_from:2 - cifs //server/share rw
33 22 0:43 / /srv/over rw - xfs /dev/vdb rw
34 33 0:44 / /srv/over rw - fuse.sshfs me@host:/data rw
35 22 0:50 /sub /srv/btrfs rw - btrfs /dev/vdc rw
36 22 0:51 / /srv/virt rw - virtiofs share rw
broken line
37 22 x:y / /srv/odd rw - ext4 /dev/odd rw
"""


@pytest.mark.parametrize(
    ("path", "device", "kind", "local"),
    [
        ("/srv/other", None, "ext4", True),
        ("/srv/drop", None, "nfs4", False),
        ("/srv/drop/sub", os.makedev(0, 40), "nfs4", False),
        ("/srv/drop/inner/x", None, "tmpfs", True),
        ("/srv/dropped", None, "ext4", True),
        ("/srv/with space/a", None, "cifs", False),
        ("/srv/over/a", None, "fuse.sshfs", False),
        ("/srv/over/a", os.makedev(0, 43), "xfs", True),
        ("/srv/btrfs/a", os.makedev(0, 77), "btrfs", True),
        ("/srv/virt", None, "virtiofs", False),
    ],
)
def test_the_mount_of_a_path(path: str, device: int | None, kind: str, local: bool) -> None:
    mount = Mounts(TABLE.splitlines()).of(path, device)
    assert (mount.kind, mount.local) == (kind, local)


def test_escapes_in_the_source() -> None:
    assert str(Mounts(TABLE.splitlines()).of("/srv/drop")) == "nfs4 filer:/export/drop box"


def test_nothing_known_is_not_trusted() -> None:
    assert Mounts([]).of("/srv") is UNKNOWN
    assert not UNKNOWN.local


def test_the_machine_itself(tmp_path: Path) -> None:
    needs.mount_table(tmp_path)
    mount = Mounts.now().of(str(tmp_path), tmp_path.stat().st_dev)
    assert mount.device == tmp_path.stat().st_dev
    assert mount.local


@pytest.mark.parametrize(
    ("kind", "options", "stable"),
    [
        ("ext4", "rw", True),
        ("nfs4", "rw,vers=4.2", True),
        ("cifs", "rw,vers=3.1.1,serverino,soft", True),
        ("cifs", "rw,vers=3.1.1,soft", False),
        ("fuse.smbnetfs", "rw,user_id=0", False),
        ("fuse.sshfs", "rw,user_id=0", False),
        ("vfat", "rw", False),
        ("whatever", "rw", False),
    ],
)
def test_whether_inodes_are_stable(kind: str, options: str, stable: bool) -> None:
    mounts = Mounts(["22 1 254:0 / / rw - ext4 /dev/vda rw", f"30 22 0:40 / /srv/drop rw - {kind} source {options}"])
    assert mounts.of("/srv/drop").stable_inodes is stable
    assert mounts.stable_inodes("/srv/drop/sub") is stable


def test_what_is_mounted_beneath_counts_too() -> None:
    mounts = Mounts(["22 1 254:0 / / rw - ext4 /dev/vda rw", "30 22 0:40 / /srv/drop/failed rw - fuse.sshfs me@host: rw"])
    assert not mounts.stable_inodes("/srv/drop")
    assert mounts.stable_inodes("/srv/dro")
    assert not Mounts([]).stable_inodes("/srv")
