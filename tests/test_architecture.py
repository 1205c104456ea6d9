"""The shape that docs/inside.md describes: imports go one way, and every module has a subject."""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path

import pytest

SOURCE = Path(__file__).parent.parent / "src" / "dropcap"

#: From the commands down. A package imports from those of its own row and below, never from above.
ROWS: tuple[frozenset[str], ...] = (
    frozenset({"__main__"}),
    frozenset({"cli"}),
    frozenset({"daemon"}),
    frozenset({"dashboard"}),
    frozenset({"notify", "metrics"}),
    frozenset({"snapshot"}),
    frozenset({"preflight"}),
    frozenset({"intake", "delivery"}),
    frozenset({"filing"}),
    frozenset({"hosts"}),
    frozenset({"ledger", "redcap"}),
    frozenset({"config"}),
    frozenset({"naming"}),
    frozenset({"routing"}),
    frozenset({"files", "content"}),
    frozenset({"child"}),
    frozenset({"display", "secret", "reasons", "threads"}),
    frozenset({"language"}),
)
#: All that knows the sandbox, which `dropcap-redcap[sandbox]` completes: the module of its two commands.
WITH_THE_SANDBOX = {"cli.demo", "cli.demo_show"}
#: What the API of REDCap may use: it knows nothing of rules, of the configuration or of files that lie somewhere.
LOW = frozenset({"display", "secret", "reasons", "threads"})

#: Folders of tests that are no package's: each is a way of dealing with the whole.
OF_THE_WHOLE = frozenset({"crash", "deploy", "e2e", "faults", "fuzz", "hostile", "php", "postgres", "shares", "system"})


@cache
def imports() -> dict[str, set[str]]:
    """What each module of dropcap imports of it, by dotted names without the first."""
    return imports_in(SOURCE)


def imports_in(source: Path) -> dict[str, set[str]]:
    """As `imports`, of the modules beneath a directory."""
    modules = {".".join(path.relative_to(source).with_suffix("").parts): path for path in source.rglob("*.py")}
    del modules["__init__"]
    found: dict[str, set[str]] = {}
    for name, path in modules.items():
        wanted: set[str] = set()
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "dropcap":
                base = (node.module or "").partition(".")[2]
                for alias in node.names:
                    whole = f"{base}.{alias.name}" if base else alias.name
                    wanted.add(whole if {whole, f"{whole}.__init__"} & modules.keys() else base)
            elif isinstance(node, ast.Import):
                wanted.update(alias.name.partition(".")[2] for alias in node.names if alias.name.startswith("dropcap."))
        found[name] = {one if one in modules else f"{one}.__init__" for one in wanted - {""}}
    return found


def package(module: str) -> str:
    return module.partition(".")[0]


def row(of: str) -> int:
    return next(number for number, names in enumerate(ROWS) if of in names)


def test_every_package_has_its_row() -> None:
    assert {package(module) for module in imports()} == {name for names in ROWS for name in names}


def test_the_tests_of_a_package_stand_under_its_name() -> None:
    folders = {path.parent.name for path in Path(__file__).parent.glob("*/test_*.py")}
    packages = {path.parent.name for path in SOURCE.glob("*/__init__.py")}
    assert folders - OF_THE_WHOLE == packages | {"redcap_sandbox"}
    assert not folders & OF_THE_WHOLE & packages


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


@pytest.mark.parametrize("command", ["check", "dry_run", "init", "verify"])
def test_a_command_that_asks_redcap_itself_needs_no_engine(command: str) -> None:
    assert "daemon.engine" not in reach(imports(), f"cli.{command}")


def test_redcap_is_the_api_alone() -> None:
    known = {package(other) for module, others in imports().items() if package(module) == "redcap" for other in others}
    assert known - LOW == {"redcap"}


@pytest.mark.parametrize("name", ["utils", "util", "helpers", "helper", "manager", "base", "common", "misc"])
def test_no_module_is_called(name: str) -> None:
    assert [module for module in imports() if name in module.split(".")] == []


def test_no_circle_of_modules() -> None:
    """Imports for the type checker or within a function count: a circle that hides there is a circle."""
    assert circles(imports()) == []


def test_no_import_is_for_the_type_checker_alone() -> None:
    """Where there is no circle, there is nothing to put off either: every import stands at the top of its module."""
    texts = {module: (SOURCE / (module.replace(".", "/") + ".py")).read_text() for module in imports()}
    assert [module for module, text in texts.items() if "TYPE_CHECKING" in text] == []


def circles(graph: Mapping[str, set[str]]) -> list[list[str]]:
    """The modules that import each other, by way of others or not."""
    reached = {module: reach(graph, module) for module in graph}
    found = {frozenset(other for other in reached[module] if module in reached[other]) for module in graph}
    return sorted(sorted(circle) for circle in found if circle)


def reach(graph: Mapping[str, set[str]], module: str) -> set[str]:
    """All that a module imports, by way of others too."""
    found: set[str] = set()
    ahead = [module]
    while ahead:
        fresh = graph.get(ahead.pop(), set()) - found
        found |= fresh
        ahead += fresh
    return found
