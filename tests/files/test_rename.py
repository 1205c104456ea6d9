"""Each way of renaming by itself, as on a file system that lacks the better ones."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from dropcap.files.root import RENAME_METHODS, NoSuchRenameMethod, RenameMethod, by_link, by_look, by_renameat2
from dropcap.files.tree import Tree


@pytest.fixture(params=RENAME_METHODS, ids=lambda method: method.__name__)
def narrow(request: pytest.FixtureRequest, root: Path) -> Tree:
    """A tree that can rename in one way only."""
    return Tree(root, rename_methods=(request.param,))


def test_moves(narrow: Tree, root: Path) -> None:
    (root / "a").write_bytes(b"a")
    inode = (root / "a").stat().st_ino
    narrow.move("a", "sub/b")
    assert os.listdir(root) == ["sub"]
    status = (root / "sub/b").stat()
    assert (status.st_ino, status.st_nlink) == (inode, 1)


def test_never_replaces(narrow: Tree, root: Path) -> None:
    (root / "a").write_bytes(b"new")
    (root / "b").write_bytes(b"old")
    (root / "dangling").symlink_to("nowhere")
    (root / "dir").mkdir()
    for taken in ("b", "dangling", "dir"):
        with pytest.raises(FileExistsError):
            narrow.move("a", taken)
    assert ((root / "a").read_bytes(), (root / "b").read_bytes()) == (b"new", b"old")
    assert narrow.move_free("a", "b") == "b (2)"


def test_a_missing_source(narrow: Tree) -> None:
    with pytest.raises(FileNotFoundError):
        narrow.move("none", "b")


def test_a_move_cut_off_between_link_and_unlink_is_ended(narrow: Tree, root: Path) -> None:
    (root / "done").mkdir()
    (root / "a").write_bytes(b"a")
    (root / "done/a").hardlink_to(root / "a")
    assert narrow.move_free("a", "done/a") == "done/a"
    assert os.listdir(root) == ["done"]
    assert os.listdir(root / "done") == ["a"]


def lacks(*_: object) -> None:
    raise NoSuchRenameMethod


@pytest.mark.parametrize("rename_methods", [(lacks, by_link, by_look), (lacks, lacks, by_look), (by_renameat2, lacks, lacks)])
def test_the_next_way_is_taken_where_one_is_lacking(root: Path, rename_methods: tuple[RenameMethod, ...]) -> None:
    (root / "a").write_bytes(b"a")
    Tree(root, rename_methods).move("a", "b")
    assert (root / "b").read_bytes() == b"a"


def test_no_way_at_all_is_said(root: Path) -> None:
    (root / "a").write_bytes(b"a")
    with pytest.raises(OSError, match="no safe way to rename") as caught:
        Tree(root, (lacks,)).move("a", "b")
    assert caught.value.errno == errno.ENOTSUP
    assert (root / "a").read_bytes() == b"a"
