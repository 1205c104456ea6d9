"""A file system that numbers a file anew at every look, renames nothing that is open and does not say how much is free."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from redcap_sandbox import Fault
from tests.heavy import heavy
from tests.shares.mounting import ErrorFs, drop, errfs
from tests.shares.test_disks import imports, tracebacks
from tests.site import Site, eventually

NUMBERED_ANEW = {"inode": "new", "rename": "closed", "space": "untold"}


@pytest.fixture
def share(place: Site) -> Iterator[ErrorFs]:
    with errfs(place.root, place.drop) as made:
        made.set(**NUMBERED_ANEW)
        assert place.drop.stat().st_ino != place.drop.stat().st_ino
        place.folder.update({"rescan": "300ms", "min_free": "100MiB"})
        place.write_config()
        yield made


@pytest.mark.parametrize("link", ["", "EPERM"], ids=["hard links", "no hard links"])
def test_files_are_delivered_and_tried_again(place: Site, share: ErrorFs, link: str) -> None:
    share.set(**NUMBERED_ANEW, **({"link": link} if link else {}))
    daemon = place.start()
    drop(place.drop, "101_V1_consent.pdf", b"one")
    drop(share.lower, "102_V1_consent.pdf", b"two")
    drop(place.drop, "holiday.jpg", b"renamed in failed/")
    drop(place.drop, "999_V1_consent.pdf", b"moved back")
    daemon.wait_for("done", 2)
    daemon.wait_for("failed", 2)
    assert "its name does not fit" in place.why("holiday.jpg")
    # As another machine does it: by the server, not through this mount.
    failed = share.lower / "failed"
    (failed / "holiday.jpg").rename(failed / "103_V1_scan.jpg")
    (failed / "999_V1_consent.pdf").rename(share.lower / "103_V1_consent.pdf")
    daemon.wait_for("done", 4)
    assert len(daemon.events("again")) == 2
    assert place.names("failed") == [], "the texts have gone with the files"
    assert place.done() == ["101_V1_consent.pdf", "102_V1_consent.pdf", "103_V1_consent.pdf", "103_V1_scan.jpg"]
    assert place.box.content("103", "scan", "baseline_arm_1") == b"renamed in failed/"
    assert imports(place.box) == 4
    assert len(place.jobs()) == 6, "nothing was taken twice"
    assert not daemon.events("folder_away") + daemon.events("withdrawn")
    assert not tracebacks(daemon)
    assert daemon.stop() == 0


def test_the_command_that_tries_again(place: Site, share: ErrorFs) -> None:
    place.once()  # what lies there at first and matches no rule is left
    drop(place.drop, "holiday.jpg", b"nowhere")
    assert place.once().returncode == 1
    assert place.dropcap("retry", "--failed").returncode == 0
    assert place.once().returncode == 1
    assert place.failed() == ["holiday.jpg"]
    assert len(place.jobs()) == 2
    checked = place.dropcap("check", "--offline", "--all")
    assert "settle_quiet" in checked.stdout
    assert sorted(path.name for path in share.lower.iterdir() if path.name.startswith(".")) == [".dropcap"]


def test_renamed_while_it_waits(place: Site, share: ErrorFs) -> None:
    place.folder["missing_record"] = "wait"
    place.write_config()
    daemon = place.start()
    drop(place.drop, "998_V1_consent.pdf", b"of nobody")
    daemon.wait_for("retrying", reason="no_record")
    waiting = share.lower / "in_progress"
    (waiting / "998_V1_consent.pdf").rename(waiting / "101_V1_consent.pdf")
    daemon.wait_for("claimed", renamed_from="998_V1_consent.pdf")
    daemon.wait_for("done")
    assert len(place.jobs()) == 1, "under its own job"
    assert daemon.stop() == 0


@heavy
def test_killed_in_mid_send(place: Site, share: ErrorFs) -> None:
    daemon = place.start()
    place.box.ill(Fault("delay", times=1, seconds=1.0, match={"content": "file", "action": "import"}))
    drop(place.drop, "101_V1_consent.pdf", b"one")
    daemon.wait_for("sending")
    daemon.kill()
    again = place.start()
    again.wait_for("done")
    assert imports(place.box) == 1
    assert place.done() == ["101_V1_consent.pdf"]
    assert again.stop() == 0


def test_another_folder_in_its_place_is_noticed(place: Site, share: ErrorFs) -> None:
    """The mount is the same, and no number tells the two apart: the marker does."""
    place.folder["path"] = str(place.drop / "inbox")
    (share.lower / "inbox").mkdir()
    place.write_config()
    daemon = place.start()
    daemon.wait_for("folder_watched")
    eventually(lambda: (share.lower / "inbox" / "_STATUS.html").exists())  # or it may just come into the other one
    (share.lower / "inbox").rename(share.lower / "before")
    (share.lower / "inbox").mkdir()
    drop(share.lower / "inbox", "101_V1_consent.pdf", b"one")
    daemon.wait_for("folder_away")
    (share.lower / "inbox").rename(share.lower / "other")
    (share.lower / "before").rename(share.lower / "inbox")
    drop(share.lower / "inbox", "102_V1_consent.pdf", b"two")
    daemon.wait_for("folder_back")
    daemon.wait_for("done")
    eventually(lambda: (share.lower / "inbox" / "done").is_dir())
    assert [path.name for path in (share.lower / "other").iterdir()] == ["101_V1_consent.pdf"]
    assert daemon.stop() == 0
