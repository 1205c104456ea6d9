"""The request window, against real files and processes; time is moved by rewriting the stamps, not by waiting."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dropcap.redcap import window as module
from dropcap.redcap.window import WINDOW, RequestWindow


def shift(path: Path, seconds: float) -> None:
    """As if all requests had been made `seconds` later (negative: earlier)."""
    data = path.read_bytes()
    stamps = [stamp + seconds if stamp else stamp for (stamp,) in struct.iter_unpack("<d", data[16:])]
    path.write_bytes(data[:16] + struct.pack(f"<{len(stamps)}d", *stamps))


def taken(window: RequestWindow, most: int = 1000) -> int:
    count = 0
    while count < most and window.try_acquire() == 0:
        count += 1
    return count


def test_no_more_than_the_limit(tmp_path: Path) -> None:
    window = RequestWindow(tmp_path / "windows" / "host:443", 5)
    assert taken(window) == 5
    assert WINDOW - 1 < window.try_acquire() <= WINDOW
    assert (tmp_path / "windows" / "host:443").stat().st_mode & 0o777 == 0o600


def test_a_clock_that_goes_back_waits_a_minute_at_most(tmp_path: Path) -> None:
    path = tmp_path / "w"
    window = RequestWindow(path, 5)
    taken(window)
    shift(path, 86400)
    assert 0 < window.try_acquire() <= WINDOW
    shift(path, -WINDOW)
    assert taken(window) == 5


def test_another_limit_forgets_nothing(tmp_path: Path) -> None:
    path = tmp_path / "w"
    assert taken(RequestWindow(path, 6)) == 6
    assert taken(RequestWindow(path, 2)) == 0
    assert taken(RequestWindow(path, 6)) == 0
    assert taken(RequestWindow(path, 9)) == 3
    shift(path, -WINDOW)
    assert taken(RequestWindow(path, 2)) == 2
    assert taken(RequestWindow(path, 9)) == 7


def test_without_a_limit_there_is_no_file(tmp_path: Path) -> None:
    window = RequestWindow(tmp_path / "w", 0)
    assert taken(window, 500) == 500
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("damage", [b"x" * 16, b"dropcapW", os.urandom(500), b"dropcapW" + struct.pack("<II", 0, 0)])
def test_a_damaged_file_counts_as_full(tmp_path: Path, damage: bytes) -> None:
    path = tmp_path / "w"
    path.write_bytes(damage)
    window = RequestWindow(path, 3)
    assert taken(window) == 0
    shift(path, -WINDOW)
    assert taken(window) == 3


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "target").write_bytes(b"keep")
    (tmp_path / "w").symlink_to(tmp_path / "target")
    with pytest.raises(OSError, match="symbolic"):
        RequestWindow(tmp_path / "w", 3).try_acquire()
    assert (tmp_path / "target").read_bytes() == b"keep"


def test_threads_and_processes_share_one_limit(tmp_path: Path) -> None:
    path = tmp_path / "w"
    code = (
        "import sys; from pathlib import Path; from dropcap.redcap.window import RequestWindow\n"
        "w = RequestWindow(Path(sys.argv[1]), 50); sys.stdin.readline()\n"
        "print(sum(w.try_acquire() == 0 for _ in range(100)))"
    )
    others = [subprocess.Popen([sys.executable, "-c", code, str(path)], stdin=-1, stdout=-1, text=True) for _ in range(2)]
    window = RequestWindow(path, 50)
    counts: list[int] = []
    threads = [threading.Thread(target=lambda: counts.append(taken(window, 100))) for _ in range(2)]
    for thread in threads:
        thread.start()
    counts += [int(other.communicate("\n")[0]) for other in others]
    for thread in threads:
        thread.join()
    assert sum(counts) == 50


def test_waiting_ends_when_there_is_room(tmp_path: Path) -> None:
    path = tmp_path / "w"
    window = RequestWindow(path, 1)
    window.acquire()
    shift(path, -WINDOW + 0.2)
    assert 0 < window.acquire() <= 0.2


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 6), st.lists(st.tuples(st.floats(0, 40), st.integers(1, 6)), max_size=40))
def test_never_more_in_any_window(limit: int, steps: list[tuple[float, int]]) -> None:
    """A made-up clock: whatever the pauses and attempts, no window holds more than the limit."""
    import tempfile

    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        now = 1000.0
        patch.setattr(module.time, "time", lambda: now)
        window = RequestWindow(Path(folder) / "w", limit)
        made: list[float] = []
        for pause, attempts in steps:
            now += pause
            for _ in range(attempts):
                if window.try_acquire() == 0:
                    made.append(now)
                else:
                    recent = [one for one in made if one > now - WINDOW]
                    assert len(recent) == limit
        window.close()
        for index in range(len(made) - limit):
            assert made[index + limit] - made[index] >= WINDOW
