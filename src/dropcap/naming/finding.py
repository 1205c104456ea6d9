"""What can be wrong with a name, without a word for people: those are told in their language elsewhere."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

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
