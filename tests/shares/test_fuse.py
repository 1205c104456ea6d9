"""Shares that hide events, lack what local disks have, fail and hang. Each time on a real FUSE file system."""

from __future__ import annotations

import signal
import time
from datetime import datetime
from pathlib import Path

import pytest

from redcap_sandbox import Fault
from tests.heavy import heavy
from tests.shares.mounting import bindfs, drop, errfs
from tests.shares.test_disks import imports, tracebacks
from tests.site import Site, eventually


def test_a_share_that_tells_of_no_events(place: Site) -> None:
    """Files that another machine writes: only the walk finds them, and only rest tells that they are whole."""
    lower = place.root / "lower"
    with bindfs(lower, place.drop):
        place.folder["rescan"] = "500ms"
        place.write_config()
        daemon = place.start()
        (told,) = daemon.wait_for("folder_watched")
        assert "fuse" in told["mount"]
        drop(lower, "101_V1_consent.pdf", b"one")
        (lower / "sub").mkdir()
        drop(lower / "sub", "102_V1_consent.pdf", b"two")
        daemon.wait_for("done", 2)
        assert place.done() == ["101_V1_consent.pdf", "sub/102_V1_consent.pdf"]
        assert daemon.stop() == 0
    assert (lower / "done").is_dir()


def test_a_share_with_attribute_caches(place: Site) -> None:
    """What lies there looks older than it is: a file that still grows must not be taken for whole, or be sent cut."""
    lower = place.root / "lower"
    with bindfs(lower, place.drop, "-o", "attr_timeout=1,entry_timeout=1,negative_timeout=1"):
        place.folder.update({"rescan": "300ms", "settle_quiet": "1500ms"})
        place.write_config()
        daemon = place.start()
        whole = b"".join(b"part %d\n" % number for number in range(5))
        with (lower / "101_V1_consent.pdf").open("wb", buffering=0) as file:
            for number in range(5):
                file.write(b"part %d\n" % number)
                time.sleep(0.4)  # as a slow writer does: less than settle_quiet
        daemon.wait_for("done")
        assert place.box.content("101", "consent_pdf", "baseline_arm_1") == whole
        assert daemon.stop() == 0


@pytest.mark.parametrize(
    "lacks",
    [{}, {"link": "EPERM", "fsync": "ENOSYS"}, {"link": "EMLINK", "fsync": "ignore"}],
    ids=["no RENAME_NOREPLACE", "nor hard links, nor fsync", "an fsync that does nothing"],
)
def test_a_share_that_lacks_what_local_disks_have(place: Site, lacks: dict[str, str]) -> None:
    with errfs(place.root, place.drop) as share:
        share.set(**lacks)
        day = datetime.now().astimezone().date().isoformat()
        for directory in ("failed", f"done/{day}"):
            (place.drop / directory).mkdir(parents=True)
        (place.drop / "failed" / "holiday.jpg").write_bytes(b"nowhere")
        (place.drop / "done" / day / "101_V1_consent.pdf").write_bytes(b"one")
        place.once()  # what lies there at first and matches no rule is left
        drop(place.drop, "101_V1_consent.pdf", b"two")
        drop(place.drop, "holiday.jpg", b"nowhere else")
        result = place.once()
        assert result.returncode == 1
        assert place.done() == ["101_V1_consent (2).pdf", "101_V1_consent.pdf"]
        assert place.failed() == ["holiday (2).jpg", "holiday.jpg"]
        assert sorted((place.drop / "failed" / name).read_bytes() for name in place.failed()) == [b"nowhere", b"nowhere else"]
        assert "Traceback" not in result.stderr
        assert place.box.content("101", "consent_pdf", "baseline_arm_1") == b"two"


#: A file that cannot be renamed is linked to its new name.
ALSO = {"rename": ("link",)}


@pytest.mark.parametrize(
    ("operation", "error"),
    [("stat", "ESTALE"), ("rename", "EIO"), *(pytest.param(o, "EIO", marks=heavy) for o in ("list", "read", "stat", "open"))],
)
def test_a_share_that_fails_for_a_while(place: Site, operation: str, error: str) -> None:
    with errfs(place.root, place.drop) as share:
        place.folder["rescan"] = "500ms"
        other = folder_beside(place)
        place.write_config()
        daemon = place.start()
        drop(place.drop, "101_V1_consent.pdf", b"one")
        daemon.wait_for("done", file="101_V1_consent.pdf")
        drop(share.lower, ".102", b"two")
        share.set(**dict.fromkeys((operation, *ALSO.get(operation, ())), error))
        (share.lower / ".102").rename(share.lower / "102_V1_consent.pdf")
        drop(other, "103_V1_consent.pdf", b"others go on")
        daemon.wait_for("done", folder="other")
        eventually(lambda: daemon.events("folder_away") + daemon.events("entry_ignored") + daemon.events("paused") + held(place))
        share.set()
        daemon.wait_for("done", file="102_V1_consent.pdf", patience=30.0)
        assert place.done() == ["101_V1_consent.pdf", "102_V1_consent.pdf"]
        assert imports(place.box) == 3
        assert not tracebacks(daemon)
        assert daemon.stop() == 0


