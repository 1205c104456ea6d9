"""`make soak`: does anything grow? Mixed load with a faulty server, reloads (one in four of a broken configuration) and kills.

Samples memory, descriptors, threads, and the size of the ledger for each file in it. The exit code is 1 if a file was lost, sent
twice or is falsely in done/, or if descriptors or threads grew. `--minutes` says for how long.
"""

from __future__ import annotations

import argparse
import os
import random
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench.soak import Load, finished, memory, tell_of
from tests.site import Daemon, Site, eventually

from redcap_sandbox import Sandbox, demo_project

#: More than chance brings: uploads under way, requests of commands, a look into a file.
_SPREAD = {"descriptors": 40, "threads": 16}


@dataclass(frozen=True, slots=True)
class Sample:
    age: float  # of the daemon, seconds
    memory: float  # MiB
    descriptors: int
    threads: int
    ledger: int  # bytes, without the write-ahead log
    log: int  # bytes of that
    jobs: int


def sample(place: Site, daemon: Daemon, began: float, jobs: int) -> Sample:
    process = Path(f"/proc/{daemon.process.pid}")
    ledger = place.state / "ledger.db"
    return Sample(
        time.monotonic() - began,
        memory(daemon) / 1024,
        len(os.listdir(process / "fd")),
        len(os.listdir(process / "task")),
        ledger.stat().st_size,
        Path(f"{ledger}-wal").stat().st_size,
        jobs,
    )


def reload(place: Site, chance: random.Random) -> None:
    """Change something; one in four times it cannot be used."""
    broken = chance.random() < 0.25
    sound = dict(place.config)
    place.config["uploads_at_once"] = "many" if broken else chance.randint(2, 8)
    place.folder["rescan"] = f"{chance.randint(2, 9)}s"
    place.write_config()
    place.dropcap("reload")
    place.config = sound
    place.write_config()


def life(place: Site, load: Load, seconds: float, chance: random.Random) -> tuple[Daemon, list[Sample]]:
    """One daemon, from its start until it is to be killed."""
    daemon = place.start()
    began, samples, next_reload = time.monotonic(), list[Sample](), 10.0
    while (age := time.monotonic() - began) < seconds:
        time.sleep(5)
        samples.append(sample(place, daemon, began, len(load.dropped)))
        if age > next_reload:
            reload(place, chance)
            next_reload = age + chance.uniform(10, 25)
    return daemon, samples


def tell(lives: list[list[Sample]]) -> bool:
    well = True
    for number, samples in enumerate(lives, 1):
        warm = [one for one in samples if one.age > 20] or samples
        half = len(warm) // 2 or 1
        early, late = warm[:half], warm[half:] or warm
        for what in ("memory", "descriptors", "threads"):
            values = [[float(getattr(one, what)) for one in part] for part in (early, late)]
            means = [statistics.mean(part) for part in values]
            grown = means[1] - means[0]
            unit = " MiB" if what == "memory" else ""
            print(f"life {number}: {what:<12}{means[0]:>8.1f} then {means[1]:>8.1f}{unit}, most {max(map(max, values)):.0f}")
            if what in _SPREAD and grown > _SPREAD[what] / 4:
                well = False
        first, last = warm[0], warm[-1]
        files = max(1, last.jobs - first.jobs)
        each = (last.ledger - first.ledger) / files
        ledger = f"{last.ledger / 1024:>8.0f} KiB for {last.jobs} files, {each:.0f} bytes for each"
        print(f"life {number}: ledger      {ledger}; -wal {last.log / 1024**2:.1f} MiB")
    return well


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=60.0, help="(60)")
    parser.add_argument("--kills", type=int, default=3, help="(3)")
    parser.add_argument("--each", type=float, default=0.25, help="seconds between two files dropped (0.25)")
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    chance = random.Random(asked.seed)
    with tempfile.TemporaryDirectory(prefix="dropcap-years-") as root, Sandbox(demo_project()) as box:
        place = Site(Path(root), box)
        place.start().stop()  # what lies there when a folder is first watched, and matches no rule, would be left
        load = Load(place, chance, asked.each)
        began, odd, lives = time.monotonic(), 0, list[list[Sample]]()
        try:
            for _ in range(asked.kills + 1):
                daemon, samples = life(place, load, asked.minutes * 60 / (asked.kills + 1), chance)
                daemon.kill()
                odd += len(daemon.events("internal_error"))
                lives.append(samples)
            load.stop()
            daemon = place.start()
            eventually(lambda: finished(place), 600)
            daemon.stop()
            flat = tell(lives)
            sound = tell_of(place, load, asked.kills, odd, time.monotonic() - began)
        finally:
            place.close()
    return 0 if flat and sound else 1


if __name__ == "__main__":
    sys.exit(main())
