"""Patterns of file names, each compiled to one RE2 expression: linear in the length of the name; and tables of words."""

from __future__ import annotations

import re
import string
import unicodedata
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from functools import cached_property, lru_cache
from typing import Any

import re2

from dropcap.display import shown

#: The key that stands for every word that the table does not have.
DEFAULT = "*"

_SHOWN_WORDS = 8


class Table(Mapping[str, str]):
    """A mapping of words. A word is found exactly as it is written, else whatever its case."""

    def __init__(self, name: str, words: Mapping[str, str]) -> None:
        self.name = name
        self._words = {normal(word): value for word, value in words.items()}

    @classmethod
    def of(cls, name: str, words: Mapping[str, str]) -> Table:
        """`words` as a table; a table is returned as it is."""
        return words if isinstance(words, Table) else cls(name, words)

    def __getitem__(self, word: str) -> str:
        return self._words[word]

    def __iter__(self) -> Iterator[str]:
        return iter(self._words)

    def __len__(self) -> int:
        return len(self._words)

    @cached_property
    def words(self) -> tuple[str, ...]:
        """The words that can stand in a file's name, the longest first, so that `V10` is not read as `V1`."""
        return longest_first(word for word in self._words if word not in ("", DEFAULT))

    @cached_property
    def _folded(self) -> dict[str, set[str]]:
        folded: dict[str, set[str]] = {}
        for word, value in self._words.items():
            folded.setdefault(word.casefold(), set()).add(value)
        return folded

    def translate(self, word: str, case_sensitive: bool = False) -> str:
        """What stands for `word`; LookupError, with words for people, if the table does not say."""
        word = normal(word)
        if word in self._words and word != DEFAULT:
            return self._words[word]
        values = self._folded.get(word.casefold(), set()) if word != DEFAULT and not case_sensitive else set()
        if len(values) == 1:
            return next(iter(values))
        if values:
            raise LookupError(f"the table `{self.name}` has `{word}` in several spellings that mean different things")
        if DEFAULT in self._words:
            return self._words[DEFAULT]
        raise LookupError(f"the table `{self.name}` has no `{word}`; it has {listed(sorted(self.words))}")


def longest_first(words: Iterable[str]) -> tuple[str, ...]:
    """Words in the order in which they are tried."""
    return tuple(sorted(sorted(words), key=len, reverse=True))


def listed(words: list[str]) -> str:
    """The first words of a list, and how many more there are."""
    if not words:
        return "nothing"
    more = len(words) - _SHOWN_WORDS
    return ", ".join(words[:_SHOWN_WORDS]) + (f" and {more} more" if more > 0 else "")


def normal(text: str) -> str:
    """`text` in Unicode's composed form (NFC), in which names are compared: macOS writes them decomposed."""
    return unicodedata.normalize("NFC", text)


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
            return Capture(name, "words", words=longest_first(set(words)))
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


__all__ = ["Pattern", "PatternError", "Unit", "compile_pattern", "compile_regex"]

_MEMORY = 64 * 1024**2  # a table of tens of thousands of words still fits
_NAMED_GROUP = re.compile(r"(?<!\\)\(\?P?<(\w+)>")
# Escaped characters and classes: `[^/]` asks for no folder.
_NOT_A_SLASH = re.compile(r"\\[^/]|\[\^?\]?(?:\\.|[^\]\\])*\]")
_PLAIN = frozenset(string.ascii_letters + string.digits)
CLASS_SOURCES = {"digits": "0-9", "letters": "A-Za-z", "alnum": "0-9A-Za-z", "word": "0-9A-Za-z_.-"}


def _existing_days(dash: str) -> str:
    """An expression for every day of the years 1 to 9999, and no other: no second look is needed after the match."""
    any_year = "(?:[0-9]{3}[1-9]|[0-9]{2}[1-9][0-9]|[0-9][1-9][0-9]{2}|[1-9][0-9]{3})"
    leap = "(?:0[48]|[2468][048]|[13579][26])"
    leap_year = f"(?:[0-9]{{2}}{leap}|{leap}00)"
    return (
        f"{any_year}{dash}(?:(?:0[13578]|1[02]){dash}(?:0[1-9]|[12][0-9]|3[01])"
        f"|(?:0[469]|11){dash}(?:0[1-9]|[12][0-9]|30)|02{dash}(?:0[1-9]|1[0-9]|2[0-8]))|{leap_year}{dash}02{dash}29"
    )


_DATE = f"(?:{_existing_days('-')}|{_existing_days('')})"


@dataclass(frozen=True, slots=True)
class Unit:
    """One top-level element of a pattern as an expression, for `nearest`, which looks how far a name goes."""

    source: str
    element: Element


