"""What the package's README and the sandbox's page show works as it stands there."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import redcap_sandbox
from redcap_sandbox import KINDS, Fault, Rights, Sandbox, demo_project
from redcap_sandbox.control import ACTIONS, LOOKS
from redcap_sandbox.stand_in import SETTINGS

README = (Path(redcap_sandbox.__file__).parent / "README.md").read_text()


def test_the_example_passes(tmp_path: Path) -> None:
    (example,) = re.findall(r"^```python\n(.*?)^```$", README, re.DOTALL | re.MULTILINE)
    (tmp_path / "test_example.py").write_text(example)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", str(tmp_path), str(tmp_path)]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert "2 passed" in result.stdout, result.stdout + result.stderr


PAGE = (Path(__file__).parents[2] / "docs" / "sandbox.md").read_text()


def told(section: str) -> list[str]:
    """What stands in backquotes in the first column of the section's table."""
    table = PAGE.partition(f"## {section}\n")[2].partition("\n## ")[0].partition("| --- | --- |")[2]
    return [word for row in re.findall(r"^\| (.*?) \|", table, re.MULTILINE) for word in re.findall(r"`([^`]+)`", row)]


def test_every_fault_setting_and_right_is_told_once() -> None:
    parameters = {name for params in KINDS.values() for name in params}
    assert sorted(word for word in told("Faults") if word not in parameters) == sorted(KINDS)
    assert sorted(told("Settings")) == sorted(SETTINGS)
    assert sorted([*told("Users and rights"), "username"]) == sorted(Rights.__dataclass_fields__)


def test_every_page_is_told() -> None:
    words = {word.partition(" {")[0].partition("?")[0].rpartition("/")[2] for word in told("Pages")}
    assert words == {*LOOKS, *ACTIONS}


def test_the_faults_shown_on_a_command_line_are_faults() -> None:
    shown = re.findall(r"--ill ([a-z_]+:\S+)", PAGE)
    assert len(shown) == 2
    for text in shown:
        Fault.read(text)


def test_what_it_names_of_a_sandbox_is_there() -> None:
    table = README.partition("| of a `Sandbox` |")[2].partition("\n\n")[0]
    words = re.findall(r"^\| `(.+?)` \|", table, re.MULTILINE)
    box = Sandbox(demo_project())
    for name in {re.split(r"\W", word)[0] for row in words for word in row.split("`, `")} - {"Sandbox"}:
        assert hasattr(box, name), name
