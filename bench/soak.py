"""`bench/soak.py`: hundreds of kills under load, with a slow and faulty server; then an outage with thousands of files waiting.

Prints figures. `lost`, `twice` and `falsely done` must be 0; the exit code is 1 if they are not.
"""

from __future__ import annotations

import argparse
import random
import re
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests.site import Daemon, Site, eventually

from dropcap.ledger.job import OPEN
from redcap_sandbox import Fault, Sandbox, demo_project

FILE = {"content": "file"}
IMPORT = {**FILE, "action": "import"}
FAULTS = [
    Fault("stored_then_500", times=1, match=IMPORT),
    Fault("empty_200_without_storing", times=1, match=IMPORT),
    Fault("reset_after_body", times=1, match=IMPORT, stored=True),
    Fault("reset_after_body", times=1, match=IMPORT, stored=False),
    Fault("reset_during_body", times=1, match=FILE),
    Fault("truncated_head", times=1),
    Fault("truncated_body", times=1, match=FILE),
    Fault("html_200", times=1),
    Fault("maintenance", times=2),
    Fault("status", times=1, code=500),
    # Where a file is to be preserved, one wrong answer cannot be told from the truth; so only where none is.
    Fault("wrong_content", times=1, match={**FILE, "action": "export", "field": "lab_report"}),
    Fault("delay", times=3, seconds=0.2),
]


class Load:
    """Drops files, each with a content of its own, and makes the server ill now and then, until told to stop."""

    def __init__(self, place: Site, chance: random.Random, each: float) -> None:
        self.dropped: dict[bytes, str] = {}
        self._place, self._chance, self._each = place, chance, each
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._end.set()
        self._thread.join()
        self._place.box.well()

    def _run(self) -> None:
        number = 0
        while not self._end.wait(self._each):
            number += 1
            name = self._name(number)
            content = b"%%PDF %d " % number + self._chance.randbytes(self._chance.choice([50, 5_000, 400_000]))
            if not (self._place.drop / name).exists():
                self._place.put(name, content)
                self.dropped[content] = name
            if self._chance.random() < 0.1:
                self._place.box.ill(self._chance.choice(FAULTS))

    def _name(self, number: int) -> str:
        record, visit = self._chance.randint(101, 120), self._chance.choice(["V1", "V2"])
        kind = self._chance.random()
        if kind < 0.55:
            return f"{record}_{visit}_lab_{number}.pdf"
        if kind < 0.75:
            return f"{record}_{visit}_scan_{number}.pdf"
        return f"{record}_{visit}_consent.pdf" if kind < 0.95 else f"holiday {number}.jpg"


def kills(place: Site, number: int, chance: random.Random, each: float) -> bool:
    """Kill it so often, let it finish, count; whether all is as promised."""
    load = Load(place, chance, each)
    began = time.monotonic()
    daemon = None
    odd = 0
    for _ in range(number):
        daemon = place.start()
        time.sleep(chance.uniform(0.05, 1.5))
        daemon.kill()
        odd += len(daemon.events("internal_error"))
    load.stop()
    daemon = place.start()
    eventually(lambda: finished(place), 600)
    daemon.stop()
    return tell_of(place, load, number, odd, time.monotonic() - began)


def finished(place: Site) -> bool:
    time.sleep(1)
    open_jobs = [job for job in place.jobs() if job.state in OPEN]
    if open_jobs:  # the longest waits are not what is tried here
        place.dropcap("resume", "--server", "trial")
        place.dropcap("retry", *(str(job.id) for job in open_jobs[:500]))
    return not open_jobs and all(name.startswith(("done/", "failed/")) for name in place.everywhere())


