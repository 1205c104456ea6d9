"""`dropcap sandbox --record`: dropcap at work through it, and what is written down of that."""

from __future__ import annotations

import json
import re
import signal
import subprocess
from pathlib import Path

import pytest
from click.testing import CliRunner

from dropcap.cli.sandbox import sandbox_command
from redcap_sandbox import Sandbox, demo_project
from tests.site import DROPCAP, TOKEN, Site


def test_dropcap_works_through_it_and_nothing_of_anybody_is_noted(tmp_path: Path) -> None:
    notes = tmp_path / "notes"
    with Sandbox(demo_project(), TOKEN) as box:
        place = Site(tmp_path, box)
        command = [*DROPCAP, "sandbox", "--record", str(notes), "--upstream", box.url]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as recorder:
            assert recorder.stdout is not None
            place.project["url"] = recorder.stdout.readline().partition(": ")[2].strip()
            place.write_config()
            assert place.dropcap("check").returncode == 0
            place.put("101_V1_consent.pdf", b"%PDF of 101")
            place.put("999_V1_consent.pdf", b"%PDF of nobody")
            assert place.once().returncode == 1
            recorder.send_signal(signal.SIGINT)
            assert "exchanges are in" in recorder.communicate(timeout=10)[0]
            assert recorder.returncode == 0
        assert place.done() == ["101_V1_consent.pdf"]
        asked = [(request.content, request.action) for request in box.requests]
    text = (notes / "recording.jsonl").read_text(encoding="utf-8")
    told = [json.loads(line) for line in text.splitlines()]
    assert [one["asked"]["content"] for one in told] == [content for content, _ in asked]
    (import_,) = [one for one in told if one["asked"]["action"] == "import"]
    assert (import_["answered"]["status"], import_["answered"]["shape"]) == (200, {"kind": "empty"})
    assert [one["answered"]["shape"]["same_as_sent"] for one in told if one["answered"]["shape"]["kind"] == "file"] == [True]
    said = " ".join(re.findall(r'"([^"]*)"', text)).lower()
    for secret in (TOKEN, "101", "999", "consent", "baseline", "Demo", "example", str(box.port), "sandbox_user", "initials"):
        assert secret.lower() not in said, secret
    assert notes.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--record", "notes"], "go together"),
        (["--upstream", "https://redcap.example.org/api/"], "go together"),
        (["--record", "notes", "--upstream", "http://redcap.example.org/api/"], "clear text; use https"),
        (["--record", "full", "--upstream", "https://redcap.example.org/api/"], "holds a recording already"),
        (["--record", "notes", "--upstream", "https://redcap.example.org/api/", "--ca-file", "none.pem"], "No such file"),
    ],
)
def test_usage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], message: str) -> None:
    monkeypatch.chdir(tmp_path)
    Path("full").mkdir()
    Path("full/recording.jsonl").write_text("{}\n")
    result = CliRunner().invoke(sandbox_command, words)
    assert (result.exit_code, message in result.output) == (2, True), result.output
    assert Path("full/recording.jsonl").read_text() == "{}\n"
