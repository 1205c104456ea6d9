"""Words for programs and words for people: the first are enumerations, and the second decide nothing."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from dropcap.reasons import Reason

ROOT = Path(__file__).parent.parent
SOURCE = ROOT / "src" / "dropcap"
#: What people read. (A reply's own words, `said` and `text`, are REDCap's: `redcap.reply` is there to read those.)
PROSE = frozenset({"message", "remedy", "note"})
#: Ways of looking at a text.
LOOKING = frozenset(
    {"startswith", "endswith", "find", "rfind", "index", "count", "search", "match", "fullmatch", "partition", "removeprefix"}
)


def attribute(node: ast.AST) -> str:
    """`job.message`, `job.message or ""`, `told["message"]`, `problem.scope[0]` and the like: which one of them it is."""
    match node:
        case ast.Attribute(attr=name) | ast.Subscript(slice=ast.Constant(value=str(name))):
            return name
        case ast.BoolOp(values=[of, *_]) | ast.NamedExpr(value=of) | ast.Subscript(value=of):
            return attribute(of)
        case ast.Call(func=ast.Attribute(value=of, attr="lower" | "casefold" | "strip")):
            return attribute(of)
    return ""


def decisions(tree: ast.AST) -> Iterator[tuple[int, set[str], list[ast.AST]]]:
    """Each comparison, look into a text and pattern: its line, the attributes that it is about, and all that takes part."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Compare):
            parts: list[ast.AST] = [node.left, *node.comparators]
            if not any(isinstance(part, ast.Constant) and part.value is None for part in parts):
                yield node.lineno, {attribute(part) for part in parts}, parts
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in LOOKING:
            parts = [node.func.value, *node.args]
            yield node.lineno, {attribute(part) for part in parts}, parts
        elif isinstance(node, ast.MatchClass):
            yield node.patterns[0].lineno if node.patterns else 0, {*node.kwd_attrs}, list(node.kwd_patterns)
        elif isinstance(node, ast.Match):
            yield node.lineno, {attribute(node.subject)}, [case.pattern for case in node.cases]


def found() -> Iterator[tuple[str, set[str], list[ast.AST]]]:
    for path in sorted(SOURCE.rglob("*.py")):
        for line, names, parts in decisions(ast.parse(path.read_text())):
            yield f"{path.relative_to(SOURCE)}:{line}", names, parts


def test_no_message_decides_anything() -> None:
    assert [where for where, names, _ in found() if PROSE & names] == []


def test_no_message_is_searched_for_in_the_ledger() -> None:
    """But by the scripts that bring up an old ledger, whose sentences stay as they were."""
    looks = re.compile(r"\b(?:where|and|when|or)\s+\(?(?:\w+\.)?(?:note|message|remedy)\s*(?:=|<>|is not '|like|in\b|glob)", re.I)
    texts = {str(path.relative_to(SOURCE)): path.read_text() for path in SOURCE.rglob("*.py")}
    assert [name for name, text in texts.items() if looks.search(text)] == ["ledger/sqlite.py"]


def test_reasons_and_scopes_are_compared_with_their_enumerations() -> None:
    wrong = []
    for where, names, parts in found():
        words = {node.value for part in parts for node in ast.walk(part) if isinstance(node, ast.Constant)}
        if {"reason", "scope"} & names and any(isinstance(word, str) and word for word in words - {"reason", "scope"}):
            wrong.append(where)
    assert wrong == []


def test_a_reason_of_another_version_is_no_trouble() -> None:
    assert Reason.of("rights", Reason.REFUSED) is Reason.RIGHTS
    assert [Reason.of(word, Reason.REFUSED) for word in ("of_tomorrow", "", None)] == [Reason.REFUSED] * 3
