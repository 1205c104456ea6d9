"""Projects from files."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from redcap_sandbox import RowKey, Sandbox, classic_project, demo_project, from_dictionary, from_xml, load_records
from redcap_sandbox.projects import HEADINGS

from .conftest import TOKEN, call, upload

XML = """<?xml version="1.0" encoding="UTF-8"?>
<ODM xmlns="http://www.cdisc.org/ns/odm/v1.3" xmlns:redcap="https://projectredcap.org" ODMVersion="1.3.1">
<Study OID="Project.Pilot"><GlobalVariables><StudyName>Pilot</StudyName>
 <redcap:RepeatingInstrumentsAndEvents>
  <redcap:RepeatingInstruments>
   <redcap:RepeatingInstrument redcap:UniqueEventName="start_arm_1" redcap:RepeatInstrument="lab"/>
  </redcap:RepeatingInstruments>
  <redcap:RepeatingEvents><redcap:RepeatingEvent redcap:UniqueEventName="visit_arm_2"/></redcap:RepeatingEvents>
 </redcap:RepeatingInstrumentsAndEvents>
 <redcap:DataAccessGroupsGroup><redcap:DataAccessGroups group_name="North Wing"/></redcap:DataAccessGroupsGroup>
</GlobalVariables>
<MetaDataVersion OID="M" Name="Pilot" redcap:RecordIdField="id">
 <StudyEventDef OID="Event.start_arm_1" redcap:EventName="Start" redcap:UniqueEventName="start_arm_1"
   redcap:ArmNum="1" redcap:ArmName="A">
  <FormRef FormOID="Form.base" redcap:FormName="base"/><FormRef FormOID="Form.lab" redcap:FormName="lab"/>
 </StudyEventDef>
 <StudyEventDef OID="Event.visit_arm_2" redcap:EventName="Visit" redcap:UniqueEventName="visit_arm_2"
   redcap:ArmNum="2" redcap:ArmName="B">
  <FormRef FormOID="Form.lab" redcap:FormName="lab"/>
 </StudyEventDef>
 <FormDef OID="Form.base" Name="Base data" redcap:FormName="base"><ItemGroupRef ItemGroupOID="base.id"/></FormDef>
 <FormDef OID="Form.lab" Name="Laboratory" redcap:FormName="lab"><ItemGroupRef ItemGroupOID="lab.report"/></FormDef>
 <ItemGroupDef OID="base.id">
  <ItemRef ItemOID="id"/><ItemRef ItemOID="redcap_data_access_group"/><ItemRef ItemOID="age"/><ItemRef ItemOID="mood"/>
  <ItemRef ItemOID="drug___1"/><ItemRef ItemOID="drug___2"/><ItemRef ItemOID="sign"/>
 </ItemGroupDef>
 <ItemGroupDef OID="lab.report"><ItemRef ItemOID="report"/><ItemRef ItemOID="lab_complete"/></ItemGroupDef>
 <ItemDef OID="id" redcap:Variable="id" redcap:FieldType="text"/>
 <ItemDef OID="redcap_data_access_group" redcap:Variable="redcap_data_access_group" redcap:FieldType="text"/>
 <ItemDef OID="age" redcap:Variable="age" redcap:FieldType="text" redcap:TextValidationType="int" redcap:Identifier="y"
   redcap:RequiredField="y" redcap:FieldNote="years">
  <Question><TranslatedText>Age</TranslatedText></Question>
  <RangeCheck Comparator="GE"><CheckValue>18</CheckValue></RangeCheck>
 </ItemDef>
 <ItemDef OID="mood" redcap:Variable="mood" redcap:FieldType="select"><CodeListRef CodeListOID="mood.choices"/></ItemDef>
 <ItemDef OID="drug___1" redcap:Variable="drug" redcap:FieldType="checkbox"><CodeListRef CodeListOID="drug.choices"/></ItemDef>
 <ItemDef OID="drug___2" redcap:Variable="drug" redcap:FieldType="checkbox"><CodeListRef CodeListOID="drug.choices"/></ItemDef>
 <ItemDef OID="sign" redcap:Variable="sign" redcap:FieldType="file" redcap:TextValidationType="signature"/>
 <ItemDef OID="report" redcap:Variable="report" redcap:FieldType="file"/>
 <ItemDef OID="lab_complete" redcap:Variable="lab_complete" redcap:FieldType="select">
  <CodeListRef CodeListOID="mood.choices"/></ItemDef>
 <CodeList OID="mood.choices">
  <CodeListItem CodedValue="1"><Decode><TranslatedText>Good</TranslatedText></Decode></CodeListItem>
  <CodeListItem CodedValue="2"><Decode><TranslatedText>Bad</TranslatedText></Decode></CodeListItem>
 </CodeList>
 <CodeList OID="drug.choices" redcap:CheckboxChoices="1, Tea|2, Coffee"/>
