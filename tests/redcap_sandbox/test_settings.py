"""What can be set of a sandbox, by command line and control page alike, and what a client then meets."""

from __future__ import annotations

from typing import Any

import pytest
import requests

from redcap_sandbox import Fault, Limits, Rights, Sandbox, demo_project
from redcap_sandbox.stand_in import SETTINGS, change, settings

from .conftest import TOKEN, call, download, upload

#: What a REDCap that has answered itself was seen to send, whatever it said.
OWN_HEADERS = {"Expires", "cache-control", "Pragma", "Access-Control-Allow-Origin", "X-XSS-Protection", "REDCap-Random-Text"}


def control(box: Sandbox, page: str, status: int = 200, **told: Any) -> Any:
    reply = requests.post(f"http://127.0.0.1:{box.port}/_sandbox/{page}", json=told, timeout=10)
    assert reply.status_code == status, reply.text
    return reply.json()


def look(box: Sandbox, page: str) -> Any:
    return requests.get(f"http://127.0.0.1:{box.port}/_sandbox/{page}", timeout=10).json()


def test_every_setting_can_be_told_and_changed_over_http(box: Sandbox) -> None:
    told = look(box, "settings")
    assert list(told) == list(SETTINGS)
    assert all(one["meaning"] for one in told.values())
    now = {name: one["value"] for name, one in told.items()}
    control(box, "set", **now)  # JSON's types come back as they went out
    assert settings(box) == now
    control(box, "set", **{name: str(value) for name, value in now.items() if not isinstance(value, list)})
    assert settings(box) == now


@pytest.mark.parametrize(
    "wrong",
    [
        {"colour": "red"},
        {"numbers": True},
        {"file_values": "red"},
        {"post_max_size": -1},
        {"post_max_size": True},
        {"offline": "perhaps"},
        {"blocked_extensions": 7},
        {"emptied_status": 302},
        {"version": None},
        {"version": 15.2},
    ],
)
def test_settings_that_are_none_change_nothing(box: Sandbox, wrong: dict[str, Any]) -> None:
    before = settings(box)
    assert control(box, "set", 400, **{"offline": True, **wrong})["error"]
    assert settings(box) == before


def test_redcaps_own_headers_stand_on_what_redcap_said_alone(box: Sandbox) -> None:
    own = [upload(box), upload(box, field="initials"), call(box, content="version"), requests.get(box.url, timeout=10)]
    for reply in own:
        assert set(reply.headers) >= OWN_HEADERS
    assert len({reply.headers["REDCap-Random-Text"] for reply in own}) == len(own)
    for fault in (Fault("status", times=1), Fault("html_200", times=1), Fault("database_down", times=1)):
        box.ill(fault)
        assert "REDCap-Random-Text" not in call(box, content="version").headers


def test_numbers_as_some_versions_tell_them(box: Sandbox) -> None:
    query: dict[str, Any] = {"content": "record", "records[0]": "101", "fields[0]": "record_id", "fields[1]": "mrn"}
    assert call(box, **query).json()[0]["record_id"] == "101"
    assert call(box, content="project").json()["is_longitudinal"] == 1
    change(box, {"ids_as_numbers": "yes", "flags_as_text": "yes"})
    (row,) = call(box, **query).json()
    assert (row["record_id"], row["mrn"]) == (101, 799819)  # 0799819 has lost its zero
    assert call(box, content="project").json()["is_longitudinal"] == "1"
    assert call(box, content="user").json()[0]["forms"]["consent"] == "1"


def test_lists_sent_as_text(box: Sandbox) -> None:
    query = {"content": "record", "records": "101,102"}
    assert len(call(box, **query).json()) == 2
    change(box, {"strict_arrays": True})
    reply = call(box, **query)
    assert (reply.status_code, "is not an array" in reply.json()["error"]) == (400, True)
    assert call(box, **{"content": "record", "records[0]": "101"}).ok


def test_document_ids_in_the_other_kind_of_export_change_with_every_upload(box: Sandbox) -> None:
    def ids() -> list[dict[str, Any]]:
        query = {"content": "record", "type": "eav", "records[0]": "101", "fields[0]": "consent_pdf"}
        rows: list[dict[str, Any]] = call(box, **query).json()
        return rows

    upload(box)
    (first,) = ids()
    assert first["record"] == "101"
    assert (first["redcap_event_name"], first["field_name"]) == ("baseline_arm_1", "consent_pdf")
    upload(box)
    (second,) = ids()
    assert int(second["value"]) > int(first["value"])
    assert call(box, content="record", type="eav", format="csv").text.startswith("record,redcap_event_name,")


