"""Very many files: they come in the order in which they were dropped, and those in line cost little."""

from __future__ import annotations

import os
import threading
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dropcap.intake import folder
from dropcap.intake.arrivals import Backlog
from tests import needs

from .conftest import Desk, until

NAMES = st.text(st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1, max_size=20)


@given(st.lists(st.tuples(NAMES, st.integers(-(2**62), 2**62))), st.lists(st.tuples(NAMES, st.integers())), st.integers(1, 7))
def test_the_oldest_first_and_whoever_comes_later_at_the_end(
    first: list[tuple[str, int]], later: list[tuple[str, int]], at_once: int
) -> None:
    backlog = Backlog()
    for name, changed in first:
        backlog.add(name, changed)
    backlog.sort()
    for name, _ in later:
        backlog.add(name, 0)
    expected = [name for name, _ in sorted(first, key=lambda one: one[1])] + [name for name, _ in later]
    taken = []
    while backlog:
        assert len(backlog) == len(expected) - len(taken)
        taken += backlog.take(at_once)
    assert taken == expected
    assert backlog.take(1) == []


def test_names_that_are_no_text() -> None:
    backlog = Backlog()
    backlog.add(os.fsdecode(b"\xff.pdf"), 1)
    assert os.fsencode(backlog.take(1)[0]) == b"\xff.pdf"


@pytest.fixture
def narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folder, "IN_MEMORY", 4)


@pytest.mark.usefixtures("narrow")
def test_all_are_claimed_in_the_order_of_their_dropping(desk: Desk) -> None:
    order = [f"{(number * 37) % 101:03d}.pdf" for number in range(60)]
    for name in order:
        (desk.path / name).write_bytes(name.encode())
        time.sleep(0.001)  # the clock of the file system moves on in steps
    desk.start()
    opened_jobs = desk.until_open(*order)
    assert [name for name, _ in sorted(opened_jobs.items(), key=lambda one: one[1].job)] == sorted(
        order, key=lambda name: (desk.path / "in_progress" / name).stat().st_ctime_ns
    )
    until(lambda: desk.intake is not None and desk.intake.behind == 0)


@pytest.mark.usefixtures("narrow")
def test_some_vanish_and_some_come_while_others_are_in_line(desk: Desk) -> None:
    for number in range(40):
        (desk.path / f"old{number:02d}.pdf").write_bytes(b"x")
    (desk.path / "sub").mkdir()
    for number in range(20):
        (desk.path / "sub" / f"{number:02d}.pdf").write_bytes(b"x")
    (desk.path / "open.pdf").write_bytes(b"half")
    writer = (desk.path / "open.pdf").open("ab")
    desk.start(rescan=0.2)
    for number in range(20):
        (desk.path / f"new{number:02d}.pdf").write_bytes(b"x")
    expected = (
        {f"old{n:02d}.pdf" for n in range(40)} | {f"new{n:02d}.pdf" for n in range(20)} | {f"sub/{n:02d}.pdf" for n in range(20)}
    )
    desk.until_open(*expected)
    assert "open.pdf" not in desk.open()  # one that is still written to holds up nobody
    writer.close()
    desk.until_open("open.pdf")


@pytest.mark.usefixtures("narrow")
@pytest.mark.parametrize("content", [b"x", b""], ids=["closed", "quiet"])
def test_young_ones_are_claimed_when_they_have_rested(desk: Desk, monkeypatch: pytest.MonkeyPatch, content: bytes) -> None:
    monkeypatch.setattr(folder, "RESTING", 6)
    monkeypatch.setattr(folder, "RESTED_A_SECOND", 0)
    intake = desk.start(settle_closed=0.6, settle_quiet=0.6)
    until(lambda: intake.last_walk is not None)
    names = [f"{number:02d}.pdf" for number in range(40)]
    for name in names:
        (desk.path / name).write_bytes(content)
    until(lambda: intake.behind > 0)
    assert len(intake.unsettled) <= 10
    desk.until_open(*names)
    for name in names:
        job = desk.open()[name].job
        entered = desk.ledger.query.job(job)
        assert entered.claimed_at >= (desk.path / "in_progress" / name).stat().st_mtime + 0.6


@pytest.mark.usefixtures("narrow")
def test_one_that_is_written_to_in_line_rests_anew(desk: Desk) -> None:
    needs.mount_table(desk.path)
    for number in range(20):
        (desk.path / f"{number:02d}.pdf").write_bytes(b"x")
    late = desk.path / "zz.pdf"
    late.write_bytes(b"x")
    intake = desk.start(settle_closed=2.0, settle_quiet=2.0)
    until(lambda: intake.behind > 0)
    with late.open("ab") as file:
        file.write(b"more")
    desk.until_open(*[f"{number:02d}.pdf" for number in range(20)], "zz.pdf")
    job = desk.ledger.query.job(desk.open()["zz.pdf"].job)
    assert job.size == 5
    assert job.claimed_at >= (desk.path / "in_progress" / "zz.pdf").stat().st_mtime + 2.0


@pytest.mark.usefixtures("narrow")
def test_those_that_are_changed_without_end_hold_up_nobody(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folder, "RESTING", 6)
    monkeypatch.setattr(folder, "RESTED_A_SECOND", 0)
    restless = [desk.path / f"{number}.log" for number in range(8)]
    for path in restless:
        path.write_bytes(b"x")
    ended = threading.Event()

    def change() -> None:
        while not ended.wait(0.05):
            for path in restless:
                os.utime(path)

    changing = threading.Thread(target=change)
    changing.start()
    try:
        desk.start(settle_closed=0.4, rescan=0.5)
        (desk.path / "new.pdf").write_bytes(b"x")
        desk.until_open("new.pdf")
        assert set(desk.open()) == {"new.pdf"}
    finally:
        ended.set()
        changing.join()
