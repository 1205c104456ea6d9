from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from dropcap.config.model import Folder
from dropcap.files.tree import Tree
from dropcap.filing.place import Filing
from dropcap.filing.preserve import Keep
from dropcap.filing.why import Failure
from tests import needs
from tests.site import keep_in


@pytest.fixture
def root(tmp_path: Path) -> Path:
    path = tmp_path / "drop"
    (path / "in_progress").mkdir(parents=True)
    return path


@pytest.fixture
def tree(root: Path) -> Iterator[Tree]:
    tree = Tree(root)
    yield tree
    tree.close()


@pytest.fixture
def folder(root: Path) -> Folder:
    return Folder(name="consents", path=root, project="trial", rules=(), min_free=0)


@pytest.fixture
def keep(tmp_path: Path) -> Keep:
    return keep_in(tmp_path)


@pytest.fixture
def filing(folder: Folder, tree: Tree, keep: Keep) -> Filing:
    return Filing(folder, tree, "Data desk, ext. 4711", keep)


@pytest.fixture
def claim(root: Path) -> Callable[..., str]:
    """Puts a file into in_progress/ as a claim does; returns its name."""

    def put(name: str, content: bytes = b"content") -> str:
        path = root / "in_progress" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        return name

    return put


@pytest.fixture
def failure() -> Callable[..., Failure]:
    def make(name: str, **other: Any) -> Failure:
        told: dict[str, Any] = {
            "name": name,
            "job": 17,
            "reason": "no_record",
            "when": datetime(2026, 11, 24, 13, 5, 7, tzinfo=UTC),
            "record": "101",
            "field": "consent_pdf",
        }
        return Failure(**(told | other))

    return make


@pytest.fixture
def mounted(root: Path) -> Iterator[Callable[[str, str], Path]]:
    """Mounts a small file system of its own on a directory of the drop folder."""
    mounts: list[Path] = []

    def mount(directory: str, size: str) -> Path:
        path = root / directory
        path.mkdir(exist_ok=True)
        needs.mounting("-t", "tmpfs", "-o", f"size={size}", "dropcap-test", path)
        mounts.append(path)
        return path

    yield mount
    for path in mounts:
        subprocess.run(["umount", str(path)], check=True)
