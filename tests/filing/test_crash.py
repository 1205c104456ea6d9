"""The process dies at each rename in turn: afterwards every file is there once, whole, and recovery gives it its why."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import date
from pathlib import Path

import pytest

from dropcap.config.model import Folder
from dropcap.files.root import RenameMethod, by_link, by_look, by_renameat2
from dropcap.files.tree import Tree
from dropcap.filing.place import Filing
from dropcap.filing.why import Failure
from tests.site import keep_in

DAY = date(2026, 11, 24)


def dying(method: RenameMethod, at: int, before: bool) -> RenameMethod:
    """`method`, but the process ends at once, without any tidying, before or after the rename number `at`."""
    done = 0

    def rename(*names: object) -> None:
        nonlocal done
        done += 1
        if before and done == at:
            os._exit(9)
        method(*names)  # type: ignore[arg-type]
        if done == at:
            os._exit(9)

    return rename


def in_a_child(act: Callable[[], object]) -> int:
    child = os.fork()
    if child == 0:
        try:
            act()
        finally:
            os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def listing(root: Path) -> list[str]:
    return sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())


@pytest.mark.parametrize("method", [by_renameat2, by_link, by_look])
@pytest.mark.parametrize("before", [True, False])
@pytest.mark.parametrize("at", [1, 2])
def test_failed(
    root: Path, folder: Folder, filing: Filing, claim: Callable[..., str], failure: Callable[..., Failure],
    method: RenameMethod, before: bool, at: int,
) -> None:  # fmt: skip
    told = failure(claim("sub/a.pdf"))
    status = (root / "in_progress/sub/a.pdf").stat()
    assert (
        in_a_child(lambda: Filing(folder, Tree(root, (dying(method, at, before),)), "", keep_in(root.parent)).to_failed([told]))
        == 9
    )
    assert [name for name in listing(root) if name.endswith("a.pdf")] in (["in_progress/sub/a.pdf"], ["failed/sub/a.pdf"])

    # The leftover was made in a fork and so carries this process's run; a new start has another.
    for leftover in root.rglob(".dropcap-*"):
        leftover.rename(leftover.with_name(".dropcap-0123456789abcdef"))
    filing.clean()
    found = filing.locate(status.st_ino, status.st_size, "sub/a.pdf")
    if found.startswith("failed/"):
        filing.explain(found, told)
    else:
        filing.to_failed([told])
    assert listing(root) == ["failed/sub/a.pdf", "failed/sub/a.pdf.why.txt"]
    assert (root / "failed/sub/a.pdf").read_bytes() == b"content"


def test_the_original_of_a_copy_that_was_being_removed(
    root: Path, folder: Folder, filing: Filing, claim: Callable[..., str], mounted: Callable[[str, str], Path]
) -> None:
    """It lies aside when the process dies, and was not known to be the one that was copied yet: it is put back, and compared."""
    mounted("done", "1m")
    claim("a.pdf")
    tree = Tree(root, (dying(by_renameat2, 3, before=False),))  # to done/, which is elsewhere; the copy's name; aside
    assert in_a_child(lambda: Filing(folder, tree, "", keep_in(root.parent)).to_done(["a.pdf"], DAY)) == 9
    (aside,) = os.listdir(root / "in_progress")
    assert aside.startswith(".dropcap-")
    left = root / "in_progress" / (".dropcap-01234567" + aside.removeprefix(".dropcap-")[8:])  # of another run, not a fork
    (root / "in_progress" / aside).rename(left)
    filing.clean()
    assert listing(root) == ["done/2026-11-24/a.pdf", "in_progress/a.pdf"]
    assert filing.finish_copy("a.pdf", "done/2026-11-24/.dropcap-0123456789abcdef", "done/2026-11-24/a.pdf", None)
    assert listing(root) == ["done/2026-11-24/a.pdf"]
    tree.close()
