"""`python -m redcap_sandbox`, as authors of other clients start it: what they say on the command line, they meet."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import requests

from redcap_sandbox import KINDS
from redcap_sandbox.command import main
from redcap_sandbox.stand_in import SETTINGS


@contextmanager
def running(*words: str) -> Iterator[tuple[str, str]]:
    command = [sys.executable, "-m", "redcap_sandbox", *words]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            url, token = (process.stdout.readline().partition(": ")[2].strip() for _ in range(2))
            yield url, token
        finally:
            process.terminate()
            assert process.wait(10) == 0


def test_all_that_can_be_said_at_once(tmp_path: Path) -> None:
    dictionary = tmp_path / "dictionary.csv"
    dictionary.write_text("\ufefffield_name;form_name;field_type\nid;main;text\n;;\nscan;scans;file\n", encoding="utf-8")
    records = tmp_path / "records.csv"
    records.write_text("id;redcap_event_name\n007;one_arm_1\n")
    words = ["--dictionary", str(dictionary), "--event", "one_arm_1", "--event", "two_arm_1", "--repeating", "two_arm_1:scans"]
    words += ["--records", str(records), "--set", "file_values=name", "--set", "ids_as_numbers=yes", "--right", "design=no"]
    words += ["--ill", "status:code=503,times=1,action=import", "--ill", "reset_before_body:record=008"]
    with running(*words) as (url, token):
        base = {"token": token, "format": "json", "returnFormat": "json"}
        place = {**base, "content": "file", "action": "import", "record": "007", "field": "scan", "event": "two_arm_1"}

        def upload(**other: str) -> int:
            return requests.post(url, data={**place, **other}, files={"file": ("a.pdf", b"x")}, timeout=10).status_code

        assert upload() == 503
        assert upload(repeat_instance="3") == 200
        with pytest.raises(requests.ConnectionError):
            upload(record="008")
        rows = requests.post(url, data={**base, "content": "record"}, timeout=10).json()
        assert [(row["id"], row["redcap_repeat_instance"], row["scan"]) for row in rows] == [(7, "", ""), (7, 3, "a.pdf")]
        refused = requests.post(url, data={**base, "content": "repeatingFormsEvents"}, timeout=10)
        assert (refused.status_code, "Project Design" in refused.text) == (400, True)


def test_the_list_names_all(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--list"]) == 0
    told = capsys.readouterr().out
    assert [name for name in [*KINDS, *SETTINGS, "api_export=yes"] if name not in told] == []
    assert "linger=0.0" in told
