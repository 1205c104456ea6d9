"""What is hashed of the ledger's entries, and how each carries the one before it: the same bytes in every engine. Pure.

    hash(n) = SHA-256(hash(n - 1) + canonical bytes of entry n)

Canonical bytes are JSON in ASCII without spaces: numbers are whole (times are microseconds since 1970), names are the hex digits
of their bytes. What an entry establishes of its job is a JSON object of its own, kept as it was hashed.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import compress
from operator import ne
from typing import Any

#: The name of the chain of people's acts; a folder's chain has the folder's name, which is never empty.
ACTS = ""

_NAMES = frozenset({"name", "filed_as", "preserved_as"})
_TIMES = frozenset({"claimed_at", "ended_at"})
#: The columns of a job that the chain of its folder establishes, in the order of their bytes.
FACTS = (
    *("folder", "name", "state", "size", "mtime_ns", "dropped_by", "dropped_by_name", "again_of", "back_of", "origin"),
    *("project", "rule", "record", "event", "field", "instance", "attempts", "sha256", "reason", "result", "confirmed"),
    *("filed_as", "preserved_as", "preserved_sha256", "found", "claimed_at", "ended_at"),
)
_QUOTED = json.encoder.encode_basestring_ascii  # what makes JSON of a text, in C
_INDEXES = range(len(FACTS))
_KEYS = tuple(f'"{name}":' for name in FACTS)
_ENCODE = json.JSONEncoder(ensure_ascii=True, separators=(",", ":")).encode

Facts = tuple[Any, ...]
#: The columns of a job of which nothing is established.
NOTHING: Facts = (None,) * len(FACTS)


def micro(seconds: float) -> int:
    """A time as it is hashed."""
    return round(seconds * 1e6)


#: What is hashed otherwise than it is kept, by its place in `FACTS`.
_MADE: dict[int, Callable[[Any], Any]] = {
    index: bytes.hex if name in _NAMES else micro if name in _TIMES else int
    for index, name in enumerate(FACTS)
    if name in _NAMES | _TIMES | {"mtime_ns"}
}


def canonical(row: Sequence[Any]) -> Facts:
    """A job's columns (`FACTS`, as the ledger keeps them) as they are hashed."""
    return tuple(value if value is None or index not in _MADE else _MADE[index](value) for index, value in enumerate(row))


def news(before: Sequence[Any], after: Sequence[Any]) -> str:
    """What columns establish that they did not before (both as the ledger keeps them), as it is hashed; empty if nothing."""
    told = []
    for index in compress(_INDEXES, map(ne, before, after)):
        value = after[index]
        if index in _MADE and value is not None:
            value = _MADE[index](value)
        told.append(_KEYS[index] + (_QUOTED(value) if type(value) is str else "null" if value is None else repr(value)))
    return "{" + ",".join(told) + "}" if told else ""


def between(before: Mapping[str, Any], after: Facts) -> str:
    """The same of what is canonical already."""
    told = {name: new for name, new in zip(FACTS, after, strict=True) if before[name] != new}
    return _ENCODE(told) if told else ""


def together(established: Sequence[str]) -> dict[str, Any]:
    """What a job's entries have established, in their order, as one. Raises ValueError if one is not what `news` makes."""
    facts: dict[str, Any] = dict.fromkeys(FACTS)
    for one in established:
        if one:
            told = json.loads(one)
            if not isinstance(told, dict):
                raise ValueError(one)
            facts.update(told)
    return facts


def genesis(seed: str, chain: str) -> bytes:
    """What the first entry of a chain carries. `seed` is the ledger's own."""
    return hashlib.sha256(_ENCODE(["dropcap ledger", 1, seed, chain]).encode()).digest()


def of_entry(before: bytes, n: int, job: int, at: float, state: str, note: str, established: str) -> bytes:
    """The hash of the nth entry of a folder's chain."""
    told = f"[{n},{job},{round(at * 1e6)},{_QUOTED(state)},{_QUOTED(note)}]\n{established}"
    return hashlib.sha256(before + told.encode()).digest()


def of_act(
    before: bytes, n: int, at: float, uid: int | None, login: int | None, name: str, way: str, what: str, told: str
) -> bytes:
    """The hash of the nth act."""
    return hashlib.sha256(before + _ENCODE([n, round(at * 1e6), uid, login, name, way, what, told]).encode()).digest()


@dataclass(frozen=True, slots=True)
class Head:
    """The last entry of a chain: who has noted this elsewhere knows whether anything up to it is another by now."""

    chain: str
    n: int
    hash: str

    def __str__(self) -> str:
        return f"{'folder:' + self.chain if self.chain else 'acts'}:{self.n}:{self.hash}"

    @property
    def where(self) -> str:
        """The chain in words."""
        return f"folder {self.chain}" if self.chain else "acts"


_HEAD = re.compile(r"(?:folder:([^\s:\"',<>]+)|\bacts):([0-9]{1,18}):([0-9a-f]{64})\b")


def heads_in(text: str) -> Iterator[Head]:
    """The heads that somebody has noted in whatever text: a log, a report, a letter."""
    for found in _HEAD.finditer(text):
        yield Head(found[1] or ACTS, int(found[2]), found[3])
