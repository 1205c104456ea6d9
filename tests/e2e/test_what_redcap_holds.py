"""What REDCap holds at the moment of sending is what counts: stale look-ups, words that nobody knows, rights that hide files."""

from __future__ import annotations

import json
from typing import Any

import pytest

from redcap_sandbox import Fault, Rights, RowKey
from tests.site import Site, eventually

BASELINE = RowKey("baseline_arm_1")
IMPORT = {"content": "file", "action": "import"}
EXPORT = {"content": "file", "action": "export"}
LOOK_UP = {"content": "record"}


def refuses(words: str, times: int | None = None, **match: str) -> Fault:
    """REDCap's API refuses exports, in its own shape and with words that nobody has seen."""
    body = json.dumps({"error": words})
    return Fault("status", times, {**EXPORT, **match}, code=400, body=body, content_type="application/json")


def theirs(place: Site, record: str, content: bytes = b"a colleague's", field: str = "consent_pdf") -> None:
    """Somebody uploads a file by hand."""
    place.box.project.store.put_bytes(record, BASELINE, field, "theirs.pdf", content)


def held_now(place: Site, record: str, field: str = "consent_pdf") -> bytes:
    return place.box.content(record, field, "baseline_arm_1")


def kept(place: Site) -> list[bytes]:
    """What was preserved."""
    found = [path for path in place.root.rglob("*") if path.is_file() and "preserved" in path.parts]
    return sorted(path.read_bytes() for path in found if path.suffix != ".json")


def count(place: Site, action: str, content: str = "file") -> int:
    return sum((one.content, one.action) == (content, action) for one in place.box.requests)


# What was empty when it was looked up ---------------------------------------------------------------------------------


def test_a_file_that_somebody_uploads_after_the_look_up_is_preserved(place: Site) -> None:
    place.box.ill(Fault("delay", times=1, match={**IMPORT, "record": "101"}, seconds=1.5))
    place.config["uploads_at_once"] = 1
    place.write_config()
    daemon = place.start()
    place.put("101_V1_consent.pdf", b"first")
    place.put("102_V1_consent.pdf", b"ours")
    assert place.box.illness.wait()  # both were looked up together; the second waits for its turn
    theirs(place, "102")
    daemon.wait_for("done", 2)
    assert held_now(place, "102") == b"ours"
    assert kept(place) == [b"a colleague's"]
    assert daemon.events("done", file="102_V1_consent.pdf")[0]["result"] == "replaced"


@pytest.mark.parametrize("settings", [{"existing_file": "refuse"}, {"existing_file": "refuse", "confirm": "none"}])
def test_refuse_goes_by_what_is_there_now(place: Site, settings: dict[str, str]) -> None:
    place.folder.update(settings)
    place.config["uploads_at_once"] = 1
    place.write_config()
    place.box.ill(Fault("delay", times=1, match={**IMPORT, "record": "101"}, seconds=1.5))
    daemon = place.start()
    place.put("101_V1_consent.pdf", b"first")
    place.put("102_V1_consent.pdf", b"ours")
    assert place.box.illness.wait()
    theirs(place, "102")
    daemon.wait_for("failed", reason="file_exists")
    assert held_now(place, "102") == b"a colleague's"


@pytest.mark.parametrize("setting", ["refuse", "preserve"])
def test_known_words_for_no_file_are_not_believed_where_a_file_is_shown(place: Site, setting: str) -> None:
    """What is damaged on the server's disk, or hidden by a right, is there all the same."""
    place.folder.update(existing_file=setting, confirm="none")
    place.write_config()
    theirs(place, "102")
    place.box.ill(refuses("There is no file to download for this record", record="102"))
    daemon = place.start()
    place.put("102_V1_consent.pdf", b"ours")
    (later, *_) = daemon.wait_for("retrying", file="102_V1_consent.pdf")
    assert "shows a file" in later["message"]
    assert (later["scope"], later["outcome"]) == ("file", "not stored")
    assert held_now(place, "102") == b"a colleague's"
    assert count(place, "import") == 0
    assert not daemon.events("paused")
    place.box.project.store.remove_file("102", BASELINE, "consent_pdf")
    place.retry(1)
    daemon.wait_for("done")
    assert held_now(place, "102") == b"ours"


