"""What the parts of a name, laid along a pattern, tell: findings."""

from __future__ import annotations

from collections.abc import Iterator
from difflib import SequenceMatcher

from dropcap.naming.characters import SEPARATORS, as_digit, latin
from dropcap.naming.clean import Cleaned
from dropcap.naming.finding import Kind, Slip
from dropcap.naming.pieces import Piece
from dropcap.routing.syntax import Capture

#: A word of a pattern at such a cost is another word, not a slip of the keys.
_ANOTHER = 1.8
_OF_DIGITS = frozenset({None, Kind.LETTER_FOR_DIGIT, Kind.ZEROS, Kind.TOO_MANY, Kind.TOO_FEW})


def told_by(pieces: list[Piece], cleaned: Cleaned, before: int = 0) -> Iterator[Slip]:
    """What is wrong in each piece; `before` characters of a folder stand before the cleaned last part."""
    text = cleaned.text

    def finding(kind: Kind, start: int, end: int, wanted: str = "", piece: Piece | None = None) -> Slip:
        element = piece.element if piece is not None else None
        words = piece.words if piece is not None else ()
        first, last = cleaned.span(start, end)
        if isinstance(element, Capture) and not element.words:
            return Slip(kind, first, last, text[start:end], wanted, words, element.kind, element.low, element.high)
        return Slip(kind, first, last, text[start:end], wanted, words)

    for piece in pieces:
        start, end = piece.start - before, piece.end - before
        found = text[max(start, 0) : end]
        if start < 0 or (found == piece.wanted and not piece.doubt):
            continue
        looks = [
            at for at in range(start, end) if isinstance(piece.element, Capture) and piece.kind in _OF_DIGITS
            and piece.element.kind in ("digits", "date")
            and not "0" <= text[at] <= "9" and as_digit(text[at]) and text[at] not in SEPARATORS
        ]  # fmt: skip
        if looks:
            for at in looks:
                kind = Kind.LOOK_ALIKE if latin(text[at]) else Kind.LETTER_FOR_DIGIT
                yield finding(kind, at, at + 1, as_digit(text[at]), piece)
            if piece.kind in (None, Kind.LETTER_FOR_DIGIT):
                continue  # nothing else is wrong
        if piece.kind is not None:
            yield finding(piece.kind, start, end, piece.wanted, piece)
        elif piece.element is None and piece.wanted and piece.cost >= _ANOTHER:
            first, last = _word(text, *_core(text, start, end))
            yield finding(Kind.NOT_LIKE, first, last) if first < last else finding(Kind.MISSING, start, end, piece.wanted)
        else:
            yield from (finding(*one, piece) for one in _differences(text, start, end, piece.wanted))


def _differences(text: str, start: int, end: int, wanted: str) -> Iterator[tuple[Kind, int, int, str]]:
    """Kind, place and what is wanted there, for each difference of a part that has certain characters."""
    found = text[start:end]
    if found.casefold() == wanted.casefold():
        yield Kind.CASE, start, end, wanted
        return
    words: set[tuple[int, int]] = set()
    for tag, a, b, c, d in SequenceMatcher(None, found.casefold(), wanted.casefold(), autojunk=False).get_opcodes():
        if tag == "equal":
            continue
        if tag == "replace" and b - a == d - c and all(map(_is_sign_or_like, found[a:b], wanted[c:d])):
            for at in range(b - a):
                yield _exchanged(found[a + at], wanted[c + at]), start + a + at, start + a + at + 1, wanted[c + at]
        elif tag == "insert" and set(wanted[c:d]) <= SEPARATORS:
            yield Kind.MISSING, start + a, start + a, wanted[c:d]
        elif tag == "delete" and set(found[a:b]) <= SEPARATORS:
            yield (Kind.SPACE if set(found[a:b]) == {" "} else Kind.EXTRA), start + a, start + b, ""
        else:
            first, last = _word(found, a, b)
            if (first, last) not in words:
                words.add((first, last))
                begin, over = _word(wanted, c, d)
                kind = Kind.TYPO if first < last and begin < over else Kind.MISSING if begin < over else Kind.EXTRA
                yield kind, start + first, start + last, wanted[begin:over]


def _core(text: str, start: int, end: int) -> tuple[int, int]:
    """A part without the separators at its ends."""
    while start < end and text[start] in SEPARATORS:
        start += 1
    while end > start and text[end - 1] in SEPARATORS:
        end -= 1
    return start, end


def _is_sign_or_like(found: str, wanted: str) -> bool:
    return (found in SEPARATORS and wanted in SEPARATORS) or _likeness(found, wanted) is not None


def _exchanged(found: str, wanted: str) -> Kind:
    return _likeness(found, wanted) or (Kind.SPACE if found == " " else Kind.SEPARATOR)


def _likeness(found: str, wanted: str) -> Kind | None:
    if latin(found) and latin(found).casefold() == wanted.casefold():
        return Kind.LOOK_ALIKE
    digit = as_digit(found)
    if not digit or digit != as_digit(wanted):
        return None
    return Kind.DIGIT_FOR_LETTER if found.isdigit() else Kind.LETTER_FOR_DIGIT if wanted.isdigit() else None


def _word(text: str, start: int, end: int) -> tuple[int, int]:
    """The word around a place: letters and digits to both sides."""
    while start and text[start - 1].isalnum():
        start -= 1
    while end < len(text) and text[end].isalnum():
        end += 1
    return start, end
