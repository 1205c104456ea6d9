"""`dropcap pause --folder F --release`: the share of a folder at work can be unmounted, and all goes on once it is back."""

from __future__ import annotations

import subprocess

from tests import needs
from tests.shares.mounting import tmpfs
from tests.site import Site, eventually


def test_a_share_in_use_can_be_unmounted(place: Site) -> None:
    with tmpfs(place.drop, "8m"):
        daemon = place.start()
        (place.drop / "101_V1_consent.pdf").write_bytes(b"one")
        daemon.wait_for("done")
        assert subprocess.run([needs.program("umount"), str(place.drop)], capture_output=True).returncode != 0, "it is in use"
        released = place.dropcap("pause", "--folder", "consents", "--release")
        assert (released.returncode, "can be unmounted" in released.stdout) == (0, True), released
        # Mounted elsewhere meanwhile, so that what lies on it is not lost.
        kept = place.root / "kept"
        kept.mkdir()
        subprocess.run([needs.program("mount"), "--bind", str(place.drop), str(kept)], check=True)
        try:
            subprocess.run([needs.program("umount"), str(place.drop)], check=True)
            (place.drop / "999_V1_consent.pdf").write_bytes(b"beneath the mount point")
            status = place.dropcap("status")
            assert status.returncode == 1
            assert "let go of by hand" in status.stdout
            daemon.kill()
            daemon = place.start(ready=False)  # a restart does not take it up either
            daemon.wait_for("folder_away")
            (place.drop / "999_V1_consent.pdf").unlink()
            subprocess.run([needs.program("mount"), "--bind", str(kept), str(place.drop)], check=True)
        finally:
            subprocess.run([needs.program("umount"), str(kept)], check=True)
        (place.drop / "102_V1_consent.pdf").write_bytes(b"two")
        assert not daemon.events("claimed")
        assert place.dropcap("resume", "--folder", "consents").returncode == 0
        daemon.wait_for("done", file="102_V1_consent.pdf")
        eventually(lambda: place.done() == ["101_V1_consent.pdf", "102_V1_consent.pdf"])
        assert daemon.stop() == 0


def test_without_a_daemon_it_is_remembered(place: Site) -> None:
    place.put("101_V1_consent.pdf")
    assert place.once().returncode == 0
    assert place.dropcap("pause", "--folder", "consents", "--release").returncode == 0
    assert place.dropcap("pause", "--server", place.box.url, "--release").returncode == 2
    place.put("102_V1_consent.pdf")
    daemon = place.start(ready=False)
    daemon.wait_for("folder_away")
    assert place.dropcap("resume", "--folder", "consents").returncode == 0
    daemon.wait_for("done")
