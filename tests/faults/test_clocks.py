"""A clock that is wrong at the start, or is set while dropcap runs."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from redcap_sandbox import Fault, RowKey
from tests import needs
from tests.site import Daemon, Site, eventually

DAY = 86400


class Clock:
    """What the command takes for the time; its monotonic clock goes on as it is."""

    def __init__(self, root: Path) -> None:
        self._file = root / "clock"
        self.env = {
            "LD_PRELOAD": needs.faketime(),
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "NO_FAKE_STAT": "1",
        }
        self.ahead(0)

    def ahead(self, seconds: int) -> None:
        """Set the clock, so far ahead of the right time; behind it, if that is negative."""
        beside = self._file.with_suffix(".new")
        beside.write_text(f"{seconds:+}s\n")
        beside.rename(self._file)


@pytest.fixture
def clock(place: Site, tmp_path: Path) -> Clock:
    return Clock(tmp_path)


def put_off_with_two_behind(place: Site, daemon: Daemon) -> None:
    """The first file's outcome is unknown, and two wait behind it: one of its own folder, and one that comes later."""
    place.box.ill(Fault("reset_after_body", match={"content": "file", "action": "import", "record": "101"}, stored=False))
    place.put("101_V1_scan-1.pdf", b"the first")
    daemon.wait_for("retrying", file="101_V1_scan-1.pdf")
    place.put("101_V1_scan-2.pdf", b"the second")
    daemon.wait_for("claimed", file="101_V1_scan-2.pdf")


def test_a_clock_that_was_ahead_at_boot_puts_nothing_off_over_a_restart(place: Site, clock: Clock) -> None:
    clock.ahead(400 * DAY)
    daemon = place.start(**clock.env)
    put_off_with_two_behind(place, daemon)
    daemon.kill()
    (first, _) = place.jobs()
    assert first.due > first.claimed_at > time.time() + 300 * DAY
    place.box.well()
    daemon = place.start()
    daemon.wait_for("clock_set")
    daemon.wait_for("done", 2)


def test_a_clock_that_is_set_right_under_way(place: Site, clock: Clock) -> None:
    clock.ahead(400 * DAY)
    daemon = place.start(**clock.env)
    put_off_with_two_behind(place, daemon)
    clock.ahead(0)
    place.box.well()
    place.put("102_V1_scan.pdf")
    daemon.wait_for("done", 3)
    assert [line["jobs"] for line in daemon.events("clock_set")] == [1]
    assert daemon.stop() == 0


def test_a_clock_that_is_set_ahead_ends_no_wait_for_a_record(place: Site, clock: Clock) -> None:
    place.folder["missing_record"] = "wait"
    place.write_config()
    daemon = place.start(**clock.env)
    place.put("500_V1_scan.pdf")
    first, *_ = daemon.wait_for("retrying", reason="no_record")
    clock.ahead(8 * DAY)
    place.put("101_V1_scan.pdf")  # so that dropcap looks at its clock now
    daemon.wait_for("retrying", 2, reason="no_record")
    daemon.wait_for("done", file="101_V1_scan.pdf")
    assert place.failed() == []
    clock.ahead(0)
    place.box.project.store.set_value("500", RowKey("baseline_arm_1"), "record_id", "500")
    # What is being tried at this moment is not tried again.
    eventually(lambda: place.dropcap("retry", str(first["job"])).returncode == 0 or "500_V1_scan.pdf" in place.done())
    daemon.wait_for("done", file="500_V1_scan.pdf")
