"""Dates as people write them, read as the days that they can mean."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date

from dropcap.naming.clean import LOOK_ALIKE, as_digit
from dropcap.naming.finding import Kind

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
