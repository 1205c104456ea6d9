"""`sealed.py [RUNS]`: what the ledger's chains cost a burst: dropcap as it is against another tree of its source, in turn.

DROPCAP_BENCH_OTHER=/path/to/src names the other one: the last without chains.
"""

from __future__ import annotations

import os
import statistics
import sys
import time
from pathlib import Path

from ground import GaveUp, Options, ground

FILES = 2000
SIZE = 10 * 1024


def run(options: Options) -> list[str]:
    """Files a second and CPU of both, and the ratio."""
    other = os.environ.get("DROPCAP_BENCH_OTHER")
    if not other or not (Path(other) / "dropcap").is_dir():
        raise GaveUp("DROPCAP_BENCH_OTHER must name the src directory of the other dropcap")
    files = options.scaled(FILES)
    rates: dict[str, list[float]] = {"with chains": [], "without": []}
    cpu: dict[str, list[float]] = {"with chains": [], "without": []}
    for number in range(options.runs):
        both = ["with chains", "without"]
        for name in both if number % 2 else reversed(both):
            took, used = _seconds(options, files, other if name == "without" else None)
            rates[name].append(files / took)
            cpu[name].append(1000 * used / files)
    pairs = [a / b for a, b in zip(rates["with chains"], rates["without"], strict=True)]
    lines = [f"burst of {files} files of {SIZE // 1024} KiB, {options.runs} alternating runs"]
    for name, found in rates.items():
        lines.append(f"  {name:<12} {statistics.median(found):6.0f} files/s  {statistics.median(cpu[name]):.3f} ms CPU a file")
    lines.append(
        f"  with chains is {statistics.median(pairs):.3f} x without (median of pairs, {min(pairs):.2f} to {max(pairs):.2f})"
    )
    return lines


def _seconds(options: Options, files: int, source: str | None) -> tuple[float, float]:
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = source or str(Path(__file__).parent.parent / "src")
    try:
        with ground(options) as place, place.dropcap(1, uploads_at_once=4) as process:
            used = process.cpu()
            began = time.monotonic()
            place.write(files, SIZE)
            took = place.wait_done(files) - began
            return took, process.cpu() - used
    finally:
        os.environ.pop("PYTHONPATH")
        if before is not None:
            os.environ["PYTHONPATH"] = before


if __name__ == "__main__":
    print("\n".join(run(Options(int(sys.argv[1]) if len(sys.argv) > 1 else 5, 1.0, None))))
