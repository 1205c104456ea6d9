"""The log beside the work: a reader that hangs stops nobody, no line is lost or out of its place, and nothing in one misleads."""

from __future__ import annotations

import io
import json
import os
import threading
from collections.abc import Iterator

import pytest

from dropcap.daemon import log
from dropcap.log import Log, told_to


@pytest.fixture(autouse=True)
def unconfigured() -> Iterator[None]:
    yield
    told_to(lambda *_: None)


def read_lines(fd: int, number: int) -> list[dict[str, object]]:
    with os.fdopen(fd) as file:
        return [json.loads(file.readline()) for _ in range(number)]


def test_a_reader_that_hangs_and_goes_on() -> None:
    reading, writing = os.pipe()
    stream = os.fdopen(writing, "w")
    log.set_up("json", stream=stream, background=True)

    def speak() -> None:
        for number in range(2000):
            Log().info("line", number=number, text="x" * 500)

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
        Log().info("line", number=number, text="x" * 5000)
    with os.fdopen(reading) as file:
        told, kept = 0, 0
        while told + kept < 1000:
            line = json.loads(file.readline())
            kept += line["event"] == "line"
            told += line["lines"] if line["event"] == "log_lost" else 0
    assert told + kept == 1000
    assert told > 0


def told(format_: str, level: str = "info", tty: bool = False) -> str:
    """What is written of three events."""
    stream = io.StringIO()
    stream.isatty = lambda: tty  # type: ignore[method-assign]
    log.set_up(format_, level, stream)
    speaker = Log(folder="consents")
    speaker.debug("probe", name="a")
    speaker.info("stored", file="a\nb \u202egnp", bytes=3, folder="labs")
    try:
        raise ValueError("with\x1b[31m colour")
    except ValueError as error:
        speaker.error("internal_error", error=str(error), exc_info=True)
    return stream.getvalue()


def test_a_line_is_one_json_object() -> None:
    stored, failed = (json.loads(line) for line in told("json").splitlines())
    assert list(stored)[:3] == ["timestamp", "level", "event"]
    assert (stored["level"], stored["event"], stored["folder"], stored["bytes"]) == ("info", "stored", "labs", 3)
    assert stored["file"] == "a\\x0ab \\u202egnp"
    assert failed["exception"].startswith("Traceback (most recent call last):\n")
    assert "exc_info" not in failed
    assert [json.loads(line)["event"] for line in told("json", "error").splitlines()] == ["internal_error"]
    assert json.loads(told("json", "debug").splitlines()[0])["event"] == "probe"


def test_a_line_for_people_holds_what_a_terminal_may_be_shown() -> None:
    stored, failed, *trace = told("text").splitlines()
    assert stored.endswith("Z info    stored               folder=labs file='a\\\\x0ab \\\\u202egnp' bytes=3")
    assert " error   internal_error " in failed
    assert trace[0] == "Traceback (most recent call last):"
    assert "\x1b" not in "".join(trace)
    coloured = told("text", tty=True)
    assert "\x1b[31merror  \x1b[0m" in coloured
    assert "colour\x1b" not in coloured
