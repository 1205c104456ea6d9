"""The main job, from outside: files dropped, the real command, what REDCap holds afterwards."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from redcap_sandbox import Sandbox, demo_project
from tests.site import TOKEN, Site, eventually, site

SUCCESSES = ("empty", "json")


@pytest.fixture(params=SUCCESSES)
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Site]:
    """Before a REDCap that answers a stored file without a word, and before one that answers as its documentation shows."""
    with Sandbox(demo_project(), token=TOKEN) as box, site(tmp_path, box) as made:
        box.success = request.param
        yield made


def test_a_dropped_file_lands_in_its_field(place: Site) -> None:
    place.put("101_V1_consent.pdf", b"the signed consent")
    result = place.once()
    assert result.returncode == 0, result.stdout + result.stderr
    assert place.box.content("101", "consent_pdf", "baseline_arm_1") == b"the signed consent"
    assert place.done() == ["101_V1_consent.pdf"]
    (job,) = place.jobs()
    assert (job.result, job.confirmed, job.sha256) == ("stored", "readback", hashlib.sha256(b"the signed consent").hexdigest())


def test_the_daemon_delivers_what_is_dropped_while_it_runs(place: Site) -> None:
    daemon = place.start()
    place.put("101_V1_consent.pdf", b"one")
    place.put("102_V2_consent.pdf", b"two")
    done = daemon.wait_for("done", 2)
    assert {line["file"] for line in done} == {"101_V1_consent.pdf", "102_V2_consent.pdf"}
    assert all(line["result"] == "stored" and line["confirmed"] == "readback" for line in done)
    assert place.box.content("102", "consent_pdf", "month_6_arm_1") == b"two"
    assert daemon.stop() == 0
    assert [line["event"] for line in daemon.lines][-1] == "stopped"


def test_files_that_cannot_be_stored_say_why(place: Site) -> None:
    place.once()  # what lies there at first and matches no rule is left
    place.put("holiday.jpg")
    place.put("999_V1_consent.pdf")
    place.put("103_V1_consent.pdf", b"")
    place.put("104_V1_scan.exe")
    result = place.once()
    assert result.returncode == 1
    assert place.failed() == ["103_V1_consent.pdf", "104_V1_scan.exe", "999_V1_consent.pdf", "holiday.jpg"]
    assert "This name does not say where the file belongs." in place.why("holiday.jpg")
    assert "101_V1_consent.pdf" in place.why("holiday.jpg"), "how names look"
    assert "999" in place.why("999_V1_consent.pdf")
    assert "empty" in place.why("103_V1_consent.pdf")
    assert ".exe" in place.why("104_V1_scan.exe")
    assert all("Data desk, ext. 4711" in place.why(name) for name in place.failed())
    assert place.box.holdings() == []
    reasons = {job.name: job.reason for job in place.jobs()}
    assert reasons == {
        "holiday.jpg": "no_rule",
        "999_V1_consent.pdf": "no_record",
        "103_V1_consent.pdf": "empty_file",
        "104_V1_scan.exe": "blocked_extension",
    }


def test_a_failed_file_is_tried_again_when_renamed_moved_back_or_retried(place: Site) -> None:
    for name in ("999_V1_consent.pdf", "998_V1_consent.pdf", "997_V1_consent.pdf"):
        place.put(name, name.encode())
    daemon = place.start()
    daemon.wait_for("failed", 3)
    failed = place.drop / "failed"
    (failed / "999_V1_consent.pdf").rename(failed / "101_V1_consent.pdf")
    (failed / "998_V1_consent.pdf").rename(place.drop / "102_V1_consent.pdf")
    daemon.wait_for("done", 2)
    place.box.project.store.set_value("997", _baseline(place), "record_id", "997")
    retried = place.dropcap("retry", "--failed")
    assert retried.returncode == 0, retried.stdout + retried.stderr
    daemon.wait_for("done", 3)
    assert place.failed() == []
    assert place.names("failed") == [], "their why.txt are gone as well"
    assert place.box.content("101", "consent_pdf", "baseline_arm_1") == b"999_V1_consent.pdf"
    assert place.box.content("102", "consent_pdf", "baseline_arm_1") == b"998_V1_consent.pdf"
    assert place.box.content("997", "consent_pdf", "baseline_arm_1") == b"997_V1_consent.pdf"
    assert len([job for job in place.jobs() if job.again_of]) == 3


def test_what_redcap_holds_is_kept_before_it_is_replaced(place: Site) -> None:
    place.put("101_V1_consent.pdf", b"the old one")
    assert place.once().returncode == 0
    place.put("101_V1_consent.pdf", b"the new one")
    assert place.once().returncode == 0
    assert place.box.content("101", "consent_pdf", "baseline_arm_1") == b"the new one"
    kept = place.copies()
    assert len(kept) == 1
    assert (place.kept / kept[0]).read_bytes() == b"the old one"
    told = json.loads((place.kept / f"{kept[0]}.json").read_text())
    assert (told["record"], told["field"], told["event"]) == ("101", "consent_pdf", "baseline_arm_1")
    assert told["original_name"] == "101_V1_consent.pdf"
    assert [job.result for job in place.jobs()] == ["stored", "replaced"]
    assert place.done() == ["101_V1_consent (2).pdf", "101_V1_consent.pdf"]


def test_the_same_bytes_are_not_sent_again(place: Site) -> None:
    place.put("101_V1_consent.pdf", b"the same")
    assert place.once().returncode == 0
    place.put("101_V1_consent.pdf", b"the same")
    assert place.once().returncode == 0
    imports = [r for r in place.box.requests if (r.content, r.action) == ("file", "import")]
    assert len(imports) == 1
    assert [job.result for job in place.jobs()] == ["stored", "already_there"]
    assert place.copies() == []


def test_next_instances_follow_each_other(place: Site) -> None:
    for number in range(5):
        place.put(f"101_V1_lab_{number}.pdf", f"sample {number}".encode())
    place.put("102_V1_lab_0.pdf", b"another record")
    assert place.once().returncode == 0
    held = {(h.record, h.instance) for h in place.box.holdings()}
    assert held == {("101", n) for n in range(1, 6)} | {("102", 1)}
    contents = {place.box.content("101", "lab_report", "baseline_arm_1", n) for n in range(1, 6)}
    assert contents == {f"sample {n}".encode() for n in range(5)}


def test_the_status_page_tells_who_waits_and_who_failed(place: Site) -> None:
    daemon = place.start()
    place.put("101_V1_consent.pdf")
    place.put("holiday.jpg")
    daemon.wait_for("done")
    daemon.wait_for("failed")
    page = place.drop / "_STATUS.html"
    eventually(
        lambda: page.exists() and "<mark>holiday</mark>.jpg" in (told := page.read_text()) and "101_V1_consent.pdf" in told
    )
    assert "Data desk, ext. 4711" in page.read_text()


def test_two_cannot_work_with_one_state_directory(place: Site) -> None:
    daemon = place.start()
    assert place.once().returncode == 4
    assert daemon.stop() == 0


def _baseline(place: Site):  # type: ignore[no-untyped-def]
    from redcap_sandbox import RowKey

    return RowKey("baseline_arm_1")


@pytest.mark.parametrize("confirm", ["readback", "none"])
def test_either_success_costs_the_same_requests_and_pauses_nobody(tmp_path: Path, confirm: str) -> None:
    asked: dict[str, list[tuple[str, str]]] = {}
    for success in SUCCESSES:
        (tmp_path / success).mkdir()
        with Sandbox(demo_project(), token=TOKEN) as box, site(tmp_path / success, box) as place:
            box.success = success
            place.folder.update(confirm=confirm)
            place.write_config()
            for record in (101, 102, 103):
                place.put(f"{record}_V1_consent.pdf", b"the consent of %d" % record)
            result = place.once()
            assert result.returncode == 0, result.stderr
            assert "paused" not in result.stderr
            assert "retrying" not in result.stderr
            assert {(job.result, job.attempts) for job in place.jobs()} == {("stored", 1)}
            requests = [(request.content, request.action) for request in box.requests]
            # One look-up serves all files that have settled by then: how many there are is chance.
            asked[success] = sorted([one for one in requests if one[0] == "file"] + list({*requests}))
    assert asked["empty"] == asked["json"]
