"""Rules whose names differ by a mere suffix and that lead to different events: a `-2` too much, and a file is at another visit.

Pure: names are made up from the patterns, and routed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice, product

from dropcap.config.model import Folder
from dropcap.routing.route import Route, matches, route
from dropcap.routing.syntax import Capture, Element, Group, Literal, Wildcard

#: What people, cameras and browsers put behind a name, before its extension.
SUFFIXES = ("-2", "_2", "2", " 2", ".2", "(2)", " (2)", "-x", "_x")
#: So many names of a pattern are tried at most, and fewer where a folder has many rules: each is compared with each of them.
MOST = 24
_COMPARED = 150_000
_SAMPLES = {"digits": "1", "letters": "a", "alnum": "a", "word": "a", "date": "2026-01-02"}


@dataclass(frozen=True, slots=True)
class LookAlike:
    """Two names of the same record, and where they go. The second has a suffix more."""

    first: Route
    second: Route
    name: str
    longer: str


def look_alikes(folder: Folder) -> Iterator[LookAlike]:
    """Pairs of rules, each pair once, that a suffix alone tells apart although they lead to different events."""
    told: set[tuple[str, str]] = set()
    most = max(1, min(MOST, _COMPARED // (len(SUFFIXES) * len(folder.rules) ** 2)))
    for rule in folder.rules:
        if rule.event is None:
            continue
        for name in islice(_names([unit.element for unit in rule.pattern.units]), most):
            first = route(folder.rules, folder.name, name)
            if not isinstance(first, Route) or first.rule is not rule:
                continue
            for second, longer in _longer(folder, first, name):
                pair = (rule.name, second.rule.name)
                if pair not in told:
                    told.add(pair)
                    yield LookAlike(first, second, name, longer)


def _longer(folder: Folder, first: Route, name: str) -> Iterator[tuple[Route, str]]:
    stem, dot, extension = name.rpartition(".")
    for suffix in SUFFIXES:
        longer = f"{stem}{suffix}{dot}{extension}" if dot else name + suffix
        if not matches(folder.rules, longer):  # `route` would look for the nearest rule, which takes its time
            continue
        second = route(folder.rules, folder.name, longer)
        if not isinstance(second, Route) or second.rule is first.rule:
            continue
        one, other = first.target, second.target
        same_record = (one.record, one.record_where) == (other.record, other.record_where)
        if same_record and other.event is not None and one.event != other.event:
            yield second, longer


def _names(elements: Sequence[Element]) -> Iterator[str]:
    """Names that a pattern matches: every word, each optional part there and not; of other captures one value."""
    texts = [list(_texts(element)) for element in elements]
    if tuple(elements[-2:]) == (Literal("."), Wildcard(many=True)):
        texts[-1] = ["pdf"]
    for parts in product(*texts):
        yield "".join(parts)


def _texts(element: Element) -> Iterator[str]:
    match element:
        case Literal(character):
            yield character
        case Wildcard(many):
            yield "" if many else "x"
        case Group(parts):
            yield ""
            yield from islice(_names(parts), MOST)
        case Capture(kind="words", words=words):
            yield from words[:MOST]
        case Capture():
            sample = _SAMPLES.get(element.kind, "x")
            yield sample if element.kind == "date" else sample * element.low
