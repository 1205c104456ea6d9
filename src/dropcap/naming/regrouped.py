"""Names that only need a part less, or two parts in each other's place: whole ones that the rules then take as they are."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from itertools import combinations

from dropcap.naming.characters import SEPARATORS
from dropcap.naming.clean import Cleaned
from dropcap.naming.finding import Diagnosis, Kind, Slip
from dropcap.routing.route import Route

_PART = re.compile(r"[^\W_]+")
#: Parts of one name that are exchanged: of more, somebody has to look.
_MOST_PARTS = 6

Accepted = Callable[[str], Route | None]


def without_signs_before(cleaned: Cleaned) -> Cleaned:
    """`cleaned` without the separators that its text begins with."""
    text = cleaned.text
    first = next((at for at, one in enumerate(text) if one not in SEPARATORS), 0)
    shorter = Cleaned(text, list(cleaned.spans), list(cleaned.findings))
    if first:
        shorter.take_out(Kind.EXTRA, 0, first)
    return shorter


def regrouped(cleaned: Cleaned, endings: Iterable[str], accepted: Accepted) -> Diagnosis | None:
    """What is wrong with a name that is right up to something behind its ending, or but for the order of two of its parts."""
    return _behind_its_ending(cleaned, endings, accepted) or _exchanged(cleaned, accepted)


def _behind_its_ending(cleaned: Cleaned, endings: Iterable[str], accepted: Accepted) -> Diagnosis | None:
    """No suggestion: a part of a download, or a text that some program calls .pdf.txt, is no PDF by another name."""
    for ending in endings:
        at = cleaned.text.casefold().rfind(f".{ending.casefold()}") if ending else -1
        end = at + 1 + len(ending)
        if at > 0 and end < len(cleaned.text) and (found := accepted(cleaned.text[:end])) is not None:
            first, last = cleaned.span(end, len(cleaned.text))
            more = Slip(Kind.EXTRA, first, last, cleaned.text[end:])
            return Diagnosis((*cleaned.findings, more), rule=found.rule)
    return None


def _exchanged(cleaned: Cleaned, accepted: Accepted) -> Diagnosis | None:
    text = cleaned.text
    parts = [found.span() for found in _PART.finditer(text)]
    if len(parts) > _MOST_PARTS:
        return None
    possible: list[Diagnosis] = []
    for (a, b), (c, d) in combinations(parts, 2):
        name = text[:a] + text[c:d] + text[b:c] + text[a:b] + text[d:]
        if (found := accepted(name)) is not None:
            swapped = Slip(Kind.ORDER, *cleaned.span(a, d), text[a:d])
            possible.append(Diagnosis((*cleaned.findings, swapped), name, (name[a:d],), rule=found.rule))
    return possible[0] if len(possible) == 1 else None
