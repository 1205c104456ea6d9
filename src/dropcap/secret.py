"""Tokens that cannot print themselves, and the gate that all words of servers and proxies pass before they are shown or kept."""

from __future__ import annotations

import base64
import html
import re
import sys
import threading
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote

TOKEN_WAS_HERE: Final = "[token]"
#: Where 32 or 64 hex digits stood that may be a token that dropcap does not know.
MAY_BE_A_TOKEN: Final = "[hidden]"

#: So many letters and digits in a row of a token, or of one encoded, are taken for a part of it; at the end of a text, which may
#: have been cut there, its first ones suffice.
_PART, _BEGINNING = 12, 8
#: Escapes within escapes that are undone: no page that a server means to be read has more.
_LAYERS = 4
#: A comment may hold what looks like the end of a tag; it is bounded, so that many beginnings without an end cost little.
_TAG = re.compile(r"<!--.{0,500}?-->|<[^<>]*>", re.DOTALL)
_RUN = re.compile(r"(?<![0-9a-f])(?:[0-9a-f]{32}){1,2}(?![0-9a-f])")
#: As JSON, C, JavaScript and Python write a character by its number; and JavaScript's old `escape`.
_NUMBERED = re.compile(
    r"\\(?-i:U)([0-9A-F]{8})|\\u([0-9A-F]{4})|\\x([0-9A-F]{2})|\\[ux]\{([0-9A-F]{1,6})\}|%u([0-9A-F]{4})", re.IGNORECASE
)
#: Control and format characters, marks that stand on others, what is unassigned, and blanks whose category says otherwise.
_UNSEEN = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Mn", "Me", "Zl", "Zp"})
_CONTROL = re.compile(r"[\x00-\x08\x0e-\x1f\x7f]+")
_NO_LETTER = re.compile(r"[\W_]+")
_WHITE = frozenset("\t\n\v\f\r")
_BLANK = frozenset("\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0")


@dataclass(frozen=True, slots=True)
class _Known:
    """Every token that this process has ever read: itself, its parts in all forms, and its beginnings."""

    tokens: frozenset[str] = frozenset()
    parts: frozenset[str] = frozenset()
    beginnings: frozenset[str] = frozenset()

    def and_(self, token: str) -> _Known:
        parts = {form[at : at + _PART] for form in _forms(token) for at in range(len(form) - _PART + 1)}
        beginnings = {token[:length].lower() for length in range(_BEGINNING, _PART)}
        return _Known(self.tokens | {token}, self.parts | parts, self.beginnings | beginnings)


_known = _Known()  # replaced whole
_remembering = threading.Lock()


