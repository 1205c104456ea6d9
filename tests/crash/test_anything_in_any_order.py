"""All that can befall an installation, in any order: nothing is lost, twice in REDCap, misplaced or falsely done.

`make stories` tries new mixes for an hour, and names the seed of each after which something was wrong; DROPCAP_SEED begins with
that one, DROPCAP_STEPS tries more or fewer steps than 25.
"""

from __future__ import annotations

import os
import random
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import count

import pytest

from tests import needs
from tests.crash.story import play, story

#: Stories at a time: most of their time they wait.
AT_ONCE = 4


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(8))
def test_anything_in_any_order(seed: int) -> None:
    play(story(seed))


@pytest.mark.timeout(0)
def test_for_as_long_as_is_asked() -> None:
    minutes = float(os.environ.get("DROPCAP_MINUTES", "0"))
    if not minutes:
        needs.lacking("minutes, so it is run by name: make stories")
    seeds = count(int(os.environ.get("DROPCAP_SEED") or random.randrange(1_000_000)))
    steps = int(os.environ.get("DROPCAP_STEPS") or 25)
    end, wrong, told = time.monotonic() + 60 * minutes, [], 0

    def one_after_the_other() -> None:
        nonlocal told
        while time.monotonic() < end:
            seed = next(seeds)
            try:
                play(story(seed, steps), patience=180)
            except AssertionError as error:
                wrong.append(f"DROPCAP_SEED={seed} DROPCAP_STEPS={steps}: {error}")
                print(wrong[-1].splitlines()[0], flush=True)
            told += 1

    with ThreadPoolExecutor(AT_ONCE) as pool:
        running = [pool.submit(one_after_the_other) for _ in range(AT_ONCE)]
    for one in running:
        one.result()
    print(f"{told} stories, {len(wrong)} wrong")
    assert not wrong, "\n\n".join(wrong)
