"""The power goes: of an ext4 disk remains what has reached it. What was claimed is there, whole; what is short is not sent.

The disk is an image behind a loop device. What the kernel still holds in memory for it is not in the image: a copy of
the image, taken when the process has been killed, is the disk after a power cut.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import subprocess
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from redcap_sandbox import Sandbox, demo_project
from tests import needs
from tests.crash.mix import chains_hold
from tests.site import TOKEN, Daemon, Site, site

CONSENTS = {f"{record}_V1_consent.pdf": b"%%PDF consent of %d" % record for record in range(101, 121)}
LABS = {f"{record}_V1_lab_{n}.pdf": b"%%PDF sample %d of %d" % (n, record) * 4000 for record in range(101, 107) for n in (1, 2)}
FILES = CONSENTS | LABS


def run(*words: str) -> None:
    subprocess.run(words, check=True, capture_output=True)


@contextlib.contextmanager
def mounted(image: Path, at: Path) -> Iterator[None]:
    """The image's file system; on it goes even if somebody still uses it."""
    run("mount", "-o", "loop", str(image), str(at))
    try:
        yield
    finally:
        run("umount", "-l", str(at))


@pytest.fixture(scope="module", autouse=True)
def _loops(tmp_path_factory: pytest.TempPathFactory) -> None:
    needs.program("mkfs.ext4")
    needs.program("mount")
    needs.root("to mount disks")
    root = tmp_path_factory.mktemp("probe")
    try:
        with mounted(disk(root), root):
            pass
    except (subprocess.CalledProcessError, OSError) as error:
        needs.lacking(f"loop devices ({error})")


def disk(root: Path) -> Path:
    image = root / "disk"
    with image.open("wb") as file:
        file.truncate(24 * 1024**2)
    run(needs.program("mkfs.ext4"), "-q", "-F", str(image))
    return image


def what_is_left(image: Path) -> Path:
    """A copy of the image as it is now, at one moment."""
    copy = image.with_name("left")
    before = b""
    while True:
        shutil.copyfile(image, copy)
        now = hashlib.sha256(copy.read_bytes()).digest()
        if now == before:
            return copy
        before = now


def cut(event: str, number: int, root: Path) -> list[str]:
    """Cut the power once `event` has been logged so often, start again; what is wrong then."""
    root.mkdir()
    at = root / "mnt"
    at.mkdir()
    image = disk(root)
    with Sandbox(demo_project(), token=TOKEN) as box:
        with mounted(image, at):
            place = Site(at, box)
            run("sync", "-f", str(at))
            daemon = place.start()
            for name, content in FILES.items():
                place.put(name, content)
            daemon.wait_for(event, number)
            daemon.kill()
            left = what_is_left(image)
        with mounted(left, at):
            place = Site(at, box)
            # Another loop device makes of the state_dir another home, so that the folder's marker is watched for 90 s first.
            return wrong(place, daemon, place.once(patience=180))


def wrong(place: Site, daemon: Daemon, again: subprocess.CompletedProcess[str]) -> list[str]:
    found = []
    if "Traceback" in again.stderr or "internal_error" in again.stderr or "ledger_damaged" in again.stderr:
        found.append(again.stderr[-2000:])
    there = Counter((place.drop / name).read_bytes() for name in place.everywhere())
    for name in {line["file"] for line in daemon.events("claimed")}:
        if there[FILES[name]] != 1:
            found.append(f"{name} was claimed and is there {there[FILES[name]]} times")
    held = Counter((h.record, place.box.content(h.record, h.field, h.event, h.instance)) for h in place.box.holdings())
    for name in place.done():
        times = held[name[:3], FILES[name]]
        if times != 1:
            found.append(f"done/ has {name}, REDCap has it {times} times")
    found += [f"REDCap has {content[:30]!r} {times} times" for (_, content), times in held.items() if times > 1]
    return found + chains_hold(place)


CUTS = [("claimed", 1), ("sending", 9), ("done", 12)]


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_the_power_is_cut(tmp_path: Path) -> None:
    with ThreadPoolExecutor(3) as pool:
        roots = [tmp_path / f"{event}_{number}" for event, number in CUTS]
        found = list(pool.map(lambda one: cut(*one[0], one[1]), zip(CUTS, roots, strict=True)))
    assert {moment: texts for moment, texts in zip(CUTS, found, strict=True) if texts} == {}


def test_a_file_that_came_back_short_is_held_and_not_sent(tmp_path: Path) -> None:
    with site(tmp_path) as place:
        place.box.maintenance = 503
        daemon = place.start()
        place.put("101_V1_consent.pdf", b"%PDF the whole consent")
        daemon.wait_for("claimed")
        daemon.kill()
        os.truncate(place.drop / "in_progress/101_V1_consent.pdf", 5)
        place.box.maintenance = 0
        assert place.once().returncode == 1
        (job,) = place.jobs()
        assert (job.state, job.reason) == ("held", "came_back_short")
        assert place.everywhere() == ["in_progress/101_V1_consent.pdf"]
        assert place.box.holdings() == []
