"""A batch opens a directory once, and not for longer than a moment."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import pytest

from dropcap.files import root as module
from dropcap.files.tree import Tree


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def folder(root: Path) -> Tree:
    for name in ("in_progress/sub", "done"):
        (root / name).mkdir(parents=True)
    (root / "in_progress" / "sub" / "a").write_bytes(b"a")
    return Tree(root)


def test_a_directory_is_opened_once_and_closed_at_the_end(tmp_path: Path) -> None:
    tree = folder(tmp_path)
    before = descriptors()
    with tree.batch():
        with tree.directory("in_progress/sub") as first:
            pass
        with tree.batch(), tree.parent("in_progress/sub/a") as (second, leaf):  # a batch within a batch
            assert (second, leaf) == (first, "a")
        assert descriptors() == before + 1
        elsewhere: list[int] = []
        other = threading.Thread(target=lambda: elsewhere.append(tree.open_directory("done")))
        other.start()
        other.join()
        with tree.directory("in_progress/sub") as third:
            assert third == first
    os.close(elsewhere[0])
    assert descriptors() == before
    with tree.directory("in_progress/sub"):
        assert descriptors() == before + 1, "without a batch nothing is kept"
    assert descriptors() == before


def test_what_another_thread_holds_is_its_own(tmp_path: Path) -> None:
    tree = folder(tmp_path)
    with tree.batch(), tree.directory("done") as ours:
        theirs: list[int] = []

        def work() -> None:
            with tree.directory("done") as fd:
                theirs.append(fd)

        other = threading.Thread(target=work)
        other.start()
        other.join()
        assert theirs != [ours]


def test_after_a_moment_a_link_in_its_place_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_KEPT_FOR", 0.05)
    tree = folder(tmp_path)
    before = descriptors()
    with tree.batch():
        assert tree.exists("in_progress/sub/a")
        (tmp_path / "in_progress").rename(tmp_path / "away")
        (tmp_path / "in_progress").symlink_to(tmp_path / "away")
        time.sleep(0.06)
        with pytest.raises(NotADirectoryError):
            tree.lstat("in_progress/sub/a")
    assert descriptors() == before


def test_a_directory_that_was_removed_is_made_anew(tmp_path: Path) -> None:
    tree = folder(tmp_path)
    with tree.batch():
        assert not tree.exists("done/b")
        (tmp_path / "done").rmdir()
        tree.move("in_progress/sub/a", "done/b")
    assert (tmp_path / "done" / "b").read_bytes() == b"a"
