"""docs/inside.md names the locks and modules that there are."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent
SOURCE = ROOT / "src" / "dropcap"
INSIDE = (ROOT / "docs" / "inside.md").read_text()
KINDS = {"Lock", "RLock", "Condition"}


def locks(tree: ast.Module, module: str) -> Iterator[str]:
    """`Class.name` of each lock that a class has, `module.name` of those of a module."""
    for node in tree.body:
        if isinstance(node, ast.Assign) and _is_new_lock(node.value):
            yield f"{module}.{ast.unparse(node.targets[0])}"
    for owner in ast.walk(tree):
        if isinstance(owner, ast.ClassDef):
            for node in ast.walk(owner):
                target = node.targets[0] if isinstance(node, ast.Assign) else getattr(node, "target", None)
                value = getattr(node, "value", None) if isinstance(node, ast.Assign | ast.AnnAssign) else None
                if target is not None and value is not None and _is_new_lock(value):
                    yield f"{owner.name}.{target.attr if isinstance(target, ast.Attribute) else ast.unparse(target)}"


def _is_new_lock(value: ast.expr) -> bool:
    made = ast.unparse(value)
    return made in {f"threading.{kind}()" for kind in KINDS} or "default_factory=threading.Lock" in made


def test_every_lock_is_named_and_no_other() -> None:
    daemons = [path for path in SOURCE.rglob("*.py") if "cli" not in path.parts]
    there = {lock for path in daemons for lock in locks(ast.parse(path.read_text()), path.stem)}
    section = INSIDE.partition("\n## Locks\n")[2].partition("\n## ")[0]
    rows = [row.split("|")[1] for row in section.splitlines() if row.startswith("| `")]
    named = {name for row in rows for name in re.findall(r"`(\w+\.\w+)`", row)}
    assert named == there


def test_modules_that_it_names_are_there() -> None:
    named = re.findall(
        r"`((?:cli|config|content|daemon|delivery|files|filing|intake|ledger|preflight|redcap|routing)/\w+)", INSIDE
    )
    assert len(named) > 50
    assert sorted({name for name in named if not (SOURCE / f"{name}.py").exists()} - {"cli/NAME", "content/FORMAT"}) == []
