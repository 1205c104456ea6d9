"""A server that takes its time: files a second against uploads_at_once / latency, which no client can beat."""

from __future__ import annotations

import statistics

from ground import Options, ground

CASES = ((0.3, 4, 60), (0.1, 8, 300))  # latency, uploads at once, files


def run(options: Options) -> list[str]:
    """The rate at the server, once all connections are busy."""
    lines = [f"a slow server, median of {options.runs} runs"]
    for latency, at_once, files in CASES:
        rates = [_rate(options, latency, at_once, files) for _ in range(options.runs)]
        middle, most = statistics.median(rates), at_once / latency
        lines.append(
            f"  {latency * 1000:.0f} ms, {at_once} at once: {middle:5.1f} files/s, "
            f"{100 * middle / most:.0f} % of the {most:.1f} that are possible"
        )
    return lines


def _rate(options: Options, latency: float, at_once: int, files: int) -> float:
    with ground(options, latency) as place, place.dropcap(uploads_at_once=at_once):
        place.write(files, 10 * 1024)
        place.wait_done(files)
        began = sorted(one[2] for one in place.received())
        return (files - at_once) / (began[-1] - began[0])
