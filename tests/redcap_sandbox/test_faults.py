"""Faults, as a client meets them."""

from __future__ import annotations

import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests

from redcap_sandbox import Fault, Sandbox, demo_project

from .conftest import TOKEN, call, download, head_and_body, upload


@pytest.mark.parametrize(
    ("fault", "status", "stored"),
    [
        (Fault("status", code=503, body="busy"), 503, False),
        (Fault("status", code=500, stored=True), 500, True),
        (Fault("empty_200_without_storing"), 200, False),
        (Fault("stored_then_500"), 500, True),
        (Fault("html_200"), 200, False),
        (Fault("html_200", stored=True), 200, True),
        (Fault("maintenance"), 503, False),
        (Fault("maintenance", code=200), 200, False),
        (Fault("ban"), 403, False),
        (Fault("token_echo"), 400, False),
        (Fault("redirect", code=307), 307, False),
        (Fault("rate_429", retry_after=7), 429, False),
        (Fault("early_413_and_close", linger=1.0), 413, False),
        (Fault("delay", seconds=0.05), 200, True),
        (Fault("delay", seconds=0.05, before="reading"), 200, True),
        (Fault("drip", bytes_per_second=2000), 200, True),
        (Fault("slow_read", bytes_per_second=20_000), 200, True),
        (Fault("wrong_content"), 200, True),
        (Fault("unknown_error_page"), 200, False),
        (Fault("database_down", stored=True), 200, True),
        (Fault("crashed", code=500), 500, False),
        (Fault("php_warning"), 200, True),
        (Fault("token_echo", shape="page"), 400, False),
        (Fault("chunked"), 200, True),
        (Fault("gzip"), 200, True),
    ],
)
def test_replies(box: Sandbox, fault: Fault, status: int, stored: bool) -> None:
    box.ill(fault)
    reply = upload(box)
    assert reply.status_code == status
    assert bool(box.holdings()) is stored
    assert (box.requests[-1].fault, box.requests[-1].status) == (fault.kind, status)


def test_what_the_replies_say(box: Sandbox) -> None:
    box.ill(Fault("token_echo", times=1))
    assert TOKEN in upload(box).json()["error"]
    box.ill(Fault("rate_429", times=1, retry_after=7))
    assert upload(box).headers["Retry-After"] == "7"
    box.ill(Fault("redirect", times=1, location="http://127.0.0.1/elsewhere"))
    assert upload(box).headers["Location"] == "http://127.0.0.1/elsewhere"
    for kind in ("html_200", "maintenance", "ban"):
        box.ill(Fault(kind, times=1))
        reply = upload(box)
        assert reply.headers["Content-Type"].startswith("text/html")
        assert "<html>" in reply.text


@pytest.mark.parametrize(
    ("fault", "stored"),
    [
        (Fault("reset_before_body"), False),
        (Fault("reset_during_body", after=1000), False),
        (Fault("reset_after_body", stored=True), True),
        (Fault("reset_after_body", stored=False), False),
        (Fault("cut_chunk"), True),
        (Fault("truncated_body", stored=True), True),
        (Fault("truncated_body", stored=False), False),
    ],
)
def test_broken_connections(box: Sandbox, fault: Fault, stored: bool) -> None:
    box.ill(fault)
    with pytest.raises(requests.RequestException):
        upload(box, b"z" * 200_000).raise_for_status()
    assert box.wait_for(lambda box: box.requests)
    assert bool(box.holdings()) is stored
    assert (box.requests[-1].fault, box.requests[-1].status) == (fault.kind, 0)


@pytest.mark.parametrize("kind", ["reset_before_body", "reset_during_body", "reset_after_body"])
def test_a_reset_is_a_reset(box: Sandbox, kind: str) -> None:
    box.ill(Fault(kind))
    with socket.create_connection(("127.0.0.1", box.port)) as connection:
        connection.sendall(head_and_body(box, "B", b"--B--\r\n"))
        with pytest.raises(ConnectionResetError):
            connection.recv(1)


def test_truncated_head_is_half_a_head(box: Sandbox) -> None:
    box.ill(Fault("truncated_head"))
    with socket.create_connection(("127.0.0.1", box.port)) as connection:
        connection.sendall(head_and_body(box, "B", b"--B--\r\n"))
        with connection.makefile("rb") as stream:
            got = stream.read()
    assert got.startswith(b"HTTP/1.1 501")
    assert b"\r\n\r\n" not in got


def test_early_413_comes_before_the_body(box: Sandbox) -> None:
    box.ill(Fault("early_413_and_close", linger=2.0))
    with socket.create_connection(("127.0.0.1", box.port)) as connection:
        connection.sendall(head_and_body(box, "B", b"--B\r\n" * 4000, length=10_000_000))  # and no more
        assert connection.recv(1000).startswith(b"HTTP/1.1 413 ")


def test_wrong_content(box: Sandbox) -> None:
    upload(box, b"the right bytes")
    box.ill(Fault("wrong_content", match={"action": "export"}))
    wrong = download(box)
    assert wrong.status_code == 200
    assert wrong.content != b"the right bytes"
    assert len(wrong.content) == len(b"the right bytes")
    box.well()
    assert download(box).content == b"the right bytes"


