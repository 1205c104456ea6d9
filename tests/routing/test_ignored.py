"""Names that are no dropped files."""

from __future__ import annotations

import pytest

from dropcap.routing.route import ignored


@pytest.mark.parametrize(
    "name",
    [
        ".hidden", ".dropcap", "~$letter.docx", "a.tmp", "A.TMP", "a.part", "a.partial", "a.filepart", "a.crdownload",
        "a.download", ".a.swp", "a.lock", "a.pdf~", "Thumbs.db", "thumbs.DB", "desktop.ini", "_STATUS.html",
        "System Volume Information", "$RECYCLE.BIN", "lost+found", "@eaDir", "@eaDir/a.pdf", ".git/a.pdf", "sub/a.tmp",
        "sub/.x/a.pdf",
    ],
)  # fmt: skip
def test_ignored(name: str) -> None:
    assert ignored(name, ())


@pytest.mark.parametrize("name", ["a.pdf", "tmp", "a.tmp.pdf", "sub/a.pdf", "$a", "status.html", "part", "\udc80", ""])
def test_taken(name: str) -> None:
    assert ignored(name, ()) is None


@pytest.mark.parametrize(
    ("glob", "name", "expected"),
    [
        ("*.log", "a.LOG", True),
        ("*.log", "sub/a.log", True),
        ("sub/*", "sub/a.pdf", True),
        ("sub/*", "a.pdf", False),
        ("caf\u00e9*", "cafe\u0301.pdf", True),
        ("[", "[", True),
        ("draft-??.pdf", "draft-01.pdf", True),
    ],
)
def test_globs(glob: str, name: str, expected: bool) -> None:
    reason = ignored(name, [glob])
    assert (reason is not None) is expected
    assert not expected or f"`{glob}`" in str(reason)
