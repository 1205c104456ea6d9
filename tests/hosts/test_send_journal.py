"""The journal of what was begun to be sent, on real files, in whatever state a power cut leaves them."""

from __future__ import annotations

import errno
import subprocess
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from dropcap.hosts import send_journal
from dropcap.hosts.send_journal import BegunSend, SendJournal
from tests import needs

ONE = BegunSend(7, "/drop", "a b\udcff\n.pdf", 12, "record=1 field=doc", None, "", "host", 5, 1.0)


def recent(job: int, **more: object) -> BegunSend:
    return replace(ONE, job=job, at=time.time(), **more)  # type: ignore[arg-type]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "sending.journal"


def test_what_was_entered_is_found_by_the_host_and_its_commits(path: Path) -> None:
    journal = SendJournal(path)
    assert journal.all() == []
    assert not path.exists()
    entries = [recent(1, commits=4), recent(2, commits=5, instance=3, sha256="ab"), recent(3, commits=6, host="before")]
    journal.append(entries)
    journal.append([])
    journal.append([recent(4, commits=9)])
    assert path.stat().st_mode & 0o777 == 0o600
    again = SendJournal(path)
    assert again.all()[:3] == entries
    assert [entry.job for entry in again.since("host", 5)] == [2, 4]
    assert [entry.job for entry in again.since("before", 0)] == [3]
    assert again.since("host", 10) == []


@pytest.mark.parametrize("torn", [b'{"job":9,"fol', b"\0" * 300, b"\xff\xfe", b'{"job":9}\n', b"[1]\n", b"7\n", b"\n\n"])
def test_what_a_power_cut_tore_takes_nothing_with_it(path: Path, torn: bytes) -> None:
    SendJournal(path).append([recent(1), recent(2)])
    with path.open("ab") as file:
        file.write(torn)
    journal = SendJournal(path)
    assert [entry.job for entry in journal.all()] == [1, 2]
    journal.append([recent(3)])
    assert [entry.job for entry in journal.all()] == [1, 2, 3]


def test_an_entry_of_a_later_version_is_read(path: Path) -> None:
    SendJournal(path).append([ONE])
    path.write_bytes(path.read_bytes().replace(b'{"job"', b'{"color":"red","job"'))
    assert SendJournal(path).all() == [ONE]


def test_where_nothing_can_be_written_nothing_may_be_sent(path: Path, tmp_path: Path) -> None:
    with pytest.raises(OSError, match=r"sending\.journal"):
        SendJournal(tmp_path / "away" / "sending.journal").append([ONE])
    (tmp_path / "target").write_bytes(b"keep")
    path.symlink_to(tmp_path / "target")
    with pytest.raises(OSError, match="symbolic"):
        SendJournal(path).append([ONE])
    assert (tmp_path / "target").read_bytes() == b"keep"


def test_a_full_disk_leaves_no_half_line(path: Path, tmp_path: Path) -> None:
    room = tmp_path / "small"
    room.mkdir()
    needs.mounting("-t", "tmpfs", "-o", "size=64k", "tmpfs", room)
    try:
        journal = SendJournal(room / "sending.journal")
        journal.append([recent(1)])
        with pytest.raises(OSError, match=r"sending\.journal") as caught:
            journal.append([recent(number) for number in range(2000)])
        assert caught.value.errno == errno.ENOSPC
        assert [entry.job for entry in journal.all()] == [1]
        journal.append([recent(2)])
        assert [entry.job for entry in journal.all()] == [1, 2]
        journal.close()
    finally:
        subprocess.run(["umount", str(room)], check=True)


def test_it_does_not_grow_for_ever_and_forgets_nothing_young(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(send_journal, "LARGE", 40_000)
    monkeypatch.setattr(send_journal, "NEWEST", 2_000)
    journal = SendJournal(path)
    day = 86400.0
    for number in range(600):
        age = 2 * day if number < 400 else day - 60
        journal.append([replace(ONE, job=number, at=time.time() - age)])
    jobs = [entry.job for entry in journal.all()]
    assert jobs[-200:] == [*range(400, 600)]
    assert len(jobs) < 500
    assert path.stat().st_size < 100_000
    assert [name.name for name in path.parent.iterdir()] == [path.name]
    assert jobs == sorted(jobs)


def test_its_end_is_kept_whatever_the_clock_says(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The clock was years back when they were entered."""
    monkeypatch.setattr(send_journal, "LARGE", 20_000)
    monkeypatch.setattr(send_journal, "NEWEST", 5_000)
    journal = SendJournal(path)
    for number in range(300):
        journal.append([replace(ONE, job=number)])
    jobs = [entry.job for entry in journal.all()]
    assert 20 <= len(jobs) < 200
    assert jobs == [*range(300 - len(jobs), 300)]


def test_threads_take_turns(path: Path) -> None:
    journal = SendJournal(path)
    threads = [threading.Thread(target=lambda n=n: [journal.append([recent(n), recent(n)]) for _ in range(20)]) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    jobs = [entry.job for entry in SendJournal(path).all()]
    assert len(jobs) == 160
    assert jobs[::2] == jobs[1::2], "what is entered at once stands together"
