"""What can be wrong with a name, without a word for people, and what computers and key presses add to it.

What is told to people stands elsewhere, in their language.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from functools import lru_cache

from dropcap.routing.pattern import Element, Literal
from dropcap.routing.rule import Rule


class Kind(StrEnum):
    """One way in which a name is not as it should be."""

    COPY = "copy"  # a computer's mark of a second copy
    ENDING_TWICE = "ending_twice"
    SPACE_AT_START = "space_at_start"
    SPACE_AT_END = "space_at_end"
    SPACE_BEFORE_ENDING = "space_before_ending"
    SPACE = "space"  # anywhere else
    ODD_SPACE = "odd_space"  # one that only looks like a space: no-break, thin, …
    HIDDEN = "hidden"  # a character that nobody sees
    NOT_TEXT = "not_text"  # bytes that are not UTF-8
    CASE = "case"
    LETTER_FOR_DIGIT = "letter_for_digit"
    DIGIT_FOR_LETTER = "digit_for_letter"
    LOOK_ALIKE = "look_alike"  # a letter of another alphabet
    SEPARATOR = "separator"  # a hyphen for an underscore, say
    TYPO = "typo"
    MISSING = "missing"  # `wanted` is missing here
    EXTRA = "extra"  # `found` is too much
    ORDER = "order"  # two parts stand in each other's place
    DATE_ORDER = "date_order"  # day or month first
    DATE_FORM = "date_form"  # other signs between, a missing zero
    TWO_DAYS = "two_days"  # 03-11-2026 is one of two days
    NO_SUCH_DAY = "no_such_day"
    NO_DATE = "no_date"  # something else stands where a date belongs
    ZEROS = "zeros"  # leading zeros are missing
    TOO_MANY = "too_many"  # characters of a counted part
    TOO_FEW = "too_few"
    CHARACTERS = "characters"  # others than belong here
    NO_SUCH_WORD = "no_such_word"  # `words` are those that there are
    TWO_WORDS = "two_words"  # `words` are equally near
    OTHER_KIND = "other_kind"  # the file is of another kind: docx for pdf
    NO_ENDING = "no_ending"
    NOT_LIKE = "not_like"  # nothing in it is as it should be


@dataclass(frozen=True, slots=True)
class Slip:
    """One thing that is wrong: the characters `start` to `end` of the name (equal where something is missing).

    `found` stands there, `wanted` should. `words` are those of a part that takes certain words only; `of` says what a counted
    part is made of (`digits`, `letters`, `alnum`, `word`), `low` to `high` of them (None: no limit).
    """

    kind: Kind
    start: int
    end: int
    found: str = ""
    wanted: str = ""
    words: tuple[str, ...] = ()
    of: str = ""
    low: int = 0
    high: int | None = None


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """What is wrong with a name. Positions count characters of its last part as it is written (not normalised).

    `suggestion` is the one name that was probably meant, which the rules accept; `checks` are the parts of it that a person has
    to compare with the paper first. `candidates` are two or more that it could be: then there is no suggestion.
    """

    findings: tuple[Slip, ...]
    suggestion: str | None = None
    checks: tuple[str, ...] = ()
    candidates: tuple[str, ...] = ()
    rule: Rule | None = None  # whose name it nearly is


_COPY = "copy|kopie|copie|copia|cópia"
_MARK_AFTER = re.compile(
    rf"(?: ?\([0-9]{{1,2}}\)| *[-–_] *(?:{_COPY})(?: ?\(?[0-9]{{1,2}}\)?)?| +(?:{_COPY})(?: [0-9]{{1,2}})?)$", re.IGNORECASE
)
_MARK_BEFORE = re.compile(r"^(?:copy(?: \([0-9]{1,2}\))? of|kopie(?: \([0-9]{1,2}\))? von|copie de|copia de) +", re.IGNORECASE)
#: Marks on one name: a copy of a copy of a copy.
_MOST_MARKS = 4
_ENDING = re.compile(r"\.[A-Za-z0-9]{1,8}$")


@dataclass(slots=True)
class Cleaned:
    """The last part of a name, put right as far as that goes without any rule.

    `spans` say for each character of `text` which characters of the name it stands for.
    """

    text: str
    spans: list[tuple[int, int]]
    findings: list[Slip] = field(default_factory=list)

    def span(self, start: int, end: int) -> tuple[int, int]:
        """The characters of the name for those from `start` to `end` of `text`."""
        if start < end:
            return self.spans[start][0], self.spans[end - 1][1]
        at = self.spans[start][0] if start < len(self.spans) else self.spans[-1][1] if self.spans else 0
        return at, at

    def take_out(self, kind: Kind, start: int, end: int) -> None:
        """Leave out what should not be there; a finding, but where an odd space has been told of already."""
        first, last = self.span(start, end)
        odd = {(one.start, one.end) for one in self.findings if one.kind is Kind.ODD_SPACE}
        if not set(self.spans[start:end]) <= odd:
            self.findings.append(Slip(kind, first, last, self.text[start:end]))
        self.text = self.text[:start] + self.text[end:]
        del self.spans[start:end]


def plain(leaf: str) -> Cleaned:
    """`leaf` composed (NFC), without characters that nobody sees, and with one kind of space."""
    text: list[str] = []
    spans: list[tuple[int, int]] = []
    findings: list[Slip] = []
    start = 0
    while start < len(leaf):
        end = start + 1
        while end < len(leaf) and unicodedata.combining(leaf[end]):
            end += 1
        for character in unicodedata.normalize("NFC", leaf[start:end]):
            category = unicodedata.category(character)
            if category in ("Cf", "Cc", "Zl", "Zp"):
                findings.append(Slip(Kind.HIDDEN, start, end, character))
                continue
            if category == "Zs" and character != " ":
                findings.append(Slip(Kind.ODD_SPACE, start, end, character))
                character = " "
            text.append(character)
            spans.append((start, end))
        start = end
    return Cleaned("".join(text), spans, findings)


def clean(leaf: str) -> Cleaned:
    """`plain`, and without spaces at ends, marks of copies and a second ending."""
    cleaned = plain(leaf)
    _spaces_at_ends(cleaned)
    ending = _ending(cleaned)
    for _ in range(_MOST_MARKS):
        before = len(cleaned.text)
        if ending:
            size = len(ending)
            if cleaned.text[-2 * size : -size].casefold() == ending.casefold() and len(cleaned.text) > 2 * size:
                cleaned.take_out(Kind.ENDING_TWICE, len(cleaned.text) - size, len(cleaned.text))
                continue
        stem = len(cleaned.text) - len(ending)
        spaces = len(cleaned.text[:stem]) - len(cleaned.text[:stem].rstrip(" "))
        if spaces and spaces < stem:
            cleaned.take_out(Kind.SPACE_BEFORE_ENDING, stem - spaces, stem)
            continue
        for mark in (_MARK_AFTER.search(cleaned.text[:stem]), _MARK_BEFORE.search(cleaned.text[:stem])):
            if mark is not None and mark.end() - mark.start() < stem:
                cleaned.take_out(Kind.COPY, mark.start(), mark.end())
                break
        if len(cleaned.text) == before:
            break
    return cleaned


def without_signs_before(cleaned: Cleaned) -> Cleaned:
    """`cleaned` without the separators that its text begins with."""
    text = cleaned.text
    first = next((at for at, one in enumerate(text) if one not in SEPARATORS), 0)
    shorter = Cleaned(text, list(cleaned.spans), list(cleaned.findings))
    if first:
        shorter.take_out(Kind.EXTRA, 0, first)
    return shorter


def _spaces_at_ends(cleaned: Cleaned) -> None:
    text = cleaned.text
    if not text.strip(" "):
        return
    after = len(text.rstrip(" "))
    if after < len(text):
        cleaned.take_out(Kind.SPACE_AT_END, after, len(text))
    before = len(text) - len(text.lstrip(" "))
    if before:
        cleaned.take_out(Kind.SPACE_AT_START, 0, before)


def _ending(cleaned: Cleaned) -> str:
    """The ending, a space within its dot taken out."""
    loose = re.search(r"\.( +)(?=[A-Za-z0-9]{1,8}$)", cleaned.text)
    if loose is not None:
        cleaned.take_out(Kind.SPACE_BEFORE_ENDING, loose.start(1), loose.end(1))
    found = _ENDING.search(cleaned.text)
    return found.group() if found is not None and found.start() else ""


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


_SAME = ("jpg jpeg jpe", "tif tiff", "htm html", "dcm dicom", "mpg mpeg", "yml yaml")
_SAME_AS = {ending: words.split()[0] for words in _SAME for ending in words.split()}
#: What programs call these; other endings are unknown, or slips of the keys.
KINDS = {
    "pdf": "PDF",
    **dict.fromkeys(("doc", "docx", "docm", "odt", "rtf", "pages", "dotx"), "Word"),
    **dict.fromkeys(("xls", "xlsx", "xlsm", "ods", "numbers"), "Excel"),
    **dict.fromkeys(("ppt", "pptx", "odp"), "PowerPoint"),
    **dict.fromkeys(("jpg", "png", "tif", "gif", "bmp", "heic", "heif", "webp"), "image"),
    **dict.fromkeys(("zip", "7z", "rar", "gz", "tar", "tgz"), "archive"),
    **dict.fromkeys(("csv", "txt", "tsv", "xml", "json", "htm", "yml"), "text"),
    **dict.fromkeys(("mp3", "wav", "m4a", "ogg", "flac", "wma"), "sound"),
    **dict.fromkeys(("mp4", "mov", "avi", "mkv", "mpg", "wmv"), "film"),
    **dict.fromkeys(("msg", "eml"), "mail"),
    **dict.fromkeys(("dcm", "edf", "nii", "exe", "lnk", "url"), "other"),
}
_EXTENSION = re.compile(r"\.([A-Za-z][A-Za-z0-9]{0,7}|7z)$")


def ending_of(leaf: str) -> str:
    """The ending of a name as it stands there, without its dot; empty if it has none. A number is none."""
    found = _EXTENSION.search(leaf)
    return found.group(1) if found is not None and found.start() else ""


def wanted_ending(elements: Sequence[Element]) -> str:
    """The ending that names of a pattern have, if it is always the same."""
    tail = ""
    for element in reversed(elements):
        if not isinstance(element, Literal):
            break
        tail = element.character + tail
        if element.character == ".":
            return tail[1:]
    return ""


def same_kind(one: str, other: str) -> bool:
    """Whether a file keeps its kind if the one ending is put in the place of the other."""
    first, second = one.casefold(), other.casefold()
    return first == second or _SAME_AS.get(first, first) == _SAME_AS.get(second, second)


def kind_of(ending: str) -> str:
    """What kind of file has it; empty if that is not known."""
    plain = ending.casefold()
    return KINDS.get(_SAME_AS.get(plain, plain), "")
