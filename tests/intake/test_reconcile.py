from __future__ import annotations

import shutil
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dropcap.files.tree import Tree
from dropcap.filing.why import Failure, why_names, why_text
from dropcap.intake import people
from dropcap.intake.arrivals import Fingerprint
from dropcap.intake.people import FailedFiles, compare
from dropcap.ledger.job import Change, FailedFile, OpenFile, State
from tests.intake.conftest import Desk, until

NAMES = st.sampled_from("abcdef")
FILES = st.dictionaries(NAMES, st.integers(1, 6))
STILL = (State.WAITING, State.HELD, State.UNKNOWN)
STATES = st.sampled_from([State.WAITING, State.HELD, State.UNKNOWN, State.SENDING, State.STORED, State.REFUSED])


def present(files: dict[str, int]) -> dict[str, Fingerprint]:
    return {name: Fingerprint(10, 1, 1, inode) for name, inode in files.items()}


def jobs(files: dict[str, tuple[int, State]]) -> dict[str, OpenFile]:
    return {name: OpenFile(ord(name), state, 10, 1, inode) for name, (inode, state) in files.items()}


def test_known_again_by_inode_and_size() -> None:
    found = compare(present({"new": 1, "foreign": 2}), jobs({"a": (1, State.WAITING), "b": (3, State.HELD)}))
    assert found.renamed == {"new": ("a", ord("a"))}
    assert set(found.strangers) == {"foreign"}
    assert found.missing == {"b": ord("b")}


def test_what_delivery_has_in_hand_is_not_missing() -> None:
    for state in (State.SENDING, State.STORED, State.REFUSED):
        found = compare(present({"new": 1}), jobs({"a": (1, state)}))
        assert not found.missing
        assert not found.renamed
        assert found.in_hand == {"new"}
        assert not found.strangers, "it would be sent a second time"


def fingerprint(mtime: int, inode: int = 0) -> Fingerprint:
    return Fingerprint(10, mtime, 1, inode)


def waiting(mtime: int, inode: int = 0, state: State = State.WAITING, job: int = 1) -> OpenFile:
    return OpenFile(job, state, 10, mtime, inode)


@pytest.mark.parametrize(("now", "before"), [(0, 0), (7, 0), (0, 7)], ids=["never", "not then", "not now"])
def test_known_again_by_size_and_time_where_inodes_are_not_to_be_relied_on(now: int, before: int) -> None:
    found = compare({"new": fingerprint(5, now), "foreign": fingerprint(6, now)}, {"a": waiting(5, before)})
    assert found.renamed == {"new": ("a", 1)}
    assert set(found.strangers) == {"foreign"}
    assert not found.missing


def test_with_inodes_size_and_time_are_not_enough() -> None:
    found = compare({"new": fingerprint(5, inode=7)}, {"a": waiting(5, inode=8)})
    assert not found.renamed
    assert found.missing == {"a": 1}


def test_two_that_look_alike_are_not_told_apart_by_guessing() -> None:
    two = {"a": waiting(5), "b": waiting(5, job=2)}
    found = compare({"new": fingerprint(5)}, two)
    assert set(found.strangers) == {"new"}
    assert found.missing == {"a": 1, "b": 2}
    found = compare({"new": fingerprint(5), "newer": fingerprint(5)}, {"a": waiting(5)})
    assert set(found.strangers) == {"new", "newer"}
    assert found.missing == {"a": 1}


def test_what_may_be_in_delivery_s_hand_waits() -> None:
    found = compare({"new": fingerprint(5)}, {"a": waiting(5, state=State.SENDING), "b": waiting(5, job=2)})
    assert found.in_hand == {"new"}, "it could be sent a second time"
    assert not found.strangers


def test_failed_files_without_inodes(tmp_path: Path) -> None:
    (tmp_path / "failed").mkdir()
    moved = tmp_path / "moved.pdf"
    moved.write_bytes(b"x")
    status = moved.stat()
    tree = Tree(tmp_path, stable_inodes=False)
    seen = Fingerprint.of(status, tree.stable_inodes)
    files = {f"failed/{name}.pdf": FailedFile(ord(name), name, 1, status.st_mtime_ns, 0) for name in "ab"}
    assert FailedFiles(files).moved_to(tree, seen) is None, "it may be either"
    shutil.copy2(moved, tmp_path / "failed" / "a.pdf")
    assert FailedFiles(files).moved_to(tree, seen) == ("failed/b.pdf", files["failed/b.pdf"])
    shutil.copy2(moved, tmp_path / "failed" / "b.pdf")
    assert FailedFiles(files).moved_to(tree, seen) is None, "a copy"


@given(files=FILES, known=st.dictionaries(NAMES, st.tuples(st.integers(1, 6), STATES)))
def test_every_file_and_job_is_accounted_for_once(files: dict[str, int], known: dict[str, tuple[int, State]]) -> None:
    found = compare(present(files), jobs(known))
    assert set(found.renamed) | set(found.strangers) | found.in_hand == set(files) - set(known)
    assert not found.in_hand & (set(found.renamed) | set(found.strangers))
    assert not set(found.renamed) & set(found.strangers)
    old = [name for name, _ in found.renamed.values()]
    assert len(old) == len(set(old))
    assert not set(old) & set(found.missing)
    still = {name for name, (_, state) in known.items() if state in STILL}
    assert set(old) | set(found.missing) == still - set(files)
    assert {files[name] for name in found.in_hand} <= {inode for inode, state in known.values() if state not in STILL}
    assert all(files[new] == known[name][0] for new, (name, _) in found.renamed.items())


