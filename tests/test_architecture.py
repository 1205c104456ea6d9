"""The shape that docs/design.md part 2 promises: imports go one way, and every module has a subject."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

SOURCE = Path(__file__).parent.parent / "src" / "dropcap"

#: From the commands down. A package imports from those of its own row and below, never from above.
ROWS: tuple[frozenset[str], ...] = (
    frozenset({"__main__"}),
    frozenset({"cli"}),
    frozenset({"daemon"}),
    frozenset({"preflight", "verification"}),
    frozenset({"intake", "delivery"}),
    frozenset({"filing"}),
    frozenset({"ledger", "redcap"}),
    frozenset({"config"}),
    frozenset({"routing"}),
    frozenset({"files"}),
    frozenset({"display", "secret"}),
)
#: All that knows the sandbox, which `dropcap-redcap[sandbox]` completes: its two commands.
WITH_THE_SANDBOX = {"cli.demo_show", "cli.demo_story", "cli.extra", "cli.sandbox"}


@cache
def imports() -> dict[str, set[str]]:
    """What each module of dropcap imports of it, by dotted names without the first."""
    modules = {".".join(path.relative_to(SOURCE).with_suffix("").parts): path for path in SOURCE.rglob("*.py")}
    found: dict[str, set[str]] = {}
    for name, path in modules.items():
        if name.rpartition(".")[2] == "__init__":
            continue
        found[name] = set()
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "dropcap":
                base = (node.module or "").partition(".")[2]
                for alias in node.names:
                    whole = f"{base}.{alias.name}" if base else alias.name
                    found[name].add(whole if whole in modules else base)
            elif isinstance(node, ast.Import):
                found[name].update(alias.name.partition(".")[2] for alias in node.names if alias.name.startswith("dropcap."))
        found[name].discard("")
    return found


def package(module: str) -> str:
    return module.partition(".")[0]


def row(of: str) -> int:
    return next(number for number, names in enumerate(ROWS) if of in names)


def test_every_package_has_its_row() -> None:
    assert {package(module) for module in imports()} == {name for names in ROWS for name in names}


def test_imports_go_one_way() -> None:
    upwards = [
        f"{module} imports {other}"
        for module, others in imports().items()
        for other in others
        if row(package(other)) < row(package(module))
    ]
    assert upwards == []


def test_packages_of_one_row_know_nothing_of_each_other() -> None:
    sideways = [
        f"{module} imports {other}"
        for module, others in imports().items()
        for other in others
        if package(module) != package(other) and row(package(module)) == row(package(other))
    ]
    assert sideways == []


def test_two_commands_know_the_sandbox() -> None:
    libraries = re.compile(r"^\s*(?:from|import) (?:redcap_sandbox|cheroot|defusedxml)\b", re.MULTILINE)
    texts = {module: (SOURCE / (module.replace(".", "/") + ".py")).read_text() for module in imports()}
    assert {module for module, text in texts.items() if libraries.search(text)} == WITH_THE_SANDBOX


@pytest.mark.parametrize("name", ["utils", "util", "helpers", "helper", "manager", "base", "common", "misc"])
def test_no_module_is_called(name: str) -> None:
    assert [module for module in imports() if name in module.split(".")] == []


def test_no_circle_of_modules() -> None:
    graph = {module: {o for o in others if o in imports()} for module, others in _at_import().items()}
    while leaves := {module for module, others in graph.items() if not others}:
        graph = {module: others - leaves for module, others in graph.items() if module not in leaves}
    assert graph == {}


def _at_import() -> dict[str, set[str]]:
    """As `imports`, without those that are for the type checker or made within a function."""
    found: dict[str, set[str]] = {}
    for name, others in imports().items():
        tree = ast.parse((SOURCE / (name.replace(".", "/") + ".py")).read_text())
        said = {f"{n.module}.{a.name}" for n in tree.body if isinstance(n, ast.ImportFrom) for a in n.names}
        found[name] = {o for o in others if any(s == f"dropcap.{o}" or s.startswith(f"dropcap.{o}.") for s in said)}
    return found
