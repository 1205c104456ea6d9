"""Servers and proxies that say the token again: wherever it stands and however it is written, nothing of it is shown or kept."""

from __future__ import annotations

import contextlib
import html
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from dropcap.secret import Token, mentions_token, without_tokens
from redcap_sandbox import KINDS, Fault, Sandbox, demo_project
from tests.hostile.echo import EchoProxy, Fields, Said, Spoil, echoing, holds, ways
from tests.hostile.test_secrets import written
from tests.site import Daemon, Site, eventually, site

#: Not a pattern, so that nothing of it stands anywhere by chance.
SECRET = "9F3A77C0D15E42B8A6C1E0947F2B3D58"
WAYS = ways(SECRET)


@pytest.mark.parametrize("way", WAYS)
def test_the_gate_strikes_out_every_way_of_writing_a_token(way: str) -> None:
    Token(SECRET)
    for said in (WAYS[way], f"before {WAYS[way]} after", f"the end {WAYS[way]}", html.escape(f"before <b>{WAYS[way]}</b>")):
        assert holds(said.encode(), SECRET) or way.startswith("references of") or "&amp;" in said, "the search can find it"
        told = without_tokens(said)
        assert "[token]" in told
        assert not holds(told.encode(), SECRET)
        assert without_tokens(told) == told
    assert mentions_token(WAYS[way])


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("", ""),
        ("C:\\101\\U0000 %u0041 \\Uffffffff \\u{ffffff} \\377", "C:\\101\\U0000 %u0041 \\Uffffffff \\u{ffffff} \\377"),
        ('The record "101" does not exist', 'The record "101" does not exist'),
        ("é 5 < 6 &amp; 50% \\u00e9 \u200b", "é 5 < 6 &amp; 50% \\u00e9 \u200b"),
        ("id " + "ab" * 16, "id [hidden]"),
        ("id " + "AB" * 32 + ".", "id [hidden]."),
        ("id " + "a\u200bb" * 16 + "!", "id [hidden]!"),
        ("sha1 " + "ab" * 20, "sha1 " + "ab" * 20),
        ("git " + "ab" * 15, "git " + "ab" * 15),
        (f"cut off in {SECRET[:9]}", "cut off in [token]"),
        (f"{SECRET[:9]} is nobody's", f"{SECRET[:9]} is nobody's"),
        (f"{'ab' * 16} and {SECRET}", "[hidden] and [token]"),
    ],
)
def test_the_gate_leaves_all_else_as_it_was(said: str, told: str) -> None:
    Token(SECRET)
    assert without_tokens(said) == told
    assert not mentions_token("ab" * 16), "a record may be called so"


# -- from outside


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Site]:
    with Sandbox(demo_project(), token=SECRET) as box, site(tmp_path, box) as made:
        yield made


def folder_of(place: Site, name: str, url: str) -> Path:
    """One more project, with a folder of its own."""
    drop = place.root / name
    drop.mkdir()
    place.config["projects"][name] = {**place.project, "url": url}
    place.config["folders"][name] = {**place.folder, "path": str(drop), "project": name}
    return drop


def put(drop: Path, name: str, content: bytes = b"%PDF some content\n") -> None:
    beside = drop.parent / f"{drop.name} {name.replace('/', ' ')}"
    beside.write_bytes(content)
    beside.rename(drop / name)


def search(place: Site, said: list[tuple[str, bytes]]) -> None:
    """Everything that the site holds, and what was said besides."""
    count = 0
    for what, content in (*written(place), *said):
        count += 1
        assert not holds(content, SECRET), f"the token is in {what}"
    assert count > 10


def told(daemon: Daemon, folder: str) -> bool:
    """Whether something came of the folder's file."""
    return any(
        line.get("folder") == folder and line["event"] in ("done", "failed", "held", "retrying") for line in list(daemon.lines)
    )


