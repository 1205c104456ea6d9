"""The client against a server that does to it what servers, proxies and networks do."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import socket
import ssl
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from dropcap.redcap.client import FileTarget, Redcap, RedcapError
from dropcap.redcap.connect import ConnectionSettings
from dropcap.redcap.reply import Meaning, Verdict
from dropcap.redcap.request import SourceChanged, SourceUnreadable
from dropcap.redcap.transport import Timeouts
from dropcap.redcap.window import Allowance, RequestWindow, Stopped
from dropcap.secret import Token
from tests.redcap.raw_server import OK, Peer, Script, forever, once, reply, serving
from tests.tls import make_authority

TOKEN = "0123456789ABCDEF0123456789ABCDEF"
TARGET = FileTarget("101", "consent_pdf")
UNLIMITED = RequestWindow(Path("/nonexistent"), 0)


def client(url: str, *, timeout: float = 2.0, deadline: float = 10.0, **settings: Any) -> Redcap:
    return Redcap(url, lambda: Token(TOKEN), UNLIMITED, timeouts=Timeouts(2.0, timeout, deadline), **settings)


def send(redcap: Redcap, data: bytes = b"%PDF", **more: Any) -> Any:
    return redcap.import_file(TARGET, io.BytesIO(data), len(data), "a.pdf", **more)


def import_meaning(script: Script, data: bytes = b"%PDF", **settings: Any) -> Meaning:
    with serving(script) as server, pytest.raises(RedcapError) as caught:
        send(client(server.url, **settings), data)
    return caught.value.meaning


# -- what goes out ----------------------------------------------------------------------------------------------------


def test_an_import_is_the_form_that_redcap_reads() -> None:
    data = os.urandom(1000)
    target = FileTarget("101 ä", "consent_pdf", "visit_1_arm_1", 3)
    with serving(forever()) as server:
        sent = client(server.url).import_file(target, io.BytesIO(data), len(data), 'sub/Ü "b".pdf')
    assert (sent.sha256, sent.size) == (hashlib.sha256(data).hexdigest(), 1000)
    request = server.requests[0]
    assert request.head.startswith(b"POST /api/ HTTP/1.1\r\n")
    assert request.headers["content-length"] == str(len(request.body))
    parts = request.parts()
    assert {name: value.decode() for name, (_, value) in parts.items() if name != "file"} == {
        "token": TOKEN,
        "content": "file",
        "action": "import",
        "record": "101 ä",
        "field": "consent_pdf",
        "event": "visit_1_arm_1",
        "repeat_instance": "3",
        "returnFormat": "json",
    }
    assert list(parts)[-1] == "file"
    assert parts["file"] == ('Content-Disposition: form-data; name="file"; filename="Ü _b_.pdf"', data)
    assert TOKEN.encode() not in request.head


@pytest.mark.parametrize("size", [0, 1, 256 * 1024, 256 * 1024 + 1, 1024 * 1024 + 7])
@pytest.mark.parametrize("kind", ["file", "descriptor"])
def test_every_byte_arrives_whatever_the_size(size: int, kind: str, tmp_path: Path) -> None:
    data = os.urandom(size)
    path = tmp_path / "a.pdf"
    path.write_bytes(data)
    seen: list[int] = []
    with serving(forever()) as server, path.open("rb") as source:
        given = source if kind == "file" else source.fileno()
        sent = client(server.url).import_file(TARGET, given, size, "a.pdf", progress=seen.append)
    assert server.requests[0].parts()["file"][1] == data
    assert sent.sha256 == hashlib.sha256(data).hexdigest()
    assert seen[-1] == size
    assert seen == sorted(seen)


def test_connections_are_reused_by_several_threads() -> None:
    with serving(forever()) as server:
        redcap = client(server.url, pool=4)
        with ThreadPoolExecutor(4) as threads:
            list(threads.map(lambda _: [send(redcap) for _ in range(10)], range(4)))
        assert len(server.requests) == 40
        assert server.connections <= 4


def test_no_proxy_of_the_environment_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:9")
    with serving(forever()) as server:
        assert send(client(server.url)).size == 4


# -- a file that is not as it was -------------------------------------------------------------------------------------


@pytest.mark.parametrize("difference", [-1, 1, -700_000])
@pytest.mark.parametrize("size", [100, 800_000])
def test_a_changed_file_never_ends_its_request(size: int, difference: int) -> None:
    data = os.urandom(max(size + difference, 0))
    with serving(lambda peer: peer.answer()) as server:
        with pytest.raises(SourceChanged):
            client(server.url).import_file(TARGET, io.BytesIO(data), size, "a.pdf")
        if server.connections:
            assert server.ended.acquire(timeout=5)
    for request in server.requests:
        assert not request.complete
        assert b"--\r\n" not in request.body[-4:]


class _Failing(io.RawIOBase):
    def __init__(self, after: int) -> None:
        self._left = after

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview, /) -> int:  # type: ignore[override]
        if self._left <= 0:
            raise OSError(5, "Input/output error")
        self._left -= len(buffer)
        return len(buffer)


@pytest.mark.parametrize("after", [0, 300_000])
def test_a_read_error_never_ends_the_request(after: int) -> None:
    with serving(lambda peer: peer.answer()) as server:
        with pytest.raises(SourceUnreadable, match="Input/output error"):
            client(server.url).import_file(TARGET, _Failing(after), 1_000_000, "a.pdf")
        if server.connections:
            assert server.ended.acquire(timeout=5)
    assert not any(request.complete for request in server.requests)


# -- replies that are no success --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"HTTP/1.1 200 O",
        b"HTTP/1.1 200 OK\r\nContent-Le",
        b"HTTP/1.1 200 OK\r\nContent-Length: 0",
        b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r",
        b"HTTP/1.1 200 OK\r\nContent-Length: +0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nX: " + b"x" * 70_000 + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n<b>Warning</b>",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Encoding: gzip\r\n\r\nx",
        b"garbage\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\n",
        reply("stored, probably"),
        reply("Fatal error", "500 Internal Server Error"),
        reply("", "502 Bad Gateway"),
        reply("[]", "204 No Content")[:-2],
    ],
)
def test_a_doubtful_reply_leaves_the_outcome_unknown(answer: bytes) -> None:
    meaning = import_meaning(once(answer))
    assert meaning.verdict is Verdict.UNKNOWN
    assert meaning.outcome_unknown


@pytest.mark.parametrize(
    "answer",
    [
        OK,
        reply("  \n"),
        reply("", "201 Created"),
        b"HTTP/1.1 100 Continue\r\nX: 1\r\n\r\n" + OK,
        b"HTTP/1.1 200\nSet-Cookie: a=1;\r\n\tb=2\nno field\ncontent-length:0\n\n",
        reply(gzip.compress(b"", mtime=0), "200 OK", "Content-Encoding: gzip"),
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ],
)
def test_success_is_a_whole_and_empty_reply(answer: bytes) -> None:
    with serving(once(answer)) as server:
        assert send(client(server.url)).size == 4


@pytest.mark.parametrize("head", [b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n", b"HTTP/1.0 200 OK\r\n\r\n"])
def test_an_empty_reply_without_a_length_is_a_success_that_proves_nothing(head: bytes) -> None:
    with serving(once(head)) as server:
        assert not send(client(server.url)).proven


def test_a_redirect_is_not_followed() -> None:
    meaning = import_meaning(once(reply("", "302 Found", "Location: http://127.0.0.1:9/login")))
    assert meaning.verdict is Verdict.NOT_THE_API
    assert "http://127.0.0.1:9/login" in meaning.message


def test_cookies_are_not_kept() -> None:
    with serving(forever(reply("", "200 OK", "Set-Cookie: a=b"))) as server:
        redcap = client(server.url)
        send(redcap)
        send(redcap)
    assert "cookie" not in server.requests[1].headers


# -- early replies ----------------------------------------------------------------------------------------------------


def _early(after: Callable[[Peer], None]) -> Script:
    def script(peer: Peer) -> None:
        peer.head()
        peer.send(reply("<html>Request Entity Too Large", "413 Request Entity Too Large", "Connection: close"))
        after(peer)

    return script


@pytest.mark.parametrize(
    "after",
    [lambda peer: None, lambda peer: peer.reset(), lambda peer: peer.stop.wait()],
    ids=["close", "reset", "neither"],
)
def test_a_413_is_heard_while_the_file_is_still_on_its_way(after: Callable[[Peer], None]) -> None:
    began = time.monotonic()
    meaning = import_meaning(_early(after), b"x" * 20_000_000)
    assert meaning.verdict in (Verdict.REFUSED, Verdict.UNKNOWN)
    assert (meaning.reason, meaning.outcome_unknown) == ("too_large", False)
    assert time.monotonic() - began < 2


def test_a_gateway_that_has_not_the_whole_request_has_stored_nothing() -> None:
    def script(peer: Peer) -> None:
        peer.head()
        peer.send(reply("", "503 Service Unavailable", "Retry-After: 7"))
        peer.stop.wait()

    meaning = import_meaning(script, b"x" * 20_000_000)
    assert (meaning.verdict, meaning.outcome_unknown, meaning.retry_after) == (Verdict.SERVER, False, 7.0)


def test_a_connection_with_half_a_request_on_it_is_not_used_again() -> None:
    def first(peer: Peer) -> None:
        peer.head()
        peer.send(reply("{}", "413 Too Large"))  # keep-alive, as if all were well
        peer.stop.wait()

    with serving(first, forever()) as server:
        redcap = client(server.url)
        with pytest.raises(RedcapError):
            send(redcap, b"x" * 20_000_000)
        assert send(redcap).size == 4
        assert server.connections == 2


def test_a_success_before_the_whole_request_is_none() -> None:
    def script(peer: Peer) -> None:
        peer.head()
        peer.send(OK)
        peer.stop.wait()

    assert import_meaning(script, b"x" * 20_000_000).verdict is Verdict.UNKNOWN


# -- connections ------------------------------------------------------------------------------------------------------


def test_nothing_was_stored_where_nobody_listens() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with pytest.raises(RedcapError) as caught:
        send(client(f"http://127.0.0.1:{port}/api/"))
    meaning = caught.value.meaning
    assert (meaning.verdict, meaning.reason, meaning.outcome_unknown) == (Verdict.SERVER, "unreachable", False)
    assert "refused" in meaning.message


def test_a_reset_after_the_request_leaves_the_outcome_unknown() -> None:
    def script(peer: Peer) -> None:
        peer.request()
        peer.reset()

    meaning = import_meaning(script)
    assert (meaning.verdict, meaning.reason) == (Verdict.UNKNOWN, "unreachable")


def test_an_idle_connection_that_the_server_closed_costs_nothing() -> None:
    with serving(once(OK), forever()) as server:
        redcap = client(server.url)
        send(redcap)
        assert server.ended.acquire(timeout=5)
        assert send(redcap).size == 4
    assert len(server.requests) == 2


def _closes_at_the_second_request(peer: Peer) -> None:
    peer.answer()
    peer.head()
    peer.sock.shutdown(socket.SHUT_RDWR)


def test_an_import_is_not_repeated_when_a_kept_connection_dies_under_it() -> None:
    with serving(_closes_at_the_second_request, forever()) as server:
        redcap = client(server.url)
        send(redcap)
        with pytest.raises(RedcapError) as caught:
            send(redcap)
        assert caught.value.meaning.verdict is Verdict.UNKNOWN
        assert server.connections == 1


def test_a_question_is_repeated_once_when_a_kept_connection_dies_under_it() -> None:
    with serving(_closes_at_the_second_request, forever(reply("14.5.2"))) as server:
        redcap = client(server.url)
        send(redcap)
        assert redcap.version() == "14.5.2"
        assert server.connections == 2


def test_a_question_on_a_new_connection_is_not_repeated() -> None:
    def script(peer: Peer) -> None:
        peer.request()

    with serving(script) as server, pytest.raises(RedcapError):
        client(server.url).version()
    assert server.connections == 1


# -- time -------------------------------------------------------------------------------------------------------------


def test_silence_ends_a_request() -> None:
    def script(peer: Peer) -> None:
        peer.request()
        peer.stop.wait()

    began = time.monotonic()
    meaning = import_meaning(script, timeout=0.3)
    assert time.monotonic() - began < 3
    assert meaning.verdict is Verdict.UNKNOWN
    assert "silent" in meaning.message


def test_a_server_that_takes_nothing_ends_a_request() -> None:
    def script(peer: Peer) -> None:
        peer.head()
        peer.stop.wait()

    assert import_meaning(script, b"x" * 20_000_000, timeout=0.3).verdict is Verdict.UNKNOWN


@pytest.mark.parametrize(
    "dripped",
    [b"HTTP/1.1 200 OK\r\n" + b"X-A: b\r\n" * 90, b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n" + b"\n" * 1000],
    ids=["head", "body"],
)
def test_the_deadline_holds_against_a_server_that_drips(dripped: bytes) -> None:
    def script(peer: Peer) -> None:
        peer.request()
        peer.drip(dripped, 0.02)

    began = time.monotonic()
    meaning = import_meaning(script, deadline=0.5)
    assert time.monotonic() - began < 3
    assert meaning.verdict is Verdict.UNKNOWN


def test_the_deadline_holds_against_a_server_that_reads_in_drips() -> None:
    def script(peer: Peer) -> None:
        peer.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        peer.head()
        while peer.sock.recv(1024):
            peer.stop.wait(0.02)

    began = time.monotonic()
    assert import_meaning(script, b"x" * 50_000_000, deadline=0.5).verdict is Verdict.UNKNOWN
    assert time.monotonic() - began < 3


def test_a_stop_breaks_a_request_off() -> None:
    stop = threading.Event()

    def script(peer: Peer) -> None:
        peer.request()
        stop.set()
        peer.stop.wait()

    with serving(script) as server, pytest.raises(Stopped) as caught:
        send(client(server.url, timeout=30.0, deadline=30.0), stop=stop)
    assert caught.value.outcome_unknown


def test_a_stop_breaks_an_export_off_between_two_pieces() -> None:
    stop = threading.Event()

    def script(peer: Peer) -> None:
        peer.request()
        peer.send(b'HTTP/1.1 200 OK\r\nContent-Type: a/b; name="a"\r\nContent-Length: 1000\r\n\r\n123')
        stop.set()
        peer.stop.wait()

    with serving(script) as server, pytest.raises(Stopped):
        client(server.url, timeout=30.0, deadline=30.0).export_file(TARGET, None, stop)


# -- exports ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "head",
    [
        'Content-Type: application/pdf; name="Ünter.pdf"; charset=UTF-8',
        'Content-Type: application/octet-stream\r\nContent-Disposition: attachment; filename="Ünter.pdf"',
    ],
)
def test_an_export_gives_the_file(head: str) -> None:
    data = os.urandom(300_000)
    got = bytearray()
    with serving(forever(reply(data, "200 OK", head))) as server:
        exported = client(server.url).export_file(FileTarget("1", "f", "e_arm_1", 2), got.extend)
    assert bytes(got) == data
    assert (exported.name, exported.size, exported.sha256) == ("Ünter.pdf", 300_000, hashlib.sha256(data).hexdigest())
    assert exported.proven_whole
    body = server.requests[0].body.decode()
    assert "action=export" in body
    assert "repeat_instance=2" in body
    assert server.requests[0].headers["accept-encoding"] == "identity"


def test_an_export_says_when_its_end_cannot_be_proven() -> None:
    answer = b'HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Type: a/b; name="a"\r\n\r\n123'
    with serving(once(answer)) as server:
        assert not client(server.url).export_file(TARGET, None).proven_whole


@pytest.mark.parametrize(
    ("answer", "verdict", "reason"),
    [
        (reply("<html>Maintenance", "200 OK", "Content-Type: text/html"), Verdict.NOT_THE_API, "maintenance"),
        (reply("<html>Log in", "200 OK", "Content-Type: text/html"), Verdict.NOT_THE_API, "not_the_api"),
        (reply("%PDF", "200 OK", "Content-Type: application/pdf"), Verdict.NOT_THE_API, "not_the_api"),
        (reply('{"error":"You do not have permissions to use the API"}', "403 Forbidden"), Verdict.PROJECT, "token"),
        (
            b'HTTP/1.1 200 OK\r\nContent-Type: a/b; name="a"\r\nContent-Length: 10\r\n\r\n123',
            Verdict.SERVER,
            "unreachable",
        ),
    ],
)
def test_an_export_that_is_no_file(answer: bytes, verdict: Verdict, reason: str) -> None:
    with serving(once(answer)) as server, pytest.raises(RedcapError) as caught:
        client(server.url).export_file(TARGET, None)
    assert (caught.value.meaning.verdict, caught.value.meaning.reason) == (verdict, reason)
    assert not caught.value.meaning.outcome_unknown


# -- questions --------------------------------------------------------------------------------------------------------


def test_questions_and_their_answers() -> None:
    answers = {
        "project": '{"project_id":42,"project_title":"T","is_longitudinal":1,"has_repeating_instruments_or_events":"1"}',
        "metadata": '[{"field_name":"record_id","form_name":"a","field_type":"text","identifier":""},'
        '{"field_name":"f","form_name":"b","field_type":"file","identifier":"y"}]',
        "event": '[{"unique_event_name":"v_arm_1","event_name":"V"}]',
        "formEventMapping": '[{"unique_event_name":"v_arm_1","form":"b"}]',
        "repeatingFormsEvents": '[{"event_name":"v_arm_1","form_name":"","custom_form_label":""}]',
        "user": '[{"username":"a","api_import":0,"api_export":0},'
        '{"username":"b","api_import":1,"api_export":1,"data_export":2,"forms_export":{"b":1}}]',
        "record": '[{"record_id":"7","n":1}]',
    }

    def script(peer: Peer) -> None:
        while True:
            fields = dict(pair.split("=", 1) for pair in peer.request().body.decode().split("&"))
            peer.send(reply('["7"]' if fields.get("action") == "import" else answers[fields["content"]]))

    with serving(script) as server:
        redcap = client(server.url)
        assert (redcap.project().project_id, redcap.project().longitudinal) == (42, True)
        assert [(one.name, one.type, one.identifier) for one in redcap.metadata()] == [
            ("record_id", "text", False),
            ("f", "file", True),
        ]
        assert redcap.events()[0].name == "v_arm_1"
        assert redcap.mappings()[0].form == "b"
        assert redcap.repeating()[0].event == "v_arm_1"
        rights = redcap.rights()
        assert (rights.username, rights.export_of("b"), rights.export_of("other")) == ("b", 1, 2)
        assert redcap.records(["7"], ["record_id", "n"], ["v_arm_1"], "[n] = 1") == [{"record_id": "7", "n": "1"}]
        asked = server.requests[-1].body.decode()
        assert "records%5B0%5D=7" in asked
        assert "fields%5B1%5D=n" in asked
        redcap.create_record("7", "record_id", "v_arm_1")
        with pytest.raises(RedcapError):
            redcap.create_record("8", "record_id")


@pytest.mark.parametrize("body", ["<html>x", "null", "14.5", '[{"a":1}', "{}"])
def test_an_answer_of_another_kind_is_not_the_api(body: str) -> None:
    with serving(forever(reply(body))) as server:
        for ask in (client(server.url).metadata, client(server.url).project):
            with pytest.raises(RedcapError) as caught:
                ask()
            assert caught.value.meaning.verdict is Verdict.NOT_THE_API


def test_the_limit_is_kept(tmp_path: Path) -> None:
    stop = threading.Event()
    window = RequestWindow(tmp_path / "w", 2)
    with serving(forever(reply("14.5.2"))) as server:
        redcap = Redcap(server.url, lambda: Token(TOKEN), window)
        redcap.version()
        redcap.version()
        threading.Timer(0.1, stop.set).start()
        with pytest.raises(Stopped):
            redcap.version(stop)
        assert len(server.requests) == 2


class Voided(Allowance):
    """Whose first grant is void by the time that there is a connection."""

    def __init__(self) -> None:
        super().__init__(10)
        self.granted = 0

    def try_acquire(self) -> float:
        self.granted += 1
        return 0.0

    def fresh(self) -> bool:
        return self.granted > 1

    def used(self) -> int:
        return self.granted

    def close(self) -> None:
        pass


def test_a_grant_that_is_void_once_there_is_a_connection_is_asked_for_anew() -> None:
    window = Voided()
    with serving(forever(reply("14.5.2"))) as server:
        Redcap(server.url, lambda: Token(TOKEN), window).version()
        assert (window.granted, len(server.requests)) == (2, 1)


def test_nothing_is_sent_by_who_was_to_stop_while_it_connected() -> None:
    class Stops(Voided):
        def try_acquire(self) -> float:
            stop.set()
            return 0.0

    stop = threading.Event()
    with serving(forever(reply("14.5.2"))) as server:
        with pytest.raises(Stopped) as stopped:
            Redcap(server.url, lambda: Token(TOKEN), Stops()).version(stop)
        assert (stopped.value.outcome_unknown, server.requests) == (False, [])


# -- TLS --------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_authority(tmp_path_factory.mktemp("tls"))


def _tls(authority: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(authority / "server.pem")
    return context


def test_tls_with_the_hospitals_own_authority(authority: Path) -> None:
    data = os.urandom(3_000_000)
    with serving(forever(), tls=_tls(authority)) as server:
        redcap = client(server.url, connection=ConnectionSettings(ca_file=authority / "ca.pem"))
        assert send(redcap, data).sha256 == hashlib.sha256(data).hexdigest()
        send(redcap)
        assert server.connections == 1
    assert server.requests[0].parts()["file"][1] == data


def test_an_unknown_authority_is_refused_before_anything_is_sent(authority: Path) -> None:
    with serving(forever(), tls=_tls(authority)) as server, pytest.raises(RedcapError) as caught:
        send(client(server.url))
    meaning = caught.value.meaning
    assert (meaning.verdict, meaning.reason, meaning.outcome_unknown) == (Verdict.SERVER, "certificate", False)
    assert "ca_file" in meaning.remedy
    assert not server.requests


def test_a_certificate_for_another_name_is_refused(authority: Path) -> None:
    with serving(forever(), tls=_tls(authority)) as server, pytest.raises(RedcapError) as caught:
        send(client(server.url.replace("localhost", "127.0.0.1"), connection=ConnectionSettings(ca_file=authority / "ca.pem")))
    assert caught.value.meaning.reason == "certificate"


def test_an_early_413_and_a_stop_over_tls(authority: Path) -> None:
    def stalls(peer: Peer) -> None:
        peer.request()
        stop.set()
        peer.stop.wait()

    def lingers(peer: Peer) -> None:
        while peer.sock.recv(65536):  # as web servers do, lest the reset of an early close overtake the reply
            pass

    stop = threading.Event()
    with serving(_early(lingers), stalls, tls=_tls(authority)) as server:
        redcap = client(server.url, connection=ConnectionSettings(ca_file=authority / "ca.pem"), timeout=20.0, deadline=20.0)
        with pytest.raises(RedcapError) as caught:
            send(redcap, b"x" * 20_000_000)
        assert caught.value.meaning.reason == "too_large"
        with pytest.raises(Stopped):
            send(redcap, stop=stop)


# -- memory -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "whole"),
    [(b'[{"field_name": "record_id", "form_name": "a"}]', True), (b'[{"field_name": "record_id", "form_na', False)],
)
def test_data_without_a_length_is_whole_if_it_is_so_by_its_grammar(body: bytes, whole: bool) -> None:
    """As behind an old proxy, where only the end of the connection ends a reply."""
    answer = b"HTTP/1.0 200 OK\r\nContent-Type: application/json\r\n\r\n" + body
    with serving(once(answer)) as server:
        redcap = client(server.url)
        if whole:
            assert [field.name for field in redcap.metadata()] == ["record_id"]
        else:
            with pytest.raises(RedcapError):
                redcap.metadata()


def test_what_is_no_data_is_quoted() -> None:
    with serving(once(reply("<br />Warning: something odd"))) as server:
        with pytest.raises(RedcapError) as raised:
            client(server.url).metadata()
        assert "something odd" in str(raised.value)
