"""A folder's thread on real files, with the real ledger."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from dropcap.ledger.database import Conflict
from dropcap.ledger.job import Address, NewFile, State
from tests import needs

from .conftest import Desk, until


def idle(desk: Desk, within: float = 8.0) -> None:
    assert desk.intake.idle.wait(within), desk.intake.notes


# Claiming --------------------------------------------------------------------------------------------------------------


def test_what_lies_there_and_what_comes_is_claimed(desk: Desk) -> None:
    needs.mount_table(desk.path)
    (desk.path / "before.pdf").write_bytes(b"1")
    intake = desk.start()
    desk.until_open("before.pdf")
    (desk.path / "after.pdf").write_bytes(b"22")
    file = desk.until_open("after.pdf")["after.pdf"]
    taken = desk.path / "in_progress" / "after.pdf"
    assert taken.read_bytes() == b"22"
    assert (file.size, file.inode, file.mtime_ns) == (2, taken.stat().st_ino, taken.stat().st_mtime_ns)
    idle(desk)
    assert intake.away is None
    assert intake.alive()
    assert intake.last_walk is not None
    assert not intake.unsettled
    assert desk.claimed == sorted(job.job for job in desk.open().values())


def test_subfolders_false_takes_the_top_only(desk: Desk) -> None:
    (desk.path / "sub").mkdir()
    (desk.path / "sub" / "a.pdf").write_bytes(b"a")
    (desk.path / "b.pdf").write_bytes(b"b")
    intake = desk.start(subfolders=False)
    desk.until_open("b.pdf")
    intake.wake(["sub/a.pdf"])
    idle(desk)
    assert set(desk.open()) == {"b.pdf"}


def test_dropcaps_own_and_ignored_names_stay(desk: Desk) -> None:
    for name in ("done/2026-11-24/a.pdf", "failed/b.pdf", "failed/b.pdf.why.txt", "preserved/2026-11-24/c.pdf", ".hidden",
                 "~$x.docx", "x.tmp", "Thumbs.db", "_STATUS.html", "@eaDir/x.pdf", "x.skip"):  # fmt: skip
        path = desk.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    (desk.path / "real.pdf").write_bytes(b"x")
    desk.start(ignore=("*.skip",))
    desk.until_open("real.pdf")
    idle(desk)
    assert set(desk.open()) == {"real.pdf"}
    assert (desk.path / "failed" / "b.pdf").exists()


def test_nothing_is_replaced_in_in_progress(desk: Desk) -> None:
    (desk.path / "in_progress").mkdir()
    (desk.path / "in_progress" / "x.pdf").mkdir()
    (desk.path / "x.pdf").write_bytes(b"x")
    (desk.path / "y.pdf").write_bytes(b"y")
    intake = desk.start()
    desk.until_open("y.pdf")
    until(lambda: "in_progress/ has" in intake.notes.get("x.pdf", ""))
    assert (desk.path / "x.pdf").read_bytes() == b"x"


def test_one_file_in_the_way_of_another_job_does_not_stop_the_rest(desk: Desk) -> None:
    claim = desk.ledger.claim

    def one_at_a_time(folder: str, files: Sequence[NewFile], address: Callable[[str], Address]) -> list[int]:
        if sum(file.name.startswith("same") for file in files) + any(name.startswith("same") for name in desk.open()) > 1:
            raise Conflict
        return claim(folder, files, address)

    desk.ledger.claim = one_at_a_time  # type: ignore[method-assign]
    (desk.path / "in_progress").mkdir()
    for name in ("same1.pdf", "same2.pdf", "other.pdf"):
        (desk.path / "in_progress" / name).write_bytes(name.encode())
    intake = desk.start()
    desk.until_open("other.pdf")
    until(lambda: len(desk.claimed) == 2)
    until(lambda: len(intake.notes) == 1)
    assert next(iter(intake.notes)).startswith("in_progress/same")


# Recovery, and people in dropcap's own directories -----------------------------------------------------------------------


def test_a_file_that_was_moved_but_not_entered_is_entered(desk: Desk) -> None:
    (desk.path / "in_progress" / "sub").mkdir(parents=True)
    (desk.path / "in_progress" / "sub" / "x.pdf").write_bytes(b"x")
    desk.start()
    job = desk.ledger.query.job(desk.until_open("sub/x.pdf")["sub/x.pdf"].job)
    assert (job.state, job.may_have_arrived) == (State.WAITING, True), "REDCap is asked for it first"
    assert (desk.path / "in_progress" / "sub" / "x.pdf").exists()


def test_renamed_within_failed_before_the_ledger_knew_its_place(desk: Desk) -> None:
    """A crash came between the move and the entry, and a person was quicker than the next start."""
    desk.start()
    (desk.path / "wrong.pdf").write_bytes(b"content")
    job = desk.until_open("wrong.pdf")["wrong.pdf"].job
    desk.stop()
    (desk.path / "failed").mkdir()
    (desk.path / "failed" / "right.pdf").write_bytes(b"somebody's own, in the way of nothing")
    desk.fail(job, "failed/renamed.pdf", entered=False)
    desk.start()
    row = desk.ledger.query.job(desk.until_open("renamed.pdf")["renamed.pdf"].job)
    assert row.again_of == job


# Away --------------------------------------------------------------------------------------------------------------------


def test_away_and_back(desk: Desk, tmp_path: Path) -> None:
    intake = desk.start(rescan=0.2)
    (desk.path / "a.pdf").write_bytes(b"a")
    desk.until_open("a.pdf")
    desk.path.rename(tmp_path / "unmounted")
    desk.path.mkdir()
    (desk.path / "stray.pdf").write_bytes(b"x")
    until(lambda: intake.away and "marker" in intake.away, 10.0, lambda: intake.away)
    assert set(desk.open()) == {"a.pdf"}
    assert [path.name for path in desk.path.iterdir()] == ["stray.pdf"]
    shutil.rmtree(desk.path)
    (tmp_path / "unmounted").rename(desk.path)
    (desk.path / "b.pdf").write_bytes(b"b")
    desk.until_open("a.pdf", "b.pdf", within=12.0)
    assert intake.away is None


@pytest.mark.parametrize("name", ["../x", "/etc/passwd", "a//b", ".", "", "x\0y", "y" * 300])
def test_odd_hints_do_no_harm(desk: Desk, name: str) -> None:
    intake = desk.start()
    assert intake.idle.wait(5)
    intake.wake([name])
    (desk.path / "x.pdf").write_bytes(b"x")
    desk.until_open("x.pdf")
    assert intake.away is None


def test_a_drop_folder_within_another_is_left_to_itself(desk: Desk) -> None:
    inner = desk.path / "wards" / "north"
    inner.mkdir(parents=True)
    (inner / ".dropcap").write_text("the marker of another folder")
    (inner / "a.pdf").write_bytes(b"not ours")
    (desk.path / "wards" / "b.pdf").write_bytes(b"ours")
    intake = desk.start(rescan=0.2)
    desk.until_open("wards/b.pdf")
    until(lambda: "wards/north" in intake.not_taken)
    (inner / "done").mkdir()
    (inner / "done" / "c.pdf").write_bytes(b"not ours")
    (desk.path / "wards" / "d.pdf").write_bytes(b"ours")
    desk.until_open("wards/d.pdf")
    walked = intake.last_walk
    until(lambda: intake.last_walk != walked)
    assert set(desk.open()) == {"wards/b.pdf", "wards/d.pdf"}
    assert "wards/north" in intake.not_taken
    (inner / ".dropcap").unlink()
    desk.until_open("wards/north/a.pdf")
    assert "wards/north" not in intake.not_taken


def test_a_marker_that_comes_later_counts_at_once(desk: Desk) -> None:
    inner = desk.path / "north"
    inner.mkdir()
    intake = desk.start()
    until(lambda: intake.last_walk is not None)
    (inner / ".dropcap").write_text("the marker of another folder")
    (inner / "a.pdf").write_bytes(b"not ours")
    (desk.path / "b.pdf").write_bytes(b"ours")
    desk.until_open("b.pdf")
    assert set(desk.open()) == {"b.pdf"}
