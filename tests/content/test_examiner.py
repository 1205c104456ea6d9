"""The process that probes: it is asked without waiting, harms nobody by its death, and keeps folders apart."""

from __future__ import annotations

import gzip
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from dropcap.content import worker
from dropcap.content.examiner import Examiner
from dropcap.content.reader import QUICK, Finding, Wholeness
from dropcap.content.worker import TAKES_LONG
from tests import needs
from tests.content.make import WHOLE
from tests.site import eventually


class Asking:
    """An examiner and what it has told."""

    def __init__(self) -> None:
        self.examiner = Examiner()
        self.told: dict[int, Finding | None] = {}
        self.at: dict[int, float] = {}

    def answered(self, number: int, finding: Finding | None) -> None:
        if finding == TAKES_LONG:
            return
        self.told[number] = finding
        self.at[number] = time.monotonic()

    def ask(self, *paths: Path, folder: str = "consents") -> list[int]:
        fds = [os.open(path, os.O_RDONLY) for path in paths]
        try:
            return self.examiner.ask(folder, fds, self)
        finally:
            for fd in fds:
                os.close(fd)

    def all(self, numbers: list[int]) -> list[Finding | None]:
        eventually(lambda: self.told.keys() >= set(numbers))
        return [self.told[number] for number in numbers]

    @property
    def pid(self) -> int:
        process = self.examiner._process
        return process._child.pid


@pytest.fixture
def asking() -> Iterator[Asking]:
    asking = Asking()
    yield asking
    asking.examiner.close()


def files(where: Path, **contents: bytes) -> list[Path]:
    for name, content in contents.items():
        (where / name).write_bytes(content)
    return [where / name for name in contents]


def test_it_tells_what_is_cut_off_and_why(asking: Asking, tmp_path: Path) -> None:
    pdf = WHOLE["scan.pdf"]
    whole, cut, unknown = asking.all(asking.ask(*files(tmp_path, a=pdf, b=pdf[:9000], c=b"words")))
    assert (whole.verdict, cut.verdict, unknown.verdict) == (Wholeness.WHOLE, Wholeness.CUT, Wholeness.UNDECIDED)
    assert cut.why == "the PDF ends in the middle"


def test_a_thousand_at_once(asking: Asking, tmp_path: Path) -> None:
    path, *_ = files(tmp_path, a=WHOLE["scan.pdf"])
    numbers: list[int] = []
    while len(numbers) < 1000:
        numbers += asking.ask(*[path] * min(200, 1000 - len(numbers)))
    assert {finding.verdict for finding in asking.all(numbers) if finding} == {Wholeness.WHOLE}


def test_quick_ones_do_not_wait_for_those_that_take_long(asking: Asking, tmp_path: Path) -> None:
    slow = files(tmp_path, slow=gzip.compress(b"\0" * 120 * 1024**2, 1))
    (quick,) = files(tmp_path, quick=WHOLE["scan.pdf"])
    asking.all(asking.ask(quick))  # it runs
    late = asking.ask(*slow * 8)
    (soon,) = asking.ask(quick)
    asking.all([*late, soon])
    assert asking.at[soon] < sorted(asking.at[number] for number in late)[1], "behind the first one at most"


def test_its_death_is_told_and_it_is_started_anew(asking: Asking, tmp_path: Path) -> None:
    (path,) = files(tmp_path, a=WHOLE["scan.pdf"])
    asking.all(asking.ask(path))
    pid = asking.pid
    os.kill(pid, signal.SIGSTOP)
    (number,) = asking.ask(path)
    os.kill(pid, signal.SIGKILL)
    assert asking.all([number]) == [None], "to be asked again"
    eventually(lambda: asking.ask(path))
    assert asking.pid != pid


def test_it_goes_with_the_daemon(asking: Asking, tmp_path: Path) -> None:
    (path,) = files(tmp_path, a=WHOLE["scan.pdf"])
    asking.all(asking.ask(path))
    pid = asking.pid
    os.kill(pid, signal.SIGTERM)  # as systemd sends to all of a service
    assert asking.all(asking.ask(path))
    assert asking.pid == pid
    asking.examiner.close()
    eventually(lambda: not Path(f"/proc/{pid}").exists())
    assert asking.all(asking.ask(path)) == [Finding(Wholeness.UNDECIDED)]


