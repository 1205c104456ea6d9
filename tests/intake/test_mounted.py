"""Real mounts, in a mount namespace of the test's own: nobody else sees them, and they end with it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests import needs

BEFORE = """
import pathlib, subprocess, sys
sys.path[:] = eval(sys.argv[2])
from tests.intake.conftest import Desk, until
def mount(path): subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "none", str(path)], check=True)
desk = Desk(pathlib.Path(sys.argv[1]))
"""

INNER = """
(desk.path / "sub").mkdir()
mount(desk.path / "sub")
(desk.path / "sub" / "x.pdf").write_bytes(b"x" * 10000)
desk.start()
desk.until_open("sub/x.pdf")
assert (desk.path / "in_progress" / "sub" / "x.pdf").read_bytes() == b"x" * 10000
assert not (desk.path / "sub" / "x.pdf").exists()
assert desk.ledger.query.open_files("consents")["sub/x.pdf"].state == "waiting"
desk.stop()
"""

UNMOUNTED = """
mount(desk.path)
intake = desk.start(rescan=0.2)
(desk.path / "a.pdf").write_bytes(b"a")
desk.until_open("a.pdf")
subprocess.run(["umount", "-l", str(desk.path)], check=True)
until(lambda: intake.away and "tmpfs none" in intake.away, 10, lambda: intake.away)
assert list(desk.path.iterdir()) == []
mount(desk.path)  # another disk
(desk.path / "stray.pdf").write_bytes(b"x")
before = intake.last_walk
intake.wake()
import time; time.sleep(0.6)
assert intake.away
assert [path.name for path in desk.path.iterdir()] == ["stray.pdf"]
assert set(desk.open()) == {"a.pdf"}, "its file is on the disk that is away"
desk.stop()
"""


@pytest.mark.parametrize("code", [INNER, UNMOUNTED], ids=["a mount within", "unmounted"])
def test_mounts(tmp_path: Path, code: str) -> None:
    unshare = needs.program("unshare")
    needs.program("mount")
    needs.right("have a mount namespace", [unshare, "-m", "true"])
    result = subprocess.run(
        [unshare, "-m", sys.executable, "-c", BEFORE + code, str(tmp_path), repr(sys.path)],
        capture_output=True, text=True, timeout=40, check=False,
    )  # fmt: skip
    assert result.returncode == 0, result.stdout + result.stderr