def tell_of(place: Site, load: Load, number: int, odd: int, seconds: float) -> bool:
    box = place.box
    found = Counter((place.drop / name).read_bytes() for name in place.everywhere())
    held = Counter(box.content(h.record, h.field, h.event, h.instance) for h in box.holdings())
    kept = {(place.kept / n).read_bytes() for n in place.copies()}
    done = [(place.drop / "done" / name).read_bytes() for name in place.names("done")]
    arrived = [r for r in box.requests if (r.content, r.action) == ("file", "import")]
    lost = [name for content, name in load.dropped.items() if not found[content]]
    twice = [n for c, n in load.dropped.items() if found[c] > 1] + [load.dropped[c] for c, times in held.items() if times > 1]
    falsely = [load.dropped[c] for c in done if not held[c] and c not in kept]
    wrongly = [name for name in place.failed() if not name.startswith("holiday")]
    figures = {
        "kills": number,
        "seconds": round(seconds),
        "files dropped": len(load.dropped),
        "done": len(done),
        "failed": len(place.failed()),
        "preserved": len(kept),
        "import requests": len(arrived),
        "requests spoilt": sum(bool(r.fault) for r in box.requests),
        "internal errors": odd,
        "lost": len(lost),
        "twice": len(twice),
        "falsely done": len(falsely),
        "falsely failed": len(wrongly),
        "unknown content": sum(content not in load.dropped for content in found),
    }
    for what, figure in figures.items():
        print(f"{what:<18}{figure:>8}")
    for what, names in (("lost", lost), ("twice", twice), ("falsely done", falsely), ("falsely failed", wrongly)):
        for name in names[:10]:
            print(f"  {what}: {name}")
    return not any(
        figures[what] for what in ("lost", "twice", "falsely done", "falsely failed", "unknown content", "internal errors")
    )


def outage(place: Site, number: int) -> None:
    """Let so many files wait for a server that is down, then let it come back."""
    place.folder["rules"][1]["instance"] = "next"
    place.write_config()
    place.box.maintenance = 503
    daemon = place.start()
    place.put("101_V1_consent.pdf", b"%PDF the first")
    daemon.wait_for("paused", scope="server")
    before = memory(daemon)
    for n in range(number):
        place.put(f"{101 + n % 20}_V1_lab_{n}.pdf", b"%%PDF %d" % n)
    daemon.wait_for("claimed", number + 1, patience=600)
    asked, lines = len(place.box.requests), len(daemon.lines)
    time.sleep(30)
    print(f"{'files waiting':<18}{number:>8}")
    print(f"{'memory grown, MiB':<18}{(memory(daemon) - before) / 1024:>8.1f}")
    print(f"{'requests in 30 s':<18}{len(place.box.requests) - asked:>8}")
    print(f"{'log lines in 30 s':<18}{len(daemon.lines) - lines:>8}")
    place.box.maintenance = 0
    place.dropcap("resume", "--server", "trial")
    began = time.monotonic()
    daemon.wait_for("done", 1, patience=120)
    print(f"{'first done after':<18}{time.monotonic() - began:>7.1f}s")
    daemon.wait_for("done", number + 1, patience=1800)
    print(f"{'all done after':<18}{time.monotonic() - began:>7.1f}s")
    daemon.stop()


def memory(daemon: Daemon) -> int:
    found = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{daemon.process.pid}/status").read_text())
    assert found is not None
    return int(found[1])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=300, help="how often it is killed (300; 0: leave it out)")
    parser.add_argument("--each", type=float, default=0.05, help="seconds between two files dropped (0.05)")
    parser.add_argument("--outage", type=int, default=10_000, help="files that wait for a server that is down (10000; 0: none)")
    parser.add_argument("--seed", type=int, default=1, help="of the chances (1)")
    parser.add_argument("--directory", help="where the folders are to lie")
    asked = parser.parse_args()
    well = True
    for wanted in ("kills", "outage"):
        if not getattr(asked, wanted):
            continue
        with tempfile.TemporaryDirectory(prefix="dropcap-soak-", dir=asked.directory) as root, Sandbox(demo_project()) as box:
            place = Site(Path(root), box)
            try:
                if wanted == "kills":
                    well = kills(place, asked.kills, random.Random(asked.seed), asked.each)
                else:
                    outage(place, asked.outage)
            finally:
                place.close()
    return 0 if well else 1


if __name__ == "__main__":
    sys.exit(main())
