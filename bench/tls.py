"""A large file over TLS, against `curl -F` to the same receiver."""

from __future__ import annotations

import statistics
import time

import large
from ground import Options, ground

SIZE = 512 * 1024**2


def run(options: Options) -> list[str]:
    """Throughput of both, and their ratio."""
    size = options.scaled(SIZE)
    lines = [f"one file of {size / 1024**2:.0f} MiB over TLS, median of {options.runs} alternating runs"]
    for what, hashes in (("throws the bytes away", False), ("hashes the bytes", True)):
        ours, curls = [], []
        for _ in range(options.runs):
            with ground(options, hashes=hashes, tls=True) as place, place.dropcap():
                time.sleep(1.0)
                large.put(place, size)
                place.wait_done(1)
                ours.append(large.throughput(place))
                curls.append(large.curl(place))
        our, curl = statistics.median(ours), statistics.median(curls)
        spread = f"({min(ours):.0f} to {max(ours):.0f}), curl -F {curl:.0f} MiB/s ({min(curls):.0f} to {max(curls):.0f})"
        lines.append(f"  a receiver that {what}: dropcap {our:.0f} MiB/s {spread}: {our / curl:.2f} x")
    return lines
