"""A real mount, in a mount namespace of the test's own: nobody else sees them, and they end with it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests import needs

BEFORE = """
import pathlib, subprocess, sys
sys.path[:] = eval(sys.argv[2])
from tests.intake.conftest import Desk
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


def test_a_mount_within(tmp_path: Path) -> None:
    unshare = needs.program("unshare")
    needs.program("mount")
    needs.right("have a mount namespace", [unshare, "-m", "true"])
    result = subprocess.run(
        [unshare, "-m", sys.executable, "-c", BEFORE + INNER, str(tmp_path), repr(sys.path)],
        capture_output=True, text=True, timeout=40, check=False,
    )  # fmt: skip
    assert result.returncode == 0, result.stdout + result.stderr
