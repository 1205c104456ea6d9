"""Captures that touch each other, where nothing tells where one ends and the next begins: is `1012` record 101 or 10?"""

from __future__ import annotations

import string
from collections.abc import Callable, Iterator, Sequence

from dropcap.routing.pattern import Pattern
from dropcap.routing.syntax import Capture, Element, Group

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
        return bool(of_first) and any(of_first.issuperset(rest) for rest in _rests(second.words, str.removesuffix))
    if first.words:
        return bool(of_second) and any(of_second.issuperset(rest) for rest in _rests(first.words, str.removeprefix))
    return bool(of_first & of_second)


def _counted(capture: Capture) -> bool:
    return capture.low == capture.high


def _rests(words: Sequence[str], without: Callable[[str, str], str]) -> Iterator[str]:
    """What a word has more than another one that it ends, or begins, with."""
    folded = {word.casefold() for word in words}
    for word in folded:
        yield from (rest for other in folded if (rest := without(word, other)) != word and rest)
