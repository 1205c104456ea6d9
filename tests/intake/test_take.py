"""Taking one file, and what may come between looking at it and having it."""

from __future__ import annotations

import errno
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from dropcap.files.root import RENAME_METHODS, by_link, by_look
from dropcap.files.tree import Tree
from dropcap.intake.arrivals import (
    Fingerprint,
    Moved,
    NameTaken,
    NotThere,
    Observation,
    PutOff,
    RestTime,
    Taken,
    TakeOutcome,
    Untakable,
    Wanted,
    take,
)
from tests import needs

from .conftest import Desk, until

AT_ONCE = RestTime(0.0, 0.1, local=True)


@pytest.fixture
def tree(tmp_path: Path) -> Iterator[Tree]:
    tree = Tree(tmp_path)
    yield tree
    tree.close()


def take_one(tree: Tree, source: str, target: str, before: Observation, pace: RestTime) -> TakeOutcome:
    (outcome,) = take(tree, [Wanted(source, target, before, pace)])
    return outcome


def seen(path: Path) -> Observation:
    now = time.monotonic()
    return Observation(Fingerprint.of(path.stat()), now, now)


def test_taken(tree: Tree) -> None:
    path = tree.path / "x"
    path.write_bytes(b"x")
    outcome = take_one(tree, "x", "in_progress/x", seen(path), AT_ONCE)
    assert outcome == Taken(Fingerprint.of((tree.path / "in_progress" / "x").stat()), os.getuid())
    assert not path.exists()


def test_one_that_lies_there_already(tree: Tree) -> None:
    path = tree.path / "in_progress" / "x"
    path.parent.mkdir()
    path.write_bytes(b"x")
    assert isinstance(take_one(tree, "in_progress/x", "in_progress/x", seen(path), AT_ONCE), Taken)


class TestWithoutStableInodes:
    """Size and time tell, and nothing is held open over the move."""

    @pytest.fixture
    def tree(self, tmp_path: Path) -> Iterator[Tree]:
        tree = Tree(tmp_path, stable_inodes=False)
        (tmp_path / "x").write_bytes(b"x")
        yield tree
        tree.close()

    def seen(self, tree: Tree) -> Observation:
        now = time.monotonic() - 1
        return Observation(Fingerprint.of((tree.path / "x").stat(), stable_inodes=False), now, now)

    def test_taken_without_a_number(self, tree: Tree) -> None:
        before = self.seen(tree)
        outcome = take_one(tree, "x", "in_progress/x", before, AT_ONCE)
        assert isinstance(outcome, Taken)
        assert outcome.fingerprint.same_bytes(before.fingerprint)
        assert outcome.fingerprint.inode == 0
        assert not (tree.path / "x").exists()

    def test_one_that_somebody_has_open(self, tree: Tree) -> None:
        def busy(source_dir: int, source: str, target_dir: int, target: str) -> None:
            raise OSError(errno.EBUSY, "Device or resource busy", source)

        with_busy = Tree(tree.path, (busy,), stable_inodes=False)
        outcome = take_one(with_busy, "x", "in_progress/x", self.seen(tree), AT_ONCE)
        assert isinstance(outcome, PutOff)
        assert "open" in outcome.note
        assert (tree.path / "x").read_bytes() == b"x"

    def test_written_to_just_before_the_move(self, tree: Tree) -> None:
        def late(source_dir: int, source: str, target_dir: int, target: str) -> None:
            (tree.path / "x").write_bytes(b"longer")
            by_look(source_dir, source, target_dir, target)

        outcome = take_one(Tree(tree.path, (late,), stable_inodes=False), "x", "in_progress/x", self.seen(tree), AT_ONCE)
        assert outcome == Moved()

    def test_a_taken_name_and_one_that_is_gone(self, tree: Tree) -> None:
        before = self.seen(tree)
        (tree.path / "in_progress").mkdir()
        (tree.path / "in_progress" / "x").write_bytes(b"other")
        assert take_one(tree, "x", "in_progress/x", before, AT_ONCE) == NameTaken()
        (tree.path / "x").unlink()
        assert take_one(tree, "x", "in_progress/x", before, AT_ONCE) == NotThere()


def test_changed_since_it_was_seen(tree: Tree) -> None:
    path = tree.path / "x"
    path.write_bytes(b"x")
    before = seen(path)
    path.write_bytes(b"longer")
    outcome = take_one(tree, "x", "in_progress/x", before, RestTime(5.0, 10.0, local=True))
    assert isinstance(outcome, PutOff)
    assert outcome.seen.fingerprint.size == 6
    assert path.exists()


def test_not_to_be_had(tree: Tree) -> None:
    (tree.path / "in_progress").mkdir()
    (tree.path / "in_progress" / "x").write_bytes(b"there")
    path = tree.path / "x"
    path.write_bytes(b"x")
    now = seen(path)
    assert take_one(tree, "x", "in_progress/x", now, AT_ONCE) == NameTaken()
    assert take_one(tree, "gone", "in_progress/gone", now, AT_ONCE) == NotThere()
    assert take_one(tree, "x/y", "in_progress/y", now, AT_ONCE) == NotThere()
    (tree.path / "link").symlink_to("x")
    outcome = take_one(tree, "link", "in_progress/link", now, AT_ONCE)
    assert isinstance(outcome, Untakable)
    assert "link" in outcome.why


