"""The recorder: the wire as it is between client and server, and nothing of anybody's in what is written down."""

from __future__ import annotations

import base64
import contextlib
import gzip
import itertools
import json
import re
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import requests
from hypothesis import given, settings
from hypothesis import strategies as st

from redcap_sandbox import Fault, Sandbox, demo_project
from redcap_sandbox.command import main
from redcap_sandbox.recorder import Recorder
from redcap_sandbox.recording import ALLOWED, gate
from redcap_sandbox.shape import known_words, shape_of
from redcap_sandbox.upstream import Way
from tests import needs
from tests.tinyproxy import dead_port, tinyproxy
from tests.tls import in_front_of, make_authority, server_context

#: Letters and digits such that no four of them in a row stand in a count or a word of the recording.
TOKEN = "CAFEF00DBEEFD00D5EED4B1DDECAFBAD"
NAMES = ("Zaphod", "QX-7731-Y", "zaphod_scan", "visit_beeblebrox", "Betelgeuse", "page_young")
PLACE = {"record": "QX-7731-Y", "event": "visit_beeblebrox", "field": "zaphod_scan", "repeat_instance": "8842"}


@contextmanager
def recording(upstream: str, directory: Path) -> Iterator[Recorder]:
    with Recorder(upstream, directory) as recorder:
        yield recorder


def entries(recorder: Recorder, count: int) -> list[dict[str, Any]]:
    """The first so many entries; they are written when an exchange is over, which the client may see first: whoever goes by their
    order waits for each before the next is asked."""
    end = threading.Event()
    for _ in range(500):
        lines = recorder.recording.path.read_text(encoding="utf-8").splitlines()
        if len(lines) >= count:
            return [json.loads(line) for line in lines]
        end.wait(0.01)
    raise AssertionError(f"{len(lines)} of {count} entries")


