"""The syntax of patterns: text -> elements. What an element matches is told in `pattern`."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from difflib import get_close_matches

from dropcap.display import shown
from dropcap.routing.table import Table, listed

#: Character types: what the words of the documentation say of them.
CLASSES = {"digits": "digits", "letters": "letters a-z", "alnum": "letters and digits", "word": "letters, digits, `_` `-` `.`"}
#: Every word that is a type by itself; no table may have such a name.
TYPES = (*CLASSES, "date", "any")

_LONGEST_PATTERN = 1000
_LONGEST_NAME = 255  # bytes, on every file system that matters
_DEEPEST = 20
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)
_COUNTED = re.compile(r"([A-Za-z0-9_-]+)\((.*)\)", re.ASCII | re.DOTALL)
_COUNT = re.compile(r"([0-9]{1,4})(?:-([0-9]{1,4}))?", re.ASCII)


class PatternError(ValueError):
    """A pattern that cannot be understood. `position` counts characters of the pattern (NFC) from 0."""

    def __init__(self, message: str, position: int, remedy: str) -> None:
        super().__init__(f"{message} (at character {position + 1}); {remedy}")
        self.message = message
        self.position = position
        self.remedy = remedy


@dataclass(frozen=True, slots=True)
class Literal:
    """One character itself."""

    character: str


@dataclass(frozen=True, slots=True)
class Wildcard:
    """`*` (many) or `?`."""

    many: bool


@dataclass(frozen=True, slots=True)
class Capture:
    """`{name}`, `{name:TYPE}`, `{name:TYPE(low-high)}`. `kind` is a word of TYPES, "words", or "" where no type is given."""

    name: str
    kind: str = ""
    low: int = 1
    high: int | None = None
    words: tuple[str, ...] = ()
    table: str = ""


@dataclass(frozen=True, slots=True)
class Group:
    """`[...]`: a part that may be missing."""

    parts: tuple[Element, ...]


Element = Literal | Wildcard | Capture | Group


def parse(text: str, tables: Mapping[str, Mapping[str, str]]) -> tuple[Element, ...]:
    """The elements of the pattern `text`, which is NFC.

    Raises PatternError.
    """
    if not text:
        raise PatternError("the pattern is empty", 0, "write one, such as {record:digits}_consent.pdf")
    if len(text) > _LONGEST_PATTERN:
        raise PatternError(f"the pattern has more than {_LONGEST_PATTERN} characters", _LONGEST_PATTERN, "shorten it")
    for position, character in enumerate(text):
        if character == "\0" or "\ud800" <= character <= "\udfff":
            raise PatternError("no file name has this character", position, "take it out")
    if text.startswith("/"):
        raise PatternError("the pattern begins with `/`", 0, "names are relative to the drop folder: leave the `/` out")
    return _Parser(text, tables).everything()


class _Parser:
    def __init__(self, text: str, tables: Mapping[str, Mapping[str, str]]) -> None:
        self._text = text
        self._tables = tables
        self._at = 0
        self._captured: set[str] = set()

    def everything(self) -> tuple[Element, ...]:
        parts = self._sequence(0)
        if self._at < len(self._text):  # only a `]` ends a sequence early
            raise PatternError("a `]` without its `[`", self._at, "write `\\]` for the character itself")
        return parts

    def _sequence(self, depth: int) -> tuple[Element, ...]:
        parts: list[Element] = []
        while self._at < len(self._text):
            start, character = self._at, self._text[self._at]
            if character == "]":
                break
            self._at += 1
            if character == "\\":
                parts.append(Literal(self._escaped(start)))
            elif character == "{":
                parts.append(self._capture(start))
            elif character == "}":
                raise PatternError("a `}` without its `{`", start, "write `\\}` for the character itself")
            elif character == "[":
                parts.append(self._group(start, depth + 1))
            elif character in "*?":
                parts.append(Wildcard(many=character == "*"))
            else:
                parts.append(Literal(character))
        return tuple(parts)

    def _escaped(self, start: int) -> str:
        if self._at == len(self._text):
            raise PatternError("a `\\` at the end", start, "write `\\\\` for the character itself, or take it out")
        self._at += 1
        return self._text[self._at - 1]

    def _group(self, start: int, depth: int) -> Group:
        if depth > _DEEPEST:
            raise PatternError(f"optional parts lie more than {_DEEPEST} deep in each other", start, "use several rules")
        parts = self._sequence(depth)
        if self._at == len(self._text):
            raise PatternError("the `[` is never closed", start, "close it with `]`, or write `\\[` for the character")
        self._at += 1
        if not parts:
            raise PatternError("the optional part is empty", start, "take the `[]` out")
        return Group(parts)

    def _capture(self, start: int) -> Capture:
        found = _NAME.match(self._text, self._at)
        name = found.group() if found else ""
        self._at += len(name)
        after = self._text[self._at : self._at + 1]
        if not after:
            raise PatternError("the `{` is never closed", start, "close it with `}`, or write `\\{` for the character")
        if not name or after not in (":", "}"):
            raise PatternError(
                f"`{shown(after)}` cannot stand in the name of a capture" if after != "}" else "the capture has no name",
                self._at,
                "write {name} or {name:type}, the name of letters, digits and `_`, no digit first",
            )
        if name in self._captured:
            raise PatternError(f"`{name}` is captured twice", start, "give one of them another name")
        self._captured.add(name)
        self._at += 1
        if after == "}":
            return Capture(name)
        position = self._at
        return self._typed(name, self._alternatives(start), position)

    def _alternatives(self, start: int) -> list[str]:
        """What stands between `:` and `}`, split at `|`."""
        words = [""]
        while self._at < len(self._text):
            here, character = self._at, self._text[self._at]
            self._at += 1
            if character == "}":
                return words
            if character == "|":
                words.append("")
            elif character == "\\":
                words[-1] += self._escaped(here)
            elif character == "{":
                raise PatternError("a `{` within a capture", here, "close the one before with `}`")
            else:
                words[-1] += character
        raise PatternError("the `{` is never closed", start, "close it with `}`, or write `\\{` for the character")

    def _typed(self, name: str, words: list[str], position: int) -> Capture:
        if len(words) > 1:
            if "" in words:
                raise PatternError("one of the words is empty", position, "take a `|` out, or use an optional part [...]")
            if any("/" in word for word in words):
                raise PatternError("a word has a `/`", position, "a capture stays within one folder")
            return Capture(name, "words", words=tuple(sorted(set(words), key=lambda word: (-len(word), word))))
        kind = words[0]
        if kind in TYPES:
            return Capture(name, kind)
        if kind in self._tables:
            table = Table.of(kind, self._tables[kind])
            if not table.words:
                raise PatternError(f"the table `{kind}` has no words", position, "add some to it")
            return Capture(name, "words", words=table.words, table=kind)
        counted = _COUNTED.fullmatch(kind)
        if counted and counted.group(1) in CLASSES:
            low, high = _count(counted.group(2), position + len(counted.group(1)) + 1)
            return Capture(name, counted.group(1), low, high)
        if counted and (counted.group(1) in TYPES or counted.group(1) in self._tables):
            raise PatternError(f"`{counted.group(1)}` takes no number", position, f"write {counted.group(1)} alone")
        raise _unknown_type(counted.group(1) if counted else kind, position, self._tables)


def _count(text: str, position: int) -> tuple[int, int]:
    found = _COUNT.fullmatch(text)
    if not found:
        raise PatternError(f"`{shown(text)}` is not a number of characters", position, "write (4) or (1-6)")
    low, high = int(found.group(1)), int(found.group(2) or found.group(1))
    if not 1 <= low <= high <= _LONGEST_NAME:
        raise PatternError(
            f"`{text}` is not possible", position, f"the first number is at least 1, the second at most {_LONGEST_NAME}"
        )
    return low, high


def _unknown_type(kind: str, position: int, tables: Collection[str]) -> PatternError:
    near = get_close_matches(kind, (*TYPES, *tables), n=1)
    remedy = f"did you mean {near[0]}?" if near else f"use {listed([*TYPES, *tables])}, or words as in a|b"
    return PatternError(f"there is no type or table `{shown(kind)}`", position, remedy)
