from __future__ import annotations

import os

import pytest
import structlog
from structlog.testing import LogCapture

from dropcap.files import regular
from dropcap.files.regular import fsync


def test_a_file_system_that_refuses_fsync_is_noted_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(regular, "_told", set())
    log = LogCapture()
    monkeypatch.setattr(regular, "_log", structlog.wrap_logger(None, [log], structlog.make_filtering_bound_logger(0)))
    reading, writing = os.pipe()  # a pipe refuses fsync with EINVAL, as some FUSE file systems do
    try:
        fsync(writing, "some\nname")
        fsync(writing, "some\nname")
    finally:
        os.close(reading)
        os.close(writing)
    assert [(line["event"], line["file"]) for line in log.entries] == [("check_problem", "some\\x0aname")]


def test_other_errors_are_raised() -> None:
    with pytest.raises(OSError, match="Bad file descriptor"):
        fsync(2**20, "x")
