"""Which files are left that lay there at first; and that a hundred thousand of them cost little."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dropcap.config.model import Folder
from dropcap.intake.strays import TOLD, Left, Marks, is_left, note_first
from dropcap.ledger.database import Unavailable

from .conftest import Desk, rule, until

FOLDER = Folder("consents", Path("/nowhere"), "p", (rule("*.pdf"),))
LEAVE = Folder("consents", Path("/nowhere"), "p", (rule("*.pdf"),), first_start="leave")
SINCE = 1_800_000_000 * 10**9


def seen(ctime_ns: int, mtime_ns: int = 5, size: int = 3) -> os.stat_result:
    return os.stat_result((0o100644, 1, 1, 1, 0, 0, size, 0, 0, 0), {"st_ctime_ns": ctime_ns, "st_mtime_ns": mtime_ns})


def marks(*names: str, **status: int) -> Marks:
    made = Marks()
    for name in names:
        made.add(name, seen(0, **status))
    made.sort()
    return made


@pytest.mark.parametrize(
    ("says", "folder", "name", "ctime_ns", "since_ns", "known", "left"),
    [
        ("at first, no rule", FOLDER, "x.jpg", SINCE, SINCE, marks(), True),
        ("at first, a rule", FOLDER, "x.pdf", SINCE, SINCE, marks(), False),
        ("dropped later", FOLDER, "x.jpg", SINCE + 1, SINCE, marks(), False),
        ("never watched before", FOLDER, "x.jpg", SINCE + 1, None, marks(), True),
        ("other rights, known again", FOLDER, "x.jpg", SINCE + 1, SINCE, marks("x.jpg"), True),
        ("changed since it was left", FOLDER, "x.jpg", SINCE + 1, SINCE, marks("x.jpg", size=4), False),
        ("written since it was left", FOLDER, "x.jpg", SINCE + 1, SINCE, marks("x.jpg", mtime_ns=4), False),
        ("known, and a rule by now", FOLDER, "x.pdf", SINCE + 1, SINCE, marks("x.pdf"), False),
        ("no text", FOLDER, os.fsdecode(b"\xff.pdf"), SINCE, SINCE, marks(), True),
        ("leave: at first", LEAVE, "x.pdf", SINCE, SINCE, marks(), True),
        ("leave: dropped again over itself", LEAVE, "x.pdf", SINCE + 1, SINCE, marks("x.pdf"), False),
    ],
)
def test_who_is_left(says: str, folder: Folder, name: str, ctime_ns: int, since_ns: int | None, known: Marks, left: bool) -> None:
    assert is_left(folder, name, seen(ctime_ns), since_ns, known) is left, says


@given(st.sets(st.binary(min_size=1, max_size=8).filter(lambda name: b"/" not in name and b"\0" not in name)))
def test_marks_are_kept_as_text(names: set[bytes]) -> None:
    made = marks(*map(os.fsdecode, names))
    again = Marks(str(made))
    assert len(again) == len(names)
    assert all(again.has(os.fsdecode(name), seen(7)) for name in names)
    assert not any(again.has(os.fsdecode(name), seen(7, size=9)) for name in names)
    assert str(again) == str(made)


@given(st.lists(st.text(max_size=3), unique=True))
def test_the_first_names_in_their_order(names: list[str]) -> None:
    first: list[str] = []
    for name in names:
        note_first(first, name)
    assert first == sorted(names)[:TOLD]


def test_a_ledger_that_cannot_be_written_leaves_them_all_the_same(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    kept: list[str] = []

    def keep(folder: str, text: str) -> None:
        kept.append(text)
        if len(kept) == 1:
            raise Unavailable("disk I/O error")

    monkeypatch.setattr(desk.ledger, "keep_left_marks", keep)
    (desk.path / "x.jpg").write_bytes(b"x")
    intake = desk.start(rules=(rule("*.pdf"),), rescan=0.1)
    until(lambda: len(kept) == 2)
    assert intake.left.first == ("x.jpg",)
    assert intake.away is None
    walked = intake.last_walk
    until(lambda: intake.last_walk != walked)
    assert len(kept) == 2, "what is kept is not written again"


def test_in_a_subfolder_that_is_walked_for_a_hint_they_are_counted_once(desk: Desk) -> None:
    (desk.path / "sub").mkdir()
    (desk.path / "sub" / "x.jpg").write_bytes(b"x")
    intake = desk.start(rules=(rule("*.pdf"),))
    until(lambda: intake.left.count == 1)
    intake.wake(["sub", "sub/x.jpg"])
    (desk.path / "sub" / "new.pdf").write_bytes(b"x")
    desk.until_open("sub/new.pdf")
    assert intake.left.count == 1
    assert (desk.path / "sub" / "x.jpg").exists()


def test_the_folder_of_an_older_dropcap_has_no_marks_yet(desk: Desk) -> None:
    assert desk.ledger.query.left_marks("consents") is None
    assert len(Left(FOLDER, desk.ledger, None)._known) == 0  # type: ignore[arg-type]
