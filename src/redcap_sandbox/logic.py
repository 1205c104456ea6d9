"""`filterLogic`: comparisons of fields with values, joined by `and`, `or`, `not` and parentheses.

Equality is loose, as PHP compares: two numbers are equal if their values are (`'007'` equals `'7'`), text is compared
as it is.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from redcap_sandbox.wording import ApiError

#: Looks up a field: (event or None for the row's own, field, checkbox code or None) -> value.
Lookup = Callable[[str | None, str, str | None], str]
Predicate = Callable[[Lookup], bool]
_Operand = Callable[[Lookup], str]

_TOKEN = re.compile(
    r"""\s*(?:
      (?P<field>(?:\[[A-Za-z0-9_]+\])?\[[A-Za-z0-9_]+(?:\([^()\[\]]*\))?\])
    | (?P<text>'[^']*'|"[^"]*")
    | (?P<number>-?\d+(?:\.\d+)?)
    | (?P<operator><=|>=|<>|!=|=|<|>)
    | (?P<word>and|or|not)\b
    | (?P<bracket>[()])
    )""",
    re.VERBOSE | re.IGNORECASE,
)
_FIELD = re.compile(r"(?:\[(?P<event>\w+)\])?\[(?P<name>\w+)(?:\((?P<code>[^()]*)\))?\]", re.ASCII)
_NUMBER = re.compile(r"-?\d+(?:\.\d+)?", re.ASCII)
MAX_DEPTH = 50


@dataclass(frozen=True, slots=True)
class Filter:
    """A filter and the fields that it names, as (event or None, field)."""

    matches: Predicate
    fields: frozenset[tuple[str | None, str]]


def parse_logic(text: str) -> Filter:
    """Read a filter. Raises ApiError 400 for anything that it does not understand."""
    return _Parser(text).parse()


class _Parser:
    def __init__(self, text: str) -> None:
        self._tokens: list[tuple[str, str]] = []
        self._position = 0
        self._depth = 0
        self._fields: set[tuple[str | None, str]] = set()
        position = 0
        text = text.rstrip()
        while position < len(text):
            match = _TOKEN.match(text, position)
            if match is None or match.lastgroup is None:
                raise ApiError(400, "bad_logic", why=f"at character {position + 1}")
            self._tokens.append((match.lastgroup, match[match.lastgroup]))
            position = match.end()

    def parse(self) -> Filter:
        predicate = self._any()
        if self._position < len(self._tokens):
            raise ApiError(400, "bad_logic", why=f"unexpected {self._tokens[self._position][1]!r}")
        return Filter(predicate, frozenset(self._fields))

    def _next(self, kind: str, *words: str) -> str | None:
        if self._position < len(self._tokens):
            found, value = self._tokens[self._position]
            if found == kind and (not words or value.lower() in words):
                self._position += 1
                return value
        return None

    def _any(self) -> Predicate:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise ApiError(400, "bad_logic", why="too many parentheses")
        parts = [self._all()]
        while self._next("word", "or"):
            parts.append(self._all())
        self._depth -= 1
        return lambda lookup: any(part(lookup) for part in parts)

    def _all(self) -> Predicate:
        parts = [self._one()]
        while self._next("word", "and"):
            parts.append(self._one())
        return lambda lookup: all(part(lookup) for part in parts)

    def _one(self) -> Predicate:
        negated = bool(self._next("word", "not"))
        if self._next("bracket", "("):
            inner = self._any()
            if not self._next("bracket", ")"):
                raise ApiError(400, "bad_logic", why="a parenthesis is not closed")
        else:
            inner = self._comparison()
        return (lambda lookup: not inner(lookup)) if negated else inner

    def _comparison(self) -> Predicate:
        left = self._operand()
        operator = self._next("operator")
        if operator is None:
            raise ApiError(400, "bad_logic", why="a comparison is missing")
        right = self._operand()
        return lambda lookup: compare(left(lookup), operator, right(lookup))

    def _operand(self) -> _Operand:
        if reference := self._next("field"):
            match = _FIELD.fullmatch(reference)
            if match is None:
                raise ApiError(400, "bad_logic", why=f"{reference} is not a field")
            event, name, code = match["event"], match["name"], match["code"]
            self._fields.add((event, name))
            return lambda lookup: lookup(event, name, code)
        if text := self._next("text"):
            return lambda lookup: text[1:-1]
        if number := self._next("number"):
            return lambda lookup: number
        raise ApiError(400, "bad_logic", why="a field or a value is missing")


def compare(left: str, operator: str, right: str) -> bool:
    """`left operator right`, as numbers if both are numbers."""
    if _NUMBER.fullmatch(left) and _NUMBER.fullmatch(right):
        order = (float(left) > float(right)) - (float(left) < float(right))
    else:
        order = (left > right) - (left < right)
    return {
        "=": order == 0,
        "!=": order != 0,
        "<>": order != 0,
        "<": order < 0,
        ">": order > 0,
        "<=": order <= 0,
        ">=": order >= 0,
    }[operator]
