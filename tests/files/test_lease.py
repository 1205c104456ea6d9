from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from dropcap.files.regular import Lease, ignore_lease_breaks, writer_free
from tests import needs


def asked(path: Path) -> Lease:
    fd = os.open(path, os.O_RDONLY)
    try:
        return writer_free(fd)
    finally:
        os.close(fd)


def test_free_while_nobody_writes(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"x")
    assert asked(path) is Lease.FREE
    with path.open("rb"):
        assert asked(path) is Lease.FREE
    with path.open("ab"):
        assert asked(path) is Lease.WRITER
    assert asked(path) is Lease.FREE


def test_unknown_where_there_are_no_leases() -> None:
    read, write = os.pipe()
    assert writer_free(read) is Lease.UNKNOWN
    os.close(read)
    os.close(write)


def test_unknown_for_the_file_of_somebody_else(tmp_path: Path) -> None:
    needs.root("to become somebody else")
    path = tmp_path / "x"
    path.write_bytes(b"x")
    fd = os.open(path, os.O_RDONLY)
    code = (
        "import os, sys; sys.path[:] = eval(sys.argv[2]); from dropcap.files.regular import writer_free;"
        "os.setgroups([]); os.setgid(65534); os.setuid(65534); print(writer_free(int(sys.argv[1])).name)"
    )
    result = subprocess.run(
        [sys.executable, "-c", code, str(fd), repr(sys.path)], pass_fds=[fd], capture_output=True, text=True, check=True
    )
    os.close(fd)
    assert result.stdout == "UNKNOWN\n"


def test_a_closed_descriptor_is_no_answer(tmp_path: Path) -> None:
    read, write = os.pipe()
    os.close(read)
    os.close(write)
    with pytest.raises(OSError, match="Bad file descriptor"):
        writer_free(read)


def test_a_lease_that_is_broken_does_not_end_the_process(tmp_path: Path) -> None:
    """Another process opens and closes for writing without pause while leases are taken and given back."""
    path = tmp_path / "x"
    path.write_bytes(b"x")
    code = "import os, sys\nwhile True: os.close(os.open(sys.argv[1], os.O_WRONLY))"
    with subprocess.Popen([sys.executable, "-c", code, str(path)]) as writer:
        seen = {asked(path) for _ in range(20_000)}
        writer.kill()
    assert Lease.FREE in seen
    ignore_lease_breaks()
