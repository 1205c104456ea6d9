"""A person takes a file of unknown outcome out of in_progress/ and drops it again: one file never becomes two instances."""

from __future__ import annotations

import json
import os
import shutil
import signal
from typing import Any

import pytest

from redcap_sandbox import Fault, RowKey
from tests.site import Daemon, Site, eventually

IMPORT = {"content": "file", "action": "import"}
EXPORT = {"content": "file", "action": "export"}
LAB = "101_V1_lab_1.pdf"
SAMPLE = b"one sample"


def imports(place: Site) -> int:
    return len([r for r in place.box.requests if (r.content, r.action) == ("file", "import")])


def held(place: Site, field: str = "lab_report") -> list[tuple[str, int | None]]:
    return sorted((h.record, h.instance) for h in place.box.holdings() if h.field == field)


def lost_reply(place: Site, *, stored: bool = True) -> None:
    """The reply to the next import is lost, and no question about it is answered until `place.box.well()`."""
    place.box.ill(Fault("reset_after_body", times=1, match=IMPORT, stored=stored))
    place.box.ill(Fault("status", code=500, match=EXPORT, skip=1))


def of_unknown_outcome(place: Site, name: str = LAB, content: bytes = SAMPLE, *, stored: bool = True) -> Daemon:
    """Drop a file whose reply is lost; no question about it is answered until `place.box.well()`."""
    lost_reply(place, stored=stored)
    daemon = place.start()
    place.put(name, content)
    daemon.wait_for("retrying", outcome="unknown")
    return daemon


def job_states(place: Site) -> list[tuple[str, str]]:
    return [(job.name, str(job.state)) for job in place.jobs()]


def steps(place: Site, name: str) -> list[dict[str, Any]]:
    said = place.dropcap("history", name, "--json").stdout
    return [json.loads(line) for line in said.splitlines()]


def moved(place: Site, to: str = LAB, of: str = LAB) -> None:
    target = place.drop / to
    target.parent.mkdir(parents=True, exist_ok=True)
    (place.drop / "in_progress" / of).rename(target)


@pytest.mark.parametrize("stored", [True, False], ids=["it had arrived", "it had not"])
@pytest.mark.parametrize("late", [False, True], ids=["before the withdrawal", "after it"])
def test_dropped_back_under_its_name_the_old_job_goes_on(place: Site, stored: bool, late: bool) -> None:
    place.folder["rescan"] = "500ms"
    place.write_config()
    daemon = of_unknown_outcome(place, stored=stored)
    if late:
        moved(place, "../aside.pdf")
        daemon.wait_for("withdrawn")
        (place.root / "aside.pdf").rename(place.drop / LAB)
    else:
        moved(place)
    daemon.wait_for("moved_back")
    place.box.well()
    (done,) = daemon.wait_for("done", patience=30)
    assert done["instance"] == 1
    assert held(place) == [("101", 1)]
    assert imports(place) == (1 if stored else 2)
    assert place.done() == [LAB]
    assert [(job.id, job.name, str(job.state)) for job in place.jobs()] == [(1, LAB, "done")]
    assert "moved back by a person" in place.dropcap("history", LAB).stdout


def test_with_a_long_rescan_it_waits_for_seconds_only(place: Site) -> None:
    place.folder["rescan"] = "1h"
    place.write_config()
    daemon = of_unknown_outcome(place)
    moved(place)
    daemon.wait_for("moved_back", patience=15)
    place.box.well()
    daemon.wait_for("done", patience=30)
    assert held(place) == [("101", 1)]


@pytest.mark.parametrize("to", ["101_V1_lab_2.pdf", f"ward 3/{LAB}"], ids=["another name", "a subfolder"])
@pytest.mark.parametrize("stored", [True, False])
def test_under_another_name_for_the_same_place_it_takes_no_second_instance(place: Site, to: str, stored: bool) -> None:
    daemon = of_unknown_outcome(place, stored=stored)
    moved(place, to)
    daemon.wait_for("moved_back")
    place.box.well()
    daemon.wait_for("done", patience=30)
    assert held(place) == [("101", 1)]
    assert place.done() == [to]
    assert job_states(place) == [(LAB, "withdrawn"), (to, "done")]
    (told,) = daemon.wait_for("read_back", job=1)
    assert told["found"] == "yes"