def test_versions_are_kept_where_the_project_does(box: Sandbox) -> None:
    change(box, {"keeps_versions": "yes"})
    for content in (b"first", b"second", b"z" * 100_000):
        upload(box, content)
    assert call(box, content="file", action="delete", record="101", field="consent_pdf", event="baseline_arm_1").ok
    assert [(row["field"], row["size"]) for row in look(box, "versions")] == [
        ("consent_pdf", 5),
        ("consent_pdf", 6),
        ("consent_pdf", 100_000),
    ]
    reply = call(box, content="file", action="delete", record="101", field="consent_pdf", event="baseline_arm_1")
    assert reply.json()["error"] == "There is no file to delete for this record"


def test_a_locked_form(box: Sandbox) -> None:
    control(box, "lock", record="101", event="baseline_arm_1", form="consent")
    assert "locked" in upload(box).json()["error"]
    assert upload(box, event="month_6_arm_1").ok
    assert upload(box, record="102").ok
    row = {"record_id": "101", "redcap_event_name": "baseline_arm_1", "consent_date": "2026-01-01"}
    reply = requests.post(box.url, {"token": TOKEN, "content": "record", "format": "json", "data": f"[{_json(row)}]"}, timeout=9)
    assert reply.status_code == 400
    assert "locked" in reply.text
    control(box, "unlock", record="101", event="baseline_arm_1", form="consent")
    assert upload(box).ok
    assert "not at the event" in control(box, "lock", 400, record="101", event="month_6_arm_1", form="demographics")["error"]


def _json(row: dict[str, str]) -> str:
    return "{" + ",".join(f'"{name}":"{value}"' for name, value in row.items()) + "}"


def test_states_of_a_project_and_of_files(box: Sandbox) -> None:
    assert upload(box, b"").ok
    change(box, {"empty_files": "refuse", "blocked_extensions": "default"})
    assert upload(box, b"").status_code == 400
    assert upload(box, name="run.EXE").status_code == 400
    assert upload(box, name="tool.msixbundle").status_code == 400
    change(box, {"archived": True})
    assert upload(box).status_code == 400
    assert download(box).ok
    change(box, {"deleted": True})
    assert call(box, content="version").status_code == 403


@pytest.mark.parametrize("status", [400, 403, 501])
def test_a_request_of_which_php_leaves_nothing(status: int) -> None:
    limits = Limits(post_max_size=5000, emptied_status=status, display_errors=True)
    with Sandbox(demo_project(), TOKEN, limits=limits) as box:
        reply = upload(box, b"z" * 9000)
        assert reply.status_code == status
        assert reply.text.startswith("<br />\n<b>Warning</b>:  POST Content-Length of 9")
        assert reply.text.endswith("</error></hash>")  # XML, although the client has asked for JSON


@pytest.mark.parametrize(
    ("right", "content", "named"),
    [
        ("design", "repeatingFormsEvents", "Project Design"),
        ("user_rights", "user", "User Rights"),
        ("data_access_groups", "dag", "Data Access Groups"),
        ("logging", "log", "Logging"),
    ],
)
def test_methods_that_ask_for_a_right_of_their_own(box: Sandbox, right: str, content: str, named: str) -> None:
    assert call(box, content=content).ok
    control(box, "grant", token=TOKEN, **{right: False})
    reply = call(box, content=content)
    assert reply.status_code == 400
    assert f"'{named}" in reply.json()["error"]


def test_who_may_come_in_over_http(box: Sandbox) -> None:
    other = "F" * 32
    assert call(box, token=other, content="version").status_code == 403
    control(box, "grant", token=other, api_export="no", forms={"consent": "2"})
    assert box.tokens[other] == Rights(api_export=False, forms={"consent": "2"})
    assert call(box, token=other, content="project").status_code == 403
    control(box, "grant", token=other, api_export=True)  # the rest stays as it is
    assert box.tokens[other].forms == {"consent": "2"}
    control(box, "revoke", token=other)
    assert call(box, token=other, content="version").status_code == 403
    assert "no right" in control(box, "grant", 400, token=other, colour="red")["error"]
    assert "token" in control(box, "grant", 400, api_export=True)["error"]
    assert other not in box.tokens


