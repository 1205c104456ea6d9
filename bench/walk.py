"""A folder of 100,000 files that wait: what a walk costs, and whether another folder still gets its file through."""

from __future__ import annotations

import statistics
import time

from ground import Options, ground

FILES = 100_000
RESCAN = 10.0
WALKS = 3


def run(options: Options) -> list[str]:
    """CPU seconds a walk, and seconds from the closing of a file in the other folder to its first byte."""
    files = options.scaled(FILES)
    with ground(options) as place:
        place.config(2)
        place.write(files, 1)
        other = place.root / "drop2"
        with place.dropcap(folders=2, rescan=f"{RESCAN:g}s", first={"settle_closed": "1h", "settle_quiet": "1h"}) as process:
            time.sleep(RESCAN)  # the first walk
            before = process.cpu()
            time.sleep(RESCAN * WALKS)
            each = (process.cpu() - before) / WALKS
            closed = {}
            for number in range(1, 21):
                place.write(1, 1024, first=number, folder=other)
                closed[f"{number}_consent.pdf"] = time.monotonic()
                time.sleep(1.0)
            place.wait_done(20, other)
            times = sorted(began - closed[name] for name, _, began, _ in place.received())
            resident = process.resident()
    return [
        f"a folder of {files} waiting files",
        f"  {each:.2f} s of CPU for every {RESCAN:g} s, in which it is walked once; {resident:.0f} MiB resident",
        f"  a file in another folder: first byte after {1000 * statistics.median(times):.0f} ms (median), "
        f"{1000 * times[-1]:.0f} ms (worst)",
    ]
