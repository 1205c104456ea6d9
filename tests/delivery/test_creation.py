"""`missing_record: create`: several files of one new record."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path

import pytest

from dropcap.delivery import work as creation
from dropcap.delivery.work import Creation
from dropcap.ledger.job import Address, Job, NewFile
from dropcap.ledger.store import Ledger
from redcap_sandbox.fault import Fault
from tests.site import Daemon, Site, eventually

CREATE = {"content": "record", "action": "import"}


@pytest.fixture
def creating(place: Site) -> Site:
    """One record a day may be created, for files like 501.pdf."""
    place.folder.update(missing_record="create", create_limit=1)
    place.folder["rules"] = [{"pattern": "{record:digits}.pdf", "field": "consent_pdf", "event": "baseline_arm_1"}]
    place.write_config()
    return place


def reworded(place: Site, killed: Daemon) -> None:
    """After a kill -9: whatever the ledger says to people says something else now."""
    killed.kill()
    with sqlite3.connect(place.state / "ledger.db") as ledger:
        ledger.execute("update job set message = 'was: ' || message, remedy = 'was: ' || remedy")
        ledger.execute("update history set note = 'was: ' || note")
    ledger.close()


def job(place: Site) -> Job:
    (only,) = place.jobs()
    return only


def test_several_files_of_one_new_record_take_one_of_the_days_limit(place: Site) -> None:
    place.folder.update(missing_record="create", create_limit=1)
    place.folder["rules"][0]["pattern"] = "{record:digits}_{visit:visits}_consent.pdf"
    place.write_config()
    files = ["501_V1_consent.pdf", "501_V1_lab_1.pdf", "501_V1_lab_2.pdf", "501_V1_scan.tif", "501_V2_consent.pdf"]
    for name in files:
        place.put(name, name.encode())
    result = place.once()
    assert result.returncode == 0, result.stdout
    assert place.done() == sorted(files)


def test_a_record_whose_creation_failed_counts_once_also_over_a_kill(creating: Site) -> None:
    creating.box.ill(Fault("status", times=1, code=500, match=CREATE))
    creating.put("501.pdf", b"new")
    daemon = creating.start()
    daemon.wait_for("retrying", reason="server_error")
    reworded(creating, daemon)
    again = creating.start()
    again.wait_for("done")
    assert not again.events("retrying", reason="create_limit")
    assert creating.box.content("501", "consent_pdf", "baseline_arm_1") == b"new"


def test_a_record_that_was_created_and_does_not_appear_is_not_created_again_at_once_after_a_kill(creating: Site) -> None:
    creating.box.ill(Fault("delay", seconds=1.0, match=CREATE))
    creating.put("501.pdf", b"new")
    daemon = creating.start()
    assert creating.box.illness.wait()
    creating.box.ill(Fault("status", code=500, match={"content": "record"}))  # the look-up after it tells nothing
    daemon.wait_for("record_created")
    daemon.wait_for("retrying", reason="server_error")
    eventually(lambda: job(creating).reason == "server_error")
    reworded(creating, daemon)
    creating.box.well()
    creating.box.project.store.delete("501")
    creating.box.ill(Fault("status", code=200, body='["501"]', content_type="application/json", match=CREATE))
    again = creating.start()
    waits, *_ = again.wait_for("retrying", reason="no_record")
    assert waits["in_seconds"] == 60
    assert "does not show it" in waits["message"]
    assert not again.events("record_created"), "REDCap said yes before"
    creating.box.well()
    assert creating.dropcap("retry", "1").returncode == 0
    again.wait_for("done")
    assert len(again.events("record_created")) == 1, "a person asked for it"


def test_a_renamed_file_asks_for_its_other_record(creating: Site) -> None:
    """What was asked for, and what was created, is of the record that the name told then."""
    creating.folder["create_limit"] = 2
    creating.write_config()
    creating.box.ill(Fault("status", code=200, body='["501"]', content_type="application/json", match=CREATE))
    creating.put("501.pdf", b"new")
    daemon = creating.start()
    daemon.wait_for("retrying", reason="no_record")
    creating.box.well()
    (creating.drop / "in_progress" / "501.pdf").rename(creating.drop / "in_progress" / "502.pdf")
    daemon.wait_for("done")
    assert [line["record"] for line in daemon.events("record_created")] == ["501", "502"]
    assert (job(creating).create_asked, creating.box.content("502", "consent_pdf", "baseline_arm_1")) == ("502", b"new")


#: Before REDCap carries it out: until then the record is not there for anybody.
SLOW_TO_CREATE = Fault("delay", seconds=1.0, before="body", match=CREATE)


def second_folder(place: Site, **settings: object) -> Path:
    """Both folders create records, for files like ab1.pdf."""
    place.folder.update(
        missing_record="create", rules=[{"pattern": "{record:alnum}.pdf", "field": "consent_pdf", "event": "baseline_arm_1"}]
    )
    second = place.root / "second"
    second.mkdir()
    place.config["folders"]["second"] = {**place.folder, "path": str(second), **settings}
    place.write_config()
    return second


def one_was_created(place: Site, daemon: Daemon, *spellings: str) -> None:
    """One, and the file with the other spelling was refused as if it had come later."""
    daemon.wait_for("done")
    daemon.wait_for("failed", reason="record_differs")
    (created,) = daemon.events("record_created")
    assert set(spellings) & set(place.box.project.store.records) == {created["record"]}


@pytest.mark.parametrize("folders", [1, 2])
@pytest.mark.parametrize(("one", "other"), [("0900", "900"), ("ab1", "AB1")])
def test_two_spellings_at_once_make_one_record(place: Site, one: str, other: str, folders: int) -> None:
    second = second_folder(place) if folders == 2 else second_folder(place).parent / "drop"
    place.box.ill(SLOW_TO_CREATE)
    daemon = place.start()
    place.put(f"{one}.pdf", b"one")
    (second / f"{other}.pdf").write_bytes(b"other")
    one_was_created(place, daemon, one, other)


def test_two_spellings_by_two_entries_make_one_record(place: Site) -> None:
    """One of the files was claimed before REDCap had told that both entries lead to the same project."""
    place.config["projects"]["again"] = dict(place.project)
    second = second_folder(place, project="again")
    place.box.ill(Fault("delay", times=2, seconds=1.0, before="body", match={"content": "project"}))
    place.box.ill(SLOW_TO_CREATE)
    place.put("0900.pdf", b"one")
    daemon = place.start()
    daemon.wait_for("claimed")
    assert place.box.wait_for(lambda box: any(request.content == "metadata" for request in box.requests))
    (second / "900.pdf").write_bytes(b"other")
    one_was_created(place, daemon, "0900", "900")


def test_a_spelling_that_was_refused_keeps_no_other_waiting(creating: Site) -> None:
    refuses = json.dumps({"error": "no such name"})
    creating.box.ill(Fault("status", times=1, code=400, body=refuses, content_type="application/json", match=CREATE))
    creating.put("0900.pdf", b"refused")
    daemon = creating.start()
    daemon.wait_for("failed")
    creating.folder["create_limit"] = 5
    creating.write_config()
    assert creating.dropcap("reload").returncode == 0
    creating.put("900.pdf", b"at once")
    daemon.wait_for("done")


def test_a_spelling_that_nobody_goes_on_with_is_waited_for_no_longer_than_that(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger = Ledger(tmp_path / "ledger.db")
    ledger.claim("consents", [NewFile("900.pdf", 1, 2, 3)], lambda _: Address())
    (its,) = ledger.query.recent(1)
    left, here = Creation(ledger), Creation(ledger)
    assert left.elsewhere(its, "redcap#42", "0900") is None
    assert here.elsewhere(its, "redcap#43", "900") is None, "another project"
    assert here.elsewhere(its, "redcap#42", "0900") is None, "the same record"
    monkeypatch.setattr(creation, "_RESERVED", -1.0)
    assert here.elsewhere(its, "redcap#42", "900") is not None
    assert left.elsewhere(its, "redcap#42", "0900") is None
    assert here.elsewhere(its, "redcap#42", "900") is not None, "it was asked for anew"
    assert here.elsewhere(its, "redcap#42", "900") is None
    assert left.elsewhere(its, "redcap#42", "0900") is not None
    ledger.close()
