"""`dropcap trial`, from outside: what it says of servers that differ or lie, what it never touches, what it leaves behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from redcap_sandbox import Fault, Rights, RowKey
from tests.e2e.other_redcap import Asked, Other, Said, in_json, other_site
from tests.site import DROPCAP, Site, eventually

COPES, UNUSABLE = "dropcap copes", "NOT SO"
IMPORT, EXPORT = {"content": "file", "action": "import"}, {"content": "file", "action": "export"}


def trial(place: Site, *words: str, record: str = "101", code: int = 0, entered: str = "") -> str:
    """Run it; what it says."""
    place.state.mkdir(0o700, exist_ok=True)
    result = subprocess.run(
        [*DROPCAP, "trial", "--record", record, "--yes", *words], env=place.env(), input=entered, capture_output=True, text=True
    )
    said = result.stdout + result.stderr
    assert result.returncode == code, said
    assert "Traceback" not in said
    assert place.box.token not in said
    table = result.stdout.partition("\ndropcap relies on")[2].partition("\n\n")[0]
    assert max(map(len, table.splitlines()), default=0) <= 80, table
    return said


def verdict(said: str, row: str) -> str:
    """The verdict of a row."""
    (line,) = [line for line in said.splitlines() if line.startswith(row)]
    return next(word for word in ("as expected", COPES, UNUSABLE) if line.endswith(word))


def test_an_honest_server_gets_everything_as_expected_and_keeps_nothing(place: Site) -> None:
    place.box.project.blocked_extensions, place.box.project.empty_files = frozenset({"exe"}), "refuse"
    said = trial(place, "--size", "2MB")
    assert f"  {COPES}" not in said, said
    assert UNUSABLE not in said, said
    assert "All" not in said
    assert "repeat instance without a file" in said
    assert place.box.holdings() == []
    assert 20 < len(place.box.requests) <= 60
    assert (place.state / "trial.journal").read_bytes() == b""


@pytest.mark.parametrize(
    ("settings", "row"),
    [
        ({"errors": "xml"}, "errors in JSON"),
        ({"errors": "csv"}, "errors in JSON"),
        ({"file_values": "doc_id"}, "a record's export shows"),
        ({"sanitize_names": True}, "so does a name"),
        ({"empty_files": "accept"}, "an empty file"),
        ({"blocked_extensions": frozenset()}, "a blocked ending"),
        ({"version": "16.0.3", "flags_as_text": True, "file_values": "name"}, ""),
    ],
)
def test_the_sandbox_s_ways_are_told_and_dropcap_copes(place: Site, settings: dict[str, Any], row: str) -> None:
    project = place.box.project
    project.blocked_extensions, project.empty_files = frozenset({"exe"}), "refuse"
    for name, value in settings.items():
        setattr(project, name, value)
    said = trial(place)
    assert said.count(f" {COPES}\n") == bool(row), said
    assert UNUSABLE not in said, said
    assert not row or verdict(said, row) == COPES
    assert place.box.holdings() == []


def test_a_file_over_the_limit_is_told(place: Site) -> None:
    place.box.limits = replace(place.box.limits, post_max_size=2_000_000)
    assert verdict(trial(place, "--size", "3MB"), "a file of") == COPES
    assert place.box.holdings() == []


def test_another_redcap_with_other_words(tmp_path: Path) -> None:
    with other_site(tmp_path, fields=[("fall", "f", "text"), ("brief", "f", "file")], repeats=set()) as (place, other):
        other.before = lambda asked: None if asked.get("content") != "project" else _in_development(other)
        said = trial(place, record="P-1")
    assert UNUSABLE not in said
    assert verdict(said, "an empty field is told") == COPES
    assert other.files == {}
    assert "All that was uploaded was taken back" in said


def _in_development(other: Other) -> Said:
    told = {"project_id": "4711", "project_title": "T", "is_longitudinal": "1", "in_production": "0"}
    told["has_repeating_instruments_or_events"] = str(int(bool(other.repeats)))
    return 200, "application/json", json.dumps(told).encode()


def lying(kind: str, other: Other) -> None:
    """Have it lie."""

    def before(asked: Asked) -> Said | None:
        held = any(place[2] == int(asked.get("repeat_instance", 0)) for place in other.files)
        match kind, asked.get("content"), asked.get("action"):
            case _, "project", _:
                return _in_development(other)
            case ("stores nothing", "file", "import"):
                return 200, "text/html", b""
            case "refuses imports", "file", "import":
                return in_json("You do not have API Import/Update privileges", 403)
            case "fails on imports", "file", "import":
                return 500, "text/html", b"<html>crashed</html>"
            case "gives other bytes", "file", "export" if held:
                return 200, 'application/pdf; name="dropcap-trial.pdf"', b"%PDF something else"
            case "gives another name", "file", "export" if held:
                return 200, 'application/pdf; name="file.pdf"', next(iter(other.files.values()))[1]
            case "keeps the first", "file", "import" if held:
                return 200, "text/html", b""
            case "gives out what is removed", "file", "export" if other.ever and not held:
                return 200, 'application/pdf; name="x.pdf"', other.ever[-1][1]
            case "keeps what is removed", "file", "delete":
                return 200, "text/html", b""
            case "takes any event", "file", "import" if asked["event"] not in other.events:
                return 200, "text/html", b""
            case "takes any field", "file", "import" if asked["field"] == "fall":
                return 200, "text/html", b""
            case "gives no length", "file", "export" if held:
                name, content = next(iter(other.files.values()))
                return 200, f'no-lengthapplication/pdf; name="{name}"', content
            case "takes every instance for the first", "file", "import" if asked.get("repeat_instance", "1") != "1":
                return 200, "text/html", b""
        return None

    other.before = before
    if kind == "shows no file":
        other.shows = lambda _: ""
    if kind == "hides instances":
        other.row = lambda row: None if row.get("redcap_repeat_instance") else row


@pytest.mark.parametrize(
    ("kind", "row", "means", "left"),
    [
        ("stores nothing", "it comes back, byte", UNUSABLE, 0),
        ("refuses imports", "a small file is stored", UNUSABLE, 0),
        ("fails on imports", "a small file is stored", UNUSABLE, 0),
        ("gives other bytes", "it comes back, byte", UNUSABLE, 1),
        ("gives no length", "it comes back, byte", COPES, 0),
        ("gives another name", "its name comes back", COPES, 0),
        ("keeps the first", "the new one comes back", UNUSABLE, 0),
        ("shows no file", "a record's export shows", COPES, 0),
        ("takes any event", "an unknown event", COPES, 0),
        ("takes any field", "no file goes into a text", COPES, 0),
        ("gives out what is removed", "a removed file is gone", UNUSABLE, 0),
        ("keeps what is removed", "a removed file is gone", UNUSABLE, 2),
        ("takes every instance for the first", "it comes back from there", UNUSABLE, 0),
        ("hides instances", "the next instance is empty", UNUSABLE, 0),
    ],
)
def test_a_server_that_lies_is_told_by_the_row(tmp_path: Path, kind: str, row: str, means: str, left: int) -> None:
    fields = [("fall", "f", "text"), ("brief", "f", "file"), ("befund", "b", "file")]
    with other_site(tmp_path, fields=fields, repeats={("aufnahme_arm_1", "b")}) as (place, other):
        other.records["P-1"]["befund"] = ""
        if "instance" in kind:
            other.put(("P-1", "aufnahme_arm_1", 1, "befund"), b"theirs")
        lying(kind, other)
        said = trial(place, "--event", "aufnahme_arm_1", record="P-1", code=int(means == UNUSABLE))
    assert verdict(said, row) == means, said
    assert len([one for one in other.files.values() if one[1] != b"theirs"]) == left, said
    assert "left in REDCap: record" in said or not left


def test_a_record_that_is_made_unasked_is_told(tmp_path: Path) -> None:
    with other_site(tmp_path, fields=[("fall", "f", "text"), ("brief", "f", "file")], repeats=set()) as (there, other):

        def before(asked: Asked) -> Said | None:
            if asked.get("content") == "project":
                return _in_development(other)
            if asked.get("action") == "import":
                other.records.setdefault(asked["record"], {})
            return None

        other.before = before
        said = trial(there, record="P-1")
    assert verdict(said, "a missing record") == COPES
    assert "which REDCap made unasked" in said


def test_production_wants_the_title_and_only_that_field_is_used(place: Site) -> None:
    place.box.project.in_production = True
    trial(place, code=2)
    trial(place, "--production", "--field", "scan", "--event", "month_6_arm_1", entered="Demo trail\n", code=2)
    assert not any(request.action == "import" for request in place.box.requests)
    said = trial(place, "--production", "--field", "scan", "--event", "month_6_arm_1", entered="Demo trial\n")
    assert "cannot be taken back" in said.partition("dropcap relies on")[0]
    sent = {(request.record, request.field) for request in place.box.requests if request.action == "import"}
    assert sent == {("101", "scan")}
    assert place.box.holdings() == []


def test_a_field_with_a_file_and_a_place_that_a_job_waits_for_are_never_touched(place: Site) -> None:
    place.box.project.store.put_bytes("101", RowKey("month_6_arm_1"), "scan", "theirs.pdf", b"theirs")
    trial(place, "--field", "scan", "--event", "month_6_arm_1", code=2)
    place.box.ill(Fault("maintenance"))
    place.put("101_V1_consent.pdf")
    daemon = place.start()
    daemon.wait_for("paused")
    place.box.well()
    assert place.dropcap("pause", "--project", "trial").returncode == 0
    assert "no file waits for" in trial(place, "--field", "consent_pdf", "--event", "baseline_arm_1", code=2)
    trial(place)
    assert [one.name for one in place.box.holdings()] == ["theirs.pdf"]
    assert place.dropcap("resume", "--project", "trial").returncode == 0
    eventually(lambda: place.done() == ["101_V1_consent.pdf"])


def test_a_killed_trial_is_cleaned_up_by_the_next(place: Site) -> None:
    place.state.mkdir(0o700)
    for number in (signal.SIGKILL, signal.SIGINT):
        place.box.ill(Fault("delay", None, EXPORT, skip=1, seconds=3.0))
        words = [*DROPCAP, "trial", "--record", "101", "--yes"]
        process = subprocess.Popen(words, env=place.env(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        assert place.box.wait_for(lambda box: box.holdings())
        process.send_signal(number)
        place.box.well()
        said = process.communicate(timeout=30)[0]
        if number == signal.SIGINT:
            assert process.returncode == 130
            assert "taken back" in said
        else:
            assert len(place.box.holdings()) == 1
            trial(place)
        assert place.box.holdings() == []


def test_somebody_else_s_file_is_not_taken_back(place: Site) -> None:
    place.box.ill(Fault("reset_before_body", None, {"content": "file", "action": "delete"}))
    assert "perhaps a file of the trial's" in trial(place, code=1)
    place.box.well()
    (held, *_) = place.box.holdings()
    place.box.project.store.put_bytes("101", RowKey("baseline_arm_1"), held.field, "theirs.pdf", b"theirs")
    assert "which is not the trial's" in trial(place)
    assert [one.name for one in place.box.holdings()] == ["theirs.pdf"]


def test_what_somebody_uploads_meanwhile_is_neither_replaced_nor_removed(place: Site) -> None:
    for after in ("an empty file", "a record's export"):
        process = subprocess.Popen(
            [*DROPCAP, "trial", "--record", "101", "--yes"],
            env=place.env(PYTHONUNBUFFERED="1"),
            stdout=subprocess.PIPE,
            text=True,
        )
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith(after):
                break
        place.box.project.store.put_bytes("101", RowKey("baseline_arm_1"), "consent_pdf", "theirs.pdf", b"theirs")
        process.communicate(timeout=30)
        assert [(one.field, one.name) for one in place.box.holdings()] == [("consent_pdf", "theirs.pdf")]
        place.box.project.store.remove_file("101", RowKey("baseline_arm_1"), "consent_pdf")


@pytest.mark.parametrize("match", [IMPORT, EXPORT])
def test_lost_connections_are_told_without_a_traceback(place: Site, match: dict[str, str]) -> None:
    place.box.ill(Fault("reset_after_body", None, match, stored=match is IMPORT))
    trial(place, code=1)
    place.box.well()
    trial(place)
    assert place.box.holdings() == []


def test_nothing_is_left_if_nobody_reads_the_table(place: Site) -> None:
    process = subprocess.Popen(
        [*DROPCAP, "trial", "--record", "101", "--yes"],
        env=place.env(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline()
    process.stdout.close()
    process.wait(30)
    assert place.box.holdings() == []


def test_a_second_token_shows_what_is_said_of_missing_rights(place: Site, tmp_path: Path) -> None:
    other = tmp_path / "second"
    other.write_text("A" * 32)
    other.chmod(0o600)
    place.box.grant("A" * 32, Rights(username="b", api_import=False, api_export=False))
    said = trial(place, "--second-token-file", str(other))
    assert verdict(said, "a token without export") == verdict(said, "a token without import") == "as expected"


def test_the_report_tells_no_names(place: Site, tmp_path: Path) -> None:
    place.box.project.title = "Zaphod's unknown trial"
    place.box.ill(Fault("status", 1, EXPORT, code=400, body='{"error": "No page for Zaphod at 101, token deadbeef"}'))
    path = tmp_path / "report.json"
    said = trial(place, "--report", str(path))
    told = json.loads(path.read_text())
    assert path.read_text().strip() in said
    assert told["redcap"] == "14.5.5"
    assert not any(word in path.read_text() for word in ("Zaphod", "101", "deadbeef", "consent_pdf", "baseline", "127.0.0.1"))
    empty = next(row for row in told["rows"] if row["row"] == "an empty field is told")
    assert empty["requests"][0]["answer"]["words"] == "no page for … at … token …"
    assert trial(place, "--report", str(path), code=2)


def test_what_cannot_be_tried_is_told_with_its_code(place: Site, tmp_path: Path) -> None:
    for record in ("999", "", "a\nb", os.fsdecode(b"caf\xe9")):
        trial(place, record=record, code=2)
    trial(place, "--field", "initials", code=2)
    trial(place, "--event", "nowhere", code=2)
    trial(place, "--url", "https://redcap.example.org/api/", code=2)
    trial(place, "--project", "trail", code=2)
    trial(place, "--token-file", str(tmp_path / "none"), "--url", "ftp://x/api/", code=2)
    place.box.ill(Fault("maintenance"))
    assert "the server returns errors (503)" in trial(place, code=3)
