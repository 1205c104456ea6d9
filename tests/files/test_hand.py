"""A thread that may hang, and those who wait for it only so long."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from dropcap.threads import Hand
from tests.site import eventually


def fail() -> None:
    raise FileNotFoundError("what it met")


def test_what_it_returns_and_raises() -> None:
    hand = Hand("a hand")
    assert [hand.do(10.0, str, number) for number in range(3)] == ["0", "1", "2"]
    with pytest.raises(FileNotFoundError, match="what it met"):
        hand.do(10.0, fail)
    assert hand.do(10.0, lambda: "well") == "well"


def test_one_act_that_hangs_is_waited_for_once_and_the_next_are_done_once_it_is_over() -> None:
    hand, go, done = Hand("a hand"), threading.Event(), list[str]()
    with pytest.raises(TimeoutError):
        hand.do(0.2, lambda: go.wait(30) and done.append("the slow one"))
    started = time.monotonic()
    for _ in range(20):
        with pytest.raises(TimeoutError):
            hand.do(0.5, lambda: done.append("nobody waits for this any more"))
    assert time.monotonic() - started < 5
    hand.begin(10.0, lambda: done.append("tidying up"))
    go.set()
    eventually(lambda: done == ["the slow one", "tidying up"])
    assert hand.do(10.0, lambda: "well") == "well"
    assert done == ["the slow one", "tidying up"]


def test_what_was_not_begun_in_time_is_never_done() -> None:
    hand, go, done = Hand("a hand"), threading.Event(), list[str]()
    hand.begin(30.0, lambda: go.wait(30))
    with pytest.raises(TimeoutError):
        hand.do(0.1, lambda: done.append("too late"))
    go.set()
    hand.do(10.0, lambda: None)
    assert done == []


def test_many_threads_ask_it_at_once() -> None:
    hand, found = Hand("a hand"), list[int]()

    def ask(number: int) -> None:
        found.extend(hand.do(10.0, lambda: number) for _ in range(100))

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(ask, range(8)))
    assert sorted(found) == sorted(100 * list(range(8)))
