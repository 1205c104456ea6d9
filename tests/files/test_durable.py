from __future__ import annotations

import os

import pytest

from dropcap.files.durable import fsync
from dropcap.log import told_to


def test_a_file_system_that_refuses_fsync_is_noted_once() -> None:
    reading, writing = os.pipe()  # a pipe refuses fsync with EINVAL, as some FUSE file systems do
    logs: list[tuple[str, str]] = []
    try:
        told_to(lambda _, event, keys: logs.append((event, keys["file"])))
        fsync(writing, "some\nname")
        fsync(writing, "some\nname")
    finally:
        told_to(lambda *_: None)
        os.close(reading)
        os.close(writing)
    assert logs == [("check_problem", "some\\x0aname")]


def test_other_errors_are_raised() -> None:
    with pytest.raises(OSError, match="Bad file descriptor"):
        fsync(2**20, "x")
