"""`dropcap dry-run`, from outside: what it foretells is what `run --once` then does, and it changes nothing."""

from __future__ import annotations

import base64
import csv
import hashlib
import json
import re
from pathlib import Path
from typing import Any

import pytest

from redcap_sandbox import RowKey
from tests import needs
from tests.cli.command import dropcap
from tests.site import Site, eventually

BASELINE = RowKey("baseline_arm_1")


def dry(place: Site, *words: str, code: int) -> dict[str, dict[str, Any]]:
    """Run it once all files have rested; what it says of each file."""
    result = dropcap(place, "dry-run", "--json", *words)
    assert result.exit_code == code, result.output
    return {one["name"]: one for one in json.loads(result.stdout)["files"]}


@pytest.fixture
def rested(place: Site) -> Site:
    """A place whose files count as settled at once."""
    place.folder.update(settle_closed="0s", settle_quiet="10ms")
    place.write_config()
    return place


def picture(place: Site) -> dict[str, tuple[int, int, int]]:
    return {
        str(path): (status.st_ino, status.st_mtime_ns, status.st_ctime_ns)
        for path in [place.drop, *place.drop.rglob("*")]
        for status in [path.lstat()]
    }


def test_it_changes_nothing_and_foretells_what_happens(rested: Site) -> None:
    place = rested
    place.box.project.store.put_bytes("103", BASELINE, "consent_pdf", "old.pdf", b"old")
    for name in (
        "101_V1_consent.pdf",
        "103_V1_consent.pdf",
        "101_V1_lab_a.pdf",
        "101_V1_lab_b.pdf",
        "999_V1_consent.pdf",
        "101_V1_scan.exe",
        "holiday.jpg",
        "sub/102_V2_scan.tif",
    ):
        place.put(name, name.encode())
    place.put("104_V1_consent.pdf", b"")
    place.put("copying.part")
    before = picture(place)
    found = dry(place, code=1)
    assert picture(place) == before
    assert not place.state.exists()
    assert not any(request.action == "import" for request in place.box.requests)
    assert {name: one["outcome"] for name, one in found.items()} == {
        "101_V1_consent.pdf": "stored",
        "103_V1_consent.pdf": "replaces",
        "101_V1_lab_a.pdf": "stored",
        "101_V1_lab_b.pdf": "stored",
        "999_V1_consent.pdf": "no_record",
        "101_V1_scan.exe": "blocked_extension",
        "holiday.jpg": "left",
        "sub/102_V2_scan.tif": "stored",
        "104_V1_consent.pdf": "empty_file",
        "copying.part": "ignored",
    }
    assert place.once().returncode == 1
    for job in place.jobs():
        one = found[job.name]
        if job.result:
            assert one["outcome"] == {"stored": "stored", "replaced": "replaces"}[job.result]
            assert (one["record"], one["event"], one["field"]) == (job.record, job.event or "", job.field)
            assert one["instance"] == str(job.instance or "")
        else:
            assert one["outcome"] == job.reason


def test_files_to_the_same_place_are_told_together(rested: Site) -> None:
    rested.put("101_V1_scan_front.tif")
    rested.put("101_V1_scan_back.tif")
    found = dry(rested, code=0)
    assert found["101_V1_scan_front.tif"]["outcome"] == "stored"
    assert found["101_V1_scan_back.tif"]["outcome"] == "replaces"
    assert "101_V1_scan_front.tif" in found["101_V1_scan_back.tif"]["message"]
    rested.folder["existing_file"] = "refuse"
    rested.write_config()
    assert dry(rested, code=1)["101_V1_scan_back.tif"]["outcome"] == "file_exists"


def test_records_that_are_missing(rested: Site) -> None:
    rested.put("777_V1_scan.tif")
    rested.put("777_V2_scan.tif")
    rested.put("778_V1_scan.tif")
    text = rested.dropcap("dry-run").stdout
    assert "2  777" in text
    assert "1  778" in text
    rested.folder["missing_record"] = "wait"
    rested.write_config()
    assert {one["outcome"] for one in dry(rested, code=1).values()} == {"waits"}
    del rested.folder["rules"][0]
    rested.folder.update(missing_record="create", create_limit=1)
    rested.write_config()
    found = dry(rested, code=1)
    assert [found[name]["outcome"] for name in sorted(found)] == ["creates_record", "stored", "create_limit"]


def test_a_record_that_does_not_agree(rested: Site) -> None:
    rested.folder["rules"][2].update(pattern="{record:digits}_{ini:letters}_scan.*", event="baseline_arm_1")
    rested.folder["rules"][2]["must_match"] = {"initials": "{ini}"}
    rested.write_config()
    rested.box.project.store.set_value("101", BASELINE, "initials", "AB")
    rested.put("101_AB_scan.tif")
    rested.put("101_XY_scan.tif")
    found = dry(rested, code=1)
    assert (found["101_AB_scan.tif"]["outcome"], found["101_XY_scan.tif"]["outcome"]) == ("stored", "mismatch")


def test_whether_a_form_is_complete_can_be_compared(rested: Site) -> None:
    needs.mount_table(rested.root)
    rested.folder["rules"] = [
        {
            "pattern": "{record:digits}.pdf",
            "event": "baseline_arm_1",
            "field": "consent_pdf",
            "must_match": {"demographics_complete": "2"},
        }
    ]
    rested.write_config()
    rested.box.project.store.set_value("101", BASELINE, "demographics_complete", "2")
    rested.put("101.pdf")
    assert dropcap(rested, "check").exit_code == 0
    assert dry(rested, code=0)["101.pdf"]["outcome"] == "stored"
    assert rested.once().returncode == 0


