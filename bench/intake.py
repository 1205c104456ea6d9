"""How soon a closed file is claimed, and how fast many are. Prints; the machine's other work shows in it."""

from __future__ import annotations

import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import structlog

from dropcap.config.model import Folder
from dropcap.intake.loop import Intake
from dropcap.intake.owner import Run
from dropcap.ledger.job import Address, FailedFile, KnownFolder, NewFile, OpenFile
from dropcap.ledger.store import Ledger
from dropcap.routing.pattern import compile_pattern
from dropcap.routing.rule import Rule
from dropcap.routing.template import compile_template


class Port:
    """The ledger as intake sees it, every file with an address of its own."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self.installation = ledger.installation
        self.withdraw = ledger.withdraw
        self.remember_folder = ledger.remember_folder

    def claim(self, folder: str, files: Sequence[NewFile]) -> list[int]:
        return self._ledger.claim(folder, files, lambda name: Address(record=name, field="f"))

    def open_files(self, folder: str) -> Mapping[str, OpenFile]:
        return self._ledger.query.open_files(folder)

    def failed_files(self, folder: str) -> Mapping[str, FailedFile]:
        return self._ledger.query.failed_files(folder)

    def rename_open(self, job: int, name: str) -> bool:
        return self._ledger.rename_open(job, name, Address(record=name, field="f"))

    def known_folder(self, folder: str) -> KnownFolder | None:
        return self._ledger.known_folder(folder)


class Counter:
    """Waits for a number of claims."""

    def __init__(self) -> None:
        self._number = 0
        self._more = threading.Condition()

    def add(self, _: str, jobs: list[int]) -> None:
        with self._more:
            self._number += len(jobs)
            self._more.notify_all()

    def until(self, number: int) -> None:
        with self._more:
            if not self._more.wait_for(lambda: self._number >= number, 120):
                sys.exit(f"only {self._number} of {number} files were claimed within two minutes")


def latency(settle_closed: float, files: int) -> list[float]:
    """Seconds from the closing of a file to its job in the ledger, beyond `settle_closed`."""
    with tempfile.TemporaryDirectory(dir=sys.argv[1] if len(sys.argv) > 1 else None) as directory:
        intake, counter, path, ledger = start(Path(directory), settle_closed)
        intake.start()
        intake.idle.wait(10)
        times = []
        for number in range(files):
            (path / f"{number}.pdf").write_bytes(b"x" * 10_000)
            closed = time.perf_counter()
            counter.until(number + 1)
            times.append(time.perf_counter() - closed - settle_closed)
        intake.stop()
        ledger.close()
        return times


def burst(files: int, size: int) -> float:
    """Seconds to claim so many files that lie there at the start."""
    with tempfile.TemporaryDirectory(dir=sys.argv[1] if len(sys.argv) > 1 else None) as directory:
        intake, counter, path, ledger = start(Path(directory), 0.0)
        for number in range(files):
            (path / f"{number}.pdf").write_bytes(b"x" * size)
        began = time.perf_counter()
        intake.start()
        counter.until(files)
        took = time.perf_counter() - began
        intake.stop()
        ledger.close()
        return took


def start(directory: Path, settle_closed: float) -> tuple[Intake, Counter, Path, Ledger]:
    path = directory / "drop"
    path.mkdir()
    ledger = Ledger(directory / "ledger.db")
    counter = Counter()
    rule = Rule("files", compile_pattern("*.pdf", {}), compile_template("f", {}, ()))
    folder = Folder("bench", path, "p", (rule,), settle_closed=settle_closed, min_free=0)
    return Intake(folder, Port(ledger), counter.add, Run.of(path)), counter, path, ledger


def main() -> None:
    """`bench/intake.py [DIRECTORY]`: where the drop folder is to lie; default: the temporary directory."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(40))
    for settle, files in ((0.0, 200), (1.0, 10)):
        times = sorted(latency(settle, files))
        print(
            f"close to claim, settle_closed {settle:.0f} s: median {statistics.median(times) * 1000:.1f} ms beyond it, "
            f"95 % {times[int(len(times) * 0.95) - 1] * 1000:.1f} ms, worst {times[-1] * 1000:.1f} ms"
        )
    for files, size in ((2000, 2_000), (2000, 100_000), (20_000, 1_000)):
        took = burst(files, size)
        print(f"{files} files of {size / 1000:.0f} kB claimed in {took:.2f} s ({files / took:.0f} a second)")


if __name__ == "__main__":
    main()
