"""A large file, and what the daemon costs when there is nothing to do."""

from __future__ import annotations

import hashlib
import os
import statistics
import subprocess
import time

from ground import Ground, Options, ground

SIZE = 1024**3
WINDOW = 30.0
FOLDERS = 10


def run(options: Options) -> list[str]:
    """Throughput against `curl -F` and against SHA-256 alone, memory, CPU of an idle daemon, time to start."""
    size = options.scaled(SIZE)
    idle: list[float] = []
    more: list[float] = []
    starts: list[float] = []
    lines = [f"one file of {size / 1024**2:.0f} MiB, median of {options.runs} alternating runs"]
    for what, hashes in (("throws the bytes away", False), ("hashes the bytes", True)):
        ours, curls = [], []
        for _ in range(options.runs):
            with ground(options, hashes=hashes) as place, place.dropcap() as process:
                starts.append(process.ready_after)
                time.sleep(1.0)
                idle.append(process.resident())
                process.forget_peak()
                put(place, size)
                place.wait_done(1)
                more.append(process.resident(peak=True) - idle[-1])
                ours.append(throughput(place))
                curls.append(curl(place))
        our, its = statistics.median(ours), statistics.median(curls)
        lines.append(f"  a receiver that {what}: dropcap {our:.0f} MiB/s, curl -F {its:.0f} MiB/s: {our / its:.2f} x")
    hashing = statistics.median(_hashing() for _ in range(options.runs))
    lines += [
        f"  SHA-256 alone, with nothing sent: {hashing:.0f} MiB/s",
        f"  resident {statistics.median(idle):.0f} MiB when idle, at most {max(more):.1f} MiB more meanwhile",
        f"  start to ready {statistics.median(starts):.2f} s",
    ]
    with ground(options) as place, place.dropcap(folders=FOLDERS, settle_closed="1s") as process:
        time.sleep(3.0)
        before = process.cpu()
        time.sleep(WINDOW)
        used = 100 * (process.cpu() - before) / WINDOW
        lines.append(f"  idle with {FOLDERS} folders for {WINDOW:.0f} s: {used:.2f} % of a core, {process.resident():.0f} MiB")
    return lines


def _hashing() -> float:
    """MiB a second, from a buffer that stays in the processor's cache."""
    content, digest = os.urandom(256 * 1024), hashlib.sha256()
    began = time.monotonic()
    for _ in range(2048):
        digest.update(content)
    return 2048 * len(content) / (time.monotonic() - began) / 1024**2


def put(place: Ground, size: int) -> None:
    """Write a file of zeros beside the drop folder, and move it there."""
    beside = place.root / "large"
    with beside.open("wb") as file:
        left = size
        while left > 0:
            left -= file.write(b"\0" * min(left, 1024**2))
    beside.rename(place.drop / "1_consent.pdf")


def throughput(place: Ground) -> float:
    """MiB a second of the one file that was received, from its first byte to the last."""
    ((_, size, began, ended),) = place.received()
    return size / (ended - began) / 1024**2


def curl(place: Ground) -> float:
    """The same of `curl -F`, which sends the file that lies in done/."""
    file = next(path for path in (place.drop / "done").rglob("*_consent.pdf"))
    fields = ["-F", f"token=<{place.token_file}", "-F", "content=file", "-F", "action=import", "-F", "record=1"]
    fields += ["-F", "field=consent_pdf", "-F", f"file=@{file}"]
    trust = ["--cacert", str(place.certificate)] if place.certificate else []
    subprocess.run(["curl", "-sS", "--fail", *trust, *fields, place.url], check=True)
    return throughput(place)
