"""`dropcap sandbox`, as a process of its own."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import requests
from click.testing import CliRunner

from dropcap.cli.demo import sandbox_command
from redcap_sandbox import Sandbox, demo_project

TOKEN = "0123456789ABCDEF0123456789ABCDEF"
START = "import dropcap.cli.demo as m; m.sandbox_command(prog_name='dropcap sandbox')"


@contextmanager
def running(*arguments: str) -> Iterator[tuple[subprocess.Popen[str], str, str]]:
    process = subprocess.Popen([sys.executable, "-c", START, *arguments], stdout=subprocess.PIPE, text=True)
    try:
        url = process.stdout.readline().removeprefix("url: ").strip()
        token = process.stdout.readline().removeprefix("token: ").strip()
        yield process, url, token
    finally:
        process.terminate()
        process.communicate(timeout=60)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_serves_until_told_to_stop(number: signal.Signals) -> None:
    with running() as (process, url, token):
        assert len(token) == 32
        data = {"token": token, "content": "project", "format": "json"}
        assert requests.post(url, data=data, timeout=60).json()["is_longitudinal"] == 1
        process.send_signal(number)
        assert process.wait(10) == 0


def test_options(tmp_path: Path) -> None:
    secret = tmp_path / "token"
    secret.write_text(TOKEN + "\n")
    store = tmp_path / "store"
    with running("--classic", "--token-file", str(secret), "--store", str(store), "--ill", "stored_then_500") as (
        process,
        url,
        token,
    ):
        assert token == TOKEN
        place = {"content": "file", "action": "import", "record": "7", "field": "scan", "token": TOKEN}
        assert requests.post(url, data=place, files={"file": ("a", b"kept")}, timeout=60).status_code == 500
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0
    assert [path.read_bytes() for path in store.iterdir()] == [b"kept"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--classic", "--dictionary", "d.csv"], "exclude each other"),
        (["--token", "short"], "32 letters and digits"),
        (["--ill", "flu"], "is no kind of fault"),
        (["--dictionary", "d.csv"], "no fields"),
        (["--event", "a_arm_1"], "go with --dictionary"),
        (["--dictionary", "latin.csv"], "latin.csv is not in UTF-8"),
        (["--dictionary", "good.csv", "--repeating", "visits"], "names no form of the dictionary"),
        (["--set", "colour=red"], "'colour' is no setting"),
        (["--set", "numbers"], "is no NAME=VALUE"),
        (["--right", "api_export=perhaps"], "use yes or no"),
        (["--dictionary", "good.csv", "--event", "a_arm_1", "--event", "a_arm_1"], "stands twice"),
        (["--dictionary", "good.csv", "--event", ""], "not a unique event name"),
        (["--dictionary", "good.csv", "--records", "records.csv"], "records.csv:2: redcap_repeat_instance is 'x'"),
        (["--token-file", "latin.csv"], "32 letters and digits"),
        (["--store", "d.csv/store"], "Not a directory"),
    ],
)
def test_usage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], message: str) -> None:
    monkeypatch.chdir(tmp_path)
    Path("d.csv").write_text("")
    Path("good.csv").write_text("field_name,form_name\nrecord_id,labs\n")
    Path("latin.csv").write_bytes(b"field_name,form_name\nrecord_id,caf\xe9\n")
    Path("records.csv").write_text("record_id,redcap_repeat_instrument,redcap_repeat_instance\n1,labs,x\n")
    result = CliRunner().invoke(sandbox_command, arguments)
    assert result.exit_code == 2
    assert message in result.output


def test_port_that_is_taken() -> None:
    with running() as (_, url, _token):
        result = CliRunner().invoke(sandbox_command, ["--port", url.split(":")[2].split("/")[0]])
    assert result.exit_code == 2
    assert "choose another --port" in result.output


def test_a_store_that_cannot_be_made_leaves_no_thread_behind() -> None:
    before = threading.active_count()
    with pytest.raises(NotADirectoryError):
        Sandbox(demo_project(), storage=Path("/dev/null/store")).start()
    assert threading.active_count() == before
