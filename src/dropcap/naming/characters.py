"""How near characters are to each other, and text to the beginning of other text."""

from __future__ import annotations

import unicodedata
from functools import lru_cache

SEPARATORS = frozenset("-_.,+~ \u2010\u2011\u2012\u2013\u2014\u2212")

SAME_CASE, LOOK_ALIKE, SWAPPED_SEPARATOR, SPACE, DOUBLED, NEIGHBOURS, MISSING_SEPARATOR, OTHER = (
    *(0.1, 0.25, 0.15, 0.3, 0.4),
    *(0.7, 0.8, 1.0),
)

_AS_DIGITS = {"O": "0", "o": "0", "I": "1", "l": "1", "|": "1", "S": "5", "s": "5", "B": "8", "Z": "2", "z": "2"}
_AS_LETTERS = {"0": "O", "1": "I", "5": "S", "8": "B", "2": "Z"}
_LATIN = dict(
    zip(
        "АВЕКМНОРСТУХЅІЈԚԜаеорсухѕіјԛԝһ" + "ΑΒΕΖΗΙΚΜΝΟΡΤΥΧονι",
        "ABEKMHOPCTYXSIJQWaeopcyxsijqwh" + "ABEZHIKMNOPTYXovi",
        strict=True,
    )
)


class TooDear(Exception):  # noqa: N818 - what the search has become
    """The search has cost what it may."""


class Meter:
    """Counts steps, and ends a search that takes too many: the names are anybody's."""

    def __init__(self, steps: int) -> None:
        self._left = steps

    def spend(self, steps: int) -> None:
        """Raises TooDear once there are none left."""
        self._left -= steps
        if self._left < 0:
            raise TooDear


@lru_cache(maxsize=1024)
def latin(character: str) -> str:
    """The ASCII character that `character`, which is none, looks like; empty if none."""
    if character.isascii():
        return ""
    plain = _LATIN.get(character) or unicodedata.normalize("NFKC", character)
    if len(plain) == 1 and plain.isascii() and plain.isprintable() and plain != " ":
        return plain
    digit = unicodedata.digit(character, None)
    return "" if digit is None else str(digit)


def as_digit(character: str) -> str:
    """The digit that `character` is or looks like; empty if none."""
    if "0" <= character <= "9":
        return character
    plain = latin(character) or character
    return plain if "0" <= plain <= "9" else _AS_DIGITS.get(plain, "")


def as_letter(character: str) -> str:
    """The letter a-z that `character` is or looks like; empty if none."""
    plain = latin(character) or character
    return plain if plain.isascii() and plain.isalpha() else _AS_LETTERS.get(plain, "")


@lru_cache(maxsize=4096)
def exchange(found: str, wanted: str, case_sensitive: bool) -> float:
    """What it costs that `found` stands in the place of `wanted`."""
    if found == wanted:
        return 0.0
    if found.casefold() == wanted.casefold():
        return SAME_CASE if case_sensitive else 0.0
    if found in SEPARATORS and wanted in SEPARATORS:
        return SWAPPED_SEPARATOR
    plain = latin(found)
    if plain and plain.casefold() == wanted.casefold():
        return LOOK_ALIKE
    digit = as_digit(found)
    if digit and digit == as_digit(wanted):
        return LOOK_ALIKE
    return OTHER


def removal(text: str, at: int) -> float:
    """What it costs that the character at `at` is too much."""
    if text[at] == " ":
        return SPACE
    return DOUBLED if at and text[at - 1] == text[at] and not text[at].isdigit() else OTHER


def prefixes(wanted: str, text: str, at: int, most: float, case_sensitive: bool, meter: Meter) -> list[tuple[int, float]]:
    """Where `wanted` may end that begins at `at` in `text`, each with its cost, if that is `most` or less."""
    size = len(wanted)
    there = text[at : at + size]
    if there == wanted or (not case_sensitive and there.casefold() == wanted.casefold()):
        return [(at + size, 0.0)]
    width = min(len(text) - at, size + 3)
    above: list[float] = []
    row = [0.0]
    for column in range(width):
        row.append(row[-1] + removal(text, at + column))
    for number, letter in enumerate(wanted):
        meter.spend(width + 2)
        before, above, row = above, row, [row[0] + (MISSING_SEPARATOR if letter in SEPARATORS else OTHER)]
        for column in range(width):
            found = text[at + column]
            cost = min(
                above[column] + exchange(found, letter, case_sensitive),
                above[column + 1] + (MISSING_SEPARATOR if letter in SEPARATORS else OTHER),
                row[column] + removal(text, at + column),
            )
            swapped = number and column and found == wanted[number - 1] and text[at + column - 1] == letter
            if swapped and found != letter:
                cost = min(cost, before[column - 1] + NEIGHBOURS)
            row.append(cost)
        if min(row) > most:
            return []
    return [(at + column, cost) for column, cost in enumerate(row) if cost <= most]
