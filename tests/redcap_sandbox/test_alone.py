"""The sandbox is a package of its own: for anybody's tests, with nothing but what the extra `sandbox` installs."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import redcap_sandbox

SOURCE = Path(redcap_sandbox.__file__).parent
PROJECT = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
MODULES = {f"redcap_sandbox.{path.stem}": path for path in SOURCE.glob("*.py") if path.stem != "__init__"}


def imported(path: Path) -> Iterator[str]:
    """All modules that a module imports, wherever it does."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path.name} imports by dots"
            yield node.module or ""


def names(requirements: list[str]) -> set[str]:
    return {re.split(r"[^\w-]", one)[0] for one in requirements}


def test_it_needs_what_its_extra_installs_and_nothing_else() -> None:
    top = {name.partition(".")[0] for path in SOURCE.glob("*.py") for name in imported(path)}
    assert top - sys.stdlib_module_names - {"redcap_sandbox"} == names(PROJECT["optional-dependencies"]["sandbox"])


def test_the_daemon_alone_installs_none_of_it() -> None:
    assert not names(PROJECT["dependencies"]) & names(PROJECT["optional-dependencies"]["sandbox"])


def test_no_circle_of_modules_not_even_for_the_type_checker() -> None:
    graph = {module: {name for name in imported(path) if name.startswith("redcap_sandbox")} for module, path in MODULES.items()}
    while leaves := {module for module, others in graph.items() if not others}:
        graph = {module: others - leaves for module, others in graph.items() if module not in leaves}
    assert graph == {}
