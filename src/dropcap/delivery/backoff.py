"""How long to wait before a try that follows failed ones."""

from __future__ import annotations

import random
from collections.abc import Callable


def backoff(tries: int, first: float = 2.0, most: float = 900.0, jitter: Callable[[], float] = random.random) -> float:
    """Seconds before try number `tries` + 1: doubling from `first` to `most`, with jitter in the upper half."""
    full = min(most, first * 2.0 ** min(max(tries - 1, 0), 30))
    return full / 2 + full / 2 * jitter()