# Words that nobody knows ----------------------------------------------------------------------------------------------


def test_unknown_words_for_no_file_are_learned_from_a_look_up(place: Site) -> None:
    place.box.ill(refuses("Zu Datensatz '101' ist hier nichts hinterlegt", times=2, record="101"))
    place.box.ill(refuses("Zu Datensatz '102' ist hier nichts hinterlegt", times=1, record="102"))
    daemon = place.start()
    place.put("101_V1_consent.pdf", b"one")
    daemon.wait_for("done")
    asked = count(place, "", "record") + count(place, "export", "record")
    place.put("102_V1_consent.pdf", b"two")
    daemon.wait_for("done", 2)
    assert (held_now(place, "101"), held_now(place, "102")) == (b"one", b"two")
    assert count(place, "", "record") + count(place, "export", "record") - asked <= 1, "the words are known by now"
    assert not daemon.events("paused")
    assert not daemon.events("retrying")


def test_words_that_were_learned_outlive_a_restart(place: Site) -> None:
    place.box.ill(refuses("nichts da", times=2))
    place.put("101_V1_consent.pdf", b"one")
    assert place.once().returncode == 0
    place.box.ill(refuses("nichts da", times=1))
    place.put("102_V1_consent.pdf", b"two")
    assert place.once().returncode == 0
    exports = [one for one in place.box.requests if (one.content, one.action) == ("file", "export")]
    assert len(exports) == 5, "refused twice and read back; refused once and read back"


def test_learned_words_are_not_believed_where_a_file_is_shown(place: Site) -> None:
    place.box.ill(refuses("nichts da", times=2, record="101"))
    daemon = place.start()
    place.put("101_V1_consent.pdf", b"one")
    daemon.wait_for("done")
    theirs(place, "102")
    place.box.ill(refuses("nichts da", record="102"))
    place.put("102_V1_consent.pdf", b"two")
    (later, *_) = daemon.wait_for("retrying", file="102_V1_consent.pdf")
    assert "shows a file" in later["message"]
    assert later["scope"] == "file"
    assert held_now(place, "102") == b"a colleague's"
    assert count(place, "import") == 1
    assert not daemon.events("paused")


def test_a_hundred_refused_exports_pause_nobody(place: Site) -> None:
    place.folder["existing_file"] = "preserve"
    place.write_config()
    for record in range(101, 111):
        theirs(place, str(record))
        place.box.ill(refuses("etwas stimmt nicht", record=str(record)))
    daemon = place.start()
    for record in range(101, 111):
        place.put(f"{record}_V1_consent.pdf", b"ours")
    place.put("111_V1_consent.pdf", b"fine")
    daemon.wait_for("retrying", 10, scope="file")
    daemon.wait_for("done", file="111_V1_consent.pdf")
    assert not daemon.events("paused")
    assert all(held_now(place, str(record)) == b"a colleague's" for record in range(101, 111))


def test_an_empty_answer_to_an_export_is_no_news(place: Site) -> None:
    for record in range(101, 106):
        theirs(place, str(record))
    empty = Fault("status", times=5, match=EXPORT, code=200, body="", content_type="text/html; charset=UTF-8")
    place.box.ill(empty)
    daemon = place.start()
    for record in range(101, 106):
        place.put(f"{record}_V1_consent.pdf", b"ours")
    daemon.wait_for("done", 5, patience=40)
    assert kept(place) == [b"a colleague's"] * 5
    assert not daemon.events("paused")
    assert {line["scope"] for line in daemon.events("retrying")} == {"file"}


# Rights that hide files -----------------------------------------------------------------------------------------------