@pytest.mark.parametrize("back", [f"in_progress/{LAB}", LAB], ids=["renamed back", "dropped again"])
def test_a_name_that_leads_nowhere_in_between_takes_no_second_instance(place: Site, back: str) -> None:
    place.folder["rescan"] = "500ms"
    place.write_config()
    daemon = of_unknown_outcome(place)
    for wrong, before in (("zz.pdf", LAB), ("zz2.pdf", "zz.pdf")):
        moved(place, f"in_progress/{wrong}", before)
        daemon.wait_for("held", file=wrong)
    assert [(job.state, job.record, job.instance) for job in place.jobs()] == [("held", "101", 1)]
    assert "give the file in in_progress/ its old name" in place.dropcap("status").stdout
    moved(place, back, "zz2.pdf")
    place.box.well()
    (done,) = daemon.wait_for("done", patience=30)
    assert done["instance"] == 1
    assert held(place) == [("101", 1)]
    assert imports(place) == 1


@pytest.mark.parametrize("stored", [True, False], ids=["it had arrived", "it had not"])
def test_under_the_name_of_another_patient_the_old_place_is_told(place: Site, stored: bool) -> None:
    daemon = of_unknown_outcome(place, stored=stored)
    moved(place, "102_V1_lab_1.pdf")
    daemon.wait_for("moved_back", file="102_V1_lab_1.pdf")
    # What holds up the old place holds up nothing at the new one.
    place.box.well()
    place.box.ill(Fault("status", code=500, match={**EXPORT, "record": "101"}))
    daemon.wait_for("done", file="102_V1_lab_1.pdf", patience=30)
    assert daemon.events("read_back") == []
    place.box.well()
    (told,) = daemon.wait_for("read_back", patience=30)
    assert told["found"] == ("yes" if stored else "no")
    assert held(place) == ([("101", 1)] if stored else []) + [("102", 1)]
    (old,) = steps(place, LAB)
    assert (old["state"], old["found"]) == ("withdrawn", told["found"])
    assert any("read back" in step["note"] for step in old["steps"])
    assert "102_V1_lab_1.pdf" in place.dropcap("history", LAB).stdout
    status = place.dropcap("status").stdout
    assert LAB in status
    assert ("REDCap has it at record 101" if stored else "did not arrive") in " ".join(status.split())
    if stored:
        assert "remove the file there" in told["remedy"]


def test_the_other_patients_file_waits_for_nothing_while_the_old_one_cannot_be_read_back(place: Site) -> None:
    place.folder["existing_file"] = "replace"
    place.write_config()
    place.box.ill(Fault("reset_after_body", times=1, match={**IMPORT, "record": "101"}))
    place.box.ill(Fault("status", code=500, match={**EXPORT, "record": "101"}))
    daemon = place.start()
    place.put("101_V1_consent.pdf", b"whose")
    daemon.wait_for("retrying", outcome="unknown", file="101_V1_consent.pdf")
    moved(place, "103_V1_consent.pdf", "101_V1_consent.pdf")
    daemon.wait_for("done", file="103_V1_consent.pdf", patience=30)
    assert place.box.content("103", "consent_pdf") == b"whose"
    place.box.well()
    (told,) = daemon.wait_for("read_back", file="101_V1_consent.pdf", patience=30)
    assert told["found"] == "yes"


