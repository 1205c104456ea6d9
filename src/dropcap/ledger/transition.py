"""A job's step to another state, as SQL; and values as both engines can keep them."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from dropcap.display import shown
from dropcap.ledger.job import TRANSITIONS, State

_BLOBS = frozenset({"name", "filed_as", "preserved_as"})
#: What ends a job.
ENDS = (State.DONE, State.FAILED, State.WITHDRAWN)
_BEFORE: dict[State, tuple[str, ...]] = {
    state: tuple(before.value for before, after in TRANSITIONS.items() if state in after) for state in State
}


@dataclass(frozen=True, slots=True)
class Change:
    """A job goes to `state`; `columns` are set with it, `note` goes into its history.

    `target`, if it is given, is the key and the field that the job must have still.
    """

    job: int
    state: State
    note: str = ""
    columns: Mapping[str, Any] = field(default_factory=dict)
    target: tuple[str | None, str] | None = None


@dataclass(frozen=True, slots=True)
class Steps:
    """Changes that one thread wants, of jobs that pass nobody, as of `now`."""

    changes: Sequence[Change]
    now: float


def renamed(
    name: bytes, state: str, key: str | None, record: str, event: str | None, field: str, instance: int | None, *, now: str | None
) -> str:
    """The step in a job's history; with the place where the file may have arrived under its old name."""
    note = f"renamed by a person, before: {shown(os.fsdecode(name))}"
    if state != State.UNKNOWN or key == now:
        return note
    place = (record, event, field, None if instance is None else f"({instance})")
    return f"{note}; it may have arrived at {' '.join(shown(part) for part in place if part)}"


def update_of(one: Change) -> str:
    """The statement of a change; `values_of` has its values."""
    return _update(one.state, tuple(one.columns), one.target is not None)


@lru_cache(maxsize=256)
def _update(state: State, columns: tuple[str, ...], same_target: bool) -> str:
    sets = "".join(f", {column} = ?" for column in columns)
    ended = ", ended_at = ?" if state in ENDS else ""
    before = ", ".join(f"'{name}'" for name in _BEFORE[state])
    same = " and key is ? and field = ?" if same_target else ""
    return f"update job set state = ?, changed_at = ?{ended}{sets} where id = ? and state in ({before}){same}"


def values_of(one: Change, now: float) -> tuple[Any, ...]:
    """The values of a change's statement."""
    ended = (now,) if one.state in ENDS else ()
    columns = tuple(bound(column, value) for column, value in one.columns.items())
    return (one.state.value, now, *ended, *columns, one.job, *(one.target or ()))


def bound(column: str, value: Any) -> Any:
    """The value as the ledger keeps it in that column."""
    if isinstance(value, int):
        return value if isinstance(value, bool) else digits(value)
    if not isinstance(value, str):
        return value
    return os.fsencode(value) if column in _BLOBS else utf8(value)


class Digits(int):
    """A whole number of more than 64 bits. PostgreSQL knows such numbers; SQLite keeps its digits."""

    def __conform__(self, protocol: object) -> bytes:
        """For SQLite (PEP 246)."""
        return b"%d" % int(self)


def digits(value: int) -> int:
    """An inode may have all of 64 bits, and a time may lie beyond 2262 in nanoseconds."""
    return value if -(2**63) <= value < 2**63 else Digits(value)


def utf8(text: str | None) -> str | None:
    """The engines' text is UTF-8; a name that is not may have left its bytes in a value."""
    return None if text is None else text.encode("utf-8", "backslashreplace").decode()