def test_a_field_that_is_left_out_of_the_look_up_is_not_empty(place: Site) -> None:
    theirs(place, "101")
    place.box.grant(place.box.token, Rights(forms={"consent": "0"}))
    daemon = place.start()
    place.put("101_V1_consent.pdf", b"ours")
    (held,) = daemon.wait_for("held")
    assert held["reason"] == "rights"
    assert "`consent_pdf`" in held["message"]
    assert count(place, "import") == 0
    assert held_now(place, "101") == b"a colleague's"
    assert not daemon.events("paused")
    place.box.grant(place.box.token, Rights())
    assert place.dropcap("retry", "--held").returncode == 0
    daemon.wait_for("done")
    assert kept(place) == [b"a colleague's"]


def test_a_row_that_was_never_touched_is_empty(place: Site) -> None:
    daemon = place.start()
    place.put("101_V2_consent.pdf", b"at an event without data")
    daemon.wait_for("done")
    assert place.box.content("101", "consent_pdf", "month_6_arm_1") == b"at an event without data"


IDENTIFIER = {"name": "letter", "pattern": "{record:digits}_letter.pdf", "field": "referral_letter", "event": "baseline_arm_1"}


def test_an_identifier_that_export_and_look_up_hide_alike_is_not_empty(place: Site) -> None:
    place.folder["rules"] = [IDENTIFIER]
    place.write_config()
    theirs(place, "101", field="referral_letter")
    place.box.project.hidden_fields = "blank"
    place.box.grant(place.box.token, Rights(export="2"))
    place.box.ill(refuses("Das geht hier nicht"))
    daemon = place.start()
    place.put("101_letter.pdf", b"ours")
    (held,) = daemon.wait_for("held")
    assert held["reason"] == "rights"
    assert held_now(place, "101", "referral_letter") == b"a colleague's"
    assert count(place, "import") == 0


def test_a_token_that_was_given_an_identifier_before_may_learn_its_words(place: Site) -> None:
    place.folder["rules"] = [IDENTIFIER]
    place.write_config()
    place.box.grant("F" * 32, Rights(username="somebody_else"))  # so that REDCap does not tell whose token it is
    place.put("101_letter.pdf", b"one")
    assert place.once().returncode == 0, "which was read back"
    place.box.ill(refuses("Hier liegt nichts", times=2))
    place.put("102_letter.pdf", b"two")
    assert place.once().returncode == 0
    assert held_now(place, "102", "referral_letter") == b"two"


# The instance that `next` chooses -------------------------------------------------------------------------------------


def lab(place: Site, record: str, instance: int) -> bytes:
    return place.box.content(record, "lab_report", "baseline_arm_1", instance)


def test_an_instance_that_somebody_fills_before_the_send_is_chosen_anew(place: Site) -> None:
    place.folder["existing_file"] = "replace"
    place.config["uploads_at_once"] = 1
    place.write_config()
    place.box.ill(Fault("delay", times=1, match={**IMPORT, "record": "101"}, seconds=1.5))
    daemon = place.start()
    place.put("101_V1_consent.pdf", b"first")
    place.put("102_V1_lab_1.pdf", b"ours")
    assert place.box.illness.wait()
    place.box.project.store.put_bytes("102", RowKey("baseline_arm_1", "laboratory", 1), "lab_report", "t.pdf", b"theirs")
    daemon.wait_for("done", 2)
    assert (lab(place, "102", 1), lab(place, "102", 2)) == (b"theirs", b"ours")
    assert [job.instance for job in place.jobs() if job.field == "lab_report"] == [2]


def test_a_server_that_never_shows_what_it_exports_holds_the_file(place: Site) -> None:
    place.box.project.store.put_bytes("102", RowKey("baseline_arm_1", "laboratory", 1), "lab_report", "t.pdf", b"theirs")
    rows = json.dumps([{"record_id": "102", "redcap_event_name": "baseline_arm_1", "lab_report": "", "laboratory_complete": ""}])
    place.box.ill(Fault("status", match=LOOK_UP, code=200, body=rows, content_type="application/json"))
    daemon = place.start()
    place.put("102_V1_lab_1.pdf", b"ours")
    daemon.wait_for("retrying", 4, reason="file_exists", patience=40)
    assert lab(place, "102", 1) == b"theirs"
    assert count(place, "import") == 0


