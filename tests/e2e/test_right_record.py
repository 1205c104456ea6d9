"""The right patient: records looked up, compared, waited for, created; never guessed."""

from __future__ import annotations

import re

import pytest

from redcap_sandbox import Fault, RowKey
from tests.site import Site

BASELINE = RowKey("baseline_arm_1")


def rule(place: Site, **settings: object) -> None:
    """Let the folder have this one rule."""
    place.folder["rules"] = [{"field": "consent_pdf", "event": "baseline_arm_1", **settings}]
    place.write_config()


def initials(place: Site, record: str) -> str:
    return value(place, record, "initials")


def value(place: Site, record: str, field: str) -> str:
    row = place.box.project.store.row(record, BASELINE)
    assert row is not None
    return row.values[field]


def test_a_record_is_found_by_the_values_of_its_fields(place: Site) -> None:
    rule(place, pattern="mrn{mrn:digits}.pdf", record_where={"mrn": "{mrn}"})
    mrn = value(place, "107", "mrn")
    place.put(f"mrn{mrn}.pdf", b"of 107")
    place.put("mrn0000000.pdf", b"of nobody")
    assert place.once().returncode == 1
    assert place.box.content("107", "consent_pdf", "baseline_arm_1") == b"of 107"
    assert place.failed() == ["mrn0000000.pdf"]
    assert [job.record for job in place.jobs() if job.state == "done"] == ["107"]


def test_two_records_with_the_value_are_no_answer(place: Site) -> None:
    rule(place, pattern="mrn{mrn:digits}.pdf", record_where={"mrn": "{mrn}"})
    for record in ("101", "102"):
        place.box.project.store.set_value(record, BASELINE, "mrn", "5555555")
    place.put("mrn5555555.pdf")
    assert place.once().returncode == 1
    assert [job.reason for job in place.jobs()] == ["several_records"]
    assert place.box.holdings() == []


def test_a_file_goes_only_where_the_record_agrees(place: Site) -> None:
    rule(place, pattern="{record:digits}_{ini:letters}.pdf", must_match={"initials": "{ini}"})
    right = initials(place, "101")
    place.put(f"101_{right}.pdf", b"right")
    place.put("102_QQ.pdf", b"wrong")
    assert place.once().returncode == 1
    assert place.box.content("101", "consent_pdf", "baseline_arm_1") == b"right"
    assert place.failed() == ["102_QQ.pdf"]
    why = place.why("102_QQ.pdf")
    assert "does not agree with what REDCap says of this record" in " ".join(why.split())
    assert "initials" not in why, "nor which part it is"
    assert initials(place, "102") not in why.replace("PDF", "").split(), "REDCap's value is not shown"
    assert "initials" in (place.jobs()[1].message or "")


@pytest.mark.parametrize(("there", "named"), [("98765", "0098765"), ("007", "7"), ("ab12", "AB12")])
def test_other_zeros_or_letters_case_are_no_guess_and_shown_if_asked_for(place: Site, there: str, named: str) -> None:
    rule(place, pattern="{record:alnum}.pdf")
    place.box.project.store.set_value(there, BASELINE, "record_id", there)
    place.put(f"{named}.pdf")
    told = place.dropcap("dry-run")
    assert f"`{there}`" in told.stdout, "to whoever may run it"
    assert place.once().returncode == 1
    (job,) = place.jobs()
    assert (job.reason, job.record) == ("record_differs", named)
    page = place.drop / "_STATUS.html"  # which so short a run may end without
    on_page = page.read_text() if page.exists() else ""
    shown = re.findall(r"\w+", (job.message or "") + place.why(f"{named}.pdf") + on_page)
    assert named in shown
    assert there not in shown
    rule(place, pattern="{record:alnum}.pdf", suggest_records=True)
    place.put(f"{named}.pdf")
    assert place.once().returncode == 1
    assert f"`{there}`" in (place.jobs()[-1].message or "")
    assert place.box.holdings() == []


def test_near_misses_are_named_if_asked_for(place: Site) -> None:
    rule(place, pattern="{record:alnum}.pdf", suggest_records=True)
    place.put("1011.pdf")
    assert place.once().returncode == 1
    assert "`101`" in (place.jobs()[0].message or "")


def test_a_missing_record_is_waited_for_and_does_not_hold_up_others(place: Site) -> None:
    rule(place, pattern="{record:digits}.pdf", missing_record="wait")
    place.put("500.pdf", b"early")
    place.put("101.pdf", b"in time")
    daemon = place.start()
    daemon.wait_for("done", file="101.pdf")
    waiting, *_ = daemon.wait_for("retrying", file="500.pdf", reason="no_record")
    assert waiting["in_seconds"] == 60
    place.box.project.store.set_value("500", BASELINE, "record_id", "500")
    assert place.dropcap("retry", str(waiting["job"])).returncode == 0
    daemon.wait_for("done", file="500.pdf")
    assert place.box.content("500", "consent_pdf", "baseline_arm_1") == b"early"


def test_missing_records_are_created_up_to_the_days_limit(place: Site) -> None:
    rule(place, pattern="{record:digits}.pdf", missing_record="create", create_limit=2)
    for record in (501, 502, 503):
        place.put(f"{record}.pdf", str(record).encode())
    daemon = place.start()
    daemon.wait_for("done", 2)
    daemon.wait_for("retrying", reason="create_limit")
    assert len(place.box.holdings()) == 2
    assert len([n for n in place.everywhere() if n.startswith("in_progress/")]) == 1
    imports = [r for r in place.box.requests if (r.content, r.action) == ("record", "import")]
    assert len(imports) == 2