@pytest.mark.parametrize("name", [LAB, "101_V1_lab_7.pdf"], ids=["its name", "another name"])
def test_a_copy_is_known_by_what_was_sent(place: Site, name: str) -> None:
    place.folder["rescan"] = "500ms"
    place.write_config()
    daemon = of_unknown_outcome(place)
    shutil.copyfile(place.drop / "in_progress" / LAB, place.root / "copy")
    (place.drop / "in_progress" / LAB).unlink()
    daemon.wait_for("withdrawn")
    os.utime(place.root / "copy", (1_700_000_000, 1_700_000_000))
    (place.root / "copy").rename(place.drop / name)
    daemon.wait_for("moved_back")
    place.box.well()
    daemon.wait_for("done", patience=30)
    assert held(place) == [("101", 1)]
    assert imports(place) == 1


def test_a_file_that_was_changed_in_between_is_a_new_one(place: Site) -> None:
    daemon = of_unknown_outcome(place)
    before = (place.drop / "in_progress" / LAB).stat()
    moved(place, "../aside.pdf")
    with (place.root / "aside.pdf").open("r+b") as file:
        file.write(b"ANOTHER")
    os.utime(place.root / "aside.pdf", ns=(before.st_atime_ns, before.st_mtime_ns))
    (place.root / "aside.pdf").rename(place.drop / "101_V1_lab_2.pdf")
    daemon.wait_for("claimed", file="101_V1_lab_2.pdf")
    place.box.well()
    daemon.wait_for("done", file="101_V1_lab_2.pdf", patience=30)
    assert not daemon.events("moved_back")
    held_bytes = {place.box.content("101", "lab_report", "baseline_arm_1", number) for _, number in held(place)}
    assert b"ANOTHERple" in held_bytes


def test_dragged_back_after_a_kill_and_while_dropcap_is_down(place: Site) -> None:
    daemon = of_unknown_outcome(place)
    daemon.kill()
    moved(place)
    place.box.well()
    daemon = place.start()
    daemon.wait_for("done", patience=30)
    assert held(place) == [("101", 1)]
    assert imports(place) == 1
    assert job_states(place) == [(LAB, "done")]


def test_dragged_back_twice_and_to_and_fro(place: Site) -> None:
    place.folder["rescan"] = "500ms"
    place.write_config()
    daemon = of_unknown_outcome(place)
    moved(place)
    daemon.wait_for("moved_back", 1)
    moved(place)
    daemon.wait_for("moved_back", 2)
    moved(place, "101_V1_lab_5.pdf")
    daemon.wait_for("moved_back", 3)
    moved(place, LAB, "101_V1_lab_5.pdf")
    daemon.wait_for("moved_back", 4)
    place.box.well()
    daemon.wait_for("done", patience=40)
    assert held(place) == [("101", 1)]
    assert imports(place) == 1
    assert place.done() == [LAB]


def test_moved_back_while_it_is_just_being_sent(place: Site) -> None:
    place.box.ill(Fault("delay", times=1, match=IMPORT, seconds=2.0))
    daemon = place.start()
    place.put(LAB, SAMPLE)
    assert place.box.illness.wait()
    moved(place)
    daemon.wait_for("moved_back", patience=30)
    eventually(lambda: place.done() == [LAB], 30)
    assert held(place) == [("101", 1)]
    assert imports(place) == 1


def test_moved_back_under_another_name_while_it_is_just_being_sent(place: Site) -> None:
    place.box.ill(Fault("delay", times=1, match=IMPORT, seconds=2.0))
    daemon = place.start()
    place.put(LAB, SAMPLE)
    assert place.box.illness.wait()
    moved(place, "101_V1_lab_2.pdf")
    daemon.wait_for("moved_back", patience=30)
    eventually(lambda: place.done() == ["101_V1_lab_2.pdf"], 30)
    assert held(place) == [("101", 1)]