</MetaDataVersion></Study>
<ClinicalData StudyOID="Project.Pilot"><SubjectData SubjectKey="P-1" redcap:RecordIdField="id">
 <StudyEventData StudyEventOID="Event.start_arm_1" StudyEventRepeatKey="1" redcap:UniqueEventName="start_arm_1">
  <FormData FormOID="Form.base" FormRepeatKey="1"><ItemGroupData ItemGroupOID="base.id">
   <ItemData ItemOID="id" Value="P-1"/><ItemData ItemOID="redcap_data_access_group" Value="north_wing"/>
   <ItemData ItemOID="age" Value="44"/><ItemData ItemOID="drug___2" Value="1"/></ItemGroupData></FormData>
  <FormData FormOID="Form.lab" FormRepeatKey="2"><ItemGroupData ItemGroupOID="lab.report">
   <ItemDataBase64Binary ItemOID="report" redcap:DocName="blood.pdf" redcap:MimeType="application/pdf">
    <![CDATA[Ymxvb2Q=]]></ItemDataBase64Binary>
  </ItemGroupData></FormData>
 </StudyEventData>
 <StudyEventData StudyEventOID="Event.visit_arm_2" StudyEventRepeatKey="3" redcap:UniqueEventName="visit_arm_2">
  <FormData FormOID="Form.lab" FormRepeatKey="1"><ItemGroupData ItemGroupOID="lab.report">
   <ItemData ItemOID="lab_complete" Value="2"/></ItemGroupData></FormData>
 </StudyEventData>