@dataclass(frozen=True, slots=True)
class Pattern:
    """A compiled pattern or regular expression.

    `captures` stand in the order of the text; `typed` are those with an explicit type other than `any`. `tables` are those whose
    words it takes, by name; `source` is the expression that a name is compared with.
    """

    text: str
    captures: tuple[str, ...]
    typed: frozenset[str]
    case_sensitive: bool = False
    whole: bool = False  # has a `/`: matches the whole relative name, else only its last part
    tables: Mapping[str, Table] = field(default_factory=dict, repr=False)
    source: str = field(default="", repr=False)
    units: tuple[Unit, ...] = field(default=(), repr=False, compare=False)  # none for a regular expression
    _expression: Any = field(default=None, repr=False, compare=False)
    _groups: tuple[int, ...] = field(default=(), repr=False, compare=False)  # the number of each capture's group

    def match(self, name: str) -> dict[str, str] | None:
        """The captures of the relative name `name` (`/` between folders), NFC-normalised; None if it does not match.

        A capture in an optional part that is missing is empty. A name with bytes that are not UTF-8 matches nothing:
        such a name could not be told to REDCap, and what it captures might be a damaged record id.
        """
        subject = self.subject(name)
        # As bytes and by number: for text and names RE2's wrapper makes tables at each call, which cost more than the match.
        found = self._expression.fullmatch(subject.encode()) if is_text(subject) else None
        if found is None:
            return None
        return {capture: (found[group] or b"").decode() for capture, group in zip(self.captures, self._groups, strict=True)}

    def subject(self, name: str) -> str:
        """The part of `name` that this pattern is compared with, NFC-normalised."""
        return normal(name if self.whole else name.rpartition("/")[2])


def is_text(name: str) -> bool:
    """Whether `name` is Unicode all through: no lone surrogates, by which Python stands for bytes that are not UTF-8."""
    return name.isascii() or not any("\ud800" <= character <= "\udfff" for character in name)


def compile_pattern(text: str, tables: Mapping[str, Mapping[str, str]], case_sensitive: bool = False) -> Pattern:
    """The pattern `text` (design, part 4), its table types looked up in `tables`.

    Raises PatternError with position and remedy.
    """
    text = normal(text)
    elements = parse(text, tables)
    captures = tuple(_captures(elements))
    sources = list(_sources(elements, ()))
    source = "".join(sources)
    expression = compiled(source, case_sensitive)
    return Pattern(
        text=text,
        captures=tuple(capture.name for capture in captures),
        typed=frozenset(capture.name for capture in captures if capture.kind not in ("", "any")),
        case_sensitive=case_sensitive,
        whole=_has_slash(elements),
        tables={one.table: Table.of(one.table, tables[one.table]) for one in captures if one.table},
        source=source,
        units=tuple(Unit(source, element) for source, element in zip(sources, elements, strict=True)),
        _expression=expression,
        _groups=tuple(expression.groupindex[capture.name] for capture in captures),
    )


def compile_regex(text: str, case_sensitive: bool = False) -> Pattern:
    """The RE2 expression `text`; its named groups are the captures, none of them typed. With a `/` outside of
    classes it is compared with the whole relative name, else with the last part of it.

    Raises PatternError.
    """
    text = normal(text)
    expression = compiled(text, case_sensitive)
    seen: set[str] = set()
    for group in _NAMED_GROUP.finditer(text):  # RE2 would quietly take one of two groups of the same name
        if group.group(1) in seen:
            raise PatternError(f"the group `{group.group(1)}` stands twice", group.start(), "give one another name")
        seen.add(group.group(1))
    numbers = expression.groupindex
    names = tuple(sorted(numbers, key=numbers.__getitem__))
    whole = "/" in _NOT_A_SLASH.sub("", text)
    groups = tuple(numbers[name] for name in names)
    return Pattern(text, names, frozenset(), case_sensitive, whole, source=text, _expression=expression, _groups=groups)


@lru_cache(maxsize=4096)
def compiled(source: str, case_sensitive: bool, longest: bool = False) -> Any:
    """An RE2 expression, which takes the `longest` match or the one that it prefers; PatternError if RE2 does not take it."""
    options = re2.Options()
    options.longest_match = longest
    options.case_sensitive = case_sensitive
    options.max_mem = _MEMORY
    options.log_errors = False
    try:
        return re2.compile(source, options)
    except (re2.error, UnicodeError) as error:
        reason = error.args[0] if error.args and isinstance(error, re2.error) else "it is not Unicode text"
        if isinstance(reason, bytes):
            reason = reason.decode(errors="replace")
        raise PatternError(
            f"RE2 does not take the expression: {reason}", 0, "see RE2's syntax: no look-around, no back-references"
        ) from None


