"""A name aligned with a pattern that it does not match: part by part, at the lowest cost; dates as people write them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from functools import lru_cache
from operator import attrgetter

from dropcap.naming.finding import LOOK_ALIKE, SEPARATORS, Kind, Meter, as_digit, as_letter, latin, prefixes, removal
from dropcap.routing.pattern import Capture, Element, Group, Literal, Wildcard

ORDER, FORM = 0.4, 0.3
#: What a part costs that is clearly meant to be something, and is it not: too much for a suggestion.
DOUBT = 2.0

_SIGN = r"[-._, /\u2010-\u2014\u2212]"
_MONTHS = {
    word: number
    for number, words in enumerate(
        (
            "jan january januar janvier enero ene",
            "feb february februar février fevrier febrero fév",
            "mar march märz maerz mars marzo mär mrz",
            "apr april avril abril avr abr",
            "may mai mayo",
            "jun june juni juin junio",
            "jul july juli juillet julio juil",
            "aug august août aout agosto ago",
            "sep sept september septembre septiembre",
            "oct october oktober octobre octubre okt",
            "nov november novembre noviembre",
            "dec december dezember décembre decembre diciembre dez dic déc",
        ),
        1,
    )
    for word in words.split()
}
_YEAR_FIRST = re.compile(rf"([0-9]{{4}})({_SIGN}?)([0-9]{{2}})({_SIGN}?)([0-9]{{2}})(?![0-9])")
_YEAR_FIRST_SHORT = re.compile(rf"([0-9]{{4}})({_SIGN})([0-9]{{1,2}})({_SIGN})([0-9]{{1,2}})(?![0-9])")
_YEAR_LAST = re.compile(rf"([0-9]{{1,2}})({_SIGN})([0-9]{{1,2}})({_SIGN})([0-9]{{4}})(?![0-9])")
_YEAR_LAST_SOLID = re.compile(r"([0-9]{2})()([0-9]{2})()([0-9]{4})(?![0-9])")
_MONTH_BETWEEN = re.compile(rf"([0-9]{{1,2}}){_SIGN}?([^\W\d_]{{3,9}}){_SIGN}?([0-9]{{4}})(?![0-9])")
_YEAR_SHORT = re.compile(rf"([0-9]{{1,2}})({_SIGN})([0-9]{{1,2}})({_SIGN})([0-9]{{2}})(?![0-9])")
_LONGEST = 24


@dataclass(frozen=True, slots=True)
class Day:
    """A date in a name, up to `end`: `wanted` is how it has to be written, or, with `doubt`, cannot be told."""

    end: int
    cost: float
    wanted: str
    kind: Kind | None = None
    days: tuple[str, ...] = ()  # that it can mean
    doubt: bool = False


def read(text: str, at: int) -> Iterator[Day]:
    """The ways in which the beginning of `text[at:]` is a date."""
    piece = text[at : at + _LONGEST]
    mapped = "".join(_digit_in_a_date(piece, index) for index in range(len(piece)))
    changed = [index for index in range(len(piece)) if mapped[index] != piece[index]]
    for day in _read(mapped):
        looks = sum(1 for index in changed if index < day.end)
        kind = day.kind or (Kind.LETTER_FOR_DIGIT if looks else None)
        yield Day(at + day.end, day.cost + LOOK_ALIKE * looks, day.wanted, kind, day.days, day.doubt)


def _digit_in_a_date(piece: str, index: int) -> str:
    """A letter with a digit beside it, that looks like one."""
    character = piece[index]
    if "0" <= character <= "9":
        return character
    beside = piece[max(0, index - 1) : index] + piece[index + 1 : index + 2]
    if any(one.isalpha() and not as_digit(one) for one in beside):  # a month's name
        return character
    return (as_digit(character) or character) if any("0" <= one <= "9" for one in beside) else character


def _read(piece: str) -> Iterator[Day]:
    found = _YEAR_FIRST.match(piece)
    if found is not None:
        year, first, month, second, day = found.groups()
        if not first and not second and not _day(year, month, day, "") and (solid := _YEAR_LAST_SOLID.match(piece)):
            one, _, other, _, last = solid.groups()
            yield from _days(solid.end(), ORDER, Kind.DATE_ORDER, [(last, other, one), (last, one, other)])
            return
        plain = (first, second) in (("-", "-"), ("", ""))
        yield from _days(found.end(), 0.0 if plain else FORM, None if plain else Kind.DATE_FORM, [(year, month, day)], first)
        return
    found = _YEAR_FIRST_SHORT.match(piece)
    if found is not None:
        year, _, month, _, day = found.groups()
        yield from _days(found.end(), FORM, Kind.DATE_FORM, [(year, month, day)])
        return
    found = _YEAR_LAST.match(piece)
    if found is not None:
        one, _, other, _, year = found.groups()
        yield from _days(found.end(), ORDER, Kind.DATE_ORDER, [(year, other, one), (year, one, other)])
        return
    found = _MONTH_BETWEEN.match(piece)
    if found is not None and (number := _MONTHS.get(found[2].casefold())) is not None:
        yield from _days(found.end(), ORDER, Kind.DATE_FORM, [(found[3], f"{number:02}", found[1])])
        return
    found = _YEAR_SHORT.match(piece)
    if found is not None:  # which of the three is the year cannot be told
        yield Day(found.end(), DOUBT, found.group(), Kind.NO_DATE, doubt=True)


def _days(end: int, cost: float, kind: Kind | None, read: list[tuple[str, str, str]], sign: str = "-") -> Iterator[Day]:
    days = list(dict.fromkeys(day for one in read if (day := _day(*one, "" if sign == "" else "-"))))
    if len(days) == 1:
        yield Day(end, cost, days[0], kind)
    elif days:
        yield Day(end, DOUBT, days[0], Kind.TWO_DAYS, tuple(days), doubt=True)
    else:
        year, month, day = read[0]
        swapped = _day(year, day, month, "-")
        if swapped and kind is not Kind.DATE_ORDER:
            yield Day(end, ORDER, swapped, Kind.DATE_ORDER)
        else:
            yield Day(end, DOUBT, "-".join(read[0]), Kind.NO_SUCH_DAY, doubt=True)


def _day(year: str, month: str, day: str, sign: str) -> str:
    try:
        return date(int(year), int(month), int(day)).strftime(f"%Y{sign}%m{sign}%d").rjust(8 + 2 * len(sign), "0")
    except ValueError:
        return ""


#: A leading zero that is missing; a word's errors weigh more than a literal's, since other words lie near.
ZERO, WORD = 0.5, 1.2
#: What an alignment may cost in all; what a suggestion may cost.
MOST, SURE = 3.2, 1.0
#: Words of one part that are all compared; of larger tables only those that look the same.
_COMPARED = 60
_ENDS = 8
#: What a part costs that is of the right kind, and cannot be put right: less than to take it for something else.
UNSURE = 0.9
_MOST_ZEROS = 3


@dataclass(frozen=True, slots=True)
class Piece:
    """Characters `start` to `end` of the name, taken up by `element` (None: a run of literal characters).

    `wanted` is what should stand there. With `doubt`, nobody can tell.
    """

    start: int
    end: int
    cost: float
    wanted: str
    element: Capture | Wildcard | None = None
    kind: Kind | None = None
    doubt: bool = False
    words: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Subject:
    """The name that is compared, and how."""

    text: str
    case_sensitive: bool
    meter: Meter
    telling: frozenset[str]  # captures that say where the file goes: zeros may be missing there, not in a time of day
    tables: dict[str, tuple[str, ...]]  # words that a capture without a type has to be of, since a template looks them up


def literal(run: str, name: Subject, at: int, left: float) -> Iterator[Piece]:
    """`run` stands in the pattern as it is."""
    for end, cost in prefixes(run, name.text, at, left, name.case_sensitive, name.meter):
        wanted = name.text[at:end] if cost == 0 else run
        yield Piece(at, end, cost, wanted)


def taken(element: Capture | Wildcard, then: Sequence[Element], name: Subject, at: int, left: float) -> Iterator[Piece]:
    """The ways in which `element`, which `then` follow, takes up what stands at `at`."""
    name.meter.spend(8)
    words = element.words or name.tables.get(element.name, ()) if isinstance(element, Capture) else ()
    if isinstance(element, Wildcard):
        yield from _anything(element, then, name, at)
    elif words:
        yield from _words(element, words, name, at, left)
    elif element.kind == "date":
        found = False
        for day in read(name.text, at):
            found = True
            yield Piece(at, day.end, day.cost, day.wanted, element, day.kind, day.doubt, day.days)
        if not found:
            yield from _something(element, Kind.NO_DATE, name, at)
    elif element.kind in ("", "any"):
        yield from _anything(element, then, name, at)
    else:
        yield from _counted(element, name, at)


def _anything(element: Capture | Wildcard, then: Sequence[Element], name: Subject, at: int) -> Iterator[Piece]:
    text = name.text
    if isinstance(element, Wildcard) and not element.many:
        if at < len(text):
            yield Piece(at, at + 1, 0.0, text[at], element)
        return
    least = at if isinstance(element, Wildcard) else at + 1
    typed = bool(then) and not isinstance(then[0], Literal)
    ends = [
        end
        for end in range(least, len(text) + 1)
        if end == len(text) or text[end] in SEPARATORS or (typed and end > at and text[end].isdigit() != text[end - 1].isdigit())
    ]
    if least == at and at not in ends:
        ends.insert(0, at)
    if len(ends) > _ENDS:
        ends = ends[: _ENDS // 2] + ends[-_ENDS // 2 :]
    sign = then[0].character.casefold() if then and isinstance(then[0], Literal) else ""
    likely = [end for end in ends if text[end : end + 1].casefold() == sign]  # of equals the first few are followed
    for end in dict.fromkeys([*likely, *ends]):
        if "/" not in text[at:end]:
            yield Piece(at, end, 0.0, text[at:end], element)


def _counted(element: Capture, name: Subject, at: int) -> Iterator[Piece]:
    """Digits, letters and so on, so many of them."""
    text, low, high = name.text, element.low, element.high
    read = as_digit if element.kind == "digits" else as_letter if element.kind == "letters" else _as_alnum
    mapped = ""
    costs = [0.0]
    pure = 0
    while at + len(mapped) < len(text) and len(mapped) < (high or 60) + 3:
        character = text[at + len(mapped)]
        itself = _is_one(element.kind, character)
        plain = character if itself else read(character)
        if not plain:
            break
        mapped += plain
        costs.append(costs[-1] + (0.0 if itself else LOOK_ALIKE))
        if costs[-1] == 0:
            pure = len(mapped)
    if not mapped:
        yield from _something(element, Kind.CHARACTERS, name, at)
        return
    sizes = range(len(mapped), 0, -1) if high is not None else sorted({len(mapped), pure, *_before_separators(mapped)} - {0})
    for size in sizes:
        cost, found, missing = costs[size], mapped[:size], low - size
        if 0 < missing <= _MOST_ZEROS and element.kind == "digits" and element.name in name.telling:
            yield Piece(at, at + size, cost + ZERO * missing, "0" * missing + found, element, Kind.ZEROS)
        elif missing > 0:
            yield Piece(at, at + size, cost + UNSURE, found, element, Kind.TOO_FEW, True)
        elif high is not None and size > high:
            yield Piece(at, at + size, cost + UNSURE, found, element, Kind.TOO_MANY, True)
        else:
            yield Piece(at, at + size, cost, found, element)


def _before_separators(mapped: str) -> list[int]:
    return [index for index, character in enumerate(mapped) if character in SEPARATORS and index][:_ENDS]


def _is_one(kind: str, character: str) -> bool:
    if not character.isascii():
        return False
    if kind == "digits":
        return "0" <= character <= "9"
    if kind == "letters":
        return character.isalpha()
    return character.isalnum() or (kind == "word" and character in "_.-")


def _as_alnum(character: str) -> str:
    plain = latin(character)
    return plain if plain.isalnum() else ""


def _words(element: Capture, words: tuple[str, ...], name: Subject, at: int, left: float) -> Iterator[Piece]:
    near = words if len(words) <= _COMPARED else _alike(words, name, at)
    found = False
    for word in near:
        for end, cost in prefixes(word, name.text, at, min(left, 1.5) / WORD, name.case_sensitive, name.meter):
            if WORD * cost <= SURE and keeps_digits(name.text[at:end], word):
                found = True
                yield Piece(at, end, WORD * cost, name.text[at:end] if cost == 0 else word, element)
            else:  # V3 is no slip of V1, and another word may be as near
                yield Piece(at, end, WORD * cost, name.text[at:end], element, Kind.NO_SUCH_WORD, True, in_order(words))
    if not found or len(near) < len(words):
        yield from _something(element, Kind.NO_SUCH_WORD, name, at, in_order(words))


@lru_cache(maxsize=64)
def in_order(words: tuple[str, ...]) -> tuple[str, ...]:
    """Words as people list them: V2 before V10."""
    return tuple(sorted(sorted(words), key=len))


def keeps_digits(found: str, wanted: str) -> bool:
    """Whether every digit of `found` is in `wanted` as well, in its order."""
    rest = iter(wanted)
    return all(one in rest for one in found if "0" <= one <= "9")


def _alike(words: tuple[str, ...], name: Subject, at: int) -> tuple[str, ...]:
    """Those of many words that stand there, or that look the same as what does."""
    name.meter.spend(100 + len(words) // 100)
    exact, alike, sizes = _index(words)
    there = (name.text[at : at + size].casefold() for size in sizes)
    found = [word for text in there if (word := exact.get(text)) is not None]
    return tuple(dict.fromkeys([*found, *alike.get(_skeleton(_token(name.text, at)), ())]))


@lru_cache(maxsize=64)
def _index(words: tuple[str, ...]) -> tuple[dict[str, str], dict[str, tuple[str, ...]], tuple[int, ...]]:
    """Words whatever their case, by what looks the same, and their lengths, the longest first."""
    alike: dict[str, list[str]] = {}
    for word in words:
        alike.setdefault(_skeleton(word), []).append(word)
    sizes = sorted({len(word) for word in words}, reverse=True)
    return {word.casefold(): word for word in words}, {skeleton: tuple(of) for skeleton, of in alike.items()}, tuple(sizes)


def _skeleton(word: str) -> str:
    """What a word has in common with all that looks like it."""
    return "".join(as_digit(one) or (latin(one) or one).casefold() for one in word if one not in SEPARATORS)


def _token(text: str, at: int) -> str:
    end = at
    while end < len(text) and text[end] not in SEPARATORS:
        end += 1
    return text[at:end]


def _something(element: Capture, kind: Kind, name: Subject, at: int, words: tuple[str, ...] = ()) -> Iterator[Piece]:
    """Whatever stands there, up to one of the next separators: so much at least can be said."""
    ends = [end for end in range(at + 1, len(name.text) + 1) if end == len(name.text) or name.text[end] in SEPARATORS]
    for end in ends[:3]:
        yield Piece(at, end, DOUBT, name.text[at:end], element, kind, True, words)


def runs(elements: Sequence[Element]) -> list[str | Capture | Wildcard | Group]:
    """The elements with literal characters that follow each other in one."""
    found: list[str | Capture | Wildcard | Group] = []
    for element in elements:
        if isinstance(element, Literal):
            if found and isinstance(found[-1], str):
                found[-1] += element.character
            else:
                found.append(element.character)
        else:
            found.append(element)
    return found


#: Ways that are followed at the same time.
_WAYS = 8


@dataclass(frozen=True, slots=True)
class Alignment:
    """The name up to `at`, laid along the first parts of a pattern."""

    at: int = 0
    cost: float = 0.0
    wanted: str = ""
    doubt: bool = False
    last: Piece | None = None
    before: Alignment | None = None

    def pieces(self) -> list[Piece]:
        """From the first to the last."""
        found: list[Piece] = []
        alignment: Alignment | None = self
        while alignment is not None and alignment.last is not None:
            found.append(alignment.last)
            alignment = alignment.before
        return found[::-1]

    def with_(self, piece: Piece) -> Alignment:
        """And one piece more."""
        return Alignment(piece.end, self.cost + piece.cost, self.wanted + piece.wanted, self.doubt or piece.doubt, piece, self)


def alignments(elements: Sequence[Element], name: Subject) -> list[Alignment]:
    """The cheapest ways to lay the whole name along `elements`. Raises TooDear."""
    found = _along(runs(elements), (), [Alignment()], name)
    ended = [alignment if alignment.at == len(name.text) else _with_the_rest(alignment, name) for alignment in found]
    return sorted((alignment for alignment in ended if alignment.cost <= MOST), key=attrgetter("cost"))


def _with_the_rest(alignment: Alignment, name: Subject) -> Alignment:
    cost = sum(removal(name.text, at) for at in range(alignment.at, len(name.text)))
    if cost <= 1.0 and not any(one.isdigit() for one in name.text[alignment.at :]):
        return alignment.with_(Piece(alignment.at, len(name.text), cost, "", None))
    return alignment.with_(Piece(alignment.at, len(name.text), DOUBT, "", None, Kind.EXTRA, True))


def _along(
    parts: Sequence[str | Capture | Wildcard | Group], then: Sequence[Element], begun: list[Alignment], name: Subject
) -> list[Alignment]:
    for number, part in enumerate(parts):
        following = [*_elements(parts[number + 1 : number + 2]), *then]
        if isinstance(part, Group):
            begun = _cheapest([*begun, *_along(runs(part.parts), following, begun, name)])
            continue
        offers: dict[int, list[Piece]] = {}  # by where they begin: several ways may have come there
        for at in dict.fromkeys(alignment.at for alignment in begun):
            offers[at] = list(_offered(part, following, name, at))
        further = [
            alignment.with_(piece) for alignment in begun for piece in offers[alignment.at] if piece.cost <= MOST - alignment.cost
        ]
        name.meter.spend(4 * len(further))
        begun = _cheapest(further)
        if not begun:
            return []
    return begun


def _offered(part: str | Capture | Wildcard, following: Sequence[Element], name: Subject, at: int) -> Iterator[Piece]:
    if isinstance(part, str):
        return literal(part, name, at, MOST)
    return taken(part, following, name, at, MOST)


def _elements(parts: Sequence[str | Capture | Wildcard | Group]) -> Iterator[Element]:
    for part in parts:
        yield Literal(part[0]) if isinstance(part, str) else part


def _cheapest(found: list[Alignment]) -> list[Alignment]:
    """The few cheapest, each ending and wording once."""
    kept: dict[tuple[int, str], Alignment] = {}
    for alignment in sorted(found, key=attrgetter("cost")):
        kept.setdefault((alignment.at, alignment.wanted), alignment)
        if len(kept) == _WAYS:
            break
    return list(kept.values())
