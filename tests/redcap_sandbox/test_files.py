"""content=file over HTTP: what is taken, what is refused, who may."""

from __future__ import annotations

import hashlib
import socket

import pytest
import requests

from redcap_sandbox import Event, Field, Limits, Rights, Sandbox, SandboxProject, demo_project, fields_by_name

from .conftest import TOKEN, call, download, head_and_body, upload


def test_success_is_200_and_empty(box: Sandbox) -> None:
    reply = upload(box, b"content")
    assert (reply.status_code, reply.content) == (200, b"")
    (holding,) = box.holdings()
    assert (holding.record, holding.event, holding.field, holding.instance) == ("101", "baseline_arm_1", "consent_pdf", None)
    assert (holding.name, holding.size, holding.sha256) == ("consent.pdf", 7, hashlib.sha256(b"content").hexdigest())
    exported = download(box)
    assert (exported.status_code, exported.content) == (200, b"content")
    assert exported.headers["Content-Type"] == 'application/pdf; name="consent.pdf"'


@pytest.mark.parametrize("path", ["/api/", "/api", "/redcap/api/", "/redcap/api"])
def test_addresses(box: Sandbox, path: str) -> None:
    url = f"http://127.0.0.1:{box.port}{path}"
    assert requests.post(url, data={"token": TOKEN, "content": "version"}, timeout=10).text == "14.5.5"


def test_elsewhere_is_not_the_api(box: Sandbox) -> None:
    assert requests.post(f"http://127.0.0.1:{box.port}/apy/", timeout=10).status_code == 404
    assert requests.get(box.url, timeout=10).status_code == 501
    assert requests.post(box.url, timeout=10).status_code == 501
    assert call(box, content="nonsense").status_code == 400


@pytest.mark.parametrize(
    ("changed", "status"),
    [
        ({"record": "999"}, 400),
        ({"record": ""}, 400),
        ({"field": "no_such_field"}, 400),
        ({"field": "initials"}, 400),
        ({"field": "consent_signature"}, 400),
        ({"event": ""}, 400),
        ({"event": "nowhere_arm_1"}, 400),
        ({"event": "month_6_arm_1", "field": "referral_letter"}, 400),
        ({"field": "lab_report", "repeat_instance": "0"}, 400),
        ({"field": "lab_report", "repeat_instance": "new"}, 400),
        ({"token": "F" * 32}, 403),
        ({"token": ""}, 403),
    ],
)
def test_refused(box: Sandbox, changed: dict[str, str], status: int) -> None:
    reply = upload(box, **changed)
    assert reply.status_code == status
    assert set(reply.json()) == {"error"}
    assert box.holdings() == []


@pytest.mark.parametrize(
    ("kind", "start"),
    [("json", '{"error": '), ("csv", "ERROR: "), ("xml", '<?xml version="1.0" encoding="UTF-8" ?><hash><error>'), ("", "<?xml")],
)
def test_errors_in_each_format(box: Sandbox, kind: str, start: str) -> None:
    reply = call(box, content="file", action="export", record="999", field="scan", format="", returnFormat=kind)
    assert reply.text.startswith(start)


def test_instance_is_1_where_none_is_given_and_ignored_where_nothing_repeats(box: Sandbox) -> None:
    assert upload(box, field="lab_report").ok
    assert upload(box, field="scan", repeat_instance="4").ok
    assert [(h.field, h.instance) for h in box.holdings()] == [("lab_report", 1), ("scan", None)]


def test_a_repeating_event() -> None:
    fields = fields_by_name([Field("id", "visit"), Field("scan", "visit", "file")])
    project = SandboxProject("T", fields, (Event("visit_arm_1"),), {"visit_arm_1": ("visit",)}, {"visit_arm_1": ()})
    with Sandbox(project, TOKEN) as box:
        assert call(box, content="record", data='[{"id": "1", "redcap_event_name": "visit_arm_1"}]').json() == {"count": 1}
        assert upload(box, b"two", record="1", field="scan", event="visit_arm_1", repeat_instance="2").ok
        rows = call(box, content="record", records="1").json()
        assert [(row["redcap_repeat_instance"], row["scan"]) for row in rows] == [(1, ""), (2, "[document]")]


@pytest.mark.parametrize(("shown", "value"), [("document", "[document]"), ("name", "consent.pdf"), ("doc_id", "1")])
def test_how_an_export_shows_a_file(box: Sandbox, shown: str, value: str) -> None:
    box.project.file_values = shown
    upload(box)
    (row,) = call(box, content="record", records="101", fields="consent_pdf").json()
    assert row["consent_pdf"] == value


def test_replaced_content_is_forgotten(tmp_path: object) -> None:
    with Sandbox(demo_project(), TOKEN, storage=str(tmp_path)) as box:
        upload(box, b"old")
        upload(box, b"new")
        (stored,) = (box._storage or tmp_path).iterdir()  # type: ignore[union-attr]
        assert stored.read_bytes() == b"new"
        assert download(box).content == b"new"


