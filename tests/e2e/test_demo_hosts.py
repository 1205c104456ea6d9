"""`dropcap demo --hosts 2`: one host takes over from another; where something is missing for it, a line says what."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import needs
from tests.site import DROPCAP, eventually

ENV = {"PATH": "/usr/bin:/bin", "PYTHONUNBUFFERED": "1"}


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory for temporary files that the user of PostgreSQL may enter, should root run this."""
    needs.postgresql()
    with tempfile.TemporaryDirectory(prefix="dropcap-test-", dir="/tmp") as name:
        path = Path(name)
        path.chmod(0o755)
        yield path


def _started(place: Path, *words: str) -> subprocess.Popen[str]:
    env = ENV | {"HOME": str(place), "TMPDIR": str(place)}
    return subprocess.Popen([*DROPCAP, "demo", *words], env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def _using(place: Path) -> list[int]:
    """The processes in whose words the directory stands."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if os.fsencode(place) in path.read_bytes():
                found.append(int(path.parent.name))
        except OSError:
            continue
    return found


def test_one_host_takes_over_from_another(place: Path) -> None:
    process = _started(place, "--hosts", "2")
    said, _ = process.communicate(timeout=150)
    assert process.returncode == 0, said
    stages = re.findall(r"^ +[0-9.]+ s  (\w+) +(.+)\n {20}(.+)$", said, re.MULTILINE)
    killed = stages.index(("killed", "host A", "REDCap has the file; nobody has heard the answer"))
    (taken,) = [stage for stage in stages[killed:] if stage[0] == "taken"]
    assert re.fullmatch(r"by host B, 1\d\.\d s after the kill", taken[2])
    after = {name: how for what, name, how in stages[killed:] if what == "done"}
    assert set(after) >= {"103_V1_consent.pdf", "104_V1_consent.pdf"}
    assert all(how.startswith("host B") for how in after.values())
    assert said.count("same bytes") == 6
    assert "All as it should be: 6 dropped, all stored, each sent once." in said
    assert list(place.iterdir()) == []
    eventually(lambda: not _using(place))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_no_database_outlives_the_demo(place: Path, number: int) -> None:
    process = _started(place, "--hosts", "2")
    assert process.stdout is not None
    for line in process.stdout:
        if "holds the ledger" in line:
            break
    assert _using(place)
    process.send_signal(number)
    process.communicate(timeout=60)
    assert process.returncode == (130 if number == signal.SIGTERM else -number)
    eventually(lambda: not _using(place))
    assert number == signal.SIGKILL or list(place.iterdir()) == []


def test_what_is_missing_is_said(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(_NO_PSYCOPG)
    env = ENV | {"PYTHONPATH": str(tmp_path), "TMPDIR": str(tmp_path)}
    result = subprocess.run([*DROPCAP, "demo", "--hosts", "2"], env=env, capture_output=True, text=True, timeout=60)
    assert (result.returncode, result.stdout) == (2, "")
    assert re.fullmatch(r"dropcap: two hosts need psycopg; install it: .* 'dropcap-redcap\[postgres\]'\n", result.stderr)


_NO_PSYCOPG = """
import importlib.util

find = importlib.util.find_spec
importlib.util.find_spec = lambda name, *more: None if name == "psycopg" else find(name, *more)
"""
