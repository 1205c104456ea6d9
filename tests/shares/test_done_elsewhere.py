"""done/, failed/ or in_progress/ on another mount: files are copied there, and a kill leaves exactly one of each."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests import needs
from tests.crash.test_every_step import ALL, Step, sample, steps_of
from tests.heavy import HEAVY, heavy
from tests.shares.mounting import unmount
from tests.shares.test_mounts import bind
from tests.site import DROPCAP, Site, site

#: Kinds of step that a copy takes, and how many of each an ordinary run of the tests tries; three with DROPCAP_HEAVY=1.
KINDS = {
    "openat": 0,
    "write": 1,
    "fsync": 0,
    "renameat2": 1,
    "unlinkat": 2,
    "fchmod": 0,
    "utimensat": 0,
    "fdatasync": 1,
    "pwrite64": 0,
}
FILES = {
    "101_V1_consent.pdf": b"one consent",
    "ward 3/102_V1_consent.pdf": b"another one",
    "103_V1_lab_1.pdf": b"a sample",
    "no rule for it.txt": b"what is this",
}


@contextmanager
def elsewhere(place: Site, directory: str) -> Iterator[Path]:
    """That directory of the drop folder, bound from beside it."""
    lower = place.root / f"{directory} elsewhere"
    lower.mkdir()
    point = place.drop / directory
    point.mkdir()
    bind(lower, point)
    try:
        yield lower
    finally:
        unmount(point)


def dropped(place: Site) -> None:
    place.config["uploads_at_once"] = 1
    place.write_config()
    place.once()  # what lies there at first and matches no rule is left
    for name, content in FILES.items():
        place.put(name, content)


def copies(place: Site) -> dict[bytes, list[str]]:
    """Where the bytes of each file lie, but for what people and dropcap write beside them."""
    found: dict[bytes, list[str]] = {content: [] for content in FILES.values()}
    for name in place.everywhere():
        content = (place.drop / name).read_bytes()
        if content in found:
            found[content].append(name)
    return found


def wrong_now(place: Site) -> list[str]:
    """What is wrong once all is over."""
    wrong = [f"{content!r} lies at {where}" for content, where in copies(place).items() if len(where) != 1]
    wrong += [f"left behind: {path}" for path in place.drop.rglob(".dropcap-*")]
    if place.done() != sorted(name for name in FILES if name.endswith(".pdf")) or place.failed() != ["no rule for it.txt"]:
        wrong.append(f"done {place.done()}, failed {place.failed()}")
    if len([name for name in place.names("failed") if name.endswith(".why.txt")]) != 1:
        wrong.append(f"texts: {place.names('failed')}")
    held = sorted((h.record, h.field, h.instance) for h in place.box.holdings())
    if held != [("101", "consent_pdf", None), ("102", "consent_pdf", None), ("103", "lab_report", 1)]:
        wrong.append(f"REDCap has {held}")
    return wrong


def command(root: Path, *options: str) -> list[str]:
    return [needs.program("strace"), "-f", "-qq", "-o", str(root / "trace"), *options, *DROPCAP, "run", "--once"]


def killed_at(step: Step, root: Path, directory: str) -> tuple[bool, list[str]]:
    root.mkdir()
    with site(root) as place, elsewhere(place, directory):
        dropped(place)
        where = ["-P", str(root / step.path)] if step.path else []
        inject = f"inject={step.call}:signal=KILL:when={step.number}"
        line = command(root, *where, "-e", f"trace={step.call}", "-e", inject)
        first = subprocess.run(line, env=place.env(), capture_output=True, text=True, timeout=60, check=False)
        wrong = [f"lost: {content!r}" for content, where in copies(place).items() if not where]
        again = place.once()
        if "Traceback" in again.stderr or "internal_error" in again.stderr:
            wrong.append(again.stderr[-1000:])
        return first.returncode in (-signal.SIGKILL, 128 + signal.SIGKILL), wrong + wrong_now(place)


def steps(root: Path, directory: str) -> list[Step]:
    """The steps of a run that nobody kills, of those that happen in the two directories of a copy."""
    root.mkdir()
    with site(root) as place, elsewhere(place, directory):
        dropped(place)
        line = command(root, "-y", "-e", f"trace={','.join(KINDS)}")
        subprocess.run(line, env=place.env(), capture_output=True, text=True, timeout=60, check=False)
        assert wrong_now(place) == []
        found = steps_of((root / "trace").read_text(), root)
        return [step for step in found if step.path.startswith(("drop", "state/ledger.db"))]


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("directory", ["done", *(pytest.param(one, marks=heavy) for one in ("failed", "in_progress"))])
def test_killed_at_any_step_of_a_copy_one_of_each_is_left(directory: str, tmp_path: Path) -> None:
    needs.right("trace", [needs.program("strace"), "-o", os.devnull, "true"])
    all_steps = steps(tmp_path / "traced", directory)
    tried = [
        step
        for call, number in KINDS.items()
        for step in sample([s for s in all_steps if s.call == call], 3 if HEAVY else number)
    ]
    with ThreadPoolExecutor(4) as pool:
        roots = [tmp_path / str(number) for number in range(len(tried))]
        ends = dict(zip(tried, pool.map(killed_at, tried, roots, [directory] * len(tried)), strict=True))
    assert {step: wrong for step, (_, wrong) in ends.items() if wrong} == {}
    assert sum(killed for killed, _ in ends.values()) * 2 > len(tried) or ALL