def test_a_failed_file_that_somebody_took_away_is_dealt_with(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(people, "FORGET_AFTER", 0.3)
    for name in ("taken.pdf", "kept.pdf"):
        (desk.path / name).write_bytes(name.encode())
    intake = desk.start(rescan=0.2)
    jobs = desk.until_open("taken.pdf", "kept.pdf")
    for name, job in jobs.items():
        desk.fail(job.job, f"failed/{name}")
    (desk.path / "failed" / "taken.pdf").unlink()
    intake.wake()
    until(lambda: list(desk.ledger.query.failed_files("consents")) == ["failed/kept.pdf"])
    assert "taken out of failed/" in desk.ledger.query.history(jobs["taken.pdf"].job)[-1].note


def test_a_failed_file_that_is_moved_back_is_tried_again_and_not_forgotten(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(people, "FORGET_AFTER", 1.0)
    (desk.path / "x.pdf").write_bytes(b"x")
    intake = desk.start(rescan=0.2, settle_closed=0.5)
    job = desk.until_open("x.pdf")["x.pdf"].job
    desk.fail(job, "failed/x.pdf")
    intake.wake()
    (desk.path / "failed" / "x.pdf").rename(desk.path / "x.pdf")
    again = desk.until_open("x.pdf")["x.pdf"].job
    found = desk.ledger.query.job(again)
    assert found.again_of == job


def test_a_text_that_is_moved_back_with_its_file_is_no_dropped_file(desk: Desk) -> None:
    (desk.path / "x.pdf").write_bytes(b"x")
    intake = desk.start(rescan=0.2)
    job = desk.until_open("x.pdf")["x.pdf"].job
    desk.fail(job, "failed/x.pdf")
    text = why_text(Failure("x.pdf", job, "no_rule", datetime.now().astimezone()), "consents", "")
    (desk.path / "failed" / "x.pdf.why.txt").write_bytes(text)
    (desk.path / "by hand.why.txt").write_bytes(b"somebody's own: " + text)
    for name in ("x.pdf", "x.pdf.why.txt"):
        (desk.path / "failed" / name).rename(desk.path / name)
    intake.wake()
    opened = desk.until_open("x.pdf", "by hand.why.txt")
    assert opened["x.pdf"].job != job
    until(lambda: not (desk.path / "x.pdf.why.txt").exists())
    assert set(desk.open()) == {"x.pdf", "by hand.why.txt"}


def text_about(job: int, name: str = "x.pdf") -> bytes:
    return why_text(Failure(name, job, "no_rule", datetime.now().astimezone()), "consents", "")


def test_a_text_without_its_file_is_removed_if_it_is_ours_and_about_no_file_that_is_still_known(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a kill leaves it that comes between two steps, or a fault that keeps it from being removed."""
    monkeypatch.setattr(people, "FORGET_AFTER", 0.3)
    (desk.path / "filed.pdf").write_bytes(b"filed")
    intake = desk.start(rescan=0.1, ignore=("hidden.pdf",))
    job = desk.until_open("filed.pdf")["filed.pdf"].job
    assert desk.ledger.change([Change(job, State.REFUSED)])  # and filing has come no further than its text
    failed = desk.path / "failed"
    (failed / "sub").mkdir(parents=True)
    long = "l" * 251 + ".pdf"
    (failed / "beside.pdf").write_bytes(b"somebody's")
    (failed / "hidden.pdf").write_bytes(b"somebody's")
    (failed / long).write_bytes(b"somebody's")
    stay = {
        "beside.pdf.why.txt": text_about(901),
        "hidden.pdf.why.txt": text_about(902),
        "filed.pdf.why.txt": text_about(job),
        "changed.pdf.why.txt": text_about(903) + b"I have asked the desk.",
        "note.why.txt": b"somebody's own",
        next(why_names(long)): text_about(904),
    }
    go = ["gone.pdf.why.txt", "gone.pdf.why (2).txt", "sub/gone.pdf.why.txt", next(why_names("k" + long[1:]))]
    for name, content in {**stay, **{name: text_about(905) for name in go}}.items():
        (failed / name).write_bytes(content)
    intake.wake()
    until(lambda: not any((failed / name).exists() for name in go))
    walks = intake.last_walk
    until(lambda: intake.last_walk != walks)
    assert {name: (failed / name).read_bytes() for name in stay} == stay


def test_a_text_goes_before_its_file_is_forgotten(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed in between, it is looked for again at the next start; the other way round nobody would."""
    monkeypatch.setattr(people, "FORGET_AFTER", 0.3)
    (desk.path / "x.pdf").write_bytes(b"x")
    intake = desk.start(rescan=0.1)
    job = desk.until_open("x.pdf")["x.pdf"].job
    desk.fail(job, "failed/x.pdf")
    text = desk.path / "failed" / "x.pdf.why.txt"
    text.write_bytes(text_about(job))
    there: list[bool] = []
    forget = desk.ledger.forget_failed

    def forgotten(jobs: Sequence[int]) -> None:
        there.append(text.exists())
        forget(jobs)

    monkeypatch.setattr(desk.ledger, "forget_failed", forgotten)
    (desk.path / "failed" / "x.pdf").unlink()
    intake.wake()
    until(lambda: there)
    assert there[0] is False