def test_names_and_extensions_as_an_administrator_may_set_them(box: Sandbox) -> None:
    box.project.blocked_extensions = frozenset({"exe"})
    box.project.sanitize_names = True
    assert upload(box, name="run.EXE").status_code == 400
    assert upload(box, name="Röntgen #1.pdf").ok
    assert box.holdings()[0].name == "R_ntgen _1.pdf"


def test_name_comes_back_whole(box: Sandbox) -> None:
    assert upload(box, name="Röntgen 1 (final).pdf").ok
    header = download(box).headers["Content-Type"].encode("latin-1").decode()
    assert header == 'application/pdf; name="Röntgen 1 (final).pdf"'


def test_php_limits() -> None:
    with Sandbox(demo_project(), TOKEN, limits=Limits(upload_max_filesize=1000, post_max_size=5000)) as box:
        assert upload(box, b"z" * 1000).status_code == 200
        assert upload(box, b"z" * 1001).status_code == 400
        assert upload(box, b"z" * 9000).status_code == 403  # the token went with the rest
        assert box.holdings()[0].size == 1000


def test_large_file_chunked_and_with_expect(box: Sandbox) -> None:
    content = bytes(range(256)) * 8192
    assert upload(box, content).ok
    assert download(box).content == content
    boundary = "b" * 20
    fields = {"token": TOKEN, "content": "file", "action": "import", "record": "101", "field": "scan", "event": "month_6_arm_1"}
    parts = [f'--{boundary}\r\nContent-Disposition: form-data; name="{k}"\r\n\r\n{v}\r\n'.encode() for k, v in fields.items()]
    parts.append(f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n'.encode())
    parts += [content, f"\r\n--{boundary}--\r\n".encode()]
    headers = {"Content-Type": f"multipart/form-data; boundary={boundary}", "Expect": "100-continue"}
    assert requests.post(box.url, data=iter(parts), headers=headers, timeout=10).status_code == 200
    assert box.content("101", "scan", "month_6_arm_1") == content


def test_client_that_goes_away_stores_nothing(box: Sandbox) -> None:
    fields = {"token": TOKEN, "content": "file", "action": "import", "record": "101", "field": "scan", "event": "baseline_arm_1"}
    body = b"".join(f'--B\r\nContent-Disposition: form-data; name="{k}"\r\n\r\n{v}\r\n'.encode() for k, v in fields.items())
    body += b'--B\r\nContent-Disposition: form-data; name="file"; filename="a.pdf"\r\n\r\nhalf a fi'
    with socket.create_connection(("127.0.0.1", box.port)) as connection:
        connection.sendall(head_and_body(box, "B", body, length=len(body) + 1000))
    assert box.wait_for(lambda box: box.requests)
    (request,) = box.requests
    assert (request.status, request.field, request.size) == (0, "scan", len(body))
    assert box.holdings() == []


@pytest.mark.parametrize(
    ("rights", "imported", "exported"),
    [
        (Rights(), 200, 200),
        (Rights(api_import=False), 403, 200),
        (Rights(api_export=False), 200, 403),
        (Rights(export="0"), 200, 403),
        (Rights(export="2"), 200, 403),
        (Rights(forms={"demographics": "2"}), 403, 200),
        (Rights(forms={"demographics": "0"}), 403, 403),
    ],
)
def test_rights(box: Sandbox, rights: Rights, imported: int, exported: int) -> None:
    upload(box, field="referral_letter")
    box.grant("A" * 32, rights)
    assert upload(box, field="referral_letter", token="A" * 32).status_code == imported
    assert download(box, field="referral_letter", token="A" * 32).status_code == exported


def test_deidentified_export_has_no_identifiers(box: Sandbox) -> None:
    box.grant("A" * 32, Rights(export="2"))
    (row,) = call(box, content="record", records="101", token="A" * 32).json()
    assert "mrn" not in row
    assert row["record_id"] == "101"


def test_access_groups(box: Sandbox) -> None:
    box.project.dags = ("north", "south")
    box.project.store.dags["101"], box.project.store.dags["102"] = "north", "south"
    box.grant("A" * 32, Rights(dag="north"))
    north = {"token": "A" * 32}
    assert upload(box, **north).ok
    assert upload(box, record="102", **north).status_code == 400
    assert {row["record_id"] for row in call(box, content="record", fields="record_id", **north).json()} == {"101"}
    data = '[{"record_id": "%s", "redcap_event_name": "baseline_arm_1", "initials": "ZZ"}]'
    assert call(box, content="record", data=data % "102", **north).status_code == 400
    assert call(box, content="record", data=data % "300", **north).json() == {"count": 1}
    rows = call(box, content="record", records="102,300", fields="record_id", exportDataAccessGroups="true").json()
    assert [row["redcap_data_access_group"] for row in rows] == ["south", "north"]


@pytest.mark.parametrize("state", ["offline", "archived"])
def test_a_project_that_takes_nothing(box: Sandbox, state: str) -> None:
    setattr(box.project, state, True)
    assert upload(box).status_code == 400
    assert call(box, content="project").ok is (state == "archived")


def test_in_production(box: Sandbox) -> None:
    box.project.in_production = True
    assert call(box, content="project").json()["in_production"] == 1
