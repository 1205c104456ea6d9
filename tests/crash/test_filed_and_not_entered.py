"""Killed when a failed file and its text lay in failed/ and the ledger did not know yet; a person acts before the next start."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import time

import pytest

from tests.site import Site, eventually

NAME, RIGHT = "999_V1_consent.pdf", "101_V1_consent.pdf"


@pytest.fixture
def killed(place: Site) -> Site:
    """A site in which that has happened, as the disk and the ledger tell it after the kill."""
    place.put(NAME, b"the consent")
    assert place.once().returncode == 1
    assert place.names("failed") == [NAME, f"{NAME}.why.txt"]
    with contextlib.closing(sqlite3.connect(place.state / "ledger.db")) as ledger, ledger:
        ledger.execute("update job set state = 'refused', filed_as = null, ended_at = null")
    return place


@pytest.mark.parametrize("text", [True, False], ids=["with its text", "before its text"])
@pytest.mark.parametrize("to", [RIGHT, f"failed/{RIGHT}"], ids=["moved back", "renamed in failed"])
def test_it_is_tried_again_and_its_text_goes(killed: Site, to: str, text: bool) -> None:
    if not text:
        (killed.drop / "failed" / f"{NAME}.why.txt").unlink()
    (killed.drop / "failed" / NAME).rename(killed.drop / to)
    daemon = killed.start()
    daemon.wait_for("done", file=RIGHT)
    eventually(lambda: killed.names("failed") == [])
    assert killed.done() == [RIGHT]
    assert killed.box.content("101", "consent_pdf", "baseline_arm_1") == b"the consent"


def test_a_text_that_was_left_without_its_file_goes_with_the_next_run(place: Site) -> None:
    place.put(NAME, b"the consent")
    assert place.once().returncode == 1
    (place.drop / "failed" / NAME).rename(place.drop / RIGHT)
    text = place.drop / "failed" / f"{NAME}.why.txt"
    kept = text.read_bytes()
    assert place.once().returncode == 0
    assert place.names("failed") == []
    text.write_bytes(kept)
    hour_ago = time.time() - 3600
    os.utime(text, (hour_ago, hour_ago))
    assert place.once().returncode == 0
    assert place.names("failed") == []


def test_left_alone_it_is_entered_with_its_text(killed: Site) -> None:
    daemon = killed.start()
    (failed,) = daemon.wait_for("failed", file=NAME)
    assert failed["filed_as"] == f"failed/{NAME}"
    assert killed.names("failed") == [NAME, f"{NAME}.why.txt"]


def test_taken_away_with_its_text_it_is_withdrawn(killed: Site) -> None:
    for name in (NAME, f"{NAME}.why.txt"):
        (killed.drop / "failed" / name).rename(killed.root / name)
    daemon = killed.start()
    daemon.wait_for("withdrawn", file=NAME)
    assert killed.names("failed") == []