def test_truncated_export_is_noticed(box: Sandbox) -> None:
    upload(box, b"z" * 100_000)
    box.ill(Fault("truncated_body"))
    with pytest.raises(requests.RequestException):
        download(box)


def test_so_many_times(box: Sandbox) -> None:
    box.ill(Fault("status", times=2, code=502))
    box.ill(Fault("status", times=1, code=504))
    assert [upload(box).status_code for _ in range(4)] == [502, 502, 504, 200]


def test_only_what_matches(box: Sandbox) -> None:
    box.ill(Fault("status", match={"content": "file", "action": "import", "record": "101", "field": "scan"}))
    assert upload(box).ok
    assert upload(box, record="102", field="scan").ok
    assert upload(box, field="scan").status_code == 500
    assert call(box, content="version").ok


def test_only_what_matches_before_the_body(box: Sandbox) -> None:
    box.ill(Fault("reset_before_body", match={"record": "102"}))
    assert upload(box, b"z" * 100_000).ok
    assert box.content("101", "consent_pdf") == b"z" * 100_000
    with pytest.raises(requests.ConnectionError):
        upload(box, record="102")


@pytest.mark.parametrize("kind", ["delay", "drip", "slow_read"])
def test_stop_ends_what_hangs(kind: str) -> None:
    slow = {"delay": {"seconds": 300.0}, "drip": {"bytes_per_second": 1}, "slow_read": {"bytes_per_second": 1}}[kind]
    box = Sandbox(demo_project(), TOKEN).start()
    box.ill(Fault(kind, **slow))
    outcome: list[object] = []

    def client() -> None:
        try:
            outcome.append(upload(box, timeout=30))
        except requests.RequestException as error:
            outcome.append(error)

    thread = threading.Thread(target=client)
    thread.start()
    assert box.illness.wait()
    begun = time.monotonic()
    box.stop()
    thread.join(10)
    assert not thread.is_alive()
    assert time.monotonic() - begun < 5


@pytest.mark.parametrize(
    "wrong",
    [
        {"kind": "flu"},
        {"kind": "status", "colour": 1},
        {"kind": "status", "match": {"token": "x"}},
        {"kind": "status", "times": 0},
    ],
)
def test_faults_that_are_none(box: Sandbox, wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"; |: |use"):
        Fault(**wrong)  # type: ignore[arg-type]
    reply = requests.post(f"http://127.0.0.1:{box.port}/_sandbox/ill", json=wrong, timeout=10)
    assert reply.status_code == 400


def test_control_pages(box: Sandbox) -> None:
    control = f"http://127.0.0.1:{box.port}/_sandbox/"
    assert requests.post(control + "ill", json={"kind": "status", "times": 1, "code": 502}, timeout=10).ok
    assert upload(box).status_code == 502
    assert requests.post(control + "ill", json={"kind": "maintenance"}, timeout=10).ok
    assert requests.post(control + "well", timeout=10).ok
    assert upload(box, b"content", field="lab_report", repeat_instance="2").ok
    (holding,) = requests.get(control + "holdings", timeout=10).json()
    assert (holding["record"], holding["field"], holding["instance"]) == ("101", "lab_report", 2)
    query = {"record": "101", "field": "lab_report", "event": "baseline_arm_1", "instance": 2}
    assert requests.get(control + "content", params=query, timeout=10).content == b"content"
    assert requests.get(control + "content", params={"record": "999"}, timeout=10).status_code == 404
    seen = requests.get(control + "requests", timeout=10)
    assert [request["status"] for request in seen.json()] == [502, 200]
    assert TOKEN not in seen.text
    assert requests.get(control + "nonsense", timeout=10).status_code == 404


def test_ban(box: Sandbox) -> None:
    box.rate_limit = 5
    assert [call(box, content="version").status_code for _ in range(7)] == [200] * 5 + [403] * 2
    assert "banned" in call(box, content="version").text
    assert box.banned == {"127.0.0.1"}
    assert requests.get(f"http://127.0.0.1:{box.port}/_sandbox/requests", timeout=10).ok
    assert requests.post(f"http://127.0.0.1:{box.port}/_sandbox/unban", timeout=10).ok
    assert call(box, content="version").status_code == 200


def test_many_at_once_on_kept_connections(box: Sandbox) -> None:
    def client(record: int) -> None:
        with requests.Session() as session:
            for turn in range(20):
                data = {"token": TOKEN, "content": "file", "action": "import", "record": record, "field": "scan"}
                data |= {"event": "baseline_arm_1"}
                reply = session.post(box.url, data=data, files={"file": ("s", b"%d-%d" % (record, turn))}, timeout=10)
                assert reply.status_code == 200

    with ThreadPoolExecutor(12) as threads:
        list(threads.map(client, range(101, 113)))
    assert len(box.requests) == 240
    assert all(box.content(str(record), "scan") == b"%d-19" % record for record in range(101, 113))


def test_a_mistake_of_its_own_is_told_in_pythons_log(box: Sandbox, caplog: pytest.LogCaptureFixture) -> None:
    box.tokens[TOKEN] = "no rights at all"  # type: ignore[assignment]
    with pytest.raises(requests.ConnectionError):
        call(box, content="project")
    assert [(record.name, record.levelname) for record in caplog.records] == [("redcap_sandbox", "ERROR")]
    assert "'str' object has no attribute" in caplog.text