def held(place: Site) -> list[object]:
    return [job for job in place.jobs() if job.reason]


def folder_beside(place: Site) -> Path:
    """A second drop folder, on a local disk."""
    path = place.root / "other"
    path.mkdir()
    place.config["folders"]["other"] = {**place.folder, "path": str(path)}
    return path


@pytest.mark.parametrize("operation", ["stat", "read", "rename"])
def test_a_share_that_hangs_stops_no_other(place: Site, operation: str) -> None:
    with errfs(place.root, place.drop) as share:
        place.folder["rescan"] = "500ms"
        other = folder_beside(place)
        place.config["stop_within"] = "2s"
        place.write_config()
        daemon = place.start()
        drop(place.drop, "101_V1_consent.pdf", b"one")
        daemon.wait_for("done", file="101_V1_consent.pdf")
        drop(share.lower, ".102", b"two")
        share.set(**dict.fromkeys((operation, *ALSO.get(operation, ())), "block"))
        (share.lower / ".102").rename(share.lower / "102_V1_consent.pdf")
        for record in range(103, 113):
            drop(other, f"{record}_V1_consent.pdf", b"others go on")
        daemon.wait_for("done", 10, folder="other")
        asked = place.dropcap("status", "--json", patience=10)
        assert '"alive": true' in asked.stdout
        share.set()
        daemon.wait_for("done", file="102_V1_consent.pdf")
        assert imports(place.box) == 12
        assert daemon.stop() == 0


def test_a_share_that_hangs_does_not_keep_dropcap_from_ending(place: Site) -> None:
    with errfs(place.root, place.drop) as share:
        place.config["stop_within"] = "1s"
        place.write_config()
        daemon = place.start()
        drop(place.drop, "101_V1_consent.pdf", b"one")
        daemon.wait_for("done")
        share.set(stat="block")
        drop(share.lower, "102_V1_consent.pdf", b"two")
        daemon.process.send_signal(signal.SIGTERM)
        daemon.wait_for("stopped")
        share.set()  # FUSE itself lets no process go before it has its answer
        assert daemon.process.wait(10) == 0


def test_a_quota_that_is_used_up(place: Site) -> None:
    with errfs(place.root, place.drop) as share:
        daemon = place.start()
        daemon.wait_for("folder_watched")
        share.set(write="EDQUOT", create="EDQUOT", mkdir="EDQUOT")
        drop(share.lower, "holiday.jpg", b"nowhere")
        drop(share.lower, "101_V1_consent.pdf", b"one")
        troubles = eventually(lambda: daemon.events("paused") + daemon.events("entry_ignored") + daemon.events("folder_away"))
        assert troubles[0]["message"]
        assert place.failed() == []
        share.set()
        daemon.wait_for("failed")
        daemon.wait_for("done")
        assert "its name does not fit" in place.why("holiday.jpg")
        assert not tracebacks(daemon)
        assert daemon.stop() == 0


@heavy
def test_the_connection_to_a_share_breaks_in_mid_send(place: Site) -> None:
    """Unmounted while files lie in in_progress/, and back a while later."""
    with errfs(place.root, place.drop) as share:
        place.folder["rescan"] = "500ms"
        place.write_config()
        daemon = place.start()
        place.box.ill(Fault("delay", times=1, seconds=1.5, match={"content": "file", "action": "import"}))
        drop(place.drop, "101_V1_consent.pdf", b"one")
        drop(place.drop, "102_V1_consent.pdf", b"two")
        daemon.wait_for("sending")
        share.unmount()
        daemon.wait_for("folder_away")
        assert list(place.drop.iterdir()) == [], "nothing is made on the bare mount point"
        share.mount()
        daemon.wait_for("done", 2, patience=40.0)
        assert place.done() == ["101_V1_consent.pdf", "102_V1_consent.pdf"]
        assert {held.record for held in place.box.holdings()} == {"101", "102"}
        assert not tracebacks(daemon)
        assert daemon.stop() == 0


def test_a_share_that_knows_no_case(place: Site) -> None:
    """In_Progress is in_progress, HOLIDAY.jpg is holiday.JPG: whatever there is, no file is lost or replaced."""
    with errfs(place.root, place.drop) as share:
        share.set(case="fold")
        for name in ("IN_PROGRESS", "Done", "FAILED"):
            (share.lower / name).mkdir()
        (share.lower / "FAILED" / "HOLIDAY.jpg").write_bytes(b"first")
        drop(place.drop, "holiday.JPG", b"second")
        drop(place.drop, "101_V1_CONSENT.pdf", b"one")
        (share.lower / "Holiday.JPG.WHY.TXT").write_bytes(b"dropped too")
        result = place.once()
        assert "Traceback" not in result.stderr
        kept = [path.read_bytes() for path in share.lower.rglob("*") if path.is_file()]
        assert all(kept.count(content) == 1 for content in (b"first", b"second", b"one", b"dropped too"))
        assert place.box.content("101", "consent_pdf", "baseline_arm_1") == b"one"
        assert [path.name for path in (share.lower / "IN_PROGRESS").iterdir()] == []
