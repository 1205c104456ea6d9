"""A dropcap that was forked is to a test what one with an interpreter of its own is."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests import warm
from tests.site import DROPCAP, Site

WORDS = (["--help"], ["--version"], ["status"], ["histroy"], ["history", "x"], ["run", "--once"])


def said(ended: subprocess.CompletedProcess[str]) -> tuple[int, list[str], list[str]]:
    """The exit code and what was written, without times and heads in lines of the log (whose threads may change places)."""
    lines = [
        sorted(re.sub(r'"timestamp": "[^"]*", |As of [0-9:]+|acts:[0-9]+:[0-9a-f]+', "", text).splitlines())
        for text in (ended.stdout, ended.stderr)
    ]
    return ended.returncode, lines[0], lines[1]


def test_it_says_and_ends_as_any_other(place: Site) -> None:
    assert place.once().returncode == 0
    for words in WORDS:
        cold = subprocess.run([*DROPCAP, *words], env=place.env(), capture_output=True, text=True)
        assert said(warm.run(words, place.env(), 20)) == said(cold), words


def test_it_has_the_directory_and_mask_of_the_test(place: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    before = os.umask(0o077)
    try:
        made = warm.run(["run", "--once", "-c", "config.yaml"], {"PATH": os.environ["PATH"]}, 20)
    finally:
        os.umask(before)
    assert made.returncode == 0, made.stderr
    assert (place.state / "ledger.db").stat().st_mode & 0o077 == 0


def test_it_ends_by_signals_and_has_a_process_of_its_own(place: Site) -> None:
    daemon = place.start()
    assert Path(f"/proc/{daemon.process.pid}/fd").is_dir()
    assert daemon.process.pid != os.getpid()
    assert daemon.process.poll() is None
    with pytest.raises(subprocess.TimeoutExpired):
        daemon.process.wait(0.01)
    daemon.kill()
    assert daemon.process.poll() == daemon.process.returncode == -signal.SIGKILL
    other = place.start()
    assert other.stop(signal.SIGINT) == 0
    assert other.process.pid != daemon.process.pid


def test_several_threads_start_at_once_and_there_is_one_server() -> None:
    at_once = """
import os, threading
from tests import warm
ready, codes = threading.Barrier(8), []
def start():
    ready.wait()
    codes.append(warm.run(["--version"], dict(os.environ), 60).returncode)
threads = [threading.Thread(target=start) for _ in range(8)]
for thread in threads: thread.start()
for thread in threads: thread.join()
print(codes, warm._server.cache_info().misses)
"""
    done = subprocess.run([sys.executable, "-c", at_once], cwd=Path(__file__).parents[1], capture_output=True, text=True)
    assert done.stdout == f"{[0] * 8} 1\n", done.stderr
