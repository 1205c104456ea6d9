"""What lies in a folder when it is first watched and matches no rule is left there, and told; it was dropped for nobody."""

from __future__ import annotations

import json
import os
import signal
import time
from typing import Any

import pytest

from tests import needs
from tests.site import Site, eventually

UNMATCHED = ["budget.xlsx", "holiday.jpg", "old/minutes.docx"]
PAGE = "_STATUS.html"


@pytest.fixture
def used(place: Site) -> Site:
    """A folder that people used before: files of theirs, one that a rule matches, one that matches and cannot be stored."""
    for name in (*UNMATCHED, "101_V1_consent.pdf", "999_V1_consent.pdf"):
        place.put(name, name.encode())
    return place


def lying_there(place: Site) -> list[str]:
    return [name for name in place.everywhere() if not name.startswith(("done/", "failed/", "in_progress/", ".dropcap-"))]


def left(place: Site) -> dict[str, Any]:
    told: dict[str, Any] = json.loads(place.dropcap("status", "--json").stdout)["folders"]["consents"]["left"]
    return told


def test_they_are_left_and_told_and_stay_so_after_a_restart(used: Site) -> None:
    daemon = used.start()
    daemon.wait_for("done")
    daemon.wait_for("failed", file="999_V1_consent.pdf")
    (line,) = daemon.wait_for("files_left")
    assert line["count"] == 3
    assert lying_there(used) == UNMATCHED
    assert left(used)["first"] == UNMATCHED
    text = used.dropcap("status").stdout
    assert (
        "3 files have been there since before the folder was watched, match no rule and are left: budget.xlsx, holiday.jpg"
        in text
    )
    assert "give it a name that a rule matches" in text
    page = used.drop / PAGE
    eventually(
        lambda: (
            page.exists()
            and "old/minutes.docx" in page.read_text()
            and "They lay here before dropcap first looked" in page.read_text()
        )
    )
    daemon.kill()
    daemon = used.start()
    assert daemon.wait_for("files_left")[0]["count"] == 3
    used.put("102_V1_consent.pdf")
    daemon.wait_for("done")
    assert used.once().returncode == 4
    assert daemon.stop() == 0
    assert lying_there(used) == UNMATCHED
    assert used.failed() == ["999_V1_consent.pdf"]
    assert [job.name for job in used.jobs()] == ["101_V1_consent.pdf", "999_V1_consent.pdf", "102_V1_consent.pdf"]


def test_what_is_dropped_later_is_told_off_as_ever(used: Site) -> None:
    daemon = used.start()
    daemon.wait_for("files_left")
    old = used.root / "old.jpg"
    old.write_bytes(b"with an old time, as copies keep it")
    os.utime(old, (1_000_000_000, 1_000_000_000))
    old.rename(used.drop / "beach.jpg")
    daemon.wait_for("failed", file="beach.jpg", reason="no_rule")
    (used.drop / "holiday.jpg").write_bytes(b"changed")
    daemon.wait_for("failed", file="holiday.jpg", reason="no_rule")
    assert daemon.stop() == 0


def test_one_that_is_given_a_right_name_is_taken(used: Site) -> None:
    daemon = used.start()
    daemon.wait_for("files_left")
    (used.drop / "holiday.jpg").rename(used.drop / "102_V1_scan.jpg")
    daemon.wait_for("done", file="102_V1_scan.jpg")
    eventually(lambda: left(used)["count"] == 2)
    assert daemon.stop() == 0


@pytest.mark.parametrize("how", ["reload", "restart"])
def test_a_new_rule_has_them_taken(used: Site, how: str) -> None:
    daemon = used.start()
    daemon.wait_for("files_left")
    rule = {"pattern": "holiday.jpg", "record": "103", "event": "baseline_arm_1", "field": "scan"}
    used.folder["rules"].append(rule)
    used.write_config()
    if how == "reload":
        daemon.process.send_signal(signal.SIGHUP)
    else:
        assert daemon.stop() == 0
        daemon = used.start()
    daemon.wait_for("done", file="holiday.jpg")
    assert left(used)["count"] == 2
    assert daemon.stop() == 0


def test_other_rights_or_another_owner_are_no_drop(used: Site) -> None:
    """An administrator mends the rights of the whole folder: hundreds of files have a new ctime, and nobody dropped one."""
    needs.root("to give files away")
    daemon = used.start()
    daemon.wait_for("files_left")
    for name in UNMATCHED:
        (used.drop / name).chmod(0o664)
        os.chown(used.drop / name, 12345, 12345)
    used.put("102_V1_consent.pdf")
    daemon.wait_for("done", file="102_V1_consent.pdf")
    walked = json.loads(used.dropcap("status", "--json").stdout)["folders"]["consents"]["last_walk"]
    eventually(lambda: json.loads(used.dropcap("status", "--json").stdout)["folders"]["consents"]["last_walk"] != walked)
    assert left(used)["count"] == 3
    assert daemon.stop() == 0
    daemon = used.start()
    assert daemon.wait_for("files_left")[0]["count"] == 3
    used.put("104_V1_consent.pdf")
    daemon.wait_for("done", file="104_V1_consent.pdf")
    assert daemon.stop() == 0
    assert used.once().returncode == 0
    assert lying_there(used) == UNMATCHED
    assert used.failed() == ["999_V1_consent.pdf"]


def test_run_once_names_them(used: Site) -> None:
    result = used.once()
    assert "1 done, 1 failed" in result.stdout
    assert (
        "left: consents: 3 files have been there since before the folder was watched, match no rule and are left" in result.stdout
    )
    again = used.once()
    assert (again.returncode, lying_there(used)) == (0, UNMATCHED)
    assert "left: consents: 3 files" in again.stdout


def test_check_and_dry_run_tell_beforehand_and_afterwards(used: Site) -> None:
    for _ in ("before", "after"):
        checked = used.dropcap("check", "--offline")
        (line,) = [line for line in checked.stdout.splitlines() if "since before the folder was watched" in line]
        assert line.startswith("warning")
        assert "3 files" in line
        assert "budget.xlsx" in line
        dry = json.loads(used.dropcap("dry-run", "--json").stdout)
        assert dry["summary"]["outcomes"]["left"] == 3
        (jpg,) = [one for one in dry["files"] if one["name"] == "holiday.jpg"]
        assert "no rule matches `holiday.jpg`" in jpg["message"]
        used.once()


def test_an_adopted_folder_begins_anew(used: Site) -> None:
    used.once()
    used.put("mistyped.pdf")
    (used.drop / ".dropcap").unlink()
    assert "away" in used.once().stdout
    a_while_ago = time.time() - 100.0
    os.utime(used.drop / "_STATUS.html", (a_while_ago, a_while_ago))  # of a dropcap that is alive it is younger
    assert used.dropcap("check", "--offline", "--adopt").returncode == 0
    assert "left: consents: 4 files" in used.once().stdout
    assert lying_there(used) == sorted([*UNMATCHED, "mistyped.pdf"])


def test_first_start_leave_leaves_all_and_counts_them(used: Site) -> None:
    used.folder["first_start"] = "leave"
    used.write_config()
    daemon = used.start()
    (line,) = daemon.wait_for("files_left")
    assert (line["count"], "first_start: leave" in line["message"]) == (5, True)
    (used.drop / "101_V1_consent.pdf").rename(used.drop / "101_V2_consent.pdf")
    daemon.wait_for("done", file="101_V2_consent.pdf")
    assert daemon.stop() == 0
    assert lying_there(used) == sorted([*UNMATCHED, "999_V1_consent.pdf"])