def numbered(place: Site) -> dict[str, Any]:
    """A rule that names the instance, beside the one that takes the next."""
    return {
        "name": "numbered",
        "pattern": "{record:digits}_{visit:visits}_no{number:digits}.pdf",
        "event": "{visit|visits}",
        "field": "lab_report",
        "instance": "{number}",
    }


@pytest.mark.parametrize("arrangement", ["one folder", "two folders", "two entries for one project", "record_where"])
def test_files_of_one_form_do_not_overwrite_each_other(place: Site, arrangement: str) -> None:
    """Files that name their instance and files that take the next one go to different instances, whoever brings them."""
    place.folder["existing_file"] = "refuse"
    place.config["uploads_at_once"] = 8
    other = place.root / "other"
    other.mkdir()
    second = {**place.folder, "path": str(other), "rules": [dict(rule) for rule in place.folder["rules"]]}
    if arrangement == "one folder":
        place.folder["rules"].append(numbered(place))
    elif arrangement == "two folders":
        second["rules"] = [numbered(place)]
        place.config["folders"]["second"] = second
    elif arrangement == "two entries for one project":
        place.config["projects"]["again"] = dict(place.project)
        second["project"] = "again"
        place.config["folders"]["second"] = second
    else:
        second["rules"] = [
            {**place.folder["rules"][1], "pattern": "{mrn:digits}_{visit:visits}_lab*.pdf", "record_where": {"mrn": "{mrn}"}}
        ]
        place.config["folders"]["second"] = second
    place.write_config()
    place.box.ill(Fault("delay", match=IMPORT, seconds=0.02))
    row = place.box.project.store.row("101", BASELINE)
    assert row is not None
    mrn = row.values["mrn"]
    for number in range(1, 11):
        place.put(f"101_V1_lab_{number}.pdf", b"ours %d" % number)
        if arrangement == "one folder":
            place.put(f"101_V1_no{100 + 10 * number}.pdf", b"theirs %d" % number)
        elif arrangement == "two folders":
            (other / f"101_V1_no{100 + 10 * number}.pdf").write_bytes(b"theirs %d" % number)
        elif arrangement == "record_where":
            (other / f"{mrn}_V1_lab_{number}.pdf").write_bytes(b"theirs %d" % number)
        else:
            (other / f"101_V1_lab_{number}.pdf").write_bytes(b"theirs %d" % number)
    daemon = place.start()
    daemon.wait_for("done", 20, patience=60)
    held = [lab(place, "101", one.instance or 0) for one in place.box.holdings()]
    assert sorted(held) == sorted([b"ours %d" % n for n in range(1, 11)] + [b"theirs %d" % n for n in range(1, 11)])
    assert not daemon.events("failed")


def test_next_on_a_form_that_does_not_repeat_is_held_before_anything_is_sent(place: Site) -> None:
    place.folder["rules"][0]["instance"] = "next"
    place.write_config()
    theirs(place, "101")
    daemon = place.start()
    for record in ("101", "102"):
        place.put(f"{record}_V1_consent.pdf", b"ours")
    place.put("103_V1_scan.tif", b"fine")
    held = daemon.wait_for("held", 2)
    assert {line["reason"] for line in held} == {"not_repeating"}
    daemon.wait_for("done", file="103_V1_scan.tif")
    assert held_now(place, "101") == b"a colleague's"
    assert count(place, "import") == 1
    assert place.failed() == []


def test_files_that_a_rule_held_go_on_once_the_project_agrees(place: Site) -> None:
    """The structure that decides is not older than a minute, and what it made impossible goes on by itself or by a reload."""
    place.folder["rules"][0]["instance"] = "next"
    place.write_config()
    daemon = place.start()
    place.put("101_V1_consent.pdf", b"ours")
    daemon.wait_for("held", reason="not_repeating")
    place.box.project.repeating["baseline_arm_1"] = ("laboratory", "consent")
    assert daemon.process.poll() is None
    import signal

    daemon.process.send_signal(signal.SIGHUP)
    daemon.wait_for("reloaded")
    daemon.wait_for("done")
    assert place.box.content("101", "consent_pdf", "baseline_arm_1", 1) == b"ours"