def test_the_scene_is_set_over_http(box: Sandbox) -> None:
    control(box, "value", record="901", field="initials", value="ZZ")
    control(box, "value", record="901", event="month_6_arm_1", field="lab_date", instance=3, value="2026-01-02")
    rows = call(box, **{"content": "record", "records[0]": "901"}).json()
    assert [(row["initials"], row["redcap_repeat_instance"], row["lab_date"]) for row in rows] == [
        ("ZZ", "", ""),
        ("", 3, "2026-01-02"),
    ]
    for wrong in ({"record": None}, {"record": True}, {"record": "901", "value": None}):
        assert "use a text" in control(box, "value", 400, **({"field": "initials", "value": "Z"} | wrong))["error"]
    assert "use a text" in control(box, "delete", 400, record=None)["error"]
    assert "use a text" in control(box, "grant", 400, token=None)["error"]
    assert "use a text" in control(box, "grant", 400, token="A" * 32, username=None)["error"]
    assert "file field" in control(box, "value", 400, record="901", field="scan", value="x")["error"]
    assert "'colour'" in control(box, "value", 400, record="901", field="colour", value="x")["error"]
    control(box, "delete", record="901")
    assert call(box, **{"content": "record", "records[0]": "901"}).json() == []
    assert "no record" in control(box, "delete", 400, record="901")["error"]
    control(box, "forget")
    assert look(box, "requests") == []


def test_faults_and_wordings_can_be_looked_up(box: Sandbox) -> None:
    box.ill(Fault("status", match={"content": "file"}, code=502))
    faults = look(box, "faults")
    assert faults["on"] == [
        {"kind": "status", "match": {"content": "file"}, "code": 502, "body": "", "stored": False}
        | {"content_type": "text/html; charset=utf-8"}
    ]
    assert faults["kinds"]["redirect"] == {"code": 302, "location": "/"}
    wording = look(box, "wording")
    assert wording["no_permission"] == {"text": "You do not have permissions to use the API", "invented": False}
    assert wording["banned"]["invented"] is True


@pytest.mark.parametrize("body", [b"[]", b"7", b"{", b"\xff", b"[" * 100_000, b'{"token": {}}'])
@pytest.mark.parametrize("page", ["ill", "set", "grant", "value", "lock", "delete"])
def test_what_is_no_order_is_told_so(box: Sandbox, page: str, body: bytes) -> None:
    reply = requests.post(f"http://127.0.0.1:{box.port}/_sandbox/{page}", data=body, timeout=10)
    if (page, body) == ("grant", b'{"token": {}}'):
        return
    assert reply.status_code == 400
    assert reply.json()["error"]


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("maintenance", Fault("maintenance")),
        ("status:code=503,times=2,skip=1", Fault("status", times=2, skip=1, code=503)),
        ("status:stored=yes,action=import,record=101", Fault("status", match={"action": "import", "record": "101"}, stored=True)),
        ("delay:seconds=0.25", Fault("delay", seconds=0.25)),
        ('{"kind": "status", "body": "a, b=c"}', Fault("status", body="a, b=c")),
    ],
)
def test_a_fault_on_a_command_line(text: str, fault: Fault) -> None:
    assert vars(Fault.read(text)) == vars(fault)


@pytest.mark.parametrize(
    "text",
    [
        "",
        ":",
        "flu",
        "status:code",
        "status:code=many",
        "status:times=0",
        "{}",
        "{",
        '{"kind": 7}',
        "drip:bytes_per_second=x",
        "delay:seconds=inf",
        "delay:seconds=nan",
        "delay:seconds=-1",
        "drip:bytes_per_second=0",
    ],
)
def test_no_fault_on_a_command_line(text: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        Fault.read(text)


@pytest.mark.parametrize(
    ("errors", "begins"), [("asked", '{"error"'), ("xml", "<?xml"), ("csv", "ERROR: "), ("json", '{"error"')]
)
def test_errors_come_in_a_format_of_the_servers_own(box: Sandbox, errors: str, begins: str) -> None:
    change(box, {"errors": errors})
    for refused in (call(box, content="nothing"), call(box, content="version", token="E" * 32)):
        assert refused.text.startswith(begins)
    assert call(box, content="version").text[0].isdigit()
    if errors == "asked":
        assert call(box, content="nothing", returnFormat="csv").text.startswith("ERROR: ")
