"""What real servers were seen to say, each with what becomes of it and the sentence that people read."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from redcap_sandbox import Fault, Rights, RowKey
from tests.e2e.other_redcap import Other, in_json, other_site
from tests.e2e.test_whose_trouble import IMPORT, PLAIN
from tests.site import Site

BASELINE = RowKey("baseline_arm_1")
NO_DATABASE = "The hostname (db1) / username (redcap) / password (XXXXXX) combination could not connect to the MySQL server."
LOCKED = "This field is located on a form that is locked. You must first unlock this form for this record."


@pytest.fixture
def there(tmp_path: Path) -> Iterator[tuple[Site, Other]]:
    with other_site(tmp_path) as made:
        yield made


@pytest.mark.parametrize("settings", [{}, PLAIN], ids=["looked up first", "sent at once"])
def test_a_database_that_is_down_at_200(place: Site, settings: dict[str, Any]) -> None:
    place.folder.update(settings)
    place.write_config()
    daemon = place.start()
    place.put("101_V1_consent.pdf", b"before")
    daemon.wait_for("done")
    place.box.ill(Fault("status", code=200, body=NO_DATABASE))
    for record in range(102, 108):
        place.put(f"{record}_V1_consent.pdf", b"fine")
    paused = daemon.wait_for("paused", scope="server")[0]  # perhaps again by the time that this is read
    assert "could not" in paused["message"]
    place.box.well()
    daemon.wait_for("done", 7, patience=40)
    assert place.failed() == []
    assert not daemon.events("held")


def test_what_concerns_one_file_ends_in_failed_or_held_with_redcaps_words(place: Site) -> None:
    """A locked form, a record in other case, one in another data access group, a value that is marked as missing."""
    store = place.box.project.store
    store.set_value("AB-7", BASELINE, "record_id", "AB-7")
    store.set_value("12-34", BASELINE, "record_id", "12-34")
    store.set_value("13-35", BASELINE, "record_id", "13-35")
    store.set_value("104", BASELINE, "initials", "-999")
    place.box.project.dags = ("north", "south")
    store.dags.update({"12-34": "north", "13-35": "south"} | {str(n): "north" for n in range(101, 111)} | {"AB-7": "north"})
    place.box.grant(place.box.token, Rights(dag="north"))
    rule = {"event": "baseline_arm_1", "field": "consent_pdf"}
    place.folder["rules"] = [
        {**rule, "pattern": "{record:word}__c.pdf", "missing_record": "create"},
        {**rule, "pattern": "{record:digits}__{i:letters}.pdf", "must_match": {"initials": "{i}"}},
    ]
    place.folder["suggest_records"] = True
    place.write_config()
    place.box.ill(Fault("status", code=400, body=f'{{"error": "{LOCKED}"}}', match={**IMPORT, "record": "101"}))
    for name in ("101__c.pdf", "ab-7__c.pdf", "12-34__c.pdf", "13-35__c.pdf", "104__XY.pdf"):
        place.put(name)
    assert place.once().returncode == 1
    told = {job.name: (job.state.value, job.reason) for job in place.jobs()}
    assert told == {
        "101__c.pdf": ("failed", "refused"),
        "ab-7__c.pdf": ("failed", "record_differs"),
        "12-34__c.pdf": ("done", None),
        "13-35__c.pdf": ("held", "rights"),
        "104__XY.pdf": ("failed", "mismatch"),
    }
    said = {job.name: job.message or "" for job in place.jobs()}
    assert LOCKED in said["101__c.pdf"]
    assert "unlock" in ({job.name: job.remedy or "" for job in place.jobs()}["101__c.pdf"])
    assert "form" not in place.why("101__c.pdf"), "REDCap's words are for whoever looks after dropcap"
    assert "`AB-7`" in place.why("ab-7__c.pdf")
    assert "initials" in said["104__XY.pdf"]
    assert "group `north`" in said["13-35__c.pdf"]
    assert {h.record for h in place.box.holdings()} == {"12-34"}


def test_what_forms_show_or_hide_does_not_matter_to_the_api(place: Site) -> None:
    fields = place.box.project.fields
    fields["consent_pdf"] = replace(fields["consent_pdf"], other={"field_annotation": "@READONLY"}, required=True)
    fields["scan"] = replace(fields["scan"], other={"field_annotation": "@HIDDEN", "branching_logic": "[sex] = '1'"})
    place.put("101_V1_consent.pdf")
    place.put("101_V1_scan.tif")
    assert place.once().returncode == 0
    assert place.done() == ["101_V1_consent.pdf", "101_V1_scan.tif"]


def test_a_project_in_analysis_pauses_and_fails_nothing(place: Site) -> None:
    """It can be read, and takes nothing."""
    daemon = place.start()
    place.put("101_V1_consent.pdf", b"before")
    daemon.wait_for("done")
    place.box.project.archived = True
    for record in range(102, 107):
        place.put(f"{record}_V1_consent.pdf", b"waits")
    paused, *_ = daemon.wait_for("paused", scope="project")
    assert paused["reason"] == "project_offline"
    assert "read-only" in paused["message"]
    assert place.failed() == []
    place.box.project.archived = False
    place.dropcap("resume", "--project", "trial")  # unless one that was on its way has ended it
    daemon.wait_for("done", 6)


def test_a_deleted_project_or_an_expired_user_pauses_its_project_until_all_is_back(place: Site) -> None:
    """To both REDCap says the same; dropcap names all that it may be."""
    daemon = place.start()
    place.put("101_V1_consent.pdf", b"before")
    daemon.wait_for("done")
    place.box.revoke(place.box.token)
    for record in range(102, 112):
        place.put(f"{record}_V1_consent.pdf", b"waits")
    paused, *_ = daemon.wait_for("paused", scope="project")
    assert paused["reason"] == "token"
    assert "valid API token" in paused["remedy"]
    place.box.grant("E" * 32, Rights())  # regenerated
    place.token_file.write_text("E" * 32)
    daemon.wait_for("done", 11, patience=30)
    assert place.failed() == []


@pytest.mark.parametrize("known", [True, False], ids=["in known words", "in words that nobody knows"])
def test_a_number_that_has_lost_its_zeros_and_a_code_in_place_of_a_file(tmp_path: Path, known: bool) -> None:
    records = {"007": {"kuerzel": "K7"}, "8": {"kuerzel": "K8"}, "9": {"kuerzel": "K9"}}
    with other_site(tmp_path, records=records, missing_codes="-999, Not asked | NI, No information") as (place, other):
        other.no_file = lambda _: in_json("There is no file to download for this record" if known else "kzt brx")

        def row(one: dict[str, Any]) -> dict[str, Any]:
            shown = {**one, "fall": int(one["fall"])} if "fall" in one else one
            return {**shown, "brief": "-999"} if shown.get("fall") == 8 and "brief" in shown else shown

        other.row = row
        place.folder["suggest_records"] = True
        place.write_config()
        daemon = place.start()
        for record in ("007", "8", "9"):
            place.put(f"{record}__brief.pdf", record.encode())
        daemon.wait_for("done", file="9__brief.pdf")
        daemon.wait_for("failed", file="007__brief.pdf", reason="record_differs")
        assert "`7`" in place.why("007__brief.pdf")
        daemon.wait_for("done", file="8__brief.pdf")
        assert {place[0] for place, _ in other.ever} == {"8", "9"}


def test_words_for_no_file_are_not_believed_where_the_record_shows_one(place: Site) -> None:
    """A file whose content the server has lost, say: what is sent then would replace it uncopied."""
    place.put("101_V1_consent.pdf", b"the old one")
    assert place.once().returncode == 0
    place.box.ill(
        Fault("status", code=400, body='{"error": "There is no file stored"}', match={"action": "export", "record": "101"})
    )
    daemon = place.start()
    place.put("101_V1_consent.pdf", b"the new one")
    place.put("102_V1_consent.pdf", b"another")
    told, *_ = daemon.wait_for("retrying", reason="not_confirmed", scope="file")
    assert "shows a file" in told["message"]
    daemon.wait_for("done", file="102_V1_consent.pdf")
    assert place.box.content("101", "consent_pdf", "baseline_arm_1") == b"the old one"
    place.box.well()
    place.retry(2)
    daemon.wait_for("done", 2)
    assert [(place.kept / name).read_bytes() for name in place.copies()] == [b"the old one"]


def test_a_project_that_moves_to_production_while_files_wait_is_noticed_at_the_first_refusal(place: Site) -> None:
    """With one field less, and the others as they were."""
    daemon = place.start()
    place.put("101_V1_scan.tif", b"before")
    daemon.wait_for("done")
    assert place.dropcap("pause", "--folder", "consents").returncode == 0
    for record in range(102, 112):
        place.put(f"{record}_V1_scan.tif", b"waits")
        place.put(f"{record}_V1_consent.pdf", b"goes on")
    daemon.wait_for("claimed", 21)
    place.box.project.in_production = True
    del place.box.project.fields["scan"]
    assert place.dropcap("resume", "--folder", "consents").returncode == 0
    daemon.wait_for("held", 10, reason="no_field")
    daemon.wait_for("done", 11)
    assert not daemon.events("failed")
    place.dropcap("reload")  # else the rules are compared within a minute
    daemon.wait_for("project_changed")
    place.dropcap("reload")
    daemon.wait_for("reloaded", 2)
    (told,) = daemon.wait_for("check_problem", rule="scan")
    assert "no field scan" in told["message"]
    assert len(daemon.events("project_changed")) == 1, "said once"
