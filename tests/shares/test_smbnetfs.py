"""A drop folder on a server, mounted by smbnetfs: inodes that change, no renaming of open files, no word of free space."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from redcap_sandbox import Fault
from tests.shares.mounting import drop
from tests.shares.samba import Samba, Smbnetfs, lone_host, samba, smbnetfs
from tests.shares.test_disks import imports, tracebacks
from tests.shares.test_samba import put
from tests.site import Site, site


class Office(NamedTuple):
    """The same folder from three sides."""

    place: Site  # dropcap's, through the mount
    server: Samba  # a colleague's
    mount: Smbnetfs
    disk: Path  # the server's own


@pytest.fixture
def office() -> Iterator[Office]:
    with tempfile.TemporaryDirectory(prefix="dropcap-test-") as name:
        root = Path(name)
        root.chmod(0o755)
        disk = root / "disk"
        disk.mkdir()
        with site(root) as place, samba(root, disk, lone_host(), 445) as server, smbnetfs(root, server) as mount:
            place.drop = mount.path
            place.folder.update({"path": str(mount.path), "rescan": "300ms", "min_free": "100MiB"})
            place.write_config()
            yield Office(place, server, mount, disk)


def test_dropped_failed_and_tried_again_from_every_side(office: Office) -> None:
    place, server, _, _ = office
    daemon = place.start()
    (told,) = daemon.wait_for("folder_watched")
    assert "smbnetfs" in told["mount"]
    names = ("101_V1_consent.pdf", "998_V1_consent.pdf", "999_V1_consent.pdf")
    sent = server.client("desk2", *(put(place.root, name, b"one") for name in names))
    assert sent.returncode == 0, sent.stdout
    drop(place.drop, "102_V1_consent.pdf", b"two")
    drop(place.drop, "997_V1_consent.pdf", b"three")
    drop(place.drop, "holiday.jpg", b"a picture")
    daemon.wait_for("done", 2)
    daemon.wait_for("failed", 4)
    why = server.client("desk1", r"get failed\999_V1_consent.pdf.why.txt -")
    assert "Data desk, ext. 4711" in why.stdout, why.stdout + why.stderr
    for old, new in (
        (r"failed\999_V1_consent.pdf", r"failed\103_V1_consent.pdf"),
        (r"failed\998_V1_consent.pdf", "101_V2_consent.pdf"),
    ):
        assert server.client("desk2", f"rename {old} {new}").returncode == 0
    (place.drop / "failed" / "997_V1_consent.pdf").rename(place.drop / "failed" / "102_V2_consent.pdf")
    (place.drop / "failed" / "holiday.jpg").rename(place.drop / "103_V1_scan.jpg")
    daemon.wait_for("done", 6)
    assert len(daemon.events("again")) == 4
    assert place.names("failed") == []
    assert place.box.content("103", "consent_pdf", "baseline_arm_1") == b"one"
    assert place.box.content("103", "scan", "baseline_arm_1") == b"a picture"
    assert imports(place.box) == 6
    assert len(place.jobs()) == 10, "nothing was taken twice"
    # Another file for a field that holds one, in a subfolder, and large enough to go in many pieces.
    large = b"a page of many\n" * 200_000
    assert server.client("desk2", "mkdir later", put(place.root, r"later\101_V1_consent.pdf", large)).returncode == 0
    daemon.wait_for("done", 7)
    assert place.box.content("101", "consent_pdf", "baseline_arm_1") == large
    assert len(place.copies()) == 1
    page = server.client("desk1", "get _STATUS.html -")
    assert "<html" in page.stdout
    assert not daemon.events("folder_away") + daemon.events("folder_full") + daemon.events("paused") + daemon.events("withdrawn")
    assert not tracebacks(daemon)
    assert daemon.stop() == 0


def test_a_slow_writer(office: Office) -> None:
    """On another machine, so that nothing but rest tells that the file is whole."""
    place, _, _, disk = office
    place.folder["settle_quiet"] = "2s"
    place.write_config()
    daemon = place.start()
    daemon.wait_for("folder_watched")
    with (disk / "101_V1_consent.pdf").open("wb", buffering=0) as file:
        for number in range(5):
            file.write(b"part %d\n" % number)
            time.sleep(0.5)  # as a slow writer does: less than settle_quiet
        assert not daemon.events("claimed")
    daemon.wait_for("done")
    assert place.box.content("101", "consent_pdf", "baseline_arm_1") == b"".join(b"part %d\n" % number for number in range(5))
    assert daemon.stop() == 0


def test_mounted_anew_after_a_crash_in_mid_send(office: Office) -> None:
    """Every inode is another one then."""
    place, server, mount, _ = office
    drop(place.drop, "999_V1_consent.pdf", b"of nobody")
    assert place.once().returncode == 1
    daemon = place.start()
    place.box.ill(Fault("delay", times=1, seconds=1.0, match={"content": "file", "action": "import"}))
    drop(place.drop, "101_V1_consent.pdf", b"one")
    daemon.wait_for("sending")
    daemon.kill()
    mount.unmount()
    mount.mount()
    again = place.start()
    again.wait_for("done")
    assert place.box.wait_for(lambda box: imports(box) == 1)  # a request is counted when its answer has gone out
    assert server.client("desk2", r"rename failed\999_V1_consent.pdf failed\102_V1_consent.pdf").returncode == 0
    again.wait_for("again")
    again.wait_for("done", 2)
    assert place.done() == ["101_V1_consent.pdf", "102_V1_consent.pdf"]
    assert again.stop() == 0
