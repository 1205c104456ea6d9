from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from dropcap.files.regular import NotRegular
from dropcap.files.tree import copy_verified, unchanged
from tests import needs


@pytest.fixture
def memory() -> Iterator[Path]:
    """A folder on another file system, of the test's own."""
    shm = Path("/dev/shm")
    if not os.access(shm, os.W_OK):
        needs.lacking("/dev/shm")
    with tempfile.TemporaryDirectory(dir=shm, prefix="dropcap-test-") as name:
        yield Path(name)


def opened(path: Path) -> int:
    return os.open(path, os.O_RDONLY | os.O_DIRECTORY)


@pytest.mark.parametrize("size", [0, 1, 1024 * 1024, 3 * 1024 * 1024 + 17])
def test_the_copy_is_equal(tmp_path: Path, memory: Path, size: int) -> None:
    content = os.urandom(size)
    (memory / "a").write_bytes(content)
    source, target = opened(memory), opened(tmp_path)
    try:
        name, before, sha256 = copy_verified(source, "a", target)
        assert sha256 == hashlib.sha256(content).hexdigest()
        assert unchanged(source, "a", before)
        (memory / "a").write_bytes(content + b"more")
        assert not unchanged(source, "a", before)
    finally:
        os.close(source)
        os.close(target)
    assert (tmp_path / name).read_bytes() == content


def test_a_link_is_not_copied(tmp_path: Path, memory: Path) -> None:
    (memory / "a").write_bytes(b"a")
    (memory / "link").symlink_to("a")
    source, target = opened(memory), opened(tmp_path)
    try:
        with pytest.raises(NotRegular):
            copy_verified(source, "link", target)
    finally:
        os.close(source)
        os.close(target)
    assert os.listdir(tmp_path) == []
