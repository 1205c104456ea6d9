"""A name laid along a pattern that it does not match: part by part, the cheapest few ways."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from dropcap.naming.characters import removal
from dropcap.naming.dates import DOUBT
from dropcap.naming.finding import Kind
from dropcap.naming.pieces import MOST, Piece, Subject, literal, runs, taken
from dropcap.routing.syntax import Capture, Element, Group, Literal, Wildcard

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
        way: Alignment | None = self
        while way is not None and way.last is not None:
            found.append(way.last)
            way = way.before
        return found[::-1]

    def with_(self, piece: Piece) -> Alignment:
        """And one piece more."""
        return Alignment(piece.end, self.cost + piece.cost, self.wanted + piece.wanted, self.doubt or piece.doubt, piece, self)


def ways(elements: Sequence[Element], name: Subject) -> list[Alignment]:
    """The cheapest ways to lay the whole name along `elements`. Raises TooDear."""
    found = _along(runs(elements), (), [Alignment()], name)
    ended = [way if way.at == len(name.text) else _with_the_rest(way, name) for way in found]
    return sorted((way for way in ended if way.cost <= MOST), key=lambda way: way.cost)


def _with_the_rest(way: Alignment, name: Subject) -> Alignment:
    cost = sum(removal(name.text, at) for at in range(way.at, len(name.text)))
    if cost <= 1.0 and not any(one.isdigit() for one in name.text[way.at :]):
        return way.with_(Piece(way.at, len(name.text), cost, "", None))
    return way.with_(Piece(way.at, len(name.text), DOUBT, "", None, Kind.EXTRA, True))


def _along(
    parts: Sequence[str | Capture | Wildcard | Group], then: Sequence[Element], begun: list[Alignment], name: Subject
) -> list[Alignment]:
    for number, part in enumerate(parts):
        following = [*_elements(parts[number + 1 : number + 2]), *then]
        if isinstance(part, Group):
            begun = _cheapest([*begun, *_along(runs(part.parts), following, begun, name)])
            continue
        offers: dict[int, list[Piece]] = {}  # by where they begin: several ways may have come there
        for at in dict.fromkeys(way.at for way in begun):
            offers[at] = list(_offered(part, following, name, at))
        further = [way.with_(piece) for way in begun for piece in offers[way.at] if piece.cost <= MOST - way.cost]
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
    for way in sorted(found, key=lambda way: way.cost):
        kept.setdefault((way.at, way.wanted), way)
        if len(kept) == _WAYS:
            break
    return list(kept.values())