def test_a_rule_that_the_project_contradicts(rested: Site) -> None:
    rested.folder["rules"][0]["field"] = "consent_pfd"
    rested.folder["rules"][1]["instance"] = "1"
    rested.folder["rules"][2]["instance"] = "next"
    rested.write_config()
    for name in ("101_V1_consent.pdf", "101_V1_lab.pdf", "101_V1_scan.tif"):
        rested.put(name)
    found = dry(rested, code=1)
    assert [found[name]["outcome"] for name in sorted(found)] == ["no_field", "stored", "not_repeating"]


def test_a_file_that_is_being_written_or_has_not_rested_is_not_settled(place: Site) -> None:
    needs.mount_table(place.root)
    place.folder["settle_closed"] = "1h"
    place.write_config()
    place.put("101_V1_scan.tif")
    assert dry(place, code=1)["101_V1_scan.tif"]["outcome"] == "unsettled"
    place.folder["settle_closed"] = "0s"
    place.write_config()
    with (place.drop / "102_V1_scan.tif").open("wb") as writer:
        writer.write(b"half")
        writer.flush()
        one = dry(place, code=1)["102_V1_scan.tif"]
        assert (one["outcome"], one["message"]) == ("unsettled", "somebody is writing to it")
    assert dry(place, code=0)["102_V1_scan.tif"]["outcome"] == "stored"


def test_files_that_first_start_leaves_and_things_that_are_no_files(rested: Site) -> None:
    rested.put("101_V1_scan.tif")
    (rested.drop / "link.pdf").symlink_to(rested.token_file)
    rested.folder["first_start"] = "leave"
    rested.write_config()
    found = dry(rested, code=1)
    assert (found["101_V1_scan.tif"]["outcome"], found["link.pdf"]["outcome"]) == ("left", "not_a_file")


def test_a_table_for_a_spreadsheet_runs_no_formulas(rested: Site) -> None:
    for name in ('=HYPERLINK("x").pdf', "@x.pdf", "-1.pdf", "+1.pdf"):
        rested.put(name)
    table = rested.root / "table.csv"
    dry(rested, "--csv", str(table), code=1)
    with table.open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 4
    assert all(not cell.startswith(("=", "+", "-", "@")) for row in rows for cell in row.values())
    assert table.stat().st_mode & 0o777 == 0o600
    again = rested.dropcap("dry-run", "--csv", str(table))
    assert (again.returncode, "exists already" in again.stderr) == (2, True)
    inside = rested.dropcap("dry-run", "--csv", str(rested.drop / "table.csv"))
    assert (inside.returncode, "drop folder" in inside.stderr) == (2, True)


def test_a_report_is_one_page_that_runs_nothing(rested: Site) -> None:
    bad = "<img src=x onerror=alert(1)>\u202e.pdf"
    for name in ("101_V1_scan.tif", "999_V1_consent.pdf", bad, "<script>alert(1)<b>.pdf"):
        rested.put(name)
    page = rested.root / "report.html"
    dry(rested, "--report", str(page), code=1)
    text = page.read_text()
    assert page.stat().st_mode & 0o777 == 0o600
    assert "3 files of 4 would not land in REDCap" in text
    assert "&lt;img src=x onerror=alert(1)&gt;\\u202e.pdf" in text
    assert "REDCap has no such record" in text
    assert "record 101, event baseline_arm_1, field scan" in text
    tags = set(re.findall(r"<(\w+)", text))
    assert not tags & {"script", "img", "link", "iframe", "object", "a", "form"}
    assert not re.search(r"https?://|url\(|@import| style=| on\w+=\"", text)
    (style,) = re.findall(r"<style>(.*?)</style>", text, re.DOTALL)
    allowed = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert f"default-src 'none'; style-src 'sha256-{allowed}'" in text
    again = rested.dropcap("dry-run", "--report", str(page))
    assert (again.returncode, "exists already" in again.stderr) == (2, True)
    inside = rested.dropcap("dry-run", "--report", str(rested.drop / "report.html"))
    assert (inside.returncode, "report.html lies" in inside.stderr, "drop folder" in inside.stderr) == (2, True, True)


def test_a_server_that_is_down_is_exit_code_3(rested: Site) -> None:
    rested.put("101_V1_scan.tif")
    rested.put("notes.part")
    rested.box.stop()
    found = dry(rested, code=3)
    assert found["101_V1_scan.tif"]["outcome"] == "not_asked"
    rested.put("holiday.jpg")
    assert dry(rested, code=1)["holiday.jpg"]["outcome"] == "left"


def test_beside_a_running_daemon(place: Site, tmp_path: Path) -> None:
    place.folder["rules"] = [{**place.folder["rules"][2], "missing_record": "wait"}]
    place.write_config()
    daemon = place.start()
    place.put("900_V1_scan.tif")
    daemon.wait_for("retrying", reason="no_record")
    place.put("900_V1_scan.tif")
    place.put("101_V1_scan.tif")
    eventually(lambda: place.done() == ["101_V1_scan.tif"])
    assert {name: one["outcome"] for name, one in dry(place, code=1).items()} == {"900_V1_scan.tif": "waits"}


def test_only_one_folder(rested: Site) -> None:
    (rested.root / "other").mkdir()
    (rested.root / "other" / "x.pdf").write_bytes(b"x")
    rested.config["folders"]["other"] = {**rested.folder, "path": str(rested.root / "other")}
    rested.write_config()
    rested.put("101_V1_scan.tif")
    assert list(dry(rested, "--folder", "consents", code=0)) == ["101_V1_scan.tif"]
    unknown = rested.dropcap("dry-run", "--folder", "nowhere")
    assert (unknown.returncode, "there are: consents, other" in unknown.stderr) == (2, True)
