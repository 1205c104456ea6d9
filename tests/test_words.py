"""Words for programs and words for people: the first are enumerations, and the second decide nothing."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from dropcap.reasons import Reason, Scope

ROOT = Path(__file__).parent.parent
SOURCE = ROOT / "src" / "dropcap"
#: What people read. (A reply's own words, `said` and `text`, are REDCap's: `redcap.wording` is there to read those.)
PROSE = frozenset({"message", "remedy", "note"})
#: Ways of looking at a text.
LOOKING = frozenset(
    {"startswith", "endswith", "find", "rfind", "index", "count", "search", "match", "fullmatch", "partition", "removeprefix"}
)
_REASONS = {reason.value for reason in Reason} - {""}


def attribute(node: ast.AST) -> str:
    """`job.message`, `job.message or ""`, `told["message"]`, `problem.scope[0]` and the like: which one of them it is."""
    match node:
        case ast.Attribute(attr=name) | ast.Subscript(slice=ast.Constant(value=str(name))):
            return name
        case ast.Subscript(value=of, slice=ast.Constant(value=int())):
            return attribute(of)
        case ast.BoolOp(values=[first, *_]) | ast.NamedExpr(value=first):
            return attribute(first)
        case ast.Call(func=ast.Attribute(value=of, attr="lower" | "casefold" | "strip")):
            return attribute(of)
    return ""


def decisions(tree: ast.AST) -> Iterator[tuple[int, list[str], list[ast.AST]]]:
    """Each comparison, look into a text and pattern: its line, the attributes that it is about, and all that takes part."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Compare):
            parts: list[ast.AST] = [node.left, *node.comparators]
            if any(isinstance(part, ast.Constant) and part.value is None for part in parts):
                continue  # whether there is one
            yield node.lineno, [attribute(part) for part in parts], parts
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in LOOKING:
            parts = [node.func.value, *node.args]
            yield node.lineno, [attribute(part) for part in parts], parts
        elif isinstance(node, ast.MatchClass):
            yield node.patterns[0].lineno if node.patterns else node.lineno, list(node.kwd_attrs), list(node.kwd_patterns)
        elif isinstance(node, ast.Match):
            yield node.lineno, [attribute(node.subject)], [case.pattern for case in node.cases]


def on_prose(text: str) -> list[int]:
    return [line for line, names, _ in decisions(ast.parse(text)) if PROSE & {*names}]


def on_bare_words(text: str) -> list[int]:
    """Where a reason or scope is compared with a word that no enumeration holds together."""
    found = []
    for line, names, parts in decisions(ast.parse(text)):
        words = {node.value for part in parts for node in ast.walk(part) if isinstance(node, ast.Constant)}
        if {"reason", "scope"} & {*names} and any(isinstance(word, str) and word for word in words - {"reason", "scope"}):
            found.append(line)
    return found + [node.lineno for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Set) and _are_reasons(node)]


def _are_reasons(node: ast.Set) -> bool:
    """Whether all that stands in a set is a reason, as a bare word."""
    return all(isinstance(word, ast.Constant) and word.value in _REASONS for word in node.elts)


#: Turns of phrase that nobody says aloud.
_STILTED = re.compile(
    r"\b(?:to be had|by way of|names none|lest|is no [a-z]+ [a-z]+ (?:file|proxy)|in no way)\b|(?<!there )\bis none$"
)


def _read_by_people(tree: ast.AST) -> Iterator[str]:
    """All texts of a module but its docstrings; those of commands are their help."""
    notes = set()
    for node in ast.walk(tree):
        match node:
            case ast.FunctionDef(decorator_list=decorators) if any("command" in ast.unparse(one) for one in decorators):
                pass
            case ast.Module(body=[ast.Expr(value=note), *_]) | ast.ClassDef(body=[ast.Expr(value=note), *_]):
                notes.add(note)
            case ast.FunctionDef(body=[ast.Expr(value=note), *_]):
                notes.add(note)
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node not in notes:
            yield node.value