</SubjectData></ClinicalData></ODM>
"""


def written(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def dictionary(path: Path, *fields: tuple[str, str, str], encoding: str = "utf-8") -> Path:
    with path.open("w", encoding=encoding, newline="") as out:
        writer = csv.writer(out)
        writer.writerow(HEADINGS)
        for name, form, kind in fields:
            writer.writerow([name, form, "", kind, name.title(), "1, One | 2, Two" if kind == "radio" else "", *[""] * 12])
    return path


FIELDS = (("pid", "base", "text"), ("kind", "base", "radio"), ("scan", "images", "file"))


def test_project_xml(tmp_path: Path) -> None:
    project = from_xml(written(tmp_path / "p.xml", XML))
    assert (project.title, project.longitudinal, project.dags) == ("Pilot", True, ("north_wing",))
    assert [(event.unique_name, event.label, event.arm) for event in project.events] == [
        ("start_arm_1", "Start", 1),
        ("visit_arm_2", "Visit", 2),
    ]
    assert project.designations == {"start_arm_1": ("base", "lab"), "visit_arm_2": ("lab",)}
    assert project.repeating == {"visit_arm_2": (), "start_arm_1": ("lab",)}
    assert list(project.fields)[:5] == ["id", "age", "mood", "drug", "sign"]
    age = project.fields["age"].metadata()
    assert (age["field_label"], age["identifier"], age["required_field"], age["field_note"]) == ("Age", "y", "y", "years")
    assert (age["text_validation_type_or_show_slider_number"], age["text_validation_min"]) == ("integer", "18")
    assert (project.fields["mood"].type, project.fields["mood"].choices) == ("dropdown", "1, Good | 2, Bad")
    assert project.fields["drug"].columns == ("drug___1", "drug___2")
    assert project.fields["sign"].is_signature


def test_line_breaks_survive_and_what_is_calculated_is_not_loaded(tmp_path: Path) -> None:
    text = XML.replace('redcap:Variable="age" redcap:FieldType="text"', 'redcap:Variable="age" redcap:FieldType="calc"', 1)
    text = text.replace('ItemOID="drug___2" Value="1"', 'ItemOID="mood" Value="first\nsecond &lt;third&gt;"')
    values = from_xml(written(tmp_path / "p.xml", text)).store.records["P-1"][RowKey("start_arm_1")].values
    assert values["mood"] == "first\nsecond <third>"
    assert "age" not in values


def test_project_xml_is_served_with_its_records_and_files(tmp_path: Path) -> None:
    with Sandbox(from_xml(written(tmp_path / "p.xml", XML)), TOKEN) as box:
        assert box.content("P-1", "report", "start_arm_1", 2) == b"blood"
        rows = call(box, content="record", exportDataAccessGroups="1").json()
        shown = [(r["redcap_event_name"], r["redcap_repeat_instrument"], r["redcap_repeat_instance"]) for r in rows]
        assert shown == [("start_arm_1", "", ""), ("start_arm_1", "lab", 2), ("visit_arm_2", "", 3)]
        assert (rows[0]["age"], rows[0]["drug___1"], rows[0]["drug___2"]) == ("44", "0", "1")
        assert {row["redcap_data_access_group"] for row in rows} == {"north_wing"}
        assert upload(box, record="P-1", field="report", event="visit_arm_2", repeat_instance="3").ok


@pytest.mark.parametrize(
    "text",
    [
        "",
        "<ODM/>",
        '<!DOCTYPE x [<!ENTITY a "aaaa">]><ODM>&a;</ODM>',
        '<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/hostname">]><ODM>&a;</ODM>',
    ],
)
def test_xml_that_is_no_project(tmp_path: Path, text: str) -> None:
    with pytest.raises(ValueError, match="export"):
        from_xml(written(tmp_path / "p.xml", text))


def test_a_designated_form_that_is_not_there_is_left_out(tmp_path: Path) -> None:
    damaged = XML.replace('<FormRef FormOID="Form.base" redcap:FormName="base"/>', '<FormRef FormOID="Form.gone"/>')
    project = from_xml(written(tmp_path / "p.xml", damaged))
    assert project.designations["start_arm_1"] == ("lab",)


def test_a_number_in_project_xml_that_is_none(tmp_path: Path) -> None:
    damaged = XML.replace('redcap:ArmNum="2"', 'redcap:ArmNum="two"')
    with pytest.raises(ValueError, match="'two' as ArmNum; export it from REDCap again"):
        from_xml(written(tmp_path / "p.xml", damaged))


def test_dictionary_with_events_and_records(tmp_path: Path) -> None:
    records = "pid,redcap_event_name,redcap_repeat_instrument,redcap_repeat_instance,kind,scan\n"
    records += "7,a_arm_1,,,2,[document]\n7,b_arm_1,images,3,,\n"
    project = from_dictionary(
        dictionary(tmp_path / "d.csv", *FIELDS),
        events=["a_arm_1", "b_arm_1"],
        designations={"b_arm_1": ["images"]},
        repeating={"b_arm_1": ["images"]},
    )
    load_records(project, written(tmp_path / "r.csv", records))
    assert project.designations == {"a_arm_1": ("base", "images"), "b_arm_1": ("images",)}
    assert project.store.records["7"].keys() == {RowKey("a_arm_1"), RowKey("b_arm_1", "images", 3)}
    with Sandbox(project, TOKEN) as box:
        assert box.holdings() == []
        assert upload(box, record="7", field="scan", event="b_arm_1", repeat_instance="3").ok


def test_what_metadata_exports_can_be_served_again(tmp_path: Path) -> None:
    with Sandbox(demo_project(), TOKEN) as box:
        exported = call(box, content="metadata", format="csv").text
    again = from_dictionary(written(tmp_path / "m.csv", exported))
    assert [field.metadata() for field in again.dictionary()] == [field.metadata() for field in demo_project().dictionary()]


@pytest.mark.parametrize(
    ("text", "match"),
    [("", "no fields"), ("a,b\n1,2\n", "missing"), ("field_name,form_name\nx,f\nx,f\n", "twice")],
)
def test_dictionaries_that_are_none(tmp_path: Path, text: str, match: str) -> None:
    with pytest.raises(ValueError, match=match):
        from_dictionary(written(tmp_path / "d.csv", text))


@pytest.mark.parametrize("text", ["pid\n1\n", "record_id,redcap_event_name\n1,nowhere\n"])
def test_records_that_do_not_fit(tmp_path: Path, text: str) -> None:
    with pytest.raises(ValueError, match="raw export"):
        load_records(demo_project(), written(tmp_path / "r.csv", text))


def test_made_up_projects_are_the_same_each_time() -> None:
    first, second = demo_project(), demo_project()
    assert first.store.records == second.store.records
    assert list(first.store.records) == [str(number) for number in range(101, 121)]
    assert len({row.values["mrn"] for rows in first.store.records.values() for row in rows.values()}) == 20
    assert not classic_project().longitudinal
