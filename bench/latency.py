"""From the closing of a file to its first byte at the server."""

from __future__ import annotations

import statistics
import time
from pathlib import Path

from burst import RIVALS
from ground import PATIENCE, GaveUp, Ground, Options, ground

FILES = 60


def run(options: Options) -> list[str]:
    """Medians and 95th percentiles, in milliseconds."""
    lines = [f"close to first byte, {FILES} files of 10 KiB, one at a time"]
    for title, settle, pause in (
        ("dropcap, settle_closed: 0, idle before", "0", 0.2),
        ("dropcap, settle_closed: 0, right after another's filing", "0", 0.0),
        ("dropcap, settle_closed: 1s, beyond that second", "1s", 0.0),
    ):
        with ground(options) as place, place.dropcap(settle_closed=settle):
            lines.append(_line(title, _times(place, FILES if settle == "0" else 10, pause), 1.0 if settle == "1s" else 0.0))
    for title, script in RIVALS.items():
        with ground(options) as place, place.rival(script):
            lines.append(_line(title, _times(place, FILES, 0.0), 0.0))
    return lines


def _line(title: str, seconds: list[float], beyond: float) -> str:
    found = sorted((one - beyond) * 1000 for one in seconds)
    late = found[int(len(found) * 0.95)]
    return f"  {title:<60} median {statistics.median(found):6.1f} ms   95 % {late:6.1f} ms   worst {found[-1]:6.1f} ms"


def _times(place: Ground, files: int, pause: float) -> list[float]:
    closed = {}
    for number in range(1, files + 1):
        time.sleep(pause)
        place.write(1, 10 * 1024, first=number)
        name = f"{number}_consent.pdf"
        closed[name] = time.monotonic()
        _until_filed(place.drop / "done", name)
    return [began - closed[name] for name, _, began, _ in place.received()]


def _until_filed(done: Path, name: str) -> None:
    end = time.monotonic() + PATIENCE
    while not ((done / name).exists() or any((day / name).exists() for day in done.glob("20*"))):
        if time.monotonic() > end:
            raise GaveUp(f"{name} does not arrive in done/")
        time.sleep(0.001)