@pytest.mark.parametrize(
    ("how", "project"), [("moved", "trial"), ("copied and removed", "trial"), ("moved", "again"), ("copied and removed", "again")]
)
def test_dragged_to_another_drop_folder_of_the_same_project(place: Site, how: str, project: str) -> None:
    """Also if another entry leads to that project."""
    other = place.root / "other"
    other.mkdir()
    place.folder["rescan"] = "500ms"
    place.config["projects"][project] = dict(place.project)
    place.config["folders"]["second"] = {**place.folder, "path": str(other), "project": project}
    place.write_config()
    daemon = of_unknown_outcome(place)
    if how == "moved":
        (place.drop / "in_progress" / LAB).rename(other / LAB)
    else:  # as from one share to another
        shutil.copyfile(place.drop / "in_progress" / LAB, other / LAB)
        (place.drop / "in_progress" / LAB).unlink()
    daemon.wait_for("moved_back", folder="second", patience=30)
    place.box.well()
    daemon.wait_for("done", folder="second", patience=30)
    assert held(place) == [("101", 1)]
    assert imports(place) == 1


@pytest.mark.parametrize("how", ["taken away", "renamed in in_progress"])
def test_another_folders_file_to_the_same_place_goes_once_it_has_left(place: Site, how: str) -> None:
    (place.root / "ward").mkdir()
    place.config["folders"]["ward"] = {**place.folder, "path": str(place.root / "ward")}
    place.write_config()
    daemon = of_unknown_outcome(place, "101_V1_consent.pdf", b"an older one")
    behind = place.root / "ward/101_V1_consent.pdf"
    behind.write_bytes(b"a newer one")
    daemon.wait_for("claimed", folder="ward")
    if how == "taken away":
        moved(place, "../aside.pdf", "101_V1_consent.pdf")
        daemon.wait_for("withdrawn")
    else:
        daemon.wait_for("retrying", 2, outcome="unknown")
        moved(place, "in_progress/102_V1_consent.pdf", "101_V1_consent.pdf")
        daemon.wait_for("claimed", file="102_V1_consent.pdf")
    place.box.well()
    daemon.wait_for("done", folder="ward")
    assert place.box.content("101", "consent_pdf") == b"a newer one"


def test_dragged_from_a_folder_that_has_left_the_configuration(place: Site) -> None:
    other = place.root / "other"
    other.mkdir()
    place.config["folders"]["second"] = {**place.folder, "path": str(other)}
    place.write_config()
    daemon = of_unknown_outcome(place)
    del place.config["folders"]["consents"]
    place.write_config()
    daemon.process.send_signal(signal.SIGHUP)
    daemon.wait_for("reloaded")
    (place.drop / "in_progress" / LAB).rename(other / LAB)
    place.box.well()
    daemon.wait_for("done", folder="second", patience=30)
    assert held(place) == [("101", 1)]
    assert imports(place) == 1


def test_dragged_back_while_dropcap_is_down_and_run_once(place: Site) -> None:
    daemon = of_unknown_outcome(place)
    daemon.kill()
    moved(place, "102_V1_lab_1.pdf")
    place.box.well()
    assert place.once().returncode == 0
    assert place.done() == ["102_V1_lab_1.pdf"]
    (old,) = steps(place, LAB)
    assert old["found"] == "yes"


def test_two_copies_of_it_make_no_second_instance_for_it(place: Site) -> None:
    place.folder["rescan"] = "500ms"
    place.write_config()
    daemon = of_unknown_outcome(place)
    moved(place, "../aside.pdf")
    daemon.wait_for("withdrawn")
    for name in (LAB, "101_V1_lab_2.pdf"):
        shutil.copyfile(place.root / "aside.pdf", place.root / name)
    for name in ("101_V1_lab_2.pdf", LAB):
        (place.root / name).rename(place.drop / name)
    place.box.well()
    daemon.wait_for("done", 2, patience=60)
    assert (("101", 1) in held(place), len(held(place)) <= 2) == (True, True)
    assert sorted(place.done()) == [LAB, "101_V1_lab_2.pdf"]
    assert not daemon.events("internal_error")


def test_a_right_that_is_missing_is_told_and_not_asked_for_ever(place: Site) -> None:
    from redcap_sandbox import Rights

    daemon = of_unknown_outcome(place)
    place.box.grant(place.box.token, Rights(username="importer", api_import=True, api_export=False))
    moved(place, "no rule for it.pdf")
    place.box.well()
    (told,) = daemon.wait_for("read_back", patience=30)
    assert told["found"] == "unknown"


