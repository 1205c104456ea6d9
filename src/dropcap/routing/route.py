"""Name -> rule -> target: the one decision of where a file goes, or that it is ignored; and the rule that it nearly matches."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from operator import attrgetter

from dropcap.display import shown
from dropcap.reasons import Reason
from dropcap.routing.pattern import CLASS_SOURCES, CLASSES, Capture, Literal, Unit, compiled, is_text, listed, normal
from dropcap.routing.rule import NEXT, Rule, RuleSettings, Target, Template, TemplateError

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


_FIELD = re.compile(r"[a-z][a-z0-9_]*", re.ASCII)
#: REDCap keeps the number of a repeat instance in a signed 16-bit column.
HIGHEST_INSTANCE = 32767


@dataclass(frozen=True, slots=True)
class Route:
    """Where a file goes, and by which rule."""

    rule: Rule
    captures: dict[str, str]
    target: Target
    settings: RuleSettings


@dataclass(frozen=True, slots=True)
class NoRoute:
    """Why a file goes nowhere. `reason` is `no_rule` or `bad_value`; with `bad_value`, `rule` is the one that matched."""

    reason: Reason
    message: str
    remedy: str
    rule: Rule | None = None


class _BadValueError(ValueError):
    def __init__(self, message: str, remedy: str = "correct the file's name") -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy


def route(rules: Sequence[Rule], folder_name: str, name: str) -> Route | NoRoute:
    """The way of the file with the relative name `name` (`/` between folders) in the folder `folder_name`.

    The first rule that matches decides, also if its templates cannot be rendered for this name: a later rule would
    send the file to a place that its author did not mean for it.
    """
    for rule in rules:
        captures = rule.pattern.match(name)
        if captures is None:
            continue
        try:
            return Route(rule, captures, _target(rule, captures, folder_name, name), rule.settings)
        except _BadValueError as error:
            return NoRoute(Reason.BAD_VALUE, f"rule `{rule.name}`: {error.message}", error.remedy, rule)
    return _no_rule(rules, name)


def settings_for(rules: Sequence[Rule], name: str) -> RuleSettings | None:
    """The settings of the rule that decides about the relative name `name`; None if no rule does."""
    return next((rule.settings for rule in rules if rule.pattern.match(name) is not None), None)


def matches(rules: Sequence[Rule], name: str) -> bool:
    """Whether any rule matches `name`, so that `route` has another answer than `no_rule`."""
    return any(rule.pattern.match(name) is not None for rule in rules)


def _no_rule(rules: Sequence[Rule], name: str) -> NoRoute:
    if not is_text(name):
        return NoRoute(
            Reason.NO_RULE,
            f"the name `{shown(name)}` has bytes that are not UTF-8, and no rule matches such a name",
            "rename the file with plain characters",
        )
    near = nearest(rules, name)
    message = f"no rule matches `{shown(name)}`" + (f"; the nearest: {near.message}" if near else "")
    return NoRoute(Reason.NO_RULE, message, "correct the file's name, or add a rule for such names")


def _target(rule: Rule, captures: dict[str, str], folder_name: str, name: str) -> Target:
    last = name.rpartition("/")[2]
    values = {**_built_in(folder_name, last), **captures}
    if _has_control(last):
        raise _BadValueError(f"the name `{shown(last)}` has a control character", "take it out of the name")
    record = "" if rule.record is None else _rendered("record", rule.record, values)
    upload_as = last if rule.upload_as is None else _rendered("upload_as", rule.upload_as, values)
    if "/" in upload_as or "\\" in upload_as:
        raise _BadValueError(f"upload_as comes out as `{shown(upload_as)}`: a file's name in REDCap has no `/` or `\\`")
    return Target(
        field=_field(_rendered("field", rule.field, values)),
        record=record,
        event=None if rule.event is None else _rendered("event", rule.event, values),
        instance=None if rule.instance is None else _instance(rule.instance, values),
        record_where={key: _rendered(f"record_where.{key}", t, values) for key, t in rule.record_where.items()},
        must_match={key: _rendered(f"must_match.{key}", t, values) for key, t in rule.must_match.items()},
        upload_as=upload_as,
        record_is_typed=rule.record is not None and is_typed(rule.record, rule.pattern.typed),
    )


def is_typed(template: Template, typed: frozenset[str]) -> bool:
    """Whether all that `template` takes from the name is captured with an explicit type."""
    return bool(template.names) and template.names <= typed


def _built_in(folder_name: str, last: str) -> dict[str, str]:
    last = normal(last)
    stem, _, extension = last.rpartition(".")
    if not stem:  # no dot, or only the one that hides a file
        stem, extension = last, ""
    return {"name": last, "stem": stem, "ext": extension, "folder": folder_name}


def _rendered(key: str, template: Template, values: Mapping[str, str]) -> str:
    try:
        text = template.render(values)
    except TemplateError as error:
        raise _BadValueError(f"{key}: {error}", "correct the file's name, or add the word to the table") from None
    if not text:
        raise _BadValueError(f"{key} comes out empty", "give the file a name that says it")
    if text != text.strip():
        raise _BadValueError(f"{key} comes out as `{shown(text)}`, with a space at an end", "take the space out of the name")
    if _has_control(text):
        raise _BadValueError(f"{key} comes out as `{shown(text)}`, with a control character", "take it out of the name")
    return text


def _has_control(text: str) -> bool:
    return not text.isprintable() and any(unicodedata.category(character) in ("Cc", "Zl", "Zp") for character in text)


def _field(text: str) -> str:
    if not _FIELD.fullmatch(text):
        raise _BadValueError(
            f"field comes out as `{shown(text)}`, which no REDCap field is called",
            "field names have a-z, 0-9 and `_`; the filter `lower` helps with capitals",
        )
    return text


def _instance(template: Template, values: Mapping[str, str]) -> int | str:
    if template.text == NEXT:  # only the rule's author may say so, never a file's name
        return NEXT
    text = _rendered("instance", template, values)
    number = int(text) if text.isascii() and text.isdigit() and len(text) <= 20 else 0
    if not 1 <= number <= HIGHEST_INSTANCE:
        raise _BadValueError(f"instance comes out as `{shown(text)}`, which is not a number from 1 to {HIGHEST_INSTANCE}")
    return number


_PREFIXES = (".", "~$")
_SUFFIXES = (".tmp", ".part", ".partial", ".filepart", ".crdownload", ".download", ".swp", ".lock", "~")
_NAMES = frozenset(
    name.casefold()
    for name in (
        "Thumbs.db",
        "desktop.ini",
        "_STATUS.html",
        "_STATUS (dropcap).html",
        "System Volume Information",
        "$RECYCLE.BIN",
        "lost+found",
        "@eaDir",
    )
)


def ignored(relative_name: str, extra_globs: Sequence[str] = ()) -> str | None:
    """Why the file or folder `relative_name` (`/` between folders) is left alone, in words; None if it is a dropped file.

    What lies in an ignored folder is ignored as well. `extra_globs` (the folder's `ignore`) are compared whatever their
    case: with the last part of the name, or with the whole of it if the glob has a `/`.
    """
    parts = relative_name.split("/")
    for part in parts:
        folded = part.casefold()
        if folded in _NAMES:
            return f"`{part}` belongs to the system, not to the files"
        if part.startswith(_PREFIXES):
            prefix = next(prefix for prefix in _PREFIXES if part.startswith(prefix))
            return f"names that begin with `{prefix}` are hidden or temporary"
        if folded.endswith(_SUFFIXES):
            suffix = next(suffix for suffix in _SUFFIXES if folded.endswith(suffix))
            return f"names that end in `{suffix}` are temporary or still being written"
    if not extra_globs:
        return None
    whole, last = _comparable(relative_name), _comparable(parts[-1])
    for glob in extra_globs:
        if fnmatchcase(whole if "/" in glob else last, _comparable(glob)):
            return f"the folder ignores `{glob}`"
    return None


def _comparable(text: str) -> str:
    return unicodedata.normalize("NFC", text).casefold()
