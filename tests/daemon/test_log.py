"""The log beside the work: a reader that hangs stops nobody, and no line is lost or out of its place."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator

import pytest
import structlog

from dropcap.daemon import log


@pytest.fixture(autouse=True)
def unconfigured() -> Iterator[None]:
    yield
    structlog.reset_defaults()


def read_lines(fd: int, number: int) -> list[dict[str, object]]:
    with os.fdopen(fd) as file:
        return [json.loads(file.readline()) for _ in range(number)]


def test_a_reader_that_hangs_and_goes_on() -> None:
    reading, writing = os.pipe()
    stream = os.fdopen(writing, "w")
    log.set_up("json", stream=stream, background=True)

    def speak() -> None:
        for number in range(2000):
            structlog.get_logger().info("line", number=number, text="x" * 500)

    speaker = threading.Thread(target=speak)
    speaker.start()
    speaker.join(20)  # a megabyte, of which the pipe takes 64 KiB
    assert not speaker.is_alive()
    lines = read_lines(reading, 2000)
    assert [line["number"] for line in lines] == list(range(2000))


def test_lines_that_nobody_reads_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log, "MOST", 100)
    reading, writing = os.pipe()
    stream = os.fdopen(writing, "w")
    log.set_up("json", stream=stream, background=True)
    for number in range(1000):
        structlog.get_logger().info("line", number=number, text="x" * 5000)
    with os.fdopen(reading) as file:
        told, kept = 0, 0
        while told + kept < 1000:
            line = json.loads(file.readline())
            kept += line["event"] == "line"
            told += line["lines"] if line["event"] == "log_lost" else 0
    assert told + kept == 1000
    assert told > 0
