"""A thread that may hang, and those who wait for it only so long."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from dropcap.threads import SerialExecutor
from tests.site import eventually


def fail() -> None:
    raise FileNotFoundError("what it met")


def test_what_it_returns_and_raises() -> None:
    executor = SerialExecutor("an executor")
    assert [executor.run(10.0, str, number) for number in range(3)] == ["0", "1", "2"]
    with pytest.raises(FileNotFoundError, match="what it met"):
        executor.run(10.0, fail)
    assert executor.run(10.0, lambda: "well") == "well"


def test_one_act_that_hangs_is_waited_for_once_and_the_next_are_done_once_it_is_over() -> None:
    executor, go, done = SerialExecutor("an executor"), threading.Event(), list[str]()
    with pytest.raises(TimeoutError):
        executor.run(0.2, lambda: go.wait(30) and done.append("the slow one"))
    started = time.monotonic()
    for _ in range(20):
        with pytest.raises(TimeoutError):
            executor.run(0.5, lambda: done.append("nobody waits for this any more"))
    assert time.monotonic() - started < 5
    executor.submit(10.0, lambda: done.append("tidying up"))
    go.set()
    eventually(lambda: done == ["the slow one", "tidying up"])
    assert executor.run(10.0, lambda: "well") == "well"
    assert done == ["the slow one", "tidying up"]


def test_what_was_not_begun_in_time_is_never_done() -> None:
    executor, go, done = SerialExecutor("an executor"), threading.Event(), list[str]()
    executor.submit(30.0, lambda: go.wait(30))
    with pytest.raises(TimeoutError):
        executor.run(0.1, lambda: done.append("too late"))
    go.set()
    executor.run(10.0, lambda: None)
    assert done == []


def test_many_threads_ask_it_at_once() -> None:
    executor, found = SerialExecutor("an executor"), list[int]()

    def ask(number: int) -> None:
        found.extend(executor.run(10.0, lambda: number) for _ in range(100))

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(ask, range(8)))
    assert sorted(found) == sorted(100 * list(range(8)))
