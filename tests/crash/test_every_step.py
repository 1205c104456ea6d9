"""The process is killed at every step between two effects, started again, and nothing is lost, doubled or false.

The steps are found by tracing a run that nobody kills. `DROPCAP_CRASH=all` tries each of them, else a fixed sample of each kind.
"""

from __future__ import annotations

import collections
import os
import re
import signal
import subprocess
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests import needs
from tests.crash import mix
from tests.site import DROPCAP, Site, site

#: Kinds of step, and how many of each an ordinary run of the tests tries.
KINDS = {
    "renameat2": 4,
    "mkdirat": 0,
    "unlinkat": 1,
    "fsync": 1,
    "fdatasync": 2,
    "pwrite64": 1,
    "write": 0,
    "sendto": 2,
    "recvfrom": 1,
}
ALL = os.environ.get("DROPCAP_CRASH") == "all"
#: Runs at once; most of their time is waiting.
AT_ONCE = 4

_CALL = re.compile(r"(?P<thread>\d+) +(?P<call>\w+)\((?P<arguments>.*)")
_PATH = re.compile(r"<(?P<path>/[^>]*)>")


@dataclass(frozen=True, slots=True)
class Step:
    """The `number`-th `call` of a thread, counting those alone that concern `path` (beneath the site) if one is given."""

    call: str
    number: int
    path: str = ""


def strace(root: Path, *options: str) -> list[str]:
    return [needs.program("strace"), "-f", "-qq", "-o", str(root / "trace"), *options, *DROPCAP, "run", "--once"]


def steps_of(trace: str, root: Path) -> list[Step]:
    """Every step of a run: by its number in its thread, and by its number at the directory that it happens in."""
    most: collections.Counter[tuple[str, str]] = collections.Counter()
    counts: collections.Counter[tuple[str, str, str]] = collections.Counter()
    for line in trace.splitlines():
        match = _CALL.match(line)
        if match is None or match["call"] not in KINDS:
            continue
        paths = {os.path.relpath(path, root) for path in _PATH.findall(match["arguments"]) if path.startswith(f"{root}/")}
        for path in {"", *(path for path in paths if (root / path).is_dir() or path.startswith("state/ledger.db"))}:
            counts[match["thread"], match["call"], path] += 1
    for (_, call, path), number in counts.items():
        most[call, path] = max(most[call, path], number)
    return sorted(
        (Step(call, number + 1, path) for (call, path), last in most.items() for number in range(last)),
        key=lambda step: (step.call, step.path, step.number),
    )


@pytest.fixture(scope="module")
def steps(tmp_path_factory: pytest.TempPathFactory) -> list[Step]:
    needs.right("trace", [needs.program("strace"), "-o", os.devnull, "true"])
    root = tmp_path_factory.mktemp("traced")
    with site(root) as place:
        one_lane(place)
        mix.drop(place)
        command = strace(root, "-y", "-e", f"trace={','.join(KINDS)}")
        result = subprocess.run(command, env=place.env(), capture_output=True, text=True, timeout=60, check=False)
        assert result.returncode == 1, result.stderr
        assert mix.ended_well(place) == []
        return steps_of((root / "trace").read_text(), root)


def one_lane(place: Site) -> None:
    """Files follow each other on few threads, so that steps keep their numbers."""
    place.config["uploads_at_once"] = 1
    place.write_config()


def killed_at(step: Step, root: Path) -> tuple[bool, list[str]]:
    """Kill a run at `step`, start another; whether it came to that step, and what is wrong then."""
    with site(root) as place:
        one_lane(place)
        mix.drop(place)
        where = ["-P", str(root / step.path)] if step.path else []
        inject = f"inject={step.call}:signal=KILL:when={step.number}"
        command = strace(root, *where, "-e", f"trace={step.call}", "-e", inject)
        first = subprocess.run(command, env=place.env(), capture_output=True, text=True, timeout=60, check=False)
        killed = first.returncode in (-signal.SIGKILL, 128 + signal.SIGKILL)
        wrong = [f"killed: {t}" for t in mix.whole_and_once(place) + mix.nothing_lost(place) + mix.done_is_true(place)]
        if not killed and first.returncode != 1:
            wrong.append(f"it ended with {first.returncode}: {first.stderr[-500:]}")
        again = place.once()
        if again.returncode not in (0, 1) or "Traceback" in again.stderr or "internal_error" in again.stderr:
            wrong.append(f"started again, it ended with {again.returncode}: {again.stdout}{again.stderr[-2000:]}")
        return killed, wrong + [f"started again: {t}" for t in mix.ended_well(place)]


def sample(steps: list[Step], number: int) -> list[Step]:
    """So many of the steps, evenly, always the same ones; all if so asked."""
    if ALL or len(steps) <= number:
        return steps
    return [steps[(2 * place + 1) * len(steps) // (2 * number)] for place in range(number)]


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("call", [call for call, number in KINDS.items() if number or ALL])
def test_killed_at(call: str, steps: list[Step], tmp_path: Path) -> None:
    tried = sample([step for step in steps if step.call == call], KINDS[call])
    roots = [tmp_path / str(number) for number in range(len(tried))]
    for root in roots:
        root.mkdir()
    with ThreadPoolExecutor(AT_ONCE) as pool:
        ends = dict(zip(tried, pool.map(killed_at, tried, roots), strict=True))
    assert {step: wrong for step, (_, wrong) in ends.items() if wrong} == {}
    # Threads do not run alike twice: a few steps may not be reached, but not many.
    assert sum(killed for killed, _ in ends.values()) * 2 > len(tried)


def test_what_was_half_written_is_removed_at_the_next_start_with_nothing_else_to_do(place: Site) -> None:
    assert place.once().returncode == 0
    for directory in ("", "failed", "preserved", "in_progress"):
        (place.drop / directory).mkdir(exist_ok=True)
        (place.drop / directory / ".dropcap-0123456789abcdef").write_bytes(b"half")
    (place.kept / ".dropcap-0123456789abcdef").write_bytes(b"half")
    assert place.once().returncode == 0
    assert [name for name in place.everywhere() if ".dropcap-" in name] == []
    assert not (place.drop / "preserved/.dropcap-0123456789abcdef").exists()
    assert not (place.kept / ".dropcap-0123456789abcdef").exists()
