"""What right names look like: as a rule's author says, else made up along its pattern."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from dropcap.naming.pieces import in_order
from dropcap.routing.pattern import Capture, Element, Group, Literal
from dropcap.routing.route import Route, route
from dropcap.routing.rule import Rule

_DAY = "2026-11-25"
_DIGITS, _LETTERS = "101", "ABC"
#: For parts that may be anything, by the name of the capture.
_ANYTHING = {"record": "101", "mrn": "100037", "initials": "AB", "ini": "AB", "site": "north", "ext": "pdf"}


def examples(rules: Sequence[Rule], folder_name: str, most: int = 5) -> list[str]:
    """One name for each of the first rules, that the rules take; none for a rule that no name can be made up for."""
    found = (example(rule, rules, folder_name) for rule in rules)
    return list(dict.fromkeys(name for name in found if name))[:most]


def example(rule: Rule, rules: Sequence[Rule], folder_name: str) -> str:
    """A name that goes by `rule`; empty if its author gives none and none can be made up."""
    if rule.example:
        return rule.example
    if not rule.pattern.units:
        return ""
    name = _made_up([unit.element for unit in rule.pattern.units], _words(rule))
    found = route(rules, folder_name, name)
    return name if isinstance(found, Route) and found.rule is rule else ""


def _words(rule: Rule) -> dict[str, tuple[str, ...]]:
    templates = [rule.record, rule.event, rule.field, rule.instance, rule.upload_as]
    every = [*templates, *rule.record_where.values(), *rule.must_match.values()]
    return {capture: table.words for one in every if one is not None for capture, table in one.looked_up.items() if table.words}


def _made_up(elements: Iterable[Element], words: dict[str, tuple[str, ...]]) -> str:
    name = "".join(_of(element, words) for element in elements)
    return f"{name}pdf" if name.endswith(".") else name  # `scan*.*`


def _of(element: Element, words: dict[str, tuple[str, ...]]) -> str:
    match element:
        case Literal(character):
            return character
        case Group():
            return ""
        case Capture():
            return _captured(element, element.words or words.get(element.name, ()))
    return "" if element.many else "1"


def _captured(capture: Capture, words: tuple[str, ...]) -> str:
    if words:
        return in_order(words)[0]
    if capture.kind == "date":
        return _DAY
    if capture.kind == "digits" and (capture.low > 1 or capture.high is not None):
        return "1".rjust(capture.low, "0")
    if capture.kind in ("digits", ""):
        return _ANYTHING.get(capture.name, _DIGITS if capture.kind == "digits" else capture.name)
    if capture.kind == "letters":
        return (_LETTERS * capture.low)[: max(capture.low, min(capture.high or 2, 2))]
    if capture.kind in ("alnum", "word") and (capture.low, capture.high) == (1, None):
        return _ANYTHING.get(capture.name, "A1")
    if capture.kind == "alnum":
        return ("A1" * capture.low)[: max(capture.low, min(capture.high or 2, 2))]
    return _ANYTHING.get(
        capture.name, (capture.name * capture.low)[: max(capture.low, min(capture.high or 9, len(capture.name)))]
    )