def _sources(elements: Sequence[Element], then: Sequence[Element]) -> Iterator[str]:
    """The expressions of `elements`, which `then` follow."""
    for index, element in enumerate(elements):
        following = (*elements[index + 1 :], *then)
        match element:
            case Literal(character):
                yield quoted(character)
            case Wildcard(many):
                yield ("[^/]*?" if _yields(following) else "[^/]*") if many else "[^/]"
            case Group(parts):
                yield f"(?:{''.join(_sources(parts, following))})?"
            case Capture():
                yield f"(?P<{element.name}>{_capture_source(element, following)})"


def _yields(following: Sequence[Element]) -> bool:
    """Whether a run of any characters takes as few as it can: where no literal character ends it, it would else leave
    only the last character to what follows, and `*{record:digits}` would read record 1 out of `scan101`."""
    return bool(following) and not isinstance(following[0], Literal)


def _typed_next(following: Sequence[Element]) -> bool:
    first = next((element for element in following if not isinstance(element, Group)), None)
    return isinstance(first, Capture) and first.kind not in ("", "any")


def _capture_source(capture: Capture, following: Sequence[Element]) -> str:
    if capture.kind in ("", "any"):
        literals = _first_literals(following) if capture.kind == "" else ()
        run = f"[^/{''.join(quoted(character) for character in sorted(literals))}]+"
        return f"{run}?" if _typed_next(following) else run  # as with `*`: `{site}{record:digits}`
    if capture.kind == "words":
        return "|".join("".join(quoted(character) for character in word) for word in capture.words)
    # ASCII by its own means: under the flag for case, RE2 would count the long s (U+017F) among the letters.
    if capture.kind == "date":
        return _DATE
    count = "+" if capture.high is None else f"{{{capture.low},{capture.high}}}"
    return f"(?-i:[{CLASS_SOURCES[capture.kind]}]{count})"


def _first_literals(elements: Sequence[Element]) -> frozenset[str]:
    """The literal characters that can come first: of an optional part and of what follows it, if it is missing."""
    found: set[str] = set()
    for element in elements:
        match element:
            case Literal(character):
                return frozenset(found | {character})
            case Group(parts):
                found |= _first_literals(parts)
            case _:
                break
    return frozenset(found)


def _captures(elements: Sequence[Element]) -> Iterator[Capture]:
    for element in elements:
        if isinstance(element, Capture):
            yield element
        elif isinstance(element, Group):
            yield from _captures(element.parts)


def _has_slash(elements: Sequence[Element]) -> bool:
    return any(element == Literal("/") or (isinstance(element, Group) and _has_slash(element.parts)) for element in elements)


def quoted(character: str) -> str:
    """One character as it stands for itself in an expression, within a class as well."""
    return character if character in _PLAIN else f"\\x{{{ord(character):x}}}"


_CHARACTERS = {
    "digits": frozenset(string.digits),
    "letters": frozenset(string.ascii_letters),
    "alnum": frozenset(string.digits + string.ascii_letters),
    "word": frozenset(string.digits + string.ascii_letters + "_-."),
}
_FREE = ("", "any")


def touching(pattern: Pattern) -> list[tuple[str, str]]:
    """The names of neighbouring captures between which a name may be divided in more than one place; of a regular
    expression nothing is known."""
    return list(_pairs([unit.element for unit in pattern.units], ()))


def _pairs(elements: Sequence[Element], then: Sequence[Element]) -> Iterator[tuple[str, str]]:
    for index, element in enumerate(elements):
        following = (*elements[index + 1 :], *then)
        if isinstance(element, Group):
            yield from _pairs(element.parts, following)
        elif isinstance(element, Capture):
            yield from ((element.name, other.name) for other in _next(following) if _unclear(element, other))


def _next(following: Sequence[Element]) -> Iterator[Capture]:
    """The captures that may come at once: the next one, and those that begin optional parts before it."""
    for element in following:
        if isinstance(element, Group):
            yield from _next(element.parts)
            continue
        if isinstance(element, Capture):
            yield element
        return


def _unclear(first: Capture, second: Capture) -> bool:
    if first.kind in _FREE:
        return second.kind in _FREE
    of_first, of_second = _CHARACTERS.get(first.kind, frozenset()), _CHARACTERS.get(second.kind, frozenset())
    if _counted(first) or _counted(second):
        return False
    if second.words:
        return bool(of_first) and any(of_first.issuperset(rest) for rest in _rests(second.words, of_end=True))
    if first.words:
        return bool(of_second) and any(of_second.issuperset(rest) for rest in _rests(first.words, of_end=False))
    return bool(of_first & of_second)


def _counted(capture: Capture) -> bool:
    return capture.low == capture.high


def _rests(words: Sequence[str], *, of_end: bool) -> Iterator[str]:
    """What a word has more than another one that it ends, or begins, with."""
    folded = {word.casefold() for word in words}
    for word in folded:
        rests = (word.removesuffix(other) if of_end else word.removeprefix(other) for other in folded)
        yield from (rest for rest in rests if rest not in (word, ""))