def modules() -> list[tuple[str, str]]:
    return [(str(path.relative_to(SOURCE)), path.read_text()) for path in sorted(SOURCE.rglob("*.py"))]


def test_no_message_decides_anything() -> None:
    assert [f"{name}:{line}" for name, text in modules() for line in on_prose(text)] == []


def test_messages_read_as_one_would_say_them() -> None:
    texts = {name: list(_read_by_people(ast.parse(text))) for name, text in modules()}
    assert sum(map(len, texts.values())) > 3000
    assert [f"{name}: {text}" for name, found in texts.items() for text in found if _STILTED.search(text)] == []


def beginnings(tree: ast.AST) -> Iterator[str]:
    """How each `message=` and `remedy=` begins."""
    for node in ast.walk(tree):
        if isinstance(node, ast.keyword) and node.arg in PROSE:
            first = node.value.values[0] if isinstance(node.value, ast.JoinedStr) else node.value
            if isinstance(first, ast.Constant) and isinstance(first.value, str):
                yield first.value


def test_messages_begin_alike() -> None:
    """In lower case: they stand behind a name, a time or a colon. Names keep their capitals, as REDCap does."""
    found = [(name, text) for name, code in modules() for text in beginnings(ast.parse(code))]
    assert len(found) > 20
    assert [one for one in found if re.match(r"[A-Z][a-z]", one[1])] == []


def test_no_message_is_searched_for_in_the_ledger() -> None:
    """But by the scripts that bring up an old ledger, whose sentences stay as they were."""
    looks = re.compile(r"\b(?:where|and|when|or)\s+\(?(?:\w+\.)?(?:note|message|remedy)\s*(?:=|<>|is not '|like|in\b|glob)", re.I)
    assert [name for name, text in modules() if name != "ledger/sqlite/migrations.py" and looks.search(text)] == []


def test_reasons_and_scopes_are_compared_with_their_enumerations() -> None:
    assert [f"{name}:{line}" for name, text in modules() for line in on_bare_words(text)] == []


@pytest.mark.parametrize(
    "code",
    [
        'job.message == "its record was created"',
        "any(event.note == asks for event in history)",
        '(job.message or "").startswith("x")',
        'if "created" in outcome.message.lower(): pass',
        'told["remedy"] != "x"',
        're.search("created", job.message)',
        'match one:\n    case Later(message="x"): pass',
        'match job.message:\n    case "x": pass',
    ],
)
def test_the_test_finds_control_flow_on_prose(code: str) -> None:
    assert on_prose(code)


@pytest.mark.parametrize(
    "code",
    [
        'job.reason == "rights"',
        'meaning.reason in ("a", "b")',
        'match one:\n    case Later(scope="server"): pass',
        'if problem.scope[0] == "folder": pass',
        '_CHANGED = _OTHERS | {"refused", "not_repeating"}',
    ],
)
def test_the_test_finds_bare_words(code: str) -> None:
    assert on_bare_words(code)


def test_the_reasons_are_those_of_the_contract() -> None:
    part = (ROOT / "docs" / "design.md").read_text().split("`reason` is one of:")[1].split("\n\n")[0]
    own = {Reason.NONE, Reason.NO_FILE, Reason.STOPPED, Reason.FILING}
    assert set(re.findall(r"`(\w+)`", part)) == {reason.value for reason in Reason} - own


def test_reasons_and_scopes_read_like_the_words_that_they_are() -> None:
    assert (f"{Reason.NO_RECORD}", f"{Scope.SERVER}", str(Scope.STOP)) == ("no_record", "server", "stop")
    assert "rights" in {Reason.RIGHTS}, "the ledger gives out plain text"


def test_a_reason_of_another_version_is_no_trouble() -> None:
    assert Reason.of("rights", Reason.REFUSED) is Reason.RIGHTS
    assert [Reason.of(word, Reason.REFUSED) for word in ("of_tomorrow", "", None)] == [Reason.REFUSED] * 3
