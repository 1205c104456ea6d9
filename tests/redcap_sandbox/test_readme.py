"""What the package's README shows works as it stands there."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import redcap_sandbox
from redcap_sandbox import KINDS, Sandbox, demo_project

README = (Path(redcap_sandbox.__file__).parent / "README.md").read_text()


def test_the_example_passes(tmp_path: Path) -> None:
    (example,) = re.findall(r"^```python\n(.*?)^```$", README, re.DOTALL | re.MULTILINE)
    (tmp_path / "test_example.py").write_text(example)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", str(tmp_path), str(tmp_path)]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert "2 passed" in result.stdout, result.stdout + result.stderr


def test_every_fault_is_told_once() -> None:
    faults = README.partition("## Faults")[2].partition("## ")[0].partition("| --- | --- |")[2]
    assert sorted(re.findall(r"`(\w+)`", faults)) == sorted(KINDS)


def test_what_it_names_of_a_sandbox_is_there() -> None:
    table = README.partition("| of a `Sandbox` |")[2].partition("\n\n")[0]
    words = re.findall(r"^\| `(.+?)` \|", table, re.MULTILINE)
    box = Sandbox(demo_project())
    for name in {re.split(r"\W", word)[0] for row in words for word in row.split("`, `")} - {"Sandbox"}:
        assert hasattr(box, name), name
