"""A directory's names against those that should be there."""

from __future__ import annotations

import tracemalloc

from hypothesis import given
from hypothesis import strategies as st

from dropcap.intake.people import Roll

NAMES = st.sets(st.text(max_size=8), max_size=30)


@given(NAMES, NAMES)
def test_what_is_there_is_struck_once_and_the_rest_is_left(there: set[str], expected: set[str]) -> None:
    roll = Roll()
    for name in there:
        roll.add(name)
    assert len(roll) == len(there)
    assert {name for name in expected if not roll.strike(name)} == expected - there
    assert not any(roll.strike(name) for name in expected)
    assert len(roll) == len(there - expected)
    assert {name for name in there | expected if name in roll} == there - expected


def test_a_hundred_thousand_names_are_few_bytes() -> None:
    tracemalloc.start()
    roll = Roll()
    for number in range(100_000):
        roll.add(f"{number:06d}_V1_consent.pdf")
    assert roll.strike("000007_V1_consent.pdf")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2 * 1024**2
