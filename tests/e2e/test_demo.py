"""`dropcap demo`, as a newcomer runs it."""

from __future__ import annotations

import re
import signal
import subprocess
from pathlib import Path

import requests

from tests import needs
from tests.heavy import heavy
from tests.site import DROPCAP, eventually

ENV = {"PATH": "/usr/bin:/bin", "http_proxy": "http://127.0.0.1:9", "HTTPS_PROXY": "http://127.0.0.1:9"}


def _run(home: Path, *words: str) -> subprocess.CompletedProcess[str]:
    env = ENV | {"HOME": str(home), "TMPDIR": str(home)}
    return subprocess.run([*DROPCAP, "demo", *words], env=env, capture_output=True, text=True, encoding="utf-8", timeout=90)


def _stages(text: str) -> list[tuple[str, str]]:
    return re.findall(r"^ +[0-9.]+ s  (\w+) +(.+)$", text, re.MULTILINE)


def test_the_demo_shows_every_outcome_and_leaves_nothing_behind(tmp_path: Path) -> None:
    result = _run(tmp_path)
    assert result.returncode == 0, result.stdout + result.stderr
    assert result.stderr == ""
    stages = _stages(result.stdout)
    assert ("done", "103_V1_consent.pdf") in stages
    assert ("failed", "103_V1_consnet.pdf") in stages
    assert ("failed", "999_V1_consent.pdf") in stages
    assert ("preserved", "101_V1_consent.pdf") in stages
    assert stages[-1] == ("stopped", "dropcap run")
    assert "lab_report #2: stored (readback)" in result.stdout
    assert result.stdout.count("same bytes") == 5
    assert result.stdout.rstrip().endswith("next: dropcap init")
    assert "This file is not in REDCap" in result.stdout
    assert "_STATUS.html" in result.stdout
    assert "All as it should be: 7 dropped, 6 stored (each sent once)" in result.stdout
    assert "\x1b" not in result.stdout, "plain when it is piped"
    assert list(tmp_path.iterdir()) == []


def test_the_folder_is_kept_if_asked_for(tmp_path: Path) -> None:
    result = _run(tmp_path, "--keep")
    assert result.returncode == 0, result.stdout + result.stderr
    kept = Path(re.findall(r"^Kept: (.+)$", result.stdout, re.MULTILINE)[0])
    assert kept.parent == tmp_path
    assert "101_V2_consent.pdf" in {path.name for path in kept.glob("consents/done/*/*")}
    token = (kept / "token").read_text()
    assert len(token) == 32
    assert token not in (kept / "dropcap.log").read_text() + result.stdout


def test_an_interrupted_demo_ends_its_daemon_and_cleans_up(tmp_path: Path) -> None:
    env = ENV | {"HOME": str(tmp_path), "TMPDIR": str(tmp_path), "PYTHONUNBUFFERED": "1"}
    process = subprocess.Popen([*DROPCAP, "demo"], env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert process.stdout is not None
    for line in process.stdout:
        if "dropped" in line:
            break
    (daemon,) = _children(process.pid)
    process.send_signal(signal.SIGTERM)
    process.stdout.read()
    process.stdout.close()
    assert process.wait(30) == 130
    eventually(lambda: not Path(f"/proc/{daemon}").exists())
    assert list(tmp_path.iterdir()) == []


def test_it_stays_to_be_played_with(tmp_path: Path) -> None:
    for library in ("starlette", "uvicorn", "jinja2", "prometheus_client"):
        needs.library(library)
    env = ENV | {"HOME": str(tmp_path), "TMPDIR": str(tmp_path), "PYTHONUNBUFFERED": "1"}
    process = subprocess.Popen([*DROPCAP, "demo", "--stay"], env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert process.stdout is not None
    said = ""
    for line in process.stdout:
        said += line
        if line.startswith("The folder: "):
            break
    assert "All as it should be" in said
    link = re.findall(r"http://127\.0\.0\.1:\d+/link\S+", said)[0]
    visitor = requests.Session()
    assert "1 file needs a person." in visitor.get(link).text
    subprocess.run(re.findall(r"^ +(echo hello .*)$", said, re.MULTILINE)[0], shell=True, check=True)
    files = link.partition("/link")[0] + "/files?q=106_"
    eventually(lambda: sorted(re.findall(r"</svg>\n?(stored|failed)</span>", visitor.get(files).text)) == ["failed", "stored"])
    process.send_signal(signal.SIGINT)
    process.stdout.read()
    process.stdout.close()
    assert process.wait(30) == 0
    assert list(tmp_path.iterdir()) == []


@heavy
def test_a_terminal_without_utf8_gets_the_demo_too(tmp_path: Path) -> None:
    env = ENV | {"HOME": str(tmp_path), "TMPDIR": str(tmp_path), "LC_ALL": "C", "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
    result = subprocess.run([*DROPCAP, "demo"], env=env, capture_output=True, timeout=90)
    assert result.returncode == 0, result.stdout + result.stderr
    assert result.stdout.isascii()


def _children(pid: int) -> list[int]:
    with open(f"/proc/{pid}/task/{pid}/children") as file:
        return [int(word) for word in file.read().split()]
