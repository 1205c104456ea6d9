"""Jobs and their states.

    waiting ──> sending ──> stored ──> done
       ^  \\        │  \\
       │   \\       v   \\─> refused ──> failed
       │    \\── unknown
       v
      held            (and waiting, held, unknown ──> withdrawn)
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class State(StrEnum):
    """Where a job stands."""

    WAITING = "waiting"  # claimed; its turn comes when it is due
    HELD = "held"  # waits for a person, a right or a setting
    SENDING = "sending"  # a request may be under way: after a crash its outcome is unknown
    UNKNOWN = "unknown"  # it was sent and nobody knows whether it arrived: read back first
    STORED = "stored"  # REDCap has it, the file is still to be filed to done/
    REFUSED = "refused"  # it will not be stored, the file is still to be filed to failed/
    DONE = "done"
    FAILED = "failed"
    WITHDRAWN = "withdrawn"  # somebody took the file out of in_progress/


#: States in which the file lies in in_progress/. At most one such job per folder and name.
OPEN = frozenset({State.WAITING, State.HELD, State.SENDING, State.UNKNOWN, State.STORED, State.REFUSED})

#: Which state may follow which. Everything else is a mistake in dropcap and refused by the ledger.
TRANSITIONS: dict[State, frozenset[State]] = {
    State.WAITING: frozenset({State.WAITING, State.SENDING, State.HELD, State.STORED, State.REFUSED, State.WITHDRAWN}),
    State.HELD: frozenset({State.HELD, State.WAITING, State.REFUSED, State.WITHDRAWN}),
    State.SENDING: frozenset({State.WAITING, State.UNKNOWN, State.STORED, State.REFUSED, State.HELD}),
    State.UNKNOWN: frozenset({State.UNKNOWN, State.SENDING, State.STORED, State.REFUSED, State.HELD, State.WITHDRAWN}),
    State.STORED: frozenset({State.DONE}),
    State.REFUSED: frozenset({State.FAILED, State.WITHDRAWN}),
    State.DONE: frozenset(),
    State.FAILED: frozenset(),
    State.WITHDRAWN: frozenset(),
}


@dataclass(frozen=True, slots=True)
class NewFile:
    """A file that now lies in in_progress/ under `name` (relative, `/` between folders)."""

    name: str
    size: int
    mtime_ns: int
    inode: int
    again_of: int | None = None  # the failed job that this one tries again


@dataclass(frozen=True, slots=True)
class OpenFile:
    """What the ledger knows of a file in in_progress/."""

    job: int
    state: State
    size: int
    mtime_ns: int
    inode: int


@dataclass(frozen=True, slots=True)
class FailedFile:
    """What the ledger knows of a file in failed/."""

    job: int
    name: str  # as it was dropped
    size: int
    mtime_ns: int
    inode: int