def test_it_does_not_have_the_token(asking: Asking, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRIAL_TOKEN", "0123456789ABCDEF")
    (path,) = files(tmp_path, a=WHOLE["scan.pdf"])
    asking.all(asking.ask(path))
    assert b"0123456789ABCDEF" not in Path(f"/proc/{asking.pid}/environ").read_bytes()


def test_it_cannot_be_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.executable", str(tmp_path / "nothing"))
    asking = Asking()
    (path,) = files(tmp_path, a=WHOLE["scan.pdf"][:9000])
    assert asking.all(asking.ask(path)) == [Finding(Wholeness.UNDECIDED)]


def test_one_that_ends_at_once_is_not_started_for_ever_and_tells_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    python = tmp_path / "python"
    python.write_text(f"#!/bin/sh\necho noise >&2\necho 'no library {'89ab' * 8}' >&2\nexit 3\n")
    python.chmod(0o755)
    monkeypatch.setattr("sys.executable", str(python))
    asking = Asking()
    (path,) = files(tmp_path, a=WHOLE["scan.pdf"][:9000])
    began = time.monotonic()
    with capture_logs() as log:
        while Finding(Wholeness.UNDECIDED) not in asking.told.values():
            assert time.monotonic() - began < 20
            asking.ask(path)
            time.sleep(0.02)
        eventually(lambda: log)
    assert "has ended (exit code 3): no library [hidden]; " in log[0]["message"]


SLOW_FS = """
import errno, os, stat, sys, time
import mfusepy
class Slow(mfusepy.Operations):
    def getattr(self, path, fh=None):
        if path == "/":
            return dict(st_mode=stat.S_IFDIR | 0o755, st_nlink=2)
        return dict(st_mode=stat.S_IFREG | 0o644, st_nlink=1, st_size=50_000)
    def read(self, path, size, offset, fh):
        time.sleep(15)
        return b"x" * size
mfusepy.FUSE(Slow(), sys.argv[1], foreground=True, direct_io=True)
"""


@pytest.fixture
def slow_share(tmp_path: Path) -> Iterator[Path]:
    """A file system on which every read takes 15 s."""
    needs.libfuse()
    share = tmp_path / "share"
    share.mkdir()
    server = subprocess.Popen([sys.executable, "-c", SLOW_FS, str(share)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        eventually(lambda: os.path.ismount(share) or server.poll() is not None)
        if server.poll() is not None:
            needs.lacking("the right to mount FUSE file systems")
        yield share
    finally:
        subprocess.run(["umount", "-l", str(share)], check=False, capture_output=True)
        server.kill()
        server.wait()


def test_a_folder_that_hangs_keeps_no_other_waiting(asking: Asking, slow_share: Path, tmp_path: Path) -> None:
    (quick,) = files(tmp_path, quick=WHOLE["scan.pdf"])
    late = asking.ask(slow_share / "a", slow_share / "b", folder="share")
    began = time.monotonic()
    asking.all(asking.ask(quick))
    assert time.monotonic() - began < 10
    assert not asking.told.keys() & set(late)


def test_a_file_that_hangs_keeps_no_other_of_its_folder_waiting_for_ever(
    slow_share: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "STUCK", 0.3)
    (quick,) = files(tmp_path, quick=WHOLE["scan.pdf"])
    told: dict[int, Finding] = {}
    theirs, ours = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    working = worker._Worker(theirs)
    monkeypatch.setattr(working, "answer", told.__setitem__)
    queue = worker._Queue(QUICK, working)
    paths = [slow_share / "a", quick, *[slow_share / name for name in "bcde"], quick]
    for number, path in enumerate(paths):
        queue.put(worker._File(number, os.open(path, os.O_RDONLY), time.monotonic()))

    def relieved() -> bool:
        queue.relieve(time.monotonic())
        return len(told) == len(paths)

    eventually(relieved, 12)
    assert told.pop(1) == Finding(Wholeness.WHOLE)
    assert set(told.values()) == {Finding(Wholeness.UNDECIDED)}, "the last one too: so many hang that nobody is left"
    theirs.close()
    ours.close()


def test_threads_ask_at_the_same_time(asking: Asking, tmp_path: Path) -> None:
    (path,) = files(tmp_path, a=WHOLE["scan.pdf"])
    numbers: list[int] = []

    def ask(folder: str) -> None:
        for _ in range(20):
            numbers.extend(asking.ask(path, path, folder=folder))

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda n: ask(f"folder {n}"), range(8)))
    assert len(set(numbers)) == len(numbers)
    assert all(finding == Finding(Wholeness.WHOLE) for finding in asking.all(numbers))