class Secret:
    """Only `reveal()` gives it out; printing, logging, comparing by repr or pickling do not."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """The secret itself, for a request and nothing else."""
        return self._value

    def __repr__(self) -> str:
        return f"{type(self).__name__}(hidden)"

    __str__ = __repr__

    def __format__(self, spec: str) -> str:
        return repr(self)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and self._value == other._value

    def __hash__(self) -> int:
        return hash(self._value)

    def __reduce__(self) -> str:
        raise TypeError("a secret is not to be pickled")


class Token(Secret):
    """A REDCap API token, for the body of a request alone. From its first one on, the gate knows it (`without_tokens`)."""

    def __init__(self, value: str) -> None:
        super().__init__(value)
        if value not in _known.tokens and len(value) > _PART:
            _remember(value)


class Password(Secret):
    """Another secret. The gate knows it as it knows tokens, where it is so long that it strikes out no words."""

    def __init__(self, value: str) -> None:
        super().__init__(value)
        for form in {value, _NO_LETTER.sub("", "".join(_folded(value)))}:  # the gate compares letters and digits alone
            if form not in _known.tokens and len(form) > _PART:
                _remember(form)


def without_tokens(said: str) -> str:
    """What a server or a proxy has said, as it may be shown and kept.

    Every token that was ever read is struck out: in upper, lower or mixed case; whole, its parts of 12 characters and more, and
    its beginning where the text was cut; however it is split by tags, invisible characters, blanks and punctuation; written in
    character references, percent or backslash escapes (also in one another), in Base64 or in hex. So is every run of 32 or 64
    hex digits. Text in which there is none comes back as it was. Not for values that are compared, names that people have
    dropped, or digests of dropcap's own.
    """
    return _struck_out(said, runs=True)


def mentions_token(value: str) -> bool:
    """Whether `value`, a name in REDCap, holds a token that was ever read, in any way that `without_tokens` knows."""
    return len(value) >= _PART and _struck_out(value, runs=False) != value


def _remember(token: str) -> None:
    global _known
    with _remembering:
        _known = _known.and_(token)


def _forms(token: str) -> Iterator[str]:
    """How a server may write a token, in lower case."""
    yield token.lower()
    for cased in dict.fromkeys((token, token.upper(), token.lower())):
        yield cased.encode().hex()
        yield from (encoded.lower() for encoded in _base64(cased.encode()))


def _base64(data: bytes) -> Iterator[str]:
    """What of `data` in Base64 does not depend on what stands before and after it."""
    for before in range(3):  # where in a group of three bytes it may begin
        encoded = base64.b64encode(b"\0" * before + data).decode().rstrip("=")
        yield encoded[(before * 8 + 5) // 6 : (before + len(data)) * 8 // 6]


def _struck_out(said: str, *, runs: bool) -> str:
    result = layer = said
    for _ in range(_LAYERS):
        left = _layer_without(layer, runs=runs)
        if left != layer:
            result = left
        layer = _unescaped(left)
        if layer == left:
            break
    return result


def _unescaped(text: str) -> str:
    """`text` with one layer of each kind of escapes undone."""
    text = html.unescape(text)
    if "%" in text:
        text = unquote(text)
    return _NUMBERED.sub(_numbered, text)


def _numbered(found: re.Match[str]) -> str:
    number = int(found[found.lastindex or 0], 16)
    return chr(number) if number <= sys.maxunicode else found[0]


def _layer_without(text: str, *, runs: bool) -> str:
    """`text` without tokens, be they in its tags or split by them."""
    for tag in (None, _TAG):
        seen = tag.sub("", text) if tag else text
        if tag and seen == text:
            break
        if _holds("".join(_folded(seen)), runs=runs):
            text = _replaced(text, _pieces(list(_places(text, tag)), runs=runs))
    return text


def _holds(seen: str, *, runs: bool) -> bool:
    if runs and _RUN.search(seen):
        return True
    return any(True for _ in _parts(_NO_LETTER.sub("", seen)))


def _pieces(places: list[tuple[str, int]], *, runs: bool) -> Iterator[tuple[int, int, str]]:
    """Where something is to be struck out, and the mark for it. `places` are the characters that show."""
    if runs:
        for run in _RUN.finditer("".join(folded for folded, _ in places)):
            yield places[run.start()][1], places[run.end() - 1][1] + 1, MAY_BE_A_TOKEN
    places = [(folded, place) for folded, place in places if not _NO_LETTER.match(folded)]
    for begin, end in _parts("".join(folded for folded, _ in places)):
        yield places[begin][1], places[end - 1][1] + 1, TOKEN_WAS_HERE


def _parts(text: str) -> Iterator[tuple[int, int]]:
    """Where parts of tokens stand in a text of letters and digits alone; they may overlap."""
    known, end = _known, len(text)
    for begin in range(end - _PART + 1):
        if text[begin : begin + _PART] in known.parts:
            yield begin, begin + _PART
    for length in range(_BEGINNING, _PART):
        if text[-length:] in known.beginnings:
            yield end - length, end


def _replaced(text: str, pieces: Iterable[tuple[int, int, str]]) -> str:
    """`text` with a mark in place of each piece; of pieces that overlap, the one that is a token for sure gives its mark."""
    whole: list[tuple[int, int, str]] = []
    for begin, end, mark in sorted(pieces):
        if whole and begin < whole[-1][1]:
            first, last, other = whole.pop()
            whole.append((first, max(last, end), mark if mark == other else TOKEN_WAS_HERE))
        else:
            whole.append((begin, end, mark))
    for begin, end, mark in reversed(whole):
        text = text[:begin] + mark + text[end:]
    return text


def _places(text: str, tag: re.Pattern[str] | None) -> Iterator[tuple[str, int]]:
    """The characters that show of `text`, outside of tags if these are given, folded, each with its place."""
    at = 0
    for between in [found.span() for found in tag.finditer(text)] if tag else []:
        yield from ((folded, place) for place in range(at, between[0]) for folded in _folded(text[place]))
        at = between[1]
    yield from ((folded, place) for place in range(at, len(text)) for folded in _folded(text[place]))


def _folded(text: str) -> str:
    """What shows of `text`, wide and accented characters as plain ones, in lower case; line breaks and tabs stay."""
    if text.isascii():
        return _CONTROL.sub("", text).lower()
    plain = unicodedata.normalize("NFKD", text).casefold()
    return "".join(c for c in plain if c in _WHITE or not (unicodedata.category(c) in _UNSEEN or c in _BLANK))
