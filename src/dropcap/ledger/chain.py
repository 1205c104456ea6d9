"""What is hashed of the ledger's entries, and how each carries the one before it: the same bytes in every engine. Pure.

    hash(n) = SHA-256(hash(n - 1) + canonical bytes of entry n)

Canonical bytes are JSON in ASCII without spaces: numbers are whole (times are microseconds since 1970), names are the hex digits
of their bytes. What an entry establishes of its job is a JSON object of its own, kept as it was hashed.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
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
_HEX = tuple(index for index, name in enumerate(FACTS) if name in _NAMES)
_MICRO = tuple(index for index, name in enumerate(FACTS) if name in _TIMES)
_DIGITS = FACTS.index("mtime_ns")
_ENCODE = json.JSONEncoder(ensure_ascii=True, separators=(",", ":")).encode

Facts = tuple[Any, ...]


def micro(seconds: float) -> int:
    """A time as it is hashed."""
    return round(seconds * 1e6)


def canonical(row: Sequence[Any]) -> Facts:
    """A job's columns (`FACTS`, as the ledger keeps them) as they are hashed."""
    values = list(row)
    for index in _HEX:
        if values[index] is not None:
            values[index] = values[index].hex()
    for index in _MICRO:
        if values[index] is not None:
            values[index] = micro(values[index])
    values[_DIGITS] = int(values[_DIGITS])
    return tuple(values)


def news(before: Facts | None, after: Facts) -> str:
    """What is established now and was not before, as it is kept and hashed; empty if nothing is."""
    if before is None:
        return _ENCODE({name: value for name, value in zip(FACTS, after, strict=True) if value is not None})
    if before == after:
        return ""
    return _ENCODE({name: new for name, old, new in zip(FACTS, before, after, strict=True) if old != new})


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


def as_facts(facts: Mapping[str, Any]) -> Facts:
    """The same in the order of `FACTS`."""
    return tuple(facts[name] for name in FACTS)


def genesis(seed: str, chain: str) -> bytes:
    """What the first entry of a chain carries. `seed` is the ledger's own."""
    return hashlib.sha256(_ENCODE(["dropcap ledger", 1, seed, chain]).encode()).digest()


def of_entry(before: bytes, n: int, job: int, at: float, state: str, note: str, established: str) -> bytes:
    """The hash of the nth entry of a folder's chain."""
    told = _ENCODE([n, job, round(at * 1e6), state, note])
    return hashlib.sha256(before + f"{told}\n{established}".encode()).digest()


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