@pytest.mark.parametrize("rename_methods", [RENAME_METHODS, (by_link, by_look), (by_look,)])
def test_another_file_takes_its_name_before_it_is_moved(tmp_path: Path, rename_methods: tuple[object, ...]) -> None:
    """What was moved is not what was looked at: it must not pass for settled."""

    def replaced_first(source_dir: int, source: str, target_dir: int, target: str) -> None:
        other = os.open("other", os.O_CREAT | os.O_WRONLY, 0o600, dir_fd=source_dir)
        os.write(other, b"other")
        os.close(other)
        os.rename("other", source, src_dir_fd=source_dir, dst_dir_fd=source_dir)
        rename_methods[0](source_dir, source, target_dir, target)  # type: ignore[operator]

    tree = Tree(tmp_path, rename_methods=(replaced_first,))
    (tmp_path / "x").write_bytes(b"x")
    assert take_one(tree, "x", "in_progress/x", seen(tmp_path / "x"), AT_ONCE) == Moved()
    assert (tmp_path / "in_progress" / "x").read_bytes() == b"other"
    tree.close()


def test_a_writer_opens_it_before_it_is_moved(tmp_path: Path) -> None:
    writers = []

    def opened_first(source_dir: int, source: str, target_dir: int, target: str) -> None:
        writers.append(os.open(source, os.O_WRONLY | os.O_APPEND, dir_fd=source_dir))
        RENAME_METHODS[0](source_dir, source, target_dir, target)

    tree = Tree(tmp_path, rename_methods=(opened_first,))
    (tmp_path / "x").write_bytes(b"x")
    assert take_one(tree, "x", "in_progress/x", seen(tmp_path / "x"), AT_ONCE) == Moved()
    os.close(writers[0])
    tree.close()


def test_one_that_may_not_be_moved(tmp_path: Path) -> None:
    def denied(source_dir: int, source: str, target_dir: int, target: str) -> None:
        raise PermissionError(1, "Operation not permitted", source)

    tree = Tree(tmp_path, rename_methods=(denied,))
    (tmp_path / "x").write_bytes(b"x")
    outcome = take_one(tree, "x", "in_progress/x", seen(tmp_path / "x"), AT_ONCE)
    assert isinstance(outcome, Untakable)
    assert "give dropcap's user the right" in outcome.why
    assert (tmp_path / "x").exists()
    tree.close()


def test_whoever_writes_meanwhile_every_file_is_entered_whole(desk: Desk) -> None:
    """Two droppers replace, append and rename as fast as they can under eight names; the ledger and the folder agree."""
    needs.mount_table(desk.path)
    desk.start(rescan=0.3, settle_quiet=0.2)
    stop = threading.Event()

    def drop(thread: int) -> None:
        number = 0
        while not stop.is_set():
            number += 1
            path = desk.path / f"{number % 8}.pdf"
            if number % 3 == 0:
                aside = desk.path / f".{thread}"
                aside.write_bytes(b"renamed" * number)
                aside.rename(path)
            else:
                with path.open("ab") as file:
                    file.write(b"begin ")
                    file.flush()
                    file.write(b"end")

    threads = [threading.Thread(target=drop, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    time.sleep(0.8)
    stop.set()
    for thread in threads:
        thread.join()
    until(lambda: len(desk.open()) == 8, 10.0, desk.open)

    for name, job in desk.open().items():
        status = (desk.path / "in_progress" / name).stat()
        assert (job.size, job.inode, job.mtime_ns) == (status.st_size, status.st_ino, status.st_mtime_ns)
    assert sorted(os.listdir(desk.path / "in_progress")) == [f"{number}.pdf" for number in range(8)]


def test_many_together_keep_their_order(tree: Tree) -> None:
    names = [f"{number}.pdf" for number in range(200)]
    for name in names:
        (tree.path / name).write_bytes(name.encode())
    wanted = [Wanted(name, f"in_progress/{name}", seen(tree.path / name), AT_ONCE) for name in names]
    (tree.path / names[70]).unlink()
    outcomes = take(tree, wanted)
    assert outcomes[70] == NotThere()
    for name, outcome in zip(names, outcomes, strict=True):
        assert name == names[70] or outcome == Taken(Fingerprint.of((tree.path / "in_progress" / name).stat()), os.getuid())


def test_a_file_that_cannot_be_flushed_is_not_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tree = Tree(tmp_path)
    for name in "ab":
        (tmp_path / name).write_bytes(name.encode())
    whole, flushed = tree.sync_file, []

    def sync_file(fd: int) -> None:
        if os.fstat(fd).st_ino == (tmp_path / "in_progress" / "a").stat().st_ino:
            raise OSError(errno.EIO, "Input/output error")
        flushed.append(fd)
        whole(fd)

    monkeypatch.setattr(tree, "sync_file", sync_file)
    a, b = take(tree, [Wanted(name, f"in_progress/{name}", seen(tmp_path / name), AT_ONCE) for name in "ab"])
    assert isinstance(a, Untakable)
    assert a.error.errno == errno.EIO
    assert isinstance(b, Taken)
    for fd in flushed:
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(fd)
    tree.close()