def words(value: Any) -> Iterator[str]:
    """Every word of every text in an entry, keys too."""
    if isinstance(value, str):
        yield from value.split(" ") if value else ()
    elif isinstance(value, dict):
        for name, inner in value.items():
            yield from words(name)
            yield from words(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from words(inner)


def nothing_of_anybody(text: str) -> None:
    for line in text.splitlines():
        assert set(words(json.loads(line))) <= ALLOWED
    lower = text.lower()
    for start in range(len(TOKEN) - 3):
        assert TOKEN[start : start + 4].lower() not in lower
    for name in (*NAMES, "7731", "8842", "beeblebrox", "zaphod", "young"):
        assert name.lower() not in lower, name


@contextmanager
def answering(*replies: bytes, tls: ssl.SSLContext | None = None) -> Iterator[str]:
    """A server that reads each request and answers with these bytes, one connection each; its URL."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            for reply in replies:
                connection, _ = listening.accept()
                with (
                    contextlib.suppress(OSError),
                    tls.wrap_socket(connection, server_side=True) if tls else connection as connection,
                ):
                    got = b""
                    while b"\r\n\r\n" not in got:
                        got += connection.recv(65536)
                    head, _, body = got.partition(b"\r\n\r\n")
                    length = re.search(rb"(?i)content-length: (\d+)", head)
                    while len(body) < int(length[1] if length else 0):
                        body += connection.recv(65536)
                    connection.sendall(reply)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"{'https://localhost' if tls else 'http://127.0.0.1'}:{listening.getsockname()[1]}/api/"
        thread.join(10)


def reply_with(body: bytes, *headers: str, status: str = "200 OK") -> bytes:
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def ask(url: str, **other: Any) -> requests.Response:
    data = {"token": TOKEN, "content": "file", "action": "import", "returnFormat": "json", **PLACE}
    return requests.post(url, data=data, files={"file": ("Zaphod Betelgeuse.pdf", b"%PDF Zaphod")}, timeout=10, **other)


SPLIT = " ".join(TOKEN)
ENTITIES = "".join(f"&#{ord(letter)};" for letter in TOKEN)
TAGGED = "".join(f"<b>{letter}</b>" for letter in TOKEN)
ENCODED = [
    TOKEN,
    TOKEN.lower(),
    SPLIT,
    ENTITIES,
    TAGGED,
    base64.b64encode(TOKEN.encode()).decode(),
    TOKEN.encode().hex(),
    TOKEN[::-1],
]
ENCODED += ["-".join(TOKEN), "_".join(TOKEN), "".join(f"\\u{ord(letter):04x}" for letter in TOKEN), " the ".join(TOKEN)]
ALL = " ; ".join((*ENCODED, *NAMES))

HOSTILE = [
    reply_with(
        json.dumps({"error": f"the record {PLACE['record']} of {PLACE['field']} {ALL}"}).encode(), status="400 Bad Request"
    ),
    reply_with(json.dumps({"error": ENCODED[10], TOKEN: NAMES, "Zaphod": {"Betelgeuse": [TOKEN]}}).encode()),
    reply_with(json.dumps([dict.fromkeys((*NAMES, TOKEN), TOKEN), TOKEN, [TOKEN]]).encode()),
    reply_with(f"<hash><error>{ALL.replace('&', '')}</error><{NAMES[2]} {NAMES[3]}='{TOKEN}'/></hash>".encode()),
    reply_with(f"<x{TOKEN}><a>{TOKEN}</a></x{TOKEN}>".encode()),
    reply_with(f"ERROR: {ALL}".encode()),
    reply_with(ALL.encode()),
    reply_with(f"<!DOCTYPE html><title>{ALL}</title><p class='{TOKEN}'>{ALL}<script>{TOKEN}</script><!-- {TOKEN} -->".encode()),
    reply_with(f"<b>Warning</b>: {TOKEN}\n{json.dumps([{'first': 'Zaphod', 'is': 'deleted'}])}".encode()),
    reply_with(b"", f"X-{TOKEN}: 1", f"{NAMES[0]}: 1", f"Set-Cookie: {TOKEN}={TOKEN}", f"Server: {TOKEN}", f"ETag: {TOKEN}"),
    reply_with(b"", f"Content-Type: {TOKEN}/{TOKEN}; charset={TOKEN}; name={NAMES[0]}", "Retry-After: 8842"),
    reply_with(b"", f"Location: https://{TOKEN}.example.org/{NAMES[0]}?{TOKEN}", status=f"302 {TOKEN}"),
    reply_with(gzip.compress(ALL.encode()), "Content-Encoding: gzip"),
    reply_with(TOKEN.encode(), f"Content-Encoding: {TOKEN}"),
    reply_with(b"\xef\xbb\xbf{" + TOKEN.encode()),
    reply_with(b"[" * 100_000 + TOKEN.encode()),
    f"{TOKEN} {TOKEN}\r\n\r\n{TOKEN}".encode(),
    f"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{TOKEN}\r\n".encode(),
    b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n" + TOKEN.encode(),
    b"",
]


def test_a_server_that_tells_secrets_in_every_place(tmp_path: Path) -> None:
    with answering(*HOSTILE) as url, recording(url, tmp_path / "r") as recorder:
        for number, reply in enumerate(HOSTILE, 1):
            try:
                got = ask(recorder.url, allow_redirects=False, headers={"X-Mine": TOKEN, TOKEN: "x", "Cookie": TOKEN})
                assert str(got.status_code).encode() in reply[:12]
            except requests.RequestException:
                pass
            told = entries(recorder, number)
    text = recorder.recording.path.read_text(encoding="utf-8")
    nothing_of_anybody(text)
    assert all(one["asked"]["other_headers"] == 2 for one in told)  # headers of the client's own
    assert [one["n"] for one in told] == list(range(1, len(HOSTILE) + 1))
    assert told[0]["answered"]["shape"]["form"] == "json"
    assert "the record … of …" in told[0]["answered"]["shape"]["words"]
    assert "deleted" not in json.dumps(told[8])  # a value of a record
    assert told[8]["answered"]["shape"]["then"]["kind"] == "rows"
    assert told[9]["answered"]["other_headers"] == 2
    assert told[10]["answered"]["retry_after"] == 86400
    assert told[11]["answered"]["location"] == "other-host"
    assert [one["failed"] for one in told[16:]] == ["no-http", "cut", "cut", "reset"]


def test_a_client_that_puts_secrets_in_every_place(tmp_path: Path) -> None:
    with Sandbox(demo_project(), TOKEN) as box, recording(box.url, tmp_path / "r") as recorder:
        base = recorder.url
        requests.post(
            f"{base}?token={TOKEN}&{NAMES[0]}={TOKEN}", data={TOKEN: TOKEN, "content": TOKEN, "action": "Zaphod"}, timeout=9
        )
        requests.request(TOKEN, base, timeout=9)
        requests.get(base, params={"token": TOKEN}, timeout=9)
        requests.post(base, data=TOKEN, headers={"Content-Type": f"text/{TOKEN}"}, timeout=9)
        requests.post(base, json={"token": TOKEN, "Zaphod": NAMES}, timeout=9)
        requests.post(base, data={"token": TOKEN, "format": TOKEN, "returnFormat": "Zaphod"}, timeout=9)
        requests.post(base, data={f"records[{TOKEN}]": "Zaphod", "content": "record", "token": TOKEN}, timeout=9)
        requests.post(base, files={TOKEN: (f"Zaphod.{TOKEN}", b"x"), "file": (f"{TOKEN}.Zaphod", TOKEN)}, timeout=9)
        assert requests.post(f"{base}{TOKEN}", data={"token": TOKEN}, timeout=9).status_code == 404  # and not recorded
        entries(recorder, 8)
    nothing_of_anybody(recorder.recording.path.read_text(encoding="utf-8"))


def test_words_of_the_request_are_not_told_even_if_they_are_known() -> None:
    message = "The file of the record page young does not exist"
    assert known_words(message, ()) == "the file of the record page … does not exist"
    assert known_words(message, {"page", "file"}) == "the … of the record … does not exist"
    assert known_words("Will Page may not upload", ()) == "… may not upload"  # capital letters: perhaps a person
    told = shape_of(b'{"error": "the record page is locked"}', "file", "json", {"page"})
    assert told["words"] == "the record … is locked"


def test_a_record_that_was_asked_about_is_never_told(tmp_path: Path) -> None:
    error = reply_with(b'{"error": "the user page young is locked"}', status="400 Bad Request")
    with answering(reply_with(b""), error) as url, recording(url, tmp_path / "r") as recorder:
        data = {"token": TOKEN, "content": "record", "format": "json"}
        requests.post(recorder.url, data={**data, "records[0]": "page-young"}, timeout=9)
        entries(recorder, 1)
        requests.post(recorder.url, data=data, timeout=9)
        told = entries(recorder, 2)
    assert told[1]["answered"]["shape"]["words"] == "the user … is locked"


def test_values_of_data_are_told_by_their_kind_alone() -> None:
    rows = [{"record_id": "007", "redcap_event_name": "deleted", "sex": "1", "scan": "[document]", "note": "unknown"}]
    told = json.dumps(shape_of(json.dumps(rows).encode(), "record", "json", ()))
    assert not re.search("deleted|unknown|007|sex|note", told)
    assert json.loads(told)["columns"] == {
        "record_id": ["digits"],
        "redcap_event_name": ["text"],
        "…": ["document", "flag-text", "text"],
    }
    for form, text in (("csv", "note\nunknown\ndeleted\n"), ("csv", "<br />\n<b>Warning</b>: no file<br />\nnote\ndeleted\n")):
        told = json.dumps(shape_of(text.encode(), "record", form, ()))
        assert not re.search("deleted|unknown|note", told)
    assert shape_of(b"14.5.5", "version", "json", ()) == {"kind": "version", "numbers": [14, 5, 5]}
    assert "numbers" not in shape_of(b"14.5.5", "record", "json", ())


@settings(max_examples=200, deadline=None)
@given(
    st.binary(max_size=80)
    | st.text(st.sampled_from("<>{}[]\"':,;&# \nab0!/=?-") | st.characters(codec="utf-8"), max_size=80).map(str.encode),
    st.sampled_from(["record", "file", "version", ""]),
    st.sampled_from(["json", "csv", "xml"]),
    st.sampled_from([b"", b"<html>", b"[{", b'{"error": "', b"<?xml version='1.0'?><hash>", b"ERROR: ", b"\xef\xbb\xbf"]),
)
def test_whatever_comes_has_a_shape(body: bytes, asked: str, form: str, before: bytes) -> None:
    assert shape_of(before + body, asked, form, {"file"})["kind"] or body


def test_the_gate_lets_nothing_else_pass() -> None:
    assert gate({"asked": {"method": "POST"}, TOKEN: [TOKEN, {"Zaphod": 1}], "words": "the file Zaphod is", "body": 3}) == {
        "asked": {"method": "POST"},
        "…": ["…", {"…": 1}],
        "words": "the file … is",
        "body": 3,
    }
    assert [word for word in ALLOWED if re.fullmatch(r"[0-9a-fA-F]+", word)] == []


def test_client_and_server_meet_as_without_it(tmp_path: Path) -> None:
    content = bytes(range(256)) * 4096
    with Sandbox(demo_project(), TOKEN) as box, recording(box.url, tmp_path / "r") as recorder:
        place = {"token": TOKEN, "content": "file", "record": "101", "field": "scan", "event": "baseline_arm_1"}
        asked = itertools.count(1)

        def post(**other: Any) -> requests.Response:
            files = {"file": ("Zaphod.pdf", content)} if other.get("action") == "import" else None
            number = next(asked)
            try:
                return requests.post(recorder.url, data={**place, "returnFormat": "json", **other}, files=files, timeout=10)
            finally:
                entries(recorder, number)

        assert (post(action="import").status_code, post(action="import", record="nobody").status_code) == (200, 400)
        got = post(action="export")
        assert (got.content, got.headers["Content-Type"]) == (content, 'application/pdf; name="Zaphod.pdf"')
        assert box.content("101", "scan") == content
        for kind in ("chunked", "gzip"):
            box.ill(Fault(kind, times=1))
            assert post(content="project", format="json").json()["is_longitudinal"] == 1
        told = entries(recorder, 5)
        for kind in ("reset_during_body", "reset_after_body", "truncated_body", "cut_chunk"):
            box.ill(Fault(kind, times=1))
            with pytest.raises(requests.RequestException):
                post(action="import")
        last = entries(recorder, 9)[5:]
    assert [one["asked"]["place"] for one in told[:3]] == [1, 2, 1]
    assert told[0]["asked"]["file"] == {"length": len(content), "extension": "pdf"}
    assert told[0]["answered"]["own_header"] is True
    assert told[1]["answered"]["shape"]["words"] == "the record … does not exist"
    assert told[2]["answered"]["shape"] == {"kind": "file", "same_as_sent": True}
    assert [one["answered"].get("coding") for one in told[3:]] == [None, "gzip"]
    assert [one["answered"]["framing"] for one in told[3:]] == ["chunked", "length"]
    assert all(one["answered"]["shape"]["kind"] == "object" for one in told[3:])
    assert [one["failed"] for one in last] == ["reset", "reset", "cut", "cut"]
    text = recorder.recording.path.read_text(encoding="utf-8")
    nothing_of_anybody(text)
    assert recorder.recording.path.stat().st_mode & 0o077 == 0


def test_nobody_at_the_other_end(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with recording(f"http://127.0.0.1:{port}/api/", tmp_path / "r") as recorder:
        with pytest.raises(requests.ConnectionError):
            ask(recorder.url)
        (told,) = entries(recorder, 1)
    assert (told["failed"], told["asked"]["sent"]) == ("refused", 0)


def test_over_tls_with_an_authority_of_its_own(tmp_path: Path) -> None:
    curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
    names = ["-addext", "subjectAltName=DNS:localhost"]
    command = [needs.program("openssl"), "req", "-x509", *curve, *names, "-keyout", "server.key", "-out", "server.crt"]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "server.crt", tmp_path / "server.key")
    with answering(b"", reply_with(b""), tls=context) as url:
        with recording(url, tmp_path / "unknown") as recorder:
            with pytest.raises(requests.ConnectionError):
                ask(recorder.url)
            (told,) = entries(recorder, 1)
        assert (told["failed"], told["asked"]["sent"]) == ("certificate", 0)
        with Recorder(url, tmp_path / "known", way=Way(tmp_path / "server.crt")) as recorder:
            assert ask(recorder.url).status_code == 200
            (told,) = entries(recorder, 1)
    assert told["answered"]["shape"] == {"kind": "empty"}


def test_by_way_of_a_proxy_with_a_certificate_to_show(tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    keys.mkdir()
    make_authority(keys)
    credentials = tmp_path / "proxy.secret"
    credentials.write_text("desk:secret\n")
    files = {"ca_file": keys / "ca.pem", "client_cert_file": keys / "client.crt", "client_key_file": keys / "client.key"}
    with (
        Sandbox(demo_project(), token=TOKEN) as box,
        in_front_of(box.port, server_context(keys, of_client=True, newest=False)) as port,
        tinyproxy(tmp_path, "BasicAuth desk secret") as proxy,
        dead_port() as nobody,
    ):
        url = f"https://localhost:{port}/api/"
        for number, (way, failed) in enumerate(
            (
                (Way(**files, proxy=proxy.url, proxy_credentials_file=credentials), None),
                (Way(**files), None),
                (Way(files["ca_file"], proxy=proxy.url, proxy_credentials_file=credentials), "tls"),
                (Way(**files, proxy=proxy.url), "proxy"),
                (Way(**files, proxy=f"http://127.0.0.1:{nobody}"), "proxy"),
            )
        ):
            with Recorder(url, tmp_path / f"{number}", way=way) as recorder:
                with contextlib.suppress(requests.ConnectionError):
                    answer = requests.post(recorder.url, data={"token": TOKEN, "content": "version"}, timeout=10)
                (told,) = entries(recorder, 1)
                assert told.get("failed") == failed
                assert failed or answer.text[0].isdigit()
                nothing_of_anybody(recorder.recording.path.read_text())
        asked = proxy.asked()
        assert {line.split()[0] for line in asked} == {"CONNECT"}, "nothing of the token in clear text"


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--ill", "html_200"], "--ill is for a sandbox"),
        (["--set", "success=json"], "--set is for a sandbox"),
        (["--right", "design=no"], "--right is for a sandbox"),
        (["--rate-limit", "60"], "--rate-limit is for a sandbox"),
        (["--client-key-file", "key.pem"], "goes with --client-cert-file"),
        (["--client-cert-file", "nowhere.pem"], "nowhere.pem cannot be used"),
        (["--ca-file", "nowhere.pem"], "--ca-file nowhere.pem cannot be used"),
        (["--proxy", "https://proxy.example.org:3128"], "--proxy is no address"),
        (["--proxy", "http://me:secret@proxy.example.org:3128"], "--proxy is no address"),
        (["--proxy-credentials-file", "secret"], "goes with --proxy"),
    ],
)
def test_options_that_a_recorder_cannot_take_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str], told: str
) -> None:
    with pytest.raises(SystemExit):
        main(["--record", str(tmp_path / "r"), "--upstream", "https://redcap.example.org/api/", *options])
    assert told in capsys.readouterr().err
    assert not (tmp_path / "r").exists()


def test_options_of_a_recorder_mean_nothing_to_a_sandbox(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--proxy", "http://proxy.example.org:3128"])
    assert "--proxy is for --record" in capsys.readouterr().err


@pytest.mark.parametrize(
    "address",
    [
        "",
        "redcap.example.org",
        "http://redcap.example.org/api/",
        "https://user:secret@redcap.example.org/api/",
        "https://redcap.example.org/api/?token=x",
        "ftp://127.0.0.1/api/",
        "https://:443/",
        "http://127.0.0.1:port/api/",
    ],
)
def test_addresses_that_it_does_not_stand_before(tmp_path: Path, address: str) -> None:
    with pytest.raises(ValueError, match=r"upstream|[Pp]ort"):
        Recorder(address, tmp_path / "r")
    assert not (tmp_path / "r").exists()


def test_a_recording_is_never_written_over(tmp_path: Path) -> None:
    (tmp_path / "recording.jsonl").symlink_to("elsewhere")
    with pytest.raises(FileExistsError):
        Recorder("https://redcap.example.org/api/", tmp_path)
    assert not (tmp_path / "elsewhere").exists()
