"""PyCap, a public client of REDCap's, against the sandbox."""

from __future__ import annotations

import io

import pytest

import redcap
from redcap_sandbox import Sandbox


@pytest.fixture
def project(box: Sandbox) -> redcap.Project:
    return redcap.Project(box.url, box.token)


def test_file_there_and_back(project: redcap.Project, box: Sandbox) -> None:
    place = {"record": "101", "field": "consent_pdf", "event": "baseline_arm_1"}
    content = bytes(range(256)) * 1000
    assert project.import_file(**place, file_name="consent 101.pdf", file_object=io.BytesIO(content)) == [{}]
    exported, about = project.export_file(**place)
    assert exported == content
    assert about == {"name": "consent 101.pdf"}
    assert box.content("101", "consent_pdf") == content
    assert project.delete_file(**place) == [{}]
    assert box.holdings() == []


def test_text_file_has_a_charset(project: redcap.Project) -> None:
    place = {"record": "101", "field": "scan", "event": "month_6_arm_1"}
    project.import_file(**place, file_name="notes.txt", file_object=io.BytesIO(b"text"))
    assert project.export_file(**place) == (b"text", {"name": "notes.txt", "charset": "UTF-8"})


def test_instances_of_a_repeating_instrument(project: redcap.Project, box: Sandbox) -> None:
    place = {"record": "102", "field": "lab_report", "event": "month_6_arm_1"}
    for instance in (1, 2, 5):
        content = io.BytesIO(b"%d" % instance)
        project.import_file(**place, file_name="lab.pdf", file_object=content, repeat_instance=instance)
    assert [holding.instance for holding in box.holdings()] == [1, 2, 5]
    assert project.export_file(**place, repeat_instance=5)[0] == b"5"
    rows = project.export_records(records=["102"], fields=["record_id", "lab_report"], export_data_access_groups=True)
    assert [(r["redcap_repeat_instrument"], r["redcap_repeat_instance"], r["lab_report"]) for r in rows] == [
        ("", "", ""),
        ("laboratory", 1, "[document]"),
        ("laboratory", 2, "[document]"),
        ("laboratory", 5, "[document]"),
    ]


@pytest.mark.parametrize(
    ("place", "message"),
    [
        (("999", "consent_pdf", "baseline_arm_1"), 'The record "999" does not exist'),
        (("101", "consent_pdf", "baseline_arm_1"), "There is no file to download for this record"),
    ],
)
def test_refusals_are_errors(project: redcap.Project, place: tuple[str, str, str], message: str) -> None:
    with pytest.raises(redcap.RedcapError, match=message):
        project.export_file(*place)


def test_structure(project: redcap.Project) -> None:
    assert str(project.export_version()) == "14.5.5"
    assert project.is_longitudinal
    assert project.def_field == "record_id"
    signature = next(field for field in project.metadata if field["field_name"] == "consent_signature")
    assert (signature["field_type"], signature["text_validation_type_or_show_slider_number"]) == ("file", "signature")
    assert [event["unique_event_name"] for event in project.export_events()] == ["baseline_arm_1", "month_6_arm_1"]
    assert project.export_arms() == [{"arm_num": 1, "name": "Arm 1"}]
    designated = {(row["unique_event_name"], row["form"]) for row in project.export_instrument_event_mappings()}
    assert ("baseline_arm_1", "demographics") in designated
    assert ("month_6_arm_1", "demographics") not in designated
    assert project.export_repeating_instruments_events()[0]["form_name"] == "laboratory"
    assert project.export_instruments()[0]["instrument_name"] == "demographics"
    info = project.export_project_info()
    assert (info["project_id"], info["is_longitudinal"], info["has_repeating_instruments_or_events"]) == (42, 1, 1)
    names = {row["export_field_name"] for row in project.export_field_names()}
    assert "consent_complete" in names
    assert "consent_pdf" not in names


def test_people_and_groups(project: redcap.Project, box: Sandbox) -> None:
    box.project.dags = ("north", "south")
    (user,) = project.export_users()
    assert (user["api_import"], user["api_export"], user["forms"]["consent"]) == (1, 1, 1)
    assert [group["unique_group_name"] for group in project.export_dags()] == ["north", "south"]


def test_records_there_and_back(project: redcap.Project) -> None:
    row = {"record_id": "200", "redcap_event_name": "baseline_arm_1", "initials": "QX", "sex": "2"}
    assert project.import_records([row]) == {"count": 1}
    assert project.import_records([{**row, "mrn": "7"}], return_content="ids") == ["200"]
    assert project.import_records([row], return_content="auto_ids", force_auto_number=True) == ["201,200"]
    (found,) = project.export_records(records=["200"])
    assert (found["initials"], found["mrn"], found["sex"]) == ("QX", "7", "2")
    labelled = project.export_records(records=["200"], raw_or_label="label", fields=["sex"])
    assert labelled == [
        {"redcap_event_name": "Baseline", "redcap_repeat_instrument": "", "redcap_repeat_instance": "", "sex": "Male"}
        | {"record_id": "200"}
    ]
    assert project.generate_next_record_name() == "202"
    assert project.delete_records(["200", "201"]) == 2
    assert project.export_records(records=["200"]) == []
    actions = [entry["action"].split()[0] for entry in project.export_logging(record="200")]
    assert actions == ["Delete", "Update", "Create"]


def test_filter(project: redcap.Project) -> None:
    mrn = project.export_records(records=["105"], fields=["mrn"])[0]["mrn"]
    for logic in (f"[mrn] = '{mrn}'", f"[baseline_arm_1][mrn] = '{mrn}'", f"[mrn]='{mrn.lstrip('0')}' and [initials]<>''"):
        assert {row["record_id"] for row in project.export_records(filter_logic=logic, fields=["record_id"])} == {"105"}


@pytest.mark.parametrize("kind", ["csv", "xml"])
def test_other_formats(project: redcap.Project, kind: str) -> None:
    assert "consent_pdf" in project.export_metadata(format_type=kind)
    records = project.export_records(format_type=kind, records=["103"])
    assert "initials" in records
    assert project.import_records(records, import_format=kind, return_format_type="json") == {"count": 1}
    with pytest.raises(redcap.RedcapError):
        project.import_records("record_id,nonsense\n1,2", import_format="csv", return_format_type=kind)


def test_classic(classic: Sandbox) -> None:
    project = redcap.Project(classic.url, classic.token)
    assert not project.is_longitudinal
    project.import_file("7", "scan", "scan.dcm", io.BytesIO(b"dicom"))
    assert project.export_file("7", "scan")[0] == b"dicom"
    assert "redcap_event_name" not in project.export_records(records=["7"])[0]
    for refused in (project.export_events, project.export_arms, project.export_repeating_instruments_events):
        with pytest.raises(redcap.RedcapError, match="You cannot export"):
            refused()