CREATE = {"content": "record", "action": "import"}


def test_a_record_whose_creation_fails_counts_once(place: Site) -> None:
    rule(place, pattern="{record:digits}.pdf", missing_record="create", create_limit=1)
    place.box.ill(Fault("status", times=2, code=500, match=CREATE))
    place.put("501.pdf", b"new")
    daemon = place.start()
    daemon.wait_for("retrying", 2, reason="server_error")
    place.retry(1)
    daemon.wait_for("done")
    assert not daemon.events("retrying", reason="create_limit")


def test_a_record_that_is_said_to_be_created_and_does_not_appear_is_not_created_again_at_once(place: Site) -> None:
    rule(place, pattern="{record:digits}.pdf", missing_record="create", create_limit=5)
    place.box.ill(Fault("status", code=200, body='["501"]', content_type="application/json", match=CREATE))
    place.put("501.pdf", b"new")
    daemon = place.start()
    waiting, *_ = daemon.wait_for("retrying", reason="no_record")
    assert waiting["in_seconds"] == 60
    assert "does not show it" in waiting["message"]
    assert len(daemon.events("record_created")) == 1
    place.box.well()
    place.retry(1)
    daemon.wait_for("done")


def test_look_ups_are_shared(place: Site) -> None:
    for record in range(101, 121):
        place.put(f"{record}_V1_consent.pdf", str(record).encode())
    assert place.once().returncode == 0
    kinds = [(r.content, r.action) for r in place.box.requests]
    assert kinds.count(("file", "import")) == 20
    assert kinds.count(("file", "export")) == 40, "one before each is sent, one to read it back"
    assert kinds.count(("record", "export")) <= 3


def test_a_token_of_another_project_sends_nothing(place: Site) -> None:
    place.project["project_id"] = 4711
    place.folder.update(existing_file="replace", confirm="none")
    place.write_config()
    daemon = place.start()
    place.put("101_V1_consent.pdf")
    daemon.wait_for("paused", scope="project", reason="project_mismatch")
    assert place.box.holdings() == []
    assert place.failed() == []


def test_files_to_one_field_arrive_in_their_order(place: Site) -> None:
    rule(place, pattern="{record:digits}-{n:digits}.pdf", existing_file="replace")
    for number in range(12):
        place.put(f"101-{number}.pdf", str(number).encode())
    daemon = place.start()
    daemon.wait_for("done", 12)
    names = [r.filename for r in place.box.requests if (r.content, r.action) == ("file", "import")]
    jobs = [job.name for job in place.jobs()]
    assert names == jobs
    assert place.box.content("101", "consent_pdf", "baseline_arm_1") == jobs[-1][4:-4].encode()


def test_existing_file_refuse(place: Site) -> None:
    rule(place, pattern="{record:digits}{rest:any}.pdf", existing_file="refuse")
    place.put("101a.pdf", b"first")
    assert place.once().returncode == 0
    place.put("101b.pdf", b"second")
    place.put("101c.pdf", b"first")
    assert place.once().returncode == 1
    assert {job.name: job.reason or job.result for job in place.jobs()} == {
        "101a.pdf": "stored",
        "101b.pdf": "file_exists",
        "101c.pdf": "already_there",
    }
    assert place.box.content("101", "consent_pdf", "baseline_arm_1") == b"first"


def test_confirm_listed_and_none(place: Site) -> None:
    rule(place, pattern="{record:digits}.pdf", confirm="listed", existing_file="replace")
    place.put("101.pdf")
    assert place.once().returncode == 0
    assert [r.action for r in place.box.requests if r.content == "file"] == ["import"]
    assert place.jobs()[0].confirmed == "listed"
    rule(place, pattern="{record:digits}.pdf", confirm="none", existing_file="replace")
    asked = len(place.box.requests)
    place.put("102.pdf")
    assert place.once().returncode == 0
    assert place.jobs()[1].confirmed == "none"
    assert [r.content for r in place.box.requests[asked:] if r.content in ("file", "record")] == ["file"]


@pytest.mark.parametrize("values", ["document", "name", "doc_id"])
def test_listed_with_every_way_in_which_redcap_shows_a_file(place: Site, values: str) -> None:
    place.box.project.file_values = values  # type: ignore[assignment]
    rule(place, pattern="{record:digits}{rest:any}.pdf", confirm="listed", existing_file="replace")
    place.put("101a.pdf", b"first")
    assert place.once().returncode == 0
    place.put("101b.pdf", b"second")
    assert place.once().returncode == 0
    assert place.box.content("101", "consent_pdf", "baseline_arm_1") == b"second"


def test_a_value_that_moves_to_another_record_while_the_file_waits_is_followed(place: Site) -> None:
    rule(place, pattern="mrn{mrn:digits}.pdf", record_where={"mrn": "{mrn}"})
    mrn = value(place, "107", "mrn")
    place.box.ill(Fault("status", code=500, match={"content": "file"}))
    daemon = place.start()
    place.put(f"mrn{mrn}.pdf", b"of whoever has the number")
    daemon.wait_for("retrying")
    place.box.project.store.set_value("107", BASELINE, "mrn", "1")
    place.box.project.store.set_value("108", BASELINE, "mrn", mrn)
    place.box.well()
    place.retry(1)
    daemon.wait_for("done", patience=40)
    assert place.box.content("108", "consent_pdf", "baseline_arm_1") == b"of whoever has the number"
    assert place.failed() == []
