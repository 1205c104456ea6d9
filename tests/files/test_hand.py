"""A thread that may hang, and those who wait for it only so long."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from dropcap.files.hand import Hand
from tests.site import eventually


def fail() -> None:
    raise FileNotFoundError("what it met")


def test_what_it_returns_and_raises() -> None:
    hand = Hand("a hand")
    assert [hand.do(lambda number=number: number, 10.0) for number in range(3)] == [0, 1, 2]  # type: ignore[misc]
    with pytest.raises(FileNotFoundError, match="what it met"):
        hand.do(fail, 10.0)
    assert hand.do(lambda: "well", 10.0) == "well"


def test_one_act_that_hangs_is_waited_for_once_and_the_next_are_done_once_it_is_over() -> None:
    hand, go, done = Hand("a hand"), threading.Event(), list[str]()
    with pytest.raises(TimeoutError):
        hand.do(lambda: go.wait(30) and done.append("the slow one"), 0.2)
    started = time.monotonic()
    for _ in range(20):
        with pytest.raises(TimeoutError):
            hand.do(lambda: done.append("nobody waits for this any more"), 0.5)
    assert time.monotonic() - started < 5
    hand.begin(lambda: done.append("tidying up"), 10.0)
    go.set()
    eventually(lambda: done == ["the slow one", "tidying up"])
    assert hand.do(lambda: "well", 10.0) == "well"
    assert done == ["the slow one", "tidying up"]


def test_what_was_not_begun_in_time_is_never_done() -> None:
    hand, go, done = Hand("a hand"), threading.Event(), list[str]()
    hand.begin(lambda: go.wait(30), 30.0)
    with pytest.raises(TimeoutError):
        hand.do(lambda: done.append("too late"), 0.1)
    go.set()
    hand.do(lambda: None, 10.0)
    assert done == []


def test_many_threads_ask_it_at_once() -> None:
    hand, found = Hand("a hand"), list[int]()

    def ask(number: int) -> None:
        found.extend(hand.do(lambda: number, 10.0) for _ in range(100))

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(ask, range(8)))
    assert sorted(found) == sorted(100 * list(range(8)))
