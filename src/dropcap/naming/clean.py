"""What computers and key presses add to names: copies' marks, endings that stand twice, spaces at ends, what nobody sees."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass, field

from dropcap.naming.finding import Kind, Slip

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
