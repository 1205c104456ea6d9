"""A drop folder on a disk that is not mounted, is mounted again, or is another one."""

from __future__ import annotations

import shutil
from pathlib import Path

from redcap_sandbox import Fault
from tests import needs
from tests.shares.mounting import drop, tmpfs, unmount
from tests.shares.test_disks import imports
from tests.site import Site, eventually


def bind(source: Path, target: Path) -> None:
    needs.mounting("--bind", source, target)


def test_a_disk_that_is_not_mounted_at_boot(place: Site) -> None:
    with tmpfs(place.drop):
        drop(place.drop, "101_V1_consent.pdf")
        assert place.once().returncode == 0
        kept = place.root / "kept"
        shutil.copytree(place.drop, kept, symlinks=True)
    place.folder["rescan"] = "300ms"
    place.write_config()
    daemon = place.start()
    (told,) = daemon.wait_for("folder_away")
    assert "tmpfs dropcap-test" in told["message"], "what was mounted there before"
    (place.drop / "102_V1_consent.pdf").write_bytes(b"onto the bare mount point")
    assert sorted(path.name for path in place.drop.iterdir()) == ["102_V1_consent.pdf"], "nothing is made there"
    assert place.dropcap("status").returncode == 1
    # It comes back, with another device number and other inodes.
    with tmpfs(place.root / "device"), tmpfs(place.drop):
        shutil.copytree(kept, place.drop, symlinks=True, dirs_exist_ok=True)
        daemon.wait_for("folder_watched")
        drop(place.drop, "103_V1_consent.pdf", b"three")
        daemon.wait_for("done")
        assert place.done() == ["101_V1_consent.pdf", "103_V1_consent.pdf"]
        assert daemon.stop() == 0
    assert (place.drop / "102_V1_consent.pdf").read_bytes() == b"onto the bare mount point"


def test_a_disk_that_goes_in_mid_send_and_is_back_after_a_restart(place: Site) -> None:
    disk = place.root / "disk"
    disk.mkdir()
    bind(disk, place.drop)
    try:
        daemon = place.start()
        place.box.ill(Fault("delay", times=1, seconds=1.0, match={"content": "file", "action": "import"}))
        drop(place.drop, "101_V1_consent.pdf", b"one")
        daemon.wait_for("sending")
        unmount(place.drop)
        daemon.wait_for("folder_away")
        daemon.kill()
        again = place.start()
        again.wait_for("folder_away")
        assert place.names("") == []
        bind(disk, place.drop)
        again.wait_for("folder_watched")
        eventually(lambda: place.done() == ["101_V1_consent.pdf"])
        assert imports(place.box) == 1
        assert again.stop() == 0
    finally:
        unmount(place.drop)


def test_another_disk_is_taken_with_adopt_only(place: Site) -> None:
    needs.mount_table(place.root)
    with tmpfs(place.drop):
        drop(place.drop, "101_V1_consent.pdf")
        assert place.once().returncode == 0
    with tmpfs(place.drop):
        drop(place.drop, "102_V1_consent.pdf", b"two")
        refused = place.once()
        assert refused.returncode == 1
        assert "--adopt" in refused.stdout
        assert place.everywhere() == ["102_V1_consent.pdf"]
        adopted = place.dropcap("check", "--offline", "--adopt")
        assert adopted.returncode == 0, adopted.stdout + adopted.stderr
        assert place.once().returncode == 0
        assert place.done() == ["102_V1_consent.pdf"]
