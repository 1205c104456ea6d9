"""The rule that a name nearly matches, and the place where it stops."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from operator import attrgetter

from dropcap.display import shown
from dropcap.routing.pattern import CLASS_SOURCES, CLASSES, Capture, Literal, Unit, compiled, is_text, listed, normal
from dropcap.routing.rule import Rule

_LONGEST_SHOWN = 20


@dataclass(frozen=True, slots=True)
class Nearest:
    """How far a rule goes with a name. `position` counts characters of the whole relative name in NFC, from 0.
    `rank` orders: the parts of the pattern that match, then the characters."""

    rule: Rule
    position: int
    matched: str
    expected: str
    found: str  # empty at the end of the name
    rank: tuple[int, int]

    @property
    def message(self) -> str:
        """All of it in one sentence for people."""
        begin = f"matches `{shown(self.matched)}`, then expects" if self.matched else "expects"
        found = f"finds `{shown(self.found)}`" if self.found else "the name ends there"
        return f"rule `{self.rule.name}` {begin} {self.expected}, but {found}"


def nearest(rules: Sequence[Rule], name: str) -> Nearest | None:
    """The rule whose pattern goes furthest with `name`, the first of equals; None if no pattern (a regular expression
    gives no place) could tell, or if the name is not Unicode text."""
    if not is_text(name):
        return None
    approaches = (_approach(rule, name) for rule in rules if rule.pattern.units)
    return max(approaches, key=attrgetter("rank"), default=None)


def _approach(rule: Rule, name: str) -> Nearest:
    pattern, units = rule.pattern, rule.pattern.units
    subject, offset = pattern.subject(name), 0
    if not pattern.whole:
        offset = len(normal(name)) - len(subject)

    def end_of(count: int, longest: bool = False) -> int | None:
        source = "".join(unit.source for unit in units[:count])
        found = compiled(source, pattern.case_sensitive, longest).match(subject)
        return found.end() if found else None

    # What the first n units match, the first n-1 match as well: so bisect.
    reached, end, too_many = 0, 0, len(units) + 1
    while too_many - reached > 1:
        middle = (reached + too_many) // 2
        there = end_of(middle)
        if there is None:
            too_many = middle
        else:
            reached, end = middle, there
    begun = _begun(units[reached], subject[end:]) if reached < len(units) else 0
    if not begun:  # what takes as few characters as it can has not stopped there
        end = end_of(reached, longest=True) or 0
    end += begun
    expected = _expected(units[reached:], begun) if reached < len(units) else "the end of the name"
    return Nearest(rule, offset + end, subject[:end], expected, _word(subject[end:]), (reached, end))


def _begun(unit: Unit, rest: str) -> int:
    """How many characters of a counted capture are there, when there are too few."""
    if not isinstance(unit.element, Capture) or unit.element.high is None:
        return 0
    found = compiled(f"[{CLASS_SOURCES[unit.element.kind]}]*", True).match(rest)
    return int(found.end()) if found else 0


def _expected(units: Sequence[Unit], begun: int) -> str:
    element = units[0].element
    if isinstance(element, Literal):
        return f"`{shown(_literals(units))}`"
    if isinstance(element, Capture):
        return f"{_of_capture(element, begun)} for {{{element.name}}}"
    return "a character"  # only `?` can fail besides: `*` and optional parts match nothing as well


def _literals(units: Sequence[Unit]) -> str:
    run = ""
    for unit in units:
        if not isinstance(unit.element, Literal):
            break
        run += unit.element.character
    return run


def _of_capture(capture: Capture, begun: int) -> str:
    if capture.table:
        return f"a word of the table `{capture.table}` ({listed(sorted(capture.words))})"
    if capture.words:
        return f"one of {listed(sorted(capture.words))}"
    if capture.kind == "date":
        return "a day that exists, such as 2026-11-24 or 20261124"
    if capture.kind not in CLASSES:
        return "one or more characters"
    if capture.high is None:
        return CLASSES[capture.kind]
    if begun:
        return f"{capture.low - begun} more {CLASSES[capture.kind]}"
    count = str(capture.low) if capture.low == capture.high else f"{capture.low} to {capture.high}"
    return f"{count} {CLASSES[capture.kind]}"


def _word(rest: str) -> str:
    """What stands at the beginning of `rest`: a run of letters, digits and `-`, or one other character."""
    length = 0
    while length < len(rest) and (rest[length].isalnum() or (length and rest[length] == "-")):
        length += 1
    word = rest[: max(length, 1)]
    return word if len(word) <= _LONGEST_SHOWN else word[: _LONGEST_SHOWN - 1] + "…"