def test_what_redcap_does_not_tell_of_the_structure_refuses_nothing(place: Site) -> None:
    refused = json.dumps({"error": "You do not have Project Design privileges"})
    for content in ("repeatingFormsEvents", "formEventMapping"):
        place.box.ill(Fault("status", None, {"content": content}, code=403, body=refused, content_type="application/json"))
    daemon = place.start()
    place.put("101_V1_lab_1.pdf", b"one")
    place.put("101_V1_lab_2.pdf", b"two")
    place.put("101_V1_consent.pdf", b"consent")
    daemon.wait_for("done", 3)
    assert {lab(place, "101", 1), lab(place, "101", 2)} == {b"one", b"two"}


def test_next_is_held_beside_an_entry_whose_project_nobody_knows(place: Site) -> None:
    """Another entry for the same URL has a token that is told nothing: it may lead to the same instances."""
    importer = "A" * 31 + "1"
    place.box.grant(importer, Rights(username="importer", api_export=False))
    token = place.root / "importer"
    token.write_text(importer)
    token.chmod(0o600)
    other = place.root / "other"
    other.mkdir()
    place.config["projects"]["importer"] = {**place.project, "token_file": str(token)}
    rules = [{**numbered(place)}]
    plain = {"existing_file": "replace", "confirm": "none", "path": str(other), "project": "importer", "rules": rules}
    place.config["folders"]["numbered"] = {**place.folder, **plain}
    place.write_config()
    daemon = place.start()
    (other / "101_V1_no1.pdf").write_bytes(b"theirs")
    daemon.wait_for("done", folder="numbered")
    place.put("101_V1_lab_1.pdf", b"ours")
    place.put("101_V1_consent.pdf", b"fine")
    (held,) = daemon.wait_for("held", folder="consents")
    assert "project_id" in held["remedy"]
    daemon.wait_for("done", file="101_V1_consent.pdf")
    result = place.dropcap("check")
    assert result.returncode == 1
    assert "`importer`" in result.stdout
    place.config["projects"]["importer"]["project_id"] = 42
    place.config["projects"]["trial"]["project_id"] = 42
    place.write_config()
    assert daemon.stop() == 0
    daemon = place.start()
    assert place.dropcap("retry", "--held").returncode == 0
    eventually(lambda: daemon.events("done", file="101_V1_lab_1.pdf"))
    assert (lab(place, "101", 1), lab(place, "101", 2)) == (b"theirs", b"ours")


# Order ----------------------------------------------------------------------------------------------------------------


def test_an_older_file_does_not_replace_a_newer_one_whose_place_was_known_first(place: Site) -> None:
    other = place.root / "other"
    other.mkdir()
    where = {
        "name": "by mrn",
        "pattern": "{mrn:digits}.pdf",
        "event": "baseline_arm_1",
        "field": "consent_pdf",
        "record_where": {"mrn": "{mrn}"},
    }
    place.config["folders"]["where"] = {**place.folder, "path": str(other), "rules": [where]}
    place.write_config()
    daemon = place.start()
    assert place.dropcap("pause", "--folder", "where").returncode == 0
    row = place.box.project.store.row("101", BASELINE)
    assert row is not None
    (other / f"{row.values['mrn']}.pdf").write_bytes(b"older")
    daemon.wait_for("claimed", folder="where")
    place.put("101_V1_consent.pdf", b"newer")
    daemon.wait_for("done", folder="consents")
    assert place.dropcap("resume", "--folder", "where").returncode == 0
    (held,) = daemon.wait_for("held", folder="where")
    assert held["reason"] == "newer_went"
    assert held_now(place, "101") == b"newer"
    assert place.dropcap("retry", "--held").returncode == 0
    daemon.wait_for("done", folder="where")
    assert held_now(place, "101") == b"older"
    assert kept(place) == [b"newer"]
