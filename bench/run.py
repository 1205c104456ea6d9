"""`bench/run.py [NAME…]`: run the benchmarks and print their results; without a name, all of them."""

from __future__ import annotations

import argparse
import importlib
import os
import platform
import shutil
import sys
import time
from importlib.util import find_spec
from pathlib import Path

from ground import HERE, GaveUp, Options

BENCHMARKS = ("burst", "folders", "slow", "latency", "large", "tls", "backlog", "walk")
PROGRAMS = {"inotifywait": "inotify-tools", "curl": "curl", "openssl": "openssl", "bash": "bash"}
MODULES = {"redcap": "PyCap", "watchdog": "watchdog", "requests": "requests"}


def missing() -> list[str]:
    """What the benchmarks need and this machine lacks, with the way to get it."""
    found = [f"{name}: apt-get install {package}" for name, package in PROGRAMS.items() if not shutil.which(name)]
    return found + [f"{name}: pip install {package}" for name, package in MODULES.items() if find_spec(name) is None]


def machine(directory: str | None) -> str:
    """The machine in a line; no names."""
    model = "unknown processor"
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1024**3
    return (
        f"{os.cpu_count()} cores ({model}), {memory:.0f} GiB, Linux {platform.release().partition('-')[0]}, "
        f"Python {platform.python_version()}, files on {_file_system(directory)}"
    )


def _file_system(directory: str | None) -> str:
    place = os.path.realpath(directory or os.environ.get("TMPDIR", "/tmp"))
    best, kind = "", "unknown"
    for line in Path("/proc/mounts").read_text().splitlines():
        _, point, type_, *_ = line.split()
        if (place == point or place.startswith(point.rstrip("/") + "/")) and len(point) >= len(best):
            best, kind = point, type_
    return kind


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"one of: {', '.join(BENCHMARKS)}")
    parser.add_argument("--runs", type=int, default=5, help="runs of each; the median is printed (5)")
    parser.add_argument("--scale", type=float, default=1.0, help="times the number of files (1)")
    parser.add_argument("--directory", help="where the folders are to lie: a disk that knows fsync, not a tmpfs")
    parser.add_argument("--save", action="store_true", help="write what is printed to bench/results/NAME.txt as well")
    asked = parser.parse_args()
    unknown = [name for name in asked.names if name not in BENCHMARKS]
    if unknown:
        parser.error(f"there is no benchmark {', '.join(unknown)}; there are: {', '.join(BENCHMARKS)}")
    lacking = missing()
    if lacking:
        print("the benchmarks need what is missing here:\n  " + "\n  ".join(lacking), file=sys.stderr)
        return 2
    head = f"{time.strftime('%Y-%m-%d')}, {machine(asked.directory)}"
    print(head)
    code = 0
    for name in asked.names or BENCHMARKS:
        try:
            lines = importlib.import_module(name).run(Options(asked.runs, asked.scale, asked.directory))
        except (GaveUp, AssertionError) as error:
            print(f"{name}: {error}", file=sys.stderr)
            code = 1
            continue
        text = "\n".join(lines)
        print(f"\n{text}", flush=True)
        if asked.save:
            (HERE / "results" / f"{name}.txt").write_text(f"{head}\n\n{text}\n")
    return code


if __name__ == "__main__":
    sys.exit(main())
