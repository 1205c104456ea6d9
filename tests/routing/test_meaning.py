"""What a pattern matches is what the documentation says: compared with all the ways in which a slow reading divides a name."""

from __future__ import annotations

import string
from collections.abc import Iterator, Sequence

from hypothesis import assume, example, given
from hypothesis import strategies as st

from dropcap.routing.pattern import Capture, Element, Group, Literal, PatternError, Wildcard, compile_pattern, parse
from dropcap.routing.route import nearest
from dropcap.routing.rule import Rule, compile_template

TABLES = {"visits": {"V1": "a", "V12": "b", "x": "c"}}
CHARACTERS = {
    "digits": string.digits,
    "letters": string.ascii_letters,
    "alnum": string.digits + string.ascii_letters,
    "word": string.digits + string.ascii_letters + "_-.",
}
TYPES = ("", ":any", ":digits", ":letters", ":alnum", ":word", ":digits(2)", ":digits(1-2)", ":visits", ":1|12|2", ":a|ab")
PIECES = st.one_of(st.sampled_from([*"1a_-.Vx*?"]), st.sampled_from([f"{{%{kind}}}" for kind in TYPES]))
PATTERNS = st.recursive(
    st.lists(PIECES, min_size=1, max_size=4).map("".join),
    lambda inner: st.tuples(inner, inner, inner).map(lambda parts: f"{parts[0]}[{parts[1]}]{parts[2]}"),
    max_leaves=3,
)


def ways(elements: Sequence[Element], name: str, then: Sequence[Element]) -> Iterator[tuple[int, dict[str, str]]]:
    """All ways in which `elements`, followed by `then`, match a beginning of `name`: its length, and what is captured."""
    if not elements:
        yield 0, {}
        return
    first, rest = elements[0], elements[1:]
    for length, captured in one(first, name, (*rest, *then)):
        for more, others in ways(rest, name[length:], then):
            yield length + more, captured | others


def one(element: Element, name: str, following: Sequence[Element]) -> Iterator[tuple[int, dict[str, str]]]:
    match element:
        case Literal(character):
            if name and name[0].lower() == character.lower():
                yield 1, {}
        case Wildcard(many):
            yield from ((length, {}) for length in (range(len(name) + 1) if many else (1,)) if length <= len(name))
        case Group(parts):
            yield from ways(parts, name, following)
            yield 0, {}
        case Capture(words=words) if words:
            yield from ((len(w), {element.name: name[: len(w)]}) for w in words if name.lower().startswith(w.lower()))
        case Capture(kind=kind):
            stops = {c.lower() for c in first_literals(following)} if kind == "" else set()
            low, high = (element.low, element.high) if element.high is not None else (1, len(name))
            for length in range(1, len(name) + 1):
                last = name[length - 1]
                if last not in CHARACTERS.get(kind, last) or last.lower() in stops:
                    return
                if low <= length <= high:
                    yield length, {element.name: name[:length]}


def first_literals(elements: Sequence[Element]) -> set[str]:
    found: set[str] = set()
    for element in elements:
        if isinstance(element, Literal):
            return found | {element.character}
        if not isinstance(element, Group):
            break
        found |= first_literals(element.parts)
    return found


@example("*{%:1|12|2}", ["11V"])  # the pattern goes further in another way
@given(PATTERNS, st.lists(st.text("122abV_-.X", min_size=1, max_size=6), min_size=1, max_size=5))
def test_every_match_can_be_explained_and_none_is_missed(text: str, names: list[str]) -> None:
    pieces = text.split("%")
    text = "".join(f"{piece}c{number}" for number, piece in enumerate(pieces[:-1])) + pieces[-1]
    try:
        pattern, elements = compile_pattern(text, TABLES), list(parse(text, TABLES))
    except PatternError:
        assume(False)
    for name in names:
        explained = [captured for length, captured in ways(elements, name, ()) if length == len(name)]
        found = pattern.match(name)
        if found is not None:
            assert {key: value for key, value in found.items() if value} in explained
            continue
        assert not explained
        near = nearest([Rule("rule", pattern, field=compile_template("f", {}, ()))], name)
        count, _ = near.rank
        assert near.matched == name[: near.position]
        reached = [length for length, _ in ways(elements[:count], name, elements[count:])]
        assert reached, "the parts before the place do match"
        assert count == len(elements) or not list(ways(elements[: count + 1], name, elements[count + 1 :]))
        assert near.position == max(reached) or "more" in near.expected, "as far as they go"
