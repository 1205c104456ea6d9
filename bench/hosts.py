"""`bench/hosts.py`: hosts over one ledger on PostgreSQL, killed, frozen and stopped again and again in the middle of bursts.

Prints figures. No file may be lost, stuck, or in two places; the exit code is 1 if one is.
"""

from __future__ import annotations

import argparse
import random
import signal
import sys
import tempfile
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests.postgres.cluster import cluster
from tests.postgres.hosts import Hosts, hosts
from tests.site import Daemon, eventually


class Load:
    """Drops files into all folders until told to stop: half to places of their own, half to the next instances of few records."""

    def __init__(self, place: Hosts, chance: random.Random, each: float) -> None:
        self.files: dict[str, str] = {}
        self._place, self._chance, self._each = place, chance, each
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._end.set()
        self._thread.join()

    def _run(self) -> None:
        number = 0
        while not self._end.wait(self._each):
            number += 1
            record = 101 + self._chance.randrange(20 if number % 2 else 3)
            folder = self._chance.choice(list(self._place.folders))
            self.files |= self._place.put_all({folder: [f"{record}_V1_lab{number}.pdf"]})


def disturb(place: Hosts, running: dict[str, Daemon], chance: random.Random) -> str:
    """One thing that happens to one host; what it was."""
    name = chance.choice(list(running))
    what = chance.choice(("killed", "killed", "frozen", "frozen briefly", "stopped"))
    daemon = running[name]
    if what.startswith("frozen"):
        daemon.process.send_signal(signal.SIGSTOP)
        time.sleep(4.0 if what.endswith("briefly") else chance.uniform(16.0, 24.0))
        daemon.process.send_signal(signal.SIGCONT)
        return what
    if what == "killed":
        daemon.kill()
    else:
        assert daemon.stop() == 0
    time.sleep(chance.choice((0.0, 3.0, 18.0)))
    running[name] = place.start(name)
    return what


def main() -> int:
    words = argparse.ArgumentParser(description=__doc__)
    words.add_argument("--rounds", type=int, default=20)
    words.add_argument("--seed", type=int, default=random.randrange(10**6))
    words.add_argument("--hosts", type=int, default=3)
    words.add_argument("--each", type=float, default=0.25, help="seconds between two files")
    told = words.parse_args()
    chance = random.Random(told.seed)
    print(f"seed {told.seed}", flush=True)
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as root, cluster() as server, hosts(Path(root), server.create_database(), 4) as place:
        running = {name: place.start(name) for name in (f"host{number}" for number in range(1, told.hosts + 1))}
        started: list[Daemon] = [*running.values()]
        load = Load(place, chance, told.each)
        for _ in range(told.rounds):
            what = disturb(place, running, chance)
            started += [daemon for daemon in running.values() if daemon not in started]
            print(
                f"{time.monotonic() - began:6.0f} s  {what:15} {len(load.files):5} dropped {len(place.done()):5} done", flush=True
            )
            time.sleep(chance.uniform(1.0, 6.0))
        load.stop()
        try:
            eventually(lambda: len(place.done()) >= len(load.files), 90.0)
            place.all_once(load.files)
            odd = [line for daemon in started for line in daemon.events("internal_error")]
            assert not odd, odd
        except AssertionError as error:
            print(f"WRONG: {error}")
            for job in place.jobs():
                if job.state.value not in ("done", "withdrawn"):
                    print(job)
            for number, daemon in enumerate(started):
                (Path(tempfile.gettempdir()) / f"hosts-{told.seed}-{number}.log").write_text("".join(daemon.raw))
            return 1
        sent, seconds = len(place.imports()), time.monotonic() - began
        print(f"{len(load.files)} files, {sent} imports, {seconds:.0f} s: none lost, none stuck, none in two places")
    return 0


if __name__ == "__main__":
    sys.exit(main())
