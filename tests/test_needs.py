"""The suite itself, on a machine that has nothing but Python: skipped with a reason, never failed."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from tests import needs

ROOT = Path(__file__).parents[1]
#: Tests that start programs or load libraries which machines may lack, and pass or skip within moments if they do.
DEMANDING = [
    "tests/crash/test_every_step.py::test_killed_at",
    "tests/crash/test_power_cut.py",
    "tests/deploy/test_unit.py",
    "tests/intake/test_mounted.py",
    "tests/php",
    "tests/postgres/test_cluster.py::test_each_test_has_an_empty_database_of_its_own",
    "tests/shares/test_fuse.py",
    "tests/shares/test_samba.py",
    "tests/shares/test_smbnetfs.py",
    "tests/shares/test_unstable_inodes.py",
]
#: Debian packages that only tests by name use.
BY_NAME = {"mmdebstrap", "systemd-container"}


def test_without_programs_and_libraries_tests_are_skipped_and_say_what_to_install(tmp_path: Path) -> None:
    bare = {**os.environ, "PATH": str(tmp_path), "FUSE_LIBRARY_NAME": "absent", "DROPCAP_HEAVY": "0"}
    command = [sys.executable, "-m", "pytest", "-n", "0", "-rfEs", f"--basetemp={tmp_path / 'inner'}", *DEMANDING]
    result = subprocess.run(command, cwd=ROOT, env=bare, capture_output=True, text=True, timeout=100)
    assert result.returncode == 0, result.stdout[-4000:] + result.stderr
    reasons = set(re.findall(r"^SKIPPED \[\d+\] \S+: (.*)", result.stdout, re.MULTILINE))
    assert {f"needs {name} (Debian package {needs.PACKAGES[name]})" for name in ("php", "strace", "bindfs")} <= reasons
    assert [reason for reason in reasons if not reason.startswith(("needs ", "only with DROPCAP_HEAVY"))] == []


def test_the_packages_are_installed_for_the_suite_and_named_to_people() -> None:
    listed = ROOT.joinpath(".ci/run").read_text().partition("packages=(")[2].partition("\n)")[0]
    installed = {line.split("#")[0].strip() for line in listed.splitlines()}
    assert set(needs.PACKAGES.values()) - BY_NAME <= installed
    told = ROOT.joinpath("tests/README.md").read_text()
    assert [package for package in set(needs.PACKAGES.values()) if f"`{package}`" not in told] == []


def test_every_folder_of_tests_is_explained() -> None:
    told = ROOT.joinpath("tests/README.md").read_text()
    folders = {path.parent.name for path in (ROOT / "tests").glob("*/test_*.py")}
    assert [folder for folder in folders if f"| `{folder}/` |" not in told] == []
