"""Patterns of file names, each one RE2 expression: linear in the length of the name, whatever somebody writes."""

from __future__ import annotations

import re
import string
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import re2

from dropcap.routing.syntax import Capture, Element, Group, Literal, PatternError, Wildcard, parse
from dropcap.routing.table import Table, normal

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