def test_rules_changed_in_between_it_is_read_back_where_it_was_sent(place: Site) -> None:
    place.folder["rescan"] = "500ms"
    place.write_config()
    daemon = of_unknown_outcome(place)
    moved(place, "../aside.pdf")
    daemon.wait_for("withdrawn")
    place.folder["rules"][1]["pattern"] = "{record:digits}_{visit:visits}_lab_{n:digits}.pdf"
    place.folder["rules"][1]["field"] = "scan"
    del place.folder["rules"][1]["instance"]
    place.write_config()
    daemon.process.send_signal(signal.SIGHUP)
    daemon.wait_for("reloaded")
    (place.root / "aside.pdf").rename(place.drop / LAB)
    daemon.wait_for("moved_back")
    place.box.well()
    daemon.wait_for("done", patience=30)
    assert held(place) == [("101", 1)]
    assert held(place, "scan") == []


def test_record_where_takes_no_second_instance_either(place: Site) -> None:
    for rule in place.folder["rules"]:
        if rule["name"] == "lab":
            rule["pattern"] = "{mrn:digits}_{visit:visits}_lab*.pdf"
            rule["record_where"] = {"mrn": "{mrn}"}
    place.folder["rescan"] = "500ms"
    place.write_config()
    mrn = mrn_of(place, "101")
    daemon = of_unknown_outcome(place, f"{mrn}_V1_lab_1.pdf")
    moved(place, f"{mrn}_V1_lab_2.pdf", f"{mrn}_V1_lab_1.pdf")
    daemon.wait_for("moved_back")
    place.box.well()
    daemon.wait_for("done", patience=30)
    assert held(place) == [("101", 1)]
    assert imports(place) == 1


def mrn_of(place: Site, record: str) -> str:
    row = place.box.project.store.row(record, RowKey("baseline_arm_1"))
    assert row is not None
    return row.values["mrn"]


@pytest.mark.parametrize("name", [LAB, "101_V1_lab_2.pdf"])
@pytest.mark.parametrize("after", ["at once", "withdrawn", "moved_back"])
def test_killed_on_the_way(place: Site, name: str, after: str) -> None:
    place.folder["rescan"] = "500ms"
    place.write_config()
    daemon = of_unknown_outcome(place)
    moved(place, name)
    if after != "at once":
        daemon.wait_for(after)
    daemon.kill()
    place.box.well()
    daemon = place.start()
    daemon.wait_for("done", patience=30)
    assert held(place) == [("101", 1)]
    assert imports(place) == 1
    assert place.done() == [name]


def test_a_stranger_in_in_progress_is_known_again_too(place: Site) -> None:
    place.folder["rescan"] = "500ms"
    place.write_config()
    daemon = of_unknown_outcome(place)
    moved(place, "../aside.pdf")
    daemon.wait_for("withdrawn")
    (place.root / "aside.pdf").rename(place.drop / "in_progress" / LAB)
    daemon.wait_for("moved_back")
    place.box.well()
    daemon.wait_for("done", patience=30)
    assert held(place) == [("101", 1)]
    assert imports(place) == 1


def test_a_held_file_of_unknown_outcome_too(place: Site) -> None:
    place.folder["rescan"] = "500ms"
    place.write_config()
    daemon = of_unknown_outcome(place)
    rules = place.folder["rules"]
    place.folder["rules"] = [rule for rule in rules if rule["name"] != "lab"]
    place.write_config()
    daemon.process.send_signal(signal.SIGHUP)
    daemon.wait_for("held")
    place.folder["rules"] = rules
    place.write_config()
    moved(place, "../aside.pdf")
    daemon.wait_for("withdrawn")
    daemon.process.send_signal(signal.SIGHUP)
    daemon.wait_for("reloaded", 2)
    place.box.well()
    (place.root / "aside.pdf").rename(place.drop / LAB)
    daemon.wait_for("done", patience=30)
    assert held(place) == [("101", 1)]
    assert imports(place) == 1
