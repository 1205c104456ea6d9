"""content=record: the corners that PyCap does not reach."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from redcap_sandbox import Sandbox
from redcap_sandbox.call import WORDING, ApiError, parse_rows, rows_body
from redcap_sandbox.record_export import Logic, RowSet, compare
from redcap_sandbox.structure import Row, RowKey

from .conftest import call

ROW = {"record_id": "101", "redcap_event_name": "baseline_arm_1"}


def put(box: Sandbox, *rows: dict[str, Any], **more: str) -> Any:
    return call(box, content="record", data=json.dumps(rows), **more)


@pytest.mark.parametrize(
    "row",
    [
        {**ROW, "nonsense": "1"},
        {**ROW, "consent_pdf": "a.pdf"},
        {**ROW, "sex": "7"},
        {**ROW, "record_id": ""},
        {**ROW, "record_id": "x" * 101},
        {**ROW, "redcap_event_name": "no_such_arm_1", "initials": "AA"},
        {**ROW, "redcap_event_name": "month_6_arm_1", "initials": "AA"},
        {**ROW, "redcap_repeat_instrument": "consent", "consent_date": "2026-01-01"},
        {**ROW, "lab_date": "2026-01-01"},
    ],
)
def test_all_rows_or_none(box: Sandbox, row: dict[str, str]) -> None:
    before = call(box, content="record").json()
    assert put(box, {**ROW, "initials": "NEW"}, row).status_code == 400
    assert call(box, content="record").json() == before


def test_as_other_clients_suites_have_it(box: Sandbox) -> None:
    """phpcap's, redcapAPI's and REDCapR's: the event beside the record's id, the first event, counts, numbering."""
    assert "redcap_event_name" in call(box, content="record", fields="record_id,initials").json()[0]
    assert "redcap_event_name" not in call(box, content="record", fields="initials").json()[0]
    assert put(box, {"record_id": "900", "initials": "ZZ"}, returnFormat="xml").text == "<count>1</count>"
    assert call(box, content="record", records="900").json()[0]["redcap_event_name"] == "baseline_arm_1"
    box.project.autonumber = False
    assert put(box, {**ROW, "record_id": "901"}, forceAutoNumber="true", returnContent="ids").json() == ["901"]
    box.project.autonumber = True
    assert put(box, {**ROW, "record_id": "901"}, forceAutoNumber="true", returnContent="ids").json() != ["901"]
    assert {"day_offset", "offset_min", "offset_max"} <= call(box, content="event").json()[0].keys()
    assert "project_pi_email" in call(box, content="project").json()


@pytest.mark.parametrize("data", ["", "{", "{}", "[1]", "null"])
def test_data_that_is_none(box: Sandbox, data: str) -> None:
    assert call(box, content="record", action="import", data=data).status_code == 400


def test_blank_values_overwrite_only_when_told(box: Sandbox) -> None:
    put(box, {**ROW, "initials": ""})
    assert call(box, content="record", records="101").json()[0]["initials"] != ""
    put(box, {**ROW, "initials": ""}, overwriteBehavior="overwrite")
    assert call(box, content="record", records="101").json()[0]["initials"] == ""


def test_new_instances(box: Sandbox) -> None:
    for instance in ("1", "new", "new"):
        row = {**ROW, "redcap_repeat_instrument": "laboratory", "redcap_repeat_instance": instance, "lab_date": "2026-01-01"}
        assert put(box, row).json() == {"count": 1}
    rows = call(box, content="record", records="101", fields="lab_date").json()
    assert [row["redcap_repeat_instance"] for row in rows] == [1, 2, 3]


def test_an_instance_shows_only_where_a_chosen_field_has_something(box: Sandbox) -> None:
    row = {**ROW, "redcap_repeat_instrument": "laboratory", "redcap_repeat_instance": "3", "lab_date": "2026-01-01"}
    put(box, row)
    assert len(call(box, content="record", records="101", fields="record_id,lab_report").json()) == 1
    assert len(call(box, content="record", records="101", fields="record_id,lab_date").json()) == 2


def test_delete_of_a_form_leaves_no_empty_row(box: Sandbox) -> None:
    row = {**ROW, "redcap_repeat_instrument": "laboratory", "redcap_repeat_instance": "3", "lab_date": "2026-01-01"}
    put(box, row)
    before = call(box, content="record", records="101").json()
    where = {"records[0]": "101", "event": "baseline_arm_1", "instrument": "laboratory", "repeat_instance": "3"}
    assert call(box, content="record", action="delete", **{**where, "repeat_instance": "2"}).text == "1"
    assert call(box, content="record", records="101").json() == before
    assert call(box, content="record", action="delete", **where).text == "1"
    assert call(box, content="record", records="101").json() == [one for one in before if not one["redcap_repeat_instance"]]


def test_delete_of_records(box: Sandbox) -> None:
    where = {"records[0]": "101", "event": "baseline_arm_1"}
    assert call(box, content="record", action="delete", **where).status_code == 501
    assert call(box, content="record", action="delete", **{"records[0]": "101"}).text == "1"
    assert call(box, content="record", action="delete", **{"records[0]": "nobody"}).status_code == 400


@pytest.mark.parametrize(
    ("parameter", "value"),
    [("fields", "nonsense"), ("forms", "nonsense"), ("events", "nonsense"), ("filterLogic", "[nonsense] = '1'")],
)
def test_unknown_names_are_refused(box: Sandbox, parameter: str, value: str) -> None:
    assert call(box, content="record", **{parameter: value}).status_code == 400


ROWS = {RowKey("e0"): Row({"a": "7", "b": "x y"}), RowKey("e1"): Row({"a": "007"})}


@pytest.mark.parametrize(
    ("logic", "holds"),
    [
        ("[a] = '7'", True),
        ('[a] = "007"', True),  # numbers are compared as numbers
        ("[a] = 7 and [b] = 'x y'", True),
        ("[a] = '8' or [b] = 'x y'", True),
        ("[a] = '8' or [b] = 'x' and [a] = '7'", False),
        ("([a] = '8' or [b] = 'x y') and [a] > '5'", True),
        ("[e1][a] = '7'", True),
        ("[empty] = ''", True),
        ("[a] <> '7'", False),
        ("not ([a] != '7')", True),
        ("[a] >= 7 AND [a] <= 7 and [a] < 10", True),  # as text, 7 would be more than 10
    ],
)
def test_logic(logic: str, holds: bool) -> None:
    assert Logic(logic).holds(RowSet(ROWS, RowKey("e0"))) is holds


@pytest.mark.parametrize(
    "logic", ["[a", "[a] =", "[a] = '7", "[a] 'x'", "([a] = '7'", "[a] = '7')", "datediff([a],[b],'d') > 1", "(" * 99]
)
def test_logic_that_is_none(logic: str) -> None:
    with pytest.raises(ApiError):
        Logic(logic)


@given(st.text(max_size=40))
def test_any_logic_is_read_or_refused(text: str) -> None:
    with contextlib.suppress(ApiError):
        Logic(text)


@given(st.integers(), st.integers())
def test_numbers_are_ordered_as_numbers(left: int, right: int) -> None:
    assert compare(str(left), "<", str(right)) is (float(left) < float(right))


cell = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=20)


@given(st.lists(st.fixed_dictionaries({"record_id": cell.filter(bool), "note": cell}), min_size=1, max_size=5))
@pytest.mark.parametrize("kind", ["json", "csv", "xml"])
def test_rows_come_back_as_they_went(kind: str, rows: list[dict[str, str]]) -> None:
    if kind == "xml":  # which cannot hold these
        rows = [{name: value.replace("\ufffe", "").replace("\uffff", "") for name, value in row.items()} for row in rows]
    assert parse_rows(rows_body(rows, kind, ["record_id", "note"]).decode(), kind) == rows


def test_entities_are_refused() -> None:
    bomb = '<!DOCTYPE r [<!ENTITY a "aaaa">]><records><item><record_id>&a;</record_id></item></records>'
    with pytest.raises(ApiError):
        parse_rows(bomb, "xml")


def test_every_wording_can_be_told_as_ours_or_theirs() -> None:
    assert any(wording.invented for wording in WORDING.values())
    assert not WORDING["no_permission"].invented
