"""Whatever somebody puts into a drop folder: nothing outside is read, nobody's file is lost, and others go on."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import stat
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from redcap_sandbox import Fault
from tests.heavy import heavy
from tests.site import Daemon, Site, eventually

OUTSIDE = b"outside the folder, and nobody's business"


@pytest.fixture
def outside(place: Site) -> Path:
    """A directory beside the drop folder, with a file that must never leave it."""
    path = place.root / "outside"
    path.mkdir()
    (path / "105_V1_consent.pdf").write_bytes(OUTSIDE)
    return path


def untouched(outside: Path) -> bool:
    return [(p.name, p.read_bytes()) for p in outside.iterdir()] == [("105_V1_consent.pdf", OUTSIDE)]


def nothing_leaked(place: Site) -> bool:
    return all(place.box.content(h.record, h.field, h.event, h.instance) != OUTSIDE for h in place.box.holdings())


def calm(daemon: Daemon) -> bool:
    return not any("Traceback" in line or '"exception"' in line or "internal_error" in line for line in daemon.raw)


def test_what_is_no_file_is_left_where_it_is(place: Site, outside: Path) -> None:
    drop = place.drop
    (drop / "101_V1_consent.pdf").symlink_to(outside / "105_V1_consent.pdf")
    (drop / "linked").symlink_to(outside)
    (drop / "102_V1_consent.pdf").symlink_to("nowhere")
    os.mkfifo(drop / "103_V1_consent.pdf")
    with contextlib.suppress(PermissionError):
        os.mknod(drop / "104_V1_consent.pdf", stat.S_IFCHR | 0o600, os.makedev(1, 5))  # /dev/zero: it never ends
    listener = socket.socket(socket.AF_UNIX)
    directory = os.open(drop, os.O_PATH)
    listener.bind(f"/proc/self/fd/{directory}/106_V1_consent.pdf")
    place.put("107_V1_consent.pdf", b"a real one")
    daemon = place.start()
    daemon.wait_for("done", file="107_V1_consent.pdf")
    daemon.wait_for("entry_ignored", 5)
    page = drop / "_STATUS.html"
    eventually(
        lambda: page.exists() and "103_V1_consent.pdf" in page.read_text() and "Copy the file itself here." in page.read_text()
    )
    assert daemon.stop() == 0
    assert place.done() == ["107_V1_consent.pdf"]
    assert (drop / "101_V1_consent.pdf").is_symlink()
    assert (drop / "103_V1_consent.pdf").is_fifo()
    assert len(daemon.events("entry_ignored", file="103_V1_consent.pdf")) == 1
    assert untouched(outside)
    assert nothing_leaked(place)
    assert calm(daemon)
    listener.close()
    os.close(directory)


@pytest.mark.parametrize("own", ["in_progress", "failed", pytest.param("done", marks=heavy)])
def test_its_own_directory_is_swapped_for_a_link_while_it_runs(place: Site, outside: Path, own: str) -> None:
    daemon = place.start()
    place.put("101_V1_consent.pdf", b"before")
    place.put("holiday.jpg", b"before")
    daemon.wait_for("done")
    daemon.wait_for("failed")
    aside = place.drop / f".{own}-aside"
    with contextlib.suppress(FileNotFoundError):
        (place.drop / own).rename(aside)
    (place.drop / own).symlink_to(outside)
    place.put("101_V1_consent.pdf", b"meanwhile")
    place.put("picnic.jpg", b"meanwhile")
    trouble = eventually(
        lambda: daemon.events("paused") + daemon.events("entry_ignored") + daemon.events("folder_away") + waiting(place)
    )
    assert trouble
    assert untouched(outside)
    daemon.process.send_signal(signal.SIGSTOP)  # or it makes a new one in between
    (place.drop / own).unlink()
    if aside.exists():
        aside.rename(place.drop / own)
    daemon.process.send_signal(signal.SIGCONT)
    daemon.wait_for("done", 2, patience=40.0)
    daemon.wait_for("failed", 2, patience=40.0)
    assert daemon.stop() == 0
    assert place.box.content("101", "consent_pdf", "baseline_arm_1") == b"meanwhile"
    assert place.failed() == ["holiday.jpg", "picnic.jpg"]
    assert untouched(outside)
    assert calm(daemon)


def waiting(place: Site) -> list[object]:
    return [job for job in place.jobs() if job.reason and job.state.value in ("waiting", "held", "unknown")]


def test_the_folder_itself_is_swapped_for_a_link(place: Site, outside: Path) -> None:
    daemon = place.start()
    place.put("101_V1_consent.pdf", b"before")
    daemon.wait_for("done")
    aside = place.root / "aside"
    place.drop.rename(aside)
    place.drop.symlink_to(outside)
    daemon.wait_for("folder_away")
    assert untouched(outside)
    place.drop.unlink()
    aside.rename(place.drop)
    place.put("102_V1_consent.pdf", b"after")
    daemon.wait_for("done", 2)
    assert daemon.stop() == 0
    assert untouched(outside)
    assert nothing_leaked(place)


def test_a_file_is_swapped_for_a_link_in_in_progress(place: Site, outside: Path) -> None:
    place.box.ill(Fault("status", code=503))
    daemon = place.start()
    place.put("101_V1_consent.pdf", b"the real one")
    daemon.wait_for("claimed")
    taken = place.drop / "in_progress" / "101_V1_consent.pdf"
    taken.rename(place.root / "stolen")
    taken.symlink_to(outside / "105_V1_consent.pdf")
    place.put("102_V1_consent.pdf", b"another")
    place.box.well()
    daemon.wait_for("done", file="102_V1_consent.pdf")
    assert daemon.stop() == 0
    assert nothing_leaked(place)
    assert untouched(outside)
    assert calm(daemon)


@pytest.mark.parametrize("what", [os.mkdir, os.mkfifo])
def test_a_waiting_file_is_swapped_for_what_is_no_file(place: Site, what: Callable[[Path], None]) -> None:
    place.box.ill(Fault("status", code=503))
    daemon = place.start()
    place.put("101_V1_consent.pdf", b"taken away")
    daemon.wait_for("paused")
    taken = place.drop / "in_progress" / "101_V1_consent.pdf"
    taken.rename(place.root / "stolen")
    what(taken)
    daemon.wait_for("withdrawn")
    assert daemon.stop() == 0
    assert calm(daemon)


@pytest.mark.parametrize("own", ["in_progress", "failed"])
def test_the_name_of_an_own_directory_is_taken(place: Site, own: str) -> None:
    os.mkfifo(place.drop / own)
    daemon = place.start()
    (away,) = daemon.wait_for("folder_away")
    assert f"{own} in {place.drop} is not a directory" in away["message"]
    (place.drop / own).unlink()
    place.put("101_V1_consent.pdf")
    daemon.wait_for("done")
    assert daemon.stop() == 0


def test_a_hard_link_to_a_file_elsewhere(place: Site, outside: Path) -> None:
    """Its bytes are delivered: whoever could link it could copy it. The other name keeps its file."""
    place.once()  # what lies there at first and matches no rule is left
    theirs = place.root / "theirs"
    theirs.write_bytes(b"linked")
    os.link(theirs, place.drop / "101_V1_consent.pdf")
    os.link(theirs, place.drop / "holiday.jpg")
    place.once()
    assert theirs.read_bytes() == b"linked"
    assert place.box.content("101", "consent_pdf", "baseline_arm_1") == b"linked"
    assert place.failed() == ["holiday.jpg"]
    assert place.done() == ["101_V1_consent.pdf"]


NAMES = [
    b"\x1b[31mred\x1b]0;title\x07.pdf",
    "a\u202efdp.exe".encode(),
    b"two\nlines\r.pdf",
    b"not utf-8 \xff\xfe.pdf",
    b"x" * 251 + b".pdf",
    b"<script>alert(1)</script>.pdf"[:40].replace(b"/", b""),
    b'"><img src=x onerror=alert(1)>.pdf',
    b"=HYPERLINK(1)+cmd.pdf",
    b"-rf",
    b"' or 1=1 --.pdf",
    b" ",
    b"%s%n{record}.pdf",
    "\u00e9.pdf".encode(),
    "e\u0301.pdf".encode(),
    b"CON",
]


def test_names_that_hurt_of_files_that_are_left(place: Site) -> None:
    for name in NAMES:
        with open(os.path.join(os.fsencode(place.drop), name), "wb") as file:
            file.write(name)
    daemon = place.start()
    (left,) = daemon.wait_for("files_left")
    assert left["count"] == len(NAMES)
    page = place.drop / "_STATUS.html"
    eventually(lambda: page.exists() and "=HYPERLINK" in page.read_text())
    assert b"<script>alert" not in page.read_bytes()
    shown = [page.read_bytes(), "".join(daemon.raw).encode()]
    for command in (["status"], ["status", "--json"], ["check", "--offline"], ["dry-run"]):
        said = place.dropcap(*command)
        assert "Traceback" not in said.stderr
        shown.append(said.stdout.encode())
    for text in shown:
        for bad in (b"\x1b", b"\x07", "\u202e".encode(), b"\xff", b"\r"):
            assert bad not in text
    assert daemon.stop() == 0
    assert place.names("failed") == []
    again = place.start().wait_for("files_left")
    assert again[0]["count"] == len(NAMES)


def test_names_that_hurt(place: Site) -> None:
    place.once()  # what lies there at first and matches no rule is left
    for name in NAMES:
        with open(os.path.join(os.fsencode(place.drop), name), "wb") as file:
            file.write(name)
    daemon = place.start()
    daemon.wait_for("failed", len(NAMES))
    place.put("101_V1_consent.pdf", b"one")
    daemon.wait_for("done")
    failed = os.path.join(os.fsencode(place.drop), b"failed")
    for name in NAMES:
        with open(os.path.join(failed, name), "rb") as file:
            assert file.read() == name
    texts = [text for text in os.listdir(failed) if text.endswith(b".why.txt")]
    assert len(texts) == len(NAMES), "each has its reason beside it"

    page = place.drop / "_STATUS.html"
    eventually(lambda: page.exists() and "=HYPERLINK" in page.read_text())
    html = page.read_bytes()
    assert b"<script>alert" not in html
    assert b"<img" not in html
    shown = [
        html,
        "".join(daemon.raw).encode(),
        place.dropcap("status").stdout.encode(),
        place.dropcap("history").stdout.encode(),
        place.dropcap("explain", *[os.fsdecode(name) for name in NAMES if not name.startswith(b"-")]).stdout.encode(),
        *[Path(os.fsdecode(os.path.join(failed, text))).read_bytes() for text in texts],
    ]
    for text in shown:
        for bad in (b"\x1b", b"\x07", "\u202e".encode(), b"\xff", b"\r"):
            assert bad not in text.replace(b"\r\n", b"\n")
    for line in daemon.raw:
        json.loads(line)  # one object a line, whatever the name
    asked = json.loads(place.dropcap("status", "--json").stdout)
    assert asked
    assert daemon.stop() == 0
    assert calm(daemon)


def test_deep_trees(place: Site) -> None:
    """200 levels: beyond what a path may have in one piece. The file is claimed and filed at its own depth."""
    fd = os.open(place.drop, os.O_RDONLY | os.O_DIRECTORY)
    for level in range(200):
        name = f"level-{level:03}-of-a-tree-that-nobody-wants"
        os.mkdir(name, dir_fd=fd)
        child = os.open(name, os.O_RDONLY | os.O_DIRECTORY, dir_fd=fd)
        os.close(fd)
        fd = child
    deep = os.open("101_V1_consent.pdf", os.O_WRONLY | os.O_CREAT, 0o644, dir_fd=fd)
    os.write(deep, b"from the deep")
    os.close(deep)
    os.close(fd)
    place.put("102_V1_consent.pdf", b"at the top")
    daemon = place.start()
    daemon.wait_for("done", 2, patience=30.0)
    assert place.box.content("101", "consent_pdf", "baseline_arm_1") == b"from the deep"
    assert daemon.stop() == 0
    assert calm(daemon)


def test_a_sparse_giant_is_refused_without_being_read(place: Site) -> None:
    giant = place.root / "giant"
    with giant.open("wb") as file:
        os.truncate(file.fileno(), 1 << 40)
    giant.rename(place.drop / "101_V1_consent.pdf")
    place.put("102_V1_consent.pdf", b"small")
    daemon = place.start()
    (told,) = daemon.wait_for("failed")
    assert told["reason"] == "too_large"
    assert place.failed() == ["101_V1_consent.pdf"]
    daemon.wait_for("done")
    read = next(line for line in Path(f"/proc/{daemon.process.pid}/io").read_text().splitlines() if line.startswith("rchar"))
    assert int(read.split()[1]) < 1 << 28, "it was not read"
    assert daemon.stop() == 0


def test_foreign_files_under_dropcaps_names(place: Site) -> None:
    place.once()  # what lies there at first and matches no rule is left
    (place.drop / "_STATUS.html").write_text("somebody's own page")
    (place.drop / "failed").mkdir()
    (place.drop / "failed" / "holiday.jpg.why.txt").write_text("somebody's own reason")
    place.put("holiday.jpg", b"nowhere")
    place.put("101_V1_consent.pdf.why.txt", b"dropped under such a name")
    place.once()
    assert (place.drop / "_STATUS.html").read_text() == "somebody's own page"
    assert (place.drop / "failed" / "holiday.jpg.why.txt").read_text() == "somebody's own reason"
    told = [
        path
        for path in (place.drop / "failed").glob("holiday.jpg*")
        if "does not say where the file belongs" in path.read_text(errors="replace")
    ]
    assert len(told) == 1
    found = [path for path in place.drop.rglob("*") if path.is_file() and path.read_bytes() == b"dropped under such a name"]
    assert len(found) == 1
    (place.drop / "failed" / "holiday.jpg").rename(place.drop / "101_V1_scan.jpg")
    assert place.once().returncode in (0, 1)
    assert place.box.content("101", "scan", "baseline_arm_1") == b"nowhere"
    assert (place.drop / "failed" / "holiday.jpg.why.txt").read_text() == "somebody's own reason"


def test_the_page_that_dropcap_writes_beside_a_foreign_one_is_no_dropped_file(place: Site) -> None:
    (place.drop / "_STATUS.html").write_text("somebody's own")
    daemon = place.start()
    page = place.drop / "_STATUS (dropcap).html"
    eventually(page.exists)
    place.put("101_V1_consent.pdf")
    daemon.wait_for("done")
    assert place.failed() == []
    assert page.exists()
    assert daemon.stop() == 0


def test_a_file_in_the_place_of_the_day_in_done(place: Site) -> None:
    (place.drop / "done").mkdir()
    today = datetime.now().astimezone().date()
    in_the_way = [place.drop / "done" / day.isoformat() for day in (today, today + timedelta(days=1))]
    for path in in_the_way:
        path.touch()
    daemon = place.start()
    place.put("101_V1_consent.pdf")
    told, *_ = daemon.wait_for("paused")
    assert "rename what has that name" in told["message"]
    for path in in_the_way:
        path.unlink()
    daemon.wait_for("done")
    assert daemon.stop() == 0


def test_a_foreign_marker(place: Site) -> None:
    for content in (b"{}", b"[" * 100_000):
        (place.drop / ".dropcap").write_bytes(content)
        place.put("101_V1_consent.pdf")
        result = place.once()
        assert result.returncode == 1
        assert ".dropcap" in result.stdout
        assert "Traceback" not in result.stderr
        assert (place.drop / ".dropcap").read_bytes() == content
        assert place.box.holdings() == []
    (place.drop / ".dropcap").unlink()
    os.mkfifo(place.drop / ".dropcap")
    assert place.once().returncode == 1