def test_no_fault_of_the_sandbox_brings_it_out(place: Site) -> None:
    said_with = {"body": f"<html>{WAYS['tags']}", "location": f"/?{SECRET}", "retry_after": SECRET, "content_type": SECRET}
    said_with |= {"seconds": 0.1, "bytes_per_second": 4096, "linger": 0.1}
    place.config["log"] = {"format": "json", "level": "debug"}
    with contextlib.ExitStack() as stack:
        for kind, params in KINDS.items():
            box = stack.enter_context(Sandbox(demo_project(), token=SECRET))
            drop = folder_of(place, kind, box.url)
            more = {name: value for name, value in said_with.items() if name in params}
            box.ill(Fault(kind, times=1, match={"content": "file", "action": "import"}, **more))
            put(drop, "101_V1_consent.pdf")
        place.write_config()
        daemon = place.start()
        for kind in KINDS:
            eventually(lambda: told(daemon, kind), 10.0)  # noqa: B023
        daemon.stop()
        search(place, [("the log", "".join(daemon.raw).encode())])


def error(way: str, shape: int) -> Said:
    """REDCap refuses, in one of its formats, and says the token with it."""
    text = f"This file type is not allowed: {WAYS[way]}"  # words that are known: unknown ones pause the project
    json_type = [("Content-Type", "application/json")]
    return (
        Said(400, json_type, json.dumps({"error": text}).encode()),
        Said(400, [("Content-Type", "text/xml")], f"<hash><error><![CDATA[{text}]]></error></hash>".encode()),
        Said(400, [("Content-Type", "text/html")], f"ERROR: {text}".encode()),
        Said(400, json_type, json.dumps({"error": {WAYS[way]: [text]}}, ensure_ascii=False).encode()),
    )[shape % 4]


def at(action: str, make: Callable[[Said], Said]) -> Spoil:
    """Spoils replies to requests for files of that action."""
    return lambda fields, said: make(said) if fields.get("action") == action else said


def rows(content: str, change: Callable[[dict[str, str]], None]) -> Spoil:
    """Changes the last row that REDCap tells of something."""

    def spoil(fields: Fields, said: Said) -> Said:
        if fields.get("content") != content or said.status != 200:
            return said
        told = json.loads(said.body) or [{}]
        change(told[-1] if isinstance(told, list) else told)
        return replace(said, body=json.dumps(told).encode())

    return spoil


PAGE = f"<html><head><title>{SECRET}</title></head><body>{WAYS['soft hyphens']} and {WAYS['decimal references']}"

#: Where a server or proxy says it, but for the message of an error.
PLACES: dict[str, Spoil] = {
    "location": at("import", lambda _: Said(302, [("Location", f"https://x/?{WAYS['percent']}")], b"")),
    "headers": at(
        "import",
        lambda _: Said(
            503,
            [("Retry-After", SECRET), ("Server", SECRET), ("WWW-Authenticate", f"Basic {SECRET}"), ("Set-Cookie", f"a={SECRET}")],
            PAGE.encode(),
        ),
    ),
    "page": at("import", lambda _: Said(200, [("Content-Type", "text/html")], PAGE.encode())),
    "page cut": at("export", lambda _: Said(500, [("Content-Type", "text/html")], f"<html>{'<i>' * 21840}{PAGE}".encode())),
    "status line": at("import", lambda _: Said(0, [], b"", first=f"HTTP/1.1 {SECRET}")),
    "reason phrase": at("import", lambda _: Said(0, [(SECRET, SECRET)], PAGE.encode(), first=f"HTTP/1.1 500 {SECRET}")),
    "encoding": at("import", lambda said: replace(said, headers=[("Content-Encoding", SECRET)], body=b"x")),
    "content type": at("import", lambda said: Said(200, [("Content-Type", f"{SECRET}; name={SECRET}")], SECRET.encode())),
    "export's name": at(
        "export",
        lambda said: Said(200, [("Content-Type", f'application/pdf; name="a {SECRET.lower()} b.pdf"')], b"what was there before"),
    ),
    "disposition": at("export", lambda said: Said(200, [("Content-Disposition", f"attachment; filename={SECRET}")], b"data")),
    "no json": lambda fields, said: Said(200, [], WAYS["blanks"].encode()) if fields["content"] == "project" else said,
    "json of something else": lambda fields, said: (
        Said(200, [], json.dumps({SECRET: SECRET}).encode()) if fields["content"] == "record" else said
    ),
    "json key": rows("record", lambda row: row.update({SECRET: SECRET})),
    "record": rows("record", lambda row: row.update({"record_id": SECRET})),
    "title": rows("project", lambda row: row.update({"project_title": WAYS["zero width"]})),
    "project id": rows("project", lambda row: row.update({"project_id": "1234567890" * 3})),
    "field": rows("metadata", lambda row: row.update({"field_name": SECRET.lower(), "form_name": SECRET.lower()})),
    "label": rows("metadata", lambda row: row.update({"field_label": PAGE})),
    "event": rows("event", lambda row: row.update({"unique_event_name": f"{SECRET.lower()}_arm_1", "event_name": SECRET})),
    "version": lambda fields, said: Said(200, [], SECRET.encode()) if fields["content"] == "version" else said,
}


