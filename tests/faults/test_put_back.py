"""Somebody writes other bytes into a file that dropcap has in hand and puts its size and mtime back: done/ stays true."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from redcap_sandbox import Fault
from tests import needs
from tests.faults.test_dragged_back import imports
from tests.site import Daemon, Site

IMPORT = {"content": "file", "action": "import"}
EXPORT = {"content": "file", "action": "export"}
NAME = "101_V1_consent.pdf"
BEFORE, AFTER = b"one consent", b"ONE CONSENT"


def put_back(path: Path, content: bytes) -> None:
    """Write `content`, of the same length, so that size and mtime say nothing of it."""
    status = path.stat()
    assert status.st_size == len(content)
    with path.open("r+b") as file:
        file.write(content)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def stored_and_not_filed(place: Site, name: str = NAME) -> Daemon:
    """A daemon that cannot file what REDCap has: a file stands in the place of done/."""
    daemon = place.start()
    daemon.wait_for("folder_watched")
    (place.drop / "done").write_bytes(b"in the way")
    place.put(name, BEFORE)
    daemon.wait_for("paused", reason="filing")
    return daemon


def done_bytes(place: Site) -> list[bytes]:
    return [(place.drop / "done" / name).read_bytes() for name in place.names("done")]


@pytest.mark.parametrize("restarted", [False, True])
def test_between_the_confirmation_and_the_filing(place: Site, restarted: bool) -> None:
    daemon = stored_and_not_filed(place)
    if restarted:
        daemon.kill()
    put_back(place.drop / "in_progress" / NAME, AFTER)
    (place.drop / "done").unlink()
    if restarted:
        daemon = place.start()
    daemon.wait_for("done", 2, patience=40)
    assert done_bytes(place) == [AFTER]
    assert place.box.content("101", "consent_pdf") == AFTER
    assert [(place.kept / name).read_bytes() for name in place.copies()] == [BEFORE]


def test_a_file_for_next_that_was_changed_so_is_another_file(place: Site) -> None:
    daemon = stored_and_not_filed(place, "101_V1_lab_1.pdf")
    put_back(place.drop / "in_progress/101_V1_lab_1.pdf", AFTER)
    (place.drop / "done").unlink()
    daemon.wait_for("done", 2, patience=40)
    assert done_bytes(place) == [AFTER]
    held = [place.box.content("101", "lab_report", "baseline_arm_1", number) for number in (1, 2)]
    assert held == [BEFORE, AFTER]


@pytest.mark.parametrize("act", ["chmod", "link", "same bytes", "renamed to and fro"])
def test_what_moves_the_ctime_alone_sends_nothing_again(place: Site, act: str) -> None:
    daemon = stored_and_not_filed(place)
    path = place.drop / "in_progress" / NAME
    if act == "chmod":
        path.chmod(0o604)
    elif act == "link":
        os.link(path, place.root / "another name")
    elif act == "same bytes":
        put_back(path, BEFORE)
    else:
        path.rename(place.root / "aside")
        (place.root / "aside").rename(path)
    (place.drop / "done").unlink()
    daemon.wait_for("done", patience=40)
    assert done_bytes(place) == [BEFORE]
    assert imports(place) == 1
    assert [str(job.state) for job in place.jobs()] == ["done"]


@pytest.mark.parametrize("while_", ["sent", "read back"])
def test_while_it_is_under_way(place: Site, while_: str) -> None:
    place.box.ill(Fault("delay", times=1, skip=while_ == "read back", match=IMPORT if while_ == "sent" else EXPORT, seconds=1.5))
    daemon = place.start()
    place.put(NAME, BEFORE)
    assert place.box.illness.wait()
    put_back(place.drop / "in_progress" / NAME, AFTER)
    daemon.wait_for("done", patience=40)
    assert done_bytes(place) == [AFTER]
    assert place.box.content("101", "consent_pdf") == AFTER


def test_what_cannot_be_read_any_more_is_not_called_done(place: Site) -> None:
    """Root reads everything, so that dropcap runs without its privileges here."""
    daemon = place.start(prefix=needs.unprivileged())
    daemon.wait_for("folder_watched")
    (place.drop / "done").write_bytes(b"in the way")
    place.put(NAME, BEFORE)
    daemon.wait_for("paused", reason="filing")
    path = place.drop / "in_progress" / NAME
    put_back(path, AFTER)
    path.chmod(0)
    (place.drop / "done").unlink()
    daemon.wait_for("paused", 2, reason="filing")
    assert place.done() == []
    path.chmod(0o644)
    daemon.wait_for("done", 2, patience=60)
    assert done_bytes(place) == [AFTER]
