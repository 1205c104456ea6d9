from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from dropcap.files.tree import Tree
from tests import needs


@pytest.fixture
def root(tmp_path: Path) -> Path:
    path = tmp_path / "drop"
    path.mkdir()
    return path


@pytest.fixture
def tree(root: Path) -> Iterator[Tree]:
    tree = Tree(root)
    yield tree
    tree.close()


@pytest.fixture
def other_disk(root: Path) -> Iterator[Path]:
    """A file system of its own, 256 KiB large, mounted in the drop folder as `done`."""
    path = root / "done"
    path.mkdir()
    needs.mounting("-t", "tmpfs", "-o", "size=256k", "dropcap-test", path)
    yield path
    subprocess.run(["umount", str(path)], check=True)
