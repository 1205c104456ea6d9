"""Somebody writes other bytes into a file that dropcap has in hand and puts its size and mtime back: done/ stays true."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

import pytest

from redcap_sandbox import Fault
from tests import needs
from tests.faults.test_dragged_back import imports
from tests.shares.mounting import ErrorFs, errfs
from tests.site import Daemon, Site, eventually

IMPORT = {"content": "file", "action": "import"}
EXPORT = {"content": "file", "action": "export"}
NAME = "101_V1_consent.pdf"
BEFORE, AFTER = b"one consent", b"ONE CONSENT"
#: Of a size that is copied piece by piece.
LARGE = 200_000
#: The steps of a copy to another file system, in their order, at which it is held up.
STEPS = ["create", "write", "fsync", "read", "link", "fsyncdir"]


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


@contextmanager
def elsewhere(place: Site, directory: str = "done") -> Iterator[ErrorFs]:
    """That directory of the drop folder on another file system, with what is made there once."""
    (place.drop / directory).mkdir()
    with errfs(place.root, place.drop / directory) as disk:
        (disk.lower / datetime.now().astimezone().date().isoformat()).mkdir()
        yield disk


@pytest.mark.parametrize("step", STEPS)
def test_while_it_is_copied_to_done_on_another_file_system(place: Site, step: str) -> None:
    with elsewhere(place) as disk:
        daemon = place.start()
        disk.set(**{step: "block"})
        place.put(NAME, BEFORE * LARGE)
        disk.wait_until_it_blocks()
        put_back(place.drop / "in_progress" / NAME, AFTER * LARGE)
        disk.set()
        daemon.wait_for("done", 2, patience=60)
        assert place.box.content("101", "consent_pdf") == AFTER * LARGE
        named = [BEFORE * LARGE] if step in ("link", "fsyncdir") else []  # what REDCap had then is whole there, too
        assert sorted(done_bytes(place)) == sorted([*named, AFTER * LARGE])
        assert place.names("in_progress") == []
        assert daemon.stop() == 0


@pytest.mark.parametrize("step", ["write", "read", "fsyncdir"])
def test_what_moves_the_ctime_alone_while_it_is_copied_keeps_it_from_nothing(place: Site, step: str) -> None:
    with elsewhere(place) as disk:
        daemon = place.start()
        disk.set(**{step: "block"})
        place.put(NAME, BEFORE * LARGE)
        disk.wait_until_it_blocks()
        (place.drop / "in_progress" / NAME).chmod(0o604)
        disk.set()
        daemon.wait_for("done")
        assert daemon.events("paused") == []
        assert done_bytes(place) == [BEFORE * LARGE]
        assert imports(place) == 1
        assert daemon.stop() == 0


@pytest.mark.parametrize("step", ["create", "fsyncdir"])
def test_who_has_it_open_for_writing_is_waited_for(place: Site, step: str) -> None:
    needs.mount_table(place.root)
    with elsewhere(place) as disk:
        daemon = place.start()
        disk.set(**{step: "block"})
        place.put(NAME, BEFORE * LARGE)
        disk.wait_until_it_blocks()
        with (place.drop / "in_progress" / NAME).open("r+b", buffering=0) as writer:
            status = os.fstat(writer.fileno())
            disk.set()
            daemon.wait_for("paused", reason="filing")
            assert daemon.events("done") == []
            writer.write(AFTER * LARGE)
            os.utime(writer.fileno(), ns=(status.st_atime_ns, status.st_mtime_ns))
        daemon.wait_for("done", 2, patience=60)
        assert AFTER * LARGE in done_bytes(place)
        assert place.box.content("101", "consent_pdf") == AFTER * LARGE
        assert daemon.stop() == 0


@pytest.mark.parametrize("step", ["write", "link", "fsyncdir"])
@pytest.mark.parametrize("directory", ["failed", "in_progress"])
def test_while_it_is_copied_elsewhere(place: Site, directory: str, step: str) -> None:
    name = "no rule for it.txt" if directory == "failed" else NAME
    with elsewhere(place, directory) as disk:
        daemon = place.start()
        daemon.wait_for("folder_watched")
        disk.set(**{step: "block"})
        place.put(name, BEFORE * LARGE)
        disk.wait_until_it_blocks()
        put_back(place.drop / ("in_progress" if directory == "failed" else "") / name, AFTER * LARGE)
        disk.set()

        def at_last() -> bool:
            where = place.drop / ("failed" if directory == "failed" else "done")
            found = [(where / one).read_bytes() for one in place.names(where.name) if not one.startswith(".")]
            return AFTER * LARGE in found and place.names("in_progress") == []

        eventually(at_last, patience=60)
        assert directory == "failed" or place.box.content("101", "consent_pdf") == AFTER * LARGE
        assert daemon.stop() == 0


def test_after_a_crash_while_the_copy_and_its_original_are_compared(place: Site) -> None:
    with elsewhere(place) as disk:
        daemon = place.start()
        disk.set(fsyncdir="block")
        place.put(NAME, BEFORE * LARGE)
        disk.wait_until_it_blocks()
        daemon.process.send_signal(signal.SIGKILL)
        disk.set()  # who waits for FUSE does not die before
        daemon.kill()
        disk.set(fsyncdir="block")
        daemon = place.start()
        disk.wait_until_it_blocks()
        put_back(place.drop / "in_progress" / NAME, AFTER * LARGE)
        disk.set()
        daemon.wait_for("done", 2, patience=60)
        assert sorted(done_bytes(place)) == sorted([BEFORE * LARGE, AFTER * LARGE])
        assert place.box.content("101", "consent_pdf") == AFTER * LARGE
        assert daemon.stop() == 0
