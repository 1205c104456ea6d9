"""Files that arrive in odd ways: still being written, vanishing, replaced, in whole trees, in bursts with events lost."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time

import pytest

from redcap_sandbox import Fault
from tests.heavy import HEAVY
from tests.shares.test_disks import imports
from tests.site import Site, eventually


def test_a_file_that_is_still_being_written(place: Site) -> None:
    """By another program, which keeps it open for longer than a file must rest."""
    code = "import sys\nf = open(sys.argv[1], 'wb', buffering=0)\nf.write(b'one '); print(flush=True); input(); f.write(b'two')"
    daemon = place.start()
    writer = subprocess.Popen(
        [sys.executable, "-c", code, str(place.drop / "101_V1_consent.pdf")], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert writer.stdout is not None
    writer.stdout.readline()
    place.put("102_V1_consent.pdf", b"another")
    daemon.wait_for("done", file="102_V1_consent.pdf")
    time.sleep(0.5)  # ten times what a closed file must rest
    assert not daemon.events("claimed", file="101_V1_consent.pdf")
    writer.communicate(b"\n")
    daemon.wait_for("done", file="101_V1_consent.pdf")
    assert place.box.content("101", "consent_pdf", "baseline_arm_1") == b"one two"
    assert imports(place.box) == 2
    assert daemon.stop() == 0


def test_files_that_vanish(place: Site) -> None:
    place.folder["settle_closed"] = "500ms"
    place.write_config()
    daemon = place.start()
    for number in range(50):
        place.put(f"{number}_V1_scan.tif", b"gone again").unlink()
    place.put("101_V1_consent.pdf", b"stays")
    daemon.wait_for("done")
    assert daemon.stop() == 0
    assert not daemon.events("internal_error")
    assert not daemon.events("entry_ignored")


def test_a_file_that_is_taken_out_of_in_progress_while_it_waits(place: Site) -> None:
    place.box.ill(Fault("status", code=503))
    daemon = place.start()
    place.put("101_V1_consent.pdf", b"second thoughts")
    daemon.wait_for("claimed")
    (place.drop / "in_progress" / "101_V1_consent.pdf").unlink()
    daemon.wait_for("withdrawn")
    place.box.well()
    assert daemon.stop() == 0
    assert place.box.holdings() == []


@pytest.mark.parametrize("how", ["rewritten", "replaced"])
def test_a_file_that_changes_while_it_is_sent(place: Site, how: str) -> None:
    """A slow server, and somebody who finds a mistake meanwhile: REDCap ends up with what the file holds in the end."""
    daemon = place.start()
    place.box.ill(Fault("slow_read", times=1, bytes_per_second=200_000, match={"content": "file", "action": "import"}))
    place.put("101_V1_consent.pdf", b"a" * 400_000)
    daemon.wait_for("sending")
    taken = place.drop / "in_progress" / "101_V1_consent.pdf"
    if how == "rewritten":
        with taken.open("r+b") as file:
            file.write(b"b" * 400_000)
    else:
        beside = place.root / "beside"
        beside.write_bytes(b"b" * 400_000)
        beside.rename(taken)
    daemon.wait_for("done", patience=40.0)
    assert place.box.content("101", "consent_pdf", "baseline_arm_1") == b"b" * 400_000
    assert place.done() == ["101_V1_consent.pdf"]
    assert daemon.stop() == 0


def test_whole_trees(place: Site) -> None:
    """Moved in, copied in, and added to afterwards; hard links within."""
    daemon = place.start()
    moved = place.root / "moved"
    for day in range(5):
        folder = moved / f"day-{day}" / "scans"
        folder.mkdir(parents=True)
        (folder / f"{101 + day}_V1_consent.pdf").write_bytes(b"day %d" % day)
    copied = place.root / "copied"
    shutil.copytree(moved, copied)
    for path in copied.rglob("*.pdf"):
        path.rename(path.with_name(path.name.replace("_V1_", "_V2_")))
    moved.rename(place.drop / "moved")
    shutil.copytree(copied, place.drop / "copied")
    daemon.wait_for("done", 10)
    later = place.drop / "moved" / "day-0" / "scans"
    later.mkdir(parents=True, exist_ok=True)
    (later / "107_V1_consent.pdf").write_bytes(b"later")
    os.link(copied / "day-0" / "scans" / "101_V2_consent.pdf", place.drop / "copied" / "108_V1_consent.pdf")
    daemon.wait_for("done", 12)
    assert len(place.box.holdings()) == 12
    assert "moved/day-0/scans/101_V1_consent.pdf" in place.done()
    assert daemon.stop() == 0


def test_times_far_in_the_past_and_future(place: Site) -> None:
    for record, seconds in (("101", 16_000_000_000), ("102", -16_000_000_000), ("103", 8_000_000_000)):
        beside = place.root / record
        beside.write_bytes(record.encode())
        os.utime(beside, (seconds, seconds))
        beside.rename(place.drop / f"{record}_V1_consent.pdf")
    daemon = place.start()
    daemon.wait_for("done", 3)
    assert daemon.stop() == 0
    assert not daemon.events("folder_away")


def test_subfolders_that_come_and_go_at_once(place: Site) -> None:
    daemon = place.start()
    daemon.wait_for("folder_watched")
    for number in range(300):
        (place.drop / f"new {number}" / "beneath").mkdir(parents=True)
        (place.drop / f"new {number}" / "beneath").rmdir()
        (place.drop / f"new {number}").rmdir()
    place.put("101_V1_consent.pdf")
    daemon.wait_for("done")
    assert not daemon.events("folder_away")
    assert daemon.stop() == 0


@pytest.mark.slow
def test_a_burst_with_events_lost(place: Site) -> None:
    """More events than the kernel keeps: the walk finds every file. 500 files, 100,000 with DROPCAP_HEAVY=1."""
    number = 100_000 if HEAVY else 500
    queue = "/proc/sys/fs/inotify/max_queued_events"
    place.folder.update({"rescan": "1h", "ignore": ["*.raw"]})
    place.write_config()
    daemon = place.start()
    daemon.wait_for("folder_watched")
    before = open(queue).read()  # noqa: SIM115
    os.kill(daemon.process.pid, 19)  # stopped: it reads no events, and the queue overflows
    try:
        for n in range(20_000 if not HEAVY else int(before) + 20_000):
            os.close(os.open(place.drop / f"{n % 8}.raw", os.O_CREAT | os.O_WRONLY))
        for n in range(number):
            with open(place.drop / f"nothing-{n}.jpg", "wb") as file:
                file.write(b"x")
    finally:
        os.kill(daemon.process.pid, 18)
    failed = place.drop / "failed"
    eventually(lambda: failed.is_dir() and len(os.listdir(failed)) == 2 * number, 60.0 if not HEAVY else 1800.0)
    assert daemon.stop() == 0
    left = [name for name in os.listdir(place.drop) if name.endswith(".jpg")]
    assert left == []
    assert len({job.name for job in place.jobs()}) == number
