"""What somebody puts into done/ or failed/, on real files and with the real ledger."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import pytest
import structlog

from dropcap.config.model import Folder
from dropcap.intake import strays
from dropcap.intake.opened import DropDirectory
from dropcap.intake.owner import Run, StalenessCheck
from dropcap.intake.strays import Strays
from dropcap.ledger.job import Change, NewFile, State
from dropcap.ledger.store import Ledger

from .conftest import Context, Quiet, address

NOW = datetime.now().astimezone().date()
TODAY, YESTERDAY = f"done/{NOW.isoformat()}", f"done/{(NOW - timedelta(days=1)).isoformat()}"
LONG_AGO = "done/2020-02-29"


class Place:
    """A drop folder with files that dropcap has filed, as far as its ledger knows."""

    def __init__(self, root: Path) -> None:
        self.path = root / "drop"
        self.path.mkdir()
        self.ledger = Ledger(root / "ledger.db")
        context = Context(self.ledger, Folder("consents", self.path, "p", ()), Run.of(root))
        self.opened = DropDirectory(context, Quiet(), StalenessCheck(), watched=False)
        self.tree = self.opened.tree
        self.strays = Strays(self.opened)
        time.sleep(0.02)  # what lies there before the folder is known is let be, and clocks tick

    def put(self, name: str, content: bytes = b"x") -> Path:
        path = self.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        return path

    def filed(self, name: str, state: State = State.DONE, content: bytes = b"own", *, inode: bool = True) -> Path:
        """As filing does. `inode=False`: as where inodes tell nothing."""
        path = self.put(name, content)
        status = path.stat()
        file = NewFile(name.rpartition("/")[2], status.st_size, status.st_mtime_ns, status.st_ino if inode else 0)
        (job,) = self.ledger.claim("consents", [file], address)
        before = State.STORED if state is State.DONE else State.REFUSED
        self.ledger.change([Change(job, before)])
        self.ledger.change([Change(job, state, "", {"filed_as": name})])
        return path

    def found(self) -> list[str]:
        """After a walk, and the daily round if it is its time."""
        self.strays._look_at = 0.0
        self.strays.want()
        while self.strays.next_step() < float("inf"):
            time.sleep(max(0.0, self.strays.next_step() - time.monotonic()))
            self.strays.step()
        return list(self.strays.files.first)


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    place = Place(tmp_path)
    yield place
    place.opened.heartbeat.end()
    place.tree.close()
    place.ledger.close()


WHERE = [
    "failed/x.pdf",
    "failed/sub/x.pdf",
    "done/x.pdf",
    f"{TODAY}/x.pdf",
    f"{TODAY}/sub/x.pdf",
    f"{YESTERDAY}/x.pdf",
    "done/old/x.pdf",
]


@pytest.mark.parametrize("name", WHERE)
def test_found_at_each_walk(place: Place, name: str) -> None:
    assert place.found() == []
    path = place.put(name)
    assert place.found() == [name]
    assert place.strays.files.count == 1
    assert "dropcap did not put them there" in place.strays.files.message
    path.unlink()
    assert place.found() == []
    assert place.strays.files == strays.StrayFiles()


def test_found_everywhere_in_the_daily_round(place: Place) -> None:
    name = f"{LONG_AGO}/x.pdf"
    path = place.put(name)
    assert place.found() == [name], "the first round comes at once"
    place.put(f"{LONG_AGO}/y.pdf")
    assert place.found() == [name]
    place.strays._round_at = 0.0  # a day later
    assert place.found() == [name, f"{LONG_AGO}/y.pdf"]
    path.unlink()
    assert place.found() == [f"{LONG_AGO}/y.pdf"], "what has gone is not told until tomorrow"


@pytest.mark.parametrize(
    "name",
    [
        "failed/x.pdf.why.txt", "failed/x.pdf.why (2).txt", f"{TODAY}/x.pdf.receipt.json", "done/Thumbs.db", "done/.DS_Store",
        f"{TODAY}/~$x.docx", f"{TODAY}/.dropcap-0123456789abcdef",
    ],
)  # fmt: skip
def test_texts_receipts_and_what_nobody_drops(place: Place, name: str) -> None:
    place.put(name)
    assert place.found() == []


def test_what_is_no_file(place: Place) -> None:
    (place.path / TODAY).mkdir(parents=True)
    (place.path / TODAY / "link.pdf").symlink_to("/nowhere")
    os.mkfifo(place.path / TODAY / "fifo")
    assert place.found() == []


def test_a_link_in_the_place_of_a_directory_is_not_followed(place: Place, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "x.pdf").write_bytes(b"x")
    (place.path / "done").symlink_to(tmp_path / "elsewhere")
    (place.path / "failed").symlink_to(tmp_path / "elsewhere")
    assert place.found() == []


@pytest.mark.parametrize("inode", [True, False])
@pytest.mark.parametrize(
    ("filed", "state", "moved"),
    [
        (f"{TODAY}/x.pdf", State.DONE, None),
        (f"{TODAY}/x.pdf", State.DONE, f"{TODAY}/sub/y.pdf"),
        (f"{TODAY}/x.pdf", State.DONE, "done/y.pdf"),
        (f"{TODAY}/x.pdf", State.DONE, "done/archive/y.pdf"),
        (f"{TODAY}/x.pdf", State.DONE, f"{LONG_AGO}/y.pdf"),
        (f"{TODAY}/x.pdf", State.DONE, "failed/y.pdf"),
        ("failed/x.pdf", State.FAILED, None),
        ("failed/x.pdf", State.FAILED, "failed/sub/y.pdf"),
    ],
)
def test_dropcaps_own_files_wherever_they_are_moved(
    place: Place, filed: str, state: State, moved: str | None, inode: bool
) -> None:
    path = place.filed(filed, state, inode=inode)
    if not inode:
        place.tree.stable_inodes = False
    if moved is not None:
        (place.path / moved).parent.mkdir(parents=True, exist_ok=True)
        path.rename(place.path / moved)
    assert place.found() == []


def test_dropcaps_own_file_that_was_filed_as_a_copy_of_another_file_system(place: Place) -> None:
    """in_progress/ lies on another mount: the ledger has the inode of the file there."""
    path = place.filed(f"{TODAY}/x.pdf", inode=False)
    assert place.tree.stable_inodes
    path.rename(path.with_name("y.pdf"))
    assert place.found() == []


def test_a_copy_of_dropcaps_own_file_is_a_stray(place: Place) -> None:
    """It looks as if it had been stored under its new name."""
    path = place.filed(f"{TODAY}/x.pdf")
    shutil.copy2(path, path.with_name("y.pdf"))
    assert place.found() == [f"{TODAY}/y.pdf"]


@pytest.mark.parametrize("where", [TODAY, "done"])
def test_a_directory_with_files_that_are_older_than_the_folder(tmp_path: Path, where: str) -> None:
    for name in ("dragged", "dragged/deeper"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "x.pdf").write_bytes(b"x")
    time.sleep(0.02)
    place = Place(tmp_path)
    (place.path / where).mkdir(parents=True)
    (tmp_path / "dragged").rename(place.path / where / "dragged")
    assert place.found() == [f"{where}/dragged/deeper/x.pdf", f"{where}/dragged/x.pdf"]
    place.opened.heartbeat.end()
    place.tree.close()
    place.ledger.close()


def test_what_failed_and_is_moved_to_done_only_looks_stored(place: Place) -> None:
    path = place.filed("failed/x.pdf", State.FAILED)
    (place.path / TODAY).mkdir(parents=True)
    path.rename(place.path / TODAY / "x.pdf")
    assert place.found() == [f"{TODAY}/x.pdf"]


def test_another_file_with_the_inode_of_one_that_is_gone(place: Place) -> None:
    """File systems give the numbers of removed files to new ones."""
    path = place.filed(f"{TODAY}/x.pdf", content=b"own")
    number = path.stat().st_ino
    path.write_bytes(b"another content")
    path.rename(path.with_name("y.pdf"))
    assert path.with_name("y.pdf").stat().st_ino == number
    assert place.found() == [f"{TODAY}/y.pdf"]


def test_what_is_being_filed_is_ours(place: Place) -> None:
    """The ledger has heard that it is stored, and not yet where it lies."""
    path = place.put(f"{TODAY}/x.pdf")
    status = path.stat()
    (job,) = place.ledger.claim("consents", [NewFile("x.pdf", status.st_size, status.st_mtime_ns, status.st_ino)], address)
    place.ledger.change([Change(job, State.STORED)])
    assert place.found() == []


def test_what_lay_there_before_is_let_be(tmp_path: Path) -> None:
    """The ledger was lost, or the folder adopted: nobody has dragged a thousand files there."""
    (tmp_path / "drop" / TODAY).mkdir(parents=True)
    (tmp_path / "drop" / TODAY / "x.pdf").write_bytes(b"x")
    time.sleep(0.02)
    ledger = Ledger(tmp_path / "ledger.db")
    context = Context(ledger, Folder("consents", tmp_path / "drop", "p", ()), Run.of(tmp_path))
    opened = DropDirectory(context, Quiet(), StalenessCheck(), watched=False)
    opened.heartbeat.end()
    found = Strays(opened)
    found.want()
    found.step()
    assert found.files.count == 0
    time.sleep(0.02)
    (tmp_path / "drop" / TODAY / "x.pdf").chmod(0o600)  # nobody has put it there either
    for _ in range(2):
        found._look_at = 0.0
        found.want()
        found.step()
        assert found.files.count == 0
    (tmp_path / "drop" / TODAY / "y.pdf").write_bytes(b"x")
    (tmp_path / "drop" / TODAY / "y.pdf").chmod(0o600)
    found._look_at = 0.0
    found.want()
    found.step()
    assert f"{TODAY}/y.pdf" in found.files.first
    opened.close()
    ledger.close()


def test_told_once_with_count_and_first_names(place: Place) -> None:
    for number in range(50):
        place.put(f"{TODAY}/{number:03d}.pdf")
    with structlog.testing.capture_logs() as told:
        place.found()
        place.found()
        place.put("failed/x.pdf")
        place.found()
        (place.path / "failed" / "x.pdf").unlink()
        place.found()
    assert [(one["event"], one["count"], len(one["first"])) for one in told] == [("stray", 50, 20), ("stray", 51, 20)]
    assert told[0]["first"][0] == f"{TODAY}/000.pdf"
    assert "these lie in done/, but dropcap did not put them there" in told[0]["message"]
    assert "… (50 files)" in told[0]["message"]
    assert "done/ and failed/" in told[1]["message"]


def test_a_directory_that_does_not_change_is_not_listed_again(place: Place) -> None:
    place.filed(f"{TODAY}/x.pdf")
    old = time.time() - 60
    for directory in ("done", TODAY):
        os.utime(place.path / directory, (old, old))
    listed: list[str] = []
    scan = place.tree.scan

    def noted(relative: str = "", recursive: bool = True) -> object:
        listed.append(relative)
        return scan(relative, recursive)

    place.tree.scan = noted  # type: ignore[method-assign, assignment]
    place.found()
    assert TODAY in listed
    listed.clear()
    place.found()
    assert TODAY not in listed
    place.put(f"{TODAY}/y.pdf")
    assert place.found() == [f"{TODAY}/y.pdf"]
    assert place.found() == [f"{TODAY}/y.pdf"]
