"""A host that was stopped right before a move, and has lost its lease by the time that it makes it."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest

from dropcap.config.model import Folder
from dropcap.files.root import RENAME_METHODS, RenameMethod
from dropcap.files.tree import CrossDeviceMove, Tree
from dropcap.filing.loop import Completion, JobMove
from dropcap.filing.place import Filed, Filing
from dropcap.filing.why import Failure
from dropcap.ledger.job import Address, NewFile, Refused
from dropcap.ledger.store import Ledger
from tests.site import keep_in

DAY = date(2026, 11, 24)
Put = Callable[..., str]


def meanwhile(root: Path, name: str, newer: bool) -> Callable[[], None]:
    """What the other host does: it files the file, and takes a newer one of that name."""

    def act() -> None:
        (root / "done/2026-11-24").mkdir(parents=True, exist_ok=True)
        (root / "in_progress" / name).rename(root / "done/2026-11-24" / name)
        if newer:
            (root / "in_progress" / name).write_bytes(b"newer, not sent yet")

    return act


class Stopped:
    """A drop folder in which this host stops right before the rename of a file, until its lease is another host's."""

    def __init__(self, root: Path, act: Callable[[], None]) -> None:
        self.tree = Tree(root, tuple(map(self._stopping, RENAME_METHODS)))
        self.tree.holds = lambda: self._act is not None
        self._act: Callable[[], None] | None = act

    def _stopping(self, method: RenameMethod) -> RenameMethod:
        def run(source_dir: int, source: str, target_dir: int, target: str) -> None:
            act = self._act
            if act is not None and not source.startswith(".dropcap-"):
                self._act = None
                act()
            method(source_dir, source, target_dir, target)

        return run


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    made = Ledger(tmp_path / "ledger.db")
    yield made
    made.close()


def taken(ledger: Ledger, path: Path) -> CrossDeviceMove:
    """How the file at `path` is moved, once it is taken and over."""
    status = path.stat()
    new = NewFile(path.name, status.st_size, status.st_mtime_ns, status.st_ino)
    (number,) = ledger.claim("consents", [new], lambda _: Address())
    job = ledger.query.job(number)
    assert job is not None
    return JobMove(ledger, Completion(job, Refused("no_rule", "no rule matches", "rename it")))


def filed_late(ledger: Ledger, tmp_path: Path, root: Path, folder: Folder, fails: Failure | None, newer: bool) -> Filed | OSError:
    moves = {"a.pdf": taken(ledger, root / "in_progress/a.pdf")}
    stopped = Stopped(root, meanwhile(root, "a.pdf", newer))
    filing = Filing(replace(folder, path=root), stopped.tree, "", keep_in(tmp_path))
    try:
        results: Sequence[Filed | OSError]
        if fails is None:
            results = filing.to_done(["a.pdf"], DAY, moves)
        else:
            results = filing.to_failed([fails], moves)
    finally:
        stopped.tree.close()
    (result,) = results
    return result


@pytest.mark.parametrize("fails", [False, True])
def test_a_newer_file_stays_where_the_other_host_has_it(
    fails: bool, ledger: Ledger, root: Path, folder: Folder, claim: Put, failure: Callable[..., Failure], tmp_path: Path
) -> None:
    claim("a.pdf", b"sent")
    result = filed_late(ledger, tmp_path, root, folder, failure("a.pdf") if fails else None, newer=True)
    assert isinstance(result, OSError)
    assert result.errno == errno.ESTALE
    assert {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()} == {
        "in_progress/a.pdf": b"newer, not sent yet",
        "done/2026-11-24/a.pdf": b"sent",
    }


def test_nothing_is_there_any_more(ledger: Ledger, root: Path, folder: Folder, claim: Put, tmp_path: Path) -> None:
    claim("a.pdf", b"sent")
    assert isinstance(filed_late(ledger, tmp_path, root, folder, None, newer=False), FileNotFoundError)
    assert (root / "done/2026-11-24/a.pdf").read_bytes() == b"sent"


def test_its_own_file_stays_filed(ledger: Ledger, root: Path, folder: Folder, claim: Put, tmp_path: Path) -> None:
    """The lease has lapsed, but nobody has come yet: the host that does finds the file there."""
    moves = {"a.pdf": taken(ledger, root / "in_progress" / claim("a.pdf", b"sent"))}
    stopped = Stopped(root, lambda: None)
    filing = Filing(replace(folder, path=root), stopped.tree, "", keep_in(tmp_path))
    assert filing.to_done(["a.pdf"], DAY, moves) == [Filed("done/2026-11-24/a.pdf")]
    stopped.tree.close()


def test_to_another_file_system(
    ledger: Ledger, root: Path, folder: Folder, claim: Put, tmp_path: Path, mounted: Callable[[str, str], Path]
) -> None:
    """Stopped once the copy is there, right before the original is removed."""
    mounted("done", "1m")
    source = root / "in_progress" / claim("a.pdf", b"sent")
    moves = {"a.pdf": taken(ledger, source)}

    def other_host() -> None:
        os.replace(source, tmp_path / "filed by the other host")
        source.write_bytes(b"newer, not sent yet")

    tree = Tree(root, tuple(map(before_the_removal(other_host), RENAME_METHODS)))
    filing = Filing(replace(folder, path=root), tree, "", keep_in(tmp_path))
    (result,) = filing.to_done(["a.pdf"], DAY, moves)
    assert isinstance(result, OSError)
    assert source.read_bytes() == b"newer, not sent yet"
    assert os.listdir(root / "in_progress") == ["a.pdf"]
    tree.close()


def before_the_removal(act: Callable[[], None]) -> Callable[[RenameMethod], RenameMethod]:
    def wrapped(method: RenameMethod) -> RenameMethod:
        def run(source_dir: int, source: str, target_dir: int, target: str) -> None:
            if source == "a.pdf" and target.startswith(".dropcap-") and source_dir == target_dir:
                act()
            method(source_dir, source, target_dir, target)

        return run

    return wrapped