def everything(fields: Fields, said: Said) -> Said:
    """All that is told of a project at once, but for what nothing could be proposed without."""
    for place in ("title", "label", "event"):
        said = PLACES[place](fields, said)
    return said


@contextlib.contextmanager
def echoes(place: Site, box: Sandbox) -> Iterator[dict[str, EchoProxy]]:
    """A proxy for each place, with a project and a folder."""
    with contextlib.ExitStack() as stack:
        proxies: dict[str, EchoProxy] = {}
        for number, (name, spoil) in enumerate(PLACES.items()):
            proxies[name] = stack.enter_context(echoing(box.port))
            proxies[name].spoil = spoil
            folder_of(place, f"f{number}", proxies[name].url)
        yield proxies


def test_wherever_and_however_it_is_said_it_comes_out_nowhere(place: Site) -> None:
    ways_by_place = {}
    for number, way in enumerate(WAYS):
        record, visit = str(101 + number // 2), f"V{1 + number % 2}"
        ways_by_place[record, place.config["tables"]["visits"][visit]] = (way, number)
        place.put(f"{record}_{visit}_consent.pdf")

    def refuse(fields: Fields, said: Said) -> Said:
        place = fields.get("record", ""), fields.get("event", "")
        return error(*ways_by_place[place]) if fields.get("action") == "import" and place in ways_by_place else said

    place.config["log"] = {"format": "json", "level": "debug"}
    with echoes(place, place.box) as proxies, echoing(place.box.port) as refusing:
        refusing.spoil = refuse
        place.project["url"] = refusing.url
        place.folder["rules"].append(
            {"name": "by mrn", "pattern": "mrn{mrn:digits}_{visit:visits}.pdf", "event": "{visit|visits}", "field": "consent_pdf",
             "record_where": {"mrn": "{mrn}"}}
        )  # fmt: skip
        place.write_config()
        for number, name in enumerate(PLACES):
            put(place.root / f"f{number}", "mrn0799819_V1.pdf" if name == "record" else f"{101 + number}_V1_scan.pdf")
        daemon = place.start()
        daemon.wait_for("failed", len(WAYS))
        told_of = {"title", "label", "event", "field", "version", "json key", "project id"}  # which harm no file
        for number, name in enumerate(PLACES):
            eventually(lambda: told(daemon, f"f{number}") or (name in told_of and proxies[name].spoiled), 10.0)  # noqa: B023
        messages = {job.name: job.message or "" for job in place.jobs()}
        for number, way in enumerate(WAYS):
            record, visit = 101 + number // 2, f"V{1 + number % 2}"
            assert "[token]" in messages[f"{record}_{visit}_consent.pdf"], way
        said = []
        for words in (["status"], ["check"], ["dry-run"], ["verify"]):
            done = place.dropcap(*words)
            assert "Traceback" not in done.stderr, done.stderr
            said.append((" ".join(words), (done.stdout + done.stderr).encode()))
        daemon.stop()
        said.append(("the log", "".join(daemon.raw).encode()))
        proxies["title"].spoil = everything
        output = place.root / "proposed.yaml"
        done = place.dropcap(
            "init", "--url", proxies["title"].url, "--token-file", str(place.token_file), "--folder", str(place.root / "new"),
            "--output", str(output), "--yes",
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert "[token]" in output.read_text()
        said.append(("init", (done.stdout + done.stderr).encode()))
        assert [name for name, proxy in proxies.items() if not proxy.spoiled] == []
        search(place, said)


def test_a_comment_that_holds_the_end_of_a_tag_does_not_show_either() -> None:
    Token(SECRET)
    assert without_tokens(f"said: {'<!-- a > b -->'.join(SECRET)} twice") == "said: [token] twice"
    assert without_tokens("nothing <!-- a > b --> of it") == "nothing <!-- a > b --> of it"
