"""What is left of a copy that was cut off."""

from __future__ import annotations

import errno
import hashlib
import os
from pathlib import Path

import pytest

from dropcap.files.tree import Tree
from dropcap.filing.place import finish
from dropcap.intake.arrivals import remove_twin

WHOLE = b"the whole file"
SHA = hashlib.sha256(WHOLE).hexdigest()
SOURCE, TEMPORARY, FINAL = "in_progress/a.pdf", "done/2026-11-24/.dropcap-0123456789abcdef", "done/2026-11-24/a.pdf"


@pytest.mark.parametrize(
    ("source", "temporary", "final", "sha256", "arrived", "left"),
    [
        (WHOLE, None, None, SHA, False, {SOURCE: WHOLE}),
        (WHOLE, b"the wh", None, SHA, False, {SOURCE: WHOLE}),
        (WHOLE, WHOLE, None, SHA, False, {SOURCE: WHOLE}),
        (WHOLE, WHOLE, WHOLE, SHA, False, {SOURCE: WHOLE, FINAL: WHOLE}),  # somebody else's: ours had no name yet
        (WHOLE, None, WHOLE, SHA, True, {FINAL: WHOLE}),
        (WHOLE, None, WHOLE, None, True, {FINAL: WHOLE}),
        (None, None, WHOLE, SHA, True, {FINAL: WHOLE}),
        (None, None, b"other", SHA, False, {FINAL: b"other"}),
        (WHOLE, None, b"the wh", SHA, False, {SOURCE: WHOLE}),
        (WHOLE, None, b"", SHA, False, {SOURCE: WHOLE}),
        (WHOLE, None, b"other", SHA, False, {SOURCE: WHOLE, FINAL: b"other"}),
        (b"changed since..", None, WHOLE, SHA, True, {SOURCE: b"changed since..", FINAL: WHOLE}),
    ],
)
def test_one_is_left(
    source: bytes | None,
    temporary: bytes | None,
    final: bytes | None,
    sha256: str | None,
    arrived: bool,
    left: dict[str, bytes],
    tmp_path: Path,
) -> None:
    for name, content in ((SOURCE, source), (TEMPORARY, temporary), (FINAL, final)):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        if content is not None:
            (tmp_path / name).write_bytes(content)
    tree = Tree(tmp_path)
    try:
        assert finish(tree, SOURCE, TEMPORARY, FINAL, sha256) == arrived
    finally:
        tree.close()
    assert {str(p.relative_to(tmp_path)): p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()} == left


def test_nothing_is_removed_where_another_host_may_work(tmp_path: Path) -> None:
    """The lease may end while the bytes of both are read."""
    for name in (SOURCE, FINAL, "a.pdf"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(WHOLE)
        os.utime(tmp_path / name, (1, 1))
    tree = Tree(tmp_path)
    looks = iter([True])
    tree.holds = lambda: next(looks, False)
    for remove in (lambda: finish(tree, SOURCE, TEMPORARY, FINAL, SHA), lambda: remove_twin(tree, SOURCE, "a.pdf")):
        with pytest.raises(OSError, match="another host") as raised:
            remove()
        assert raised.value.errno == errno.ESTALE
    assert {name for name in (SOURCE, FINAL, "a.pdf") if (tmp_path / name).exists()} == {SOURCE, FINAL, "a.pdf"}
    tree.close()
