"""A job: its states and facts, its steps from state to state, and what can come of a try to deliver it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum, StrEnum
from functools import lru_cache
from typing import Any, TypeAlias

from dropcap.display import shown
from dropcap.reasons import Actor, Reason, Scope, explained


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
    State.HELD: frozenset({State.HELD, State.WAITING, State.UNKNOWN, State.REFUSED, State.WITHDRAWN}),
    State.SENDING: frozenset({State.WAITING, State.UNKNOWN, State.STORED, State.REFUSED, State.HELD, State.WITHDRAWN}),
    State.UNKNOWN: frozenset({State.UNKNOWN, State.SENDING, State.STORED, State.REFUSED, State.HELD, State.WITHDRAWN}),
    State.STORED: frozenset({State.DONE}),
    State.REFUSED: frozenset({State.FAILED, State.WITHDRAWN}),
    State.DONE: frozenset(),
    State.FAILED: frozenset(),
    State.WITHDRAWN: frozenset(),
}

#: How a job that is over goes on when the file that a person took out of in_progress/ is back under its name: it is read back
#: first. Not in TRANSITIONS, since nothing else may wake such a job; `ledger.returned` alone takes this step, and only for
#: a withdrawn job whose file may have arrived, or a done one whose file was taken away before it was filed.
RETURNS: dict[State, State] = {State.WITHDRAWN: State.UNKNOWN, State.DONE: State.UNKNOWN}


@dataclass(frozen=True, slots=True)
class Back:
    """A new file is that of an older job. `sha256` is that of its bytes, `goes_on`: it has the same name in the same folder.

    `others` are more jobs that ended with these bytes under way.
    """

    job: int
    sha256: str
    goes_on: bool
    others: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class TakenAway:
    """A job whose file is not where it should be, though what was sent of it may have arrived."""

    job: int
    folder: str
    name: str
    state: State
    size: int
    mtime_ns: int
    inode: int
    sent_sha256: str | None


class MarkKind(StrEnum):
    """What is remembered of a file that lies in a drop folder."""

    CUT = "cut"  # it was seen to be cut off, first at `since`
    FULL = "full"  # it was seen while its file system had no free block
    AS_IS = "as_is"  # a person has said that it is to be sent as it is


@dataclass(frozen=True, slots=True)
class Mark:
    """One such fact, true of a file as long as it does not change. `name` is where it lies in the folder."""

    name: str
    kind: MarkKind
    size: int
    mtime_ns: int
    ctime_ns: int
    inode: int
    since: float


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a file is not sent at all, and what to do."""

    reason: Reason
    message: str
    remedy: str


@dataclass(frozen=True, slots=True)
class NewFile:
    """A file that now lies in in_progress/ under `name` (relative, `/` between folders)."""

    name: str
    size: int
    mtime_ns: int
    inode: int
    again_of: int | None = None  # the failed job that this one tries again
    found: bool = False  # it lay in in_progress/ without a job: it may have been sent, by a dropcap whose ledger is lost
    back: Back | None = None  # it was taken out of in_progress/ before, and what was sent may have arrived
    refusal: Refusal | None = None  # it goes to failed/ at once
    owner: int | None = None  # the uid that the file system names as its owner


@dataclass(frozen=True, slots=True)
class FiledFile:
    """The file of a job that is over, or of which only the file's move is left; `filed_as` is where dropcap put it, if it did."""

    state: State
    size: int
    mtime_ns: int
    inode: int
    filed_as: str | None


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
    placed: bool = True  # whether it was seen to arrive there


@dataclass(frozen=True, slots=True)
class Address:
    """The target of a job as far as its name tells at the claim; `key` is what orders jobs to the same place.

    `takes_next`: the rule says `instance: next`. `origin` says which rule and which configuration that was, as `delivery.origin`
    writes it.
    """

    project: str = ""
    rule: str = ""
    record: str = ""
    event: str | None = None
    field: str = ""
    instance: int | None = None
    key: str | None = None
    takes_next: bool = False
    origin: str = ""


class ReadBackFound(Enum):
    """What came of the first look-up of a job, which tells where it really goes."""

    ENTERED = "its place in the order is known"
    ANOTHER_GOES = "another one is on its way to the same place"
    NEWER_WENT = "a file that was claimed later has gone there already"


@dataclass(frozen=True, slots=True)
class Job:
    """One row of the ledger. Times are seconds since the epoch."""

    id: int
    folder: str
    name: str
    state: State
    project: str
    rule: str
    record: str
    event: str | None
    field: str
    instance: int | None
    takes_next: bool
    key: str | None
    size: int
    mtime_ns: int
    inode: int
    sha256: str | None
    attempts: int  # sends begun
    faults: int  # sends that went wrong while the server was well: this file's own trouble
    lookups: int  # how often its record was looked up in vain
    due: float
    reason: str | None  # a `Reason`, or one of another version of dropcap
    message: str | None
    remedy: str | None
    result: str | None
    confirmed: str | None
    filed_as: str | None
    preserved_as: str | None
    preserved_sha256: str | None
    again_of: int | None
    tried_again: int | None
    claimed_at: float
    changed_at: float
    ended_at: float | None
    seconds: float | None
    sent_sha256: str | None = None  # of the bytes that were sent last, whether or not they arrived (`next` only)
    sent_ctime_ns: int | None = None  # the file's ctime while the bytes that REDCap has were sent
    back_of: int | None = None  # the job whose file this was before a person moved it back under another name
    found: str | None = None  # of a withdrawn job that was read back: yes | no | other | unknown
    create_asked: str | None = None  # the record that REDCap was asked to create for it: counted towards the day's limit
    created: str | None = None  # the record that REDCap says it has created for it, while no look-up has missed it
    dropped_by: int | None = None  # the uid that owned the file at its claim
    dropped_by_name: str | None = None  # and what the system called it then
    origin: str | None = None  # the SHA-256 of the document that says by which rule and configuration, and to which project
    may_have_arrived: bool = False  # by a send of which this ledger knows nothing; of a withdrawn job, by any

    @property
    def tried_again_as(self) -> State:
        """The state in which an open job is tried again: what was sent before it was held may have arrived."""
        if self.state is not State.HELD:
            return self.state
        return State.UNKNOWN if self.attempts else State.WAITING

    @property
    def instance_unknown(self) -> bool:
        """Whether a file for `next` may lie in an instance that nobody knows."""
        unknown = self.state is State.UNKNOWN and self.instance is None
        return self.takes_next and (unknown or self.may_have_arrived)


@dataclass(frozen=True, slots=True)
class Pause:
    """Something that takes no more files for now: a server (by host), a project or a folder."""

    scope: Scope
    name: str
    reason: str  # a `Reason`, or one of another version of dropcap
    message: str
    remedy: str
    since: float
    until_resume: bool

    @property
    def passes(self) -> bool:
        """Whether nobody needs to do anything, as long as it does not last."""
        return not self.until_resume and explained(self.reason).actor is Actor.NOBODY


@dataclass(frozen=True, slots=True)
class Reserved:
    """The name of a record that somebody is creating; `until` is another number each time that it is asked for."""

    record: str
    until: float


def spelled_alike(one: str, other: str) -> bool:
    """Whether two records' names differ in capitals and leading zeros alone, if at all."""
    return one.casefold().lstrip("0") == other.casefold().lstrip("0")


@dataclass(frozen=True, slots=True)
class LikeJobs:
    """The jobs of a folder that stand still for the same reason. `job` is the newest of them."""

    folder: str
    state: State
    reason: str | None
    count: int
    since: float  # the first of them (seconds since the epoch)
    due: float  # the next turn of one
    job: int


@dataclass(frozen=True, slots=True)
class KnownFolder:
    """A drop folder as it was seen first."""

    folder: str
    path: str
    marker: str
    mount: str
    first_seen: float


@dataclass(frozen=True, slots=True)
class Event:
    """One step in the history of a job."""

    job: int
    at: float
    state: State
    note: str


class Result(StrEnum):
    """What became of the field of a file that REDCap has."""

    STORED = "stored"
    REPLACED = "replaced"
    ALREADY_THERE = "already_there"


@dataclass(frozen=True, slots=True)
class Stored:
    """REDCap has the file, seen to the level `confirmed`, in `instance` if it goes to one. `ctime_ns` is what the file had when
    these bytes were read."""

    result: Result
    confirmed: str  # readback | listed | none
    sha256: str
    size: int
    seconds: float
    ctime_ns: int | None = None
    instance: int | None = None


@dataclass(frozen=True, slots=True)
class Refused:
    """It will not be stored as it is: to failed/, with what to do. `alike`: REDCap's own words for it that nobody knows, to be
    compared with those for other files."""

    reason: Reason
    message: str
    remedy: str
    alike: str = ""


@dataclass(frozen=True, slots=True)
class Held:
    """Something that time alone does not mend; the file stays in in_progress/ until `retry`, a reload or a rename."""

    reason: Reason
    message: str
    remedy: str


@dataclass(frozen=True, slots=True)
class Later:
    """To be tried again.

    `scope` says whose trouble it is: the file's own, its folder's, its server's or its project's, or that dropcap stops.
    `sent` is set once the outcome of a request is unknown, so that REDCap is read back before anything is sent again.
    `seconds` is how long to wait, if the reply told. `sha256` is that of the bytes whose import REDCap has acknowledged.
    """

    reason: Reason
    message: str
    remedy: str = ""
    scope: Scope = Scope.FILE
    sent: bool = False
    seconds: float | None = None
    until_resume: bool = False
    certain: bool = False  # the server itself said so or could not be reached: no other file needs to find out
    release_instance: bool = False  # the instance chosen for `next` was not used: choose anew
    sha256: str | None = None
    worded: bool = False  # only the server's words say so: nothing is believed before a probe agrees
    own_fault: bool = False  # it is the file's own trouble, and after some of them it is held
    ask_server_in: float | None = None  # seconds after which its server is asked, should no file arrive there before
    in_general: str = ""  # what the file's own folder is told in place of a message that may speak of another folder's file


@dataclass(frozen=True, slots=True)
class LookAgain:
    """What is known of the record may no longer be so: it is looked up anew, and the file goes on at once.

    `sent` and `release_instance` as in `Later`.
    """

    reason: Reason
    message: str
    remedy: str
    sent: bool
    release_instance: bool = False


@dataclass(frozen=True, slots=True)
class WaitForRecord:
    """REDCap shows no such record; looked up again on the schedule of `missing_record: wait`, for so many `seconds` in all.

    `doubted`: REDCap shows none of the records that it is known to have either, by which no file fails.
    """

    message: str
    seconds: float
    doubted: bool = False


@dataclass(frozen=True, slots=True)
class RecordCreated:
    """REDCap says that it has created the file's record; the file goes on at once, by a look-up that shows it."""

    record: str


@dataclass(frozen=True, slots=True)
class LimitReached:
    """Its record is missing, and the folder's `limit` of new records was asked for today: its turn comes after midnight."""

    limit: int


@dataclass(frozen=True, slots=True)
class Gone:
    """The file is no longer in in_progress/."""


@dataclass(frozen=True, slots=True)
class Rewritten:
    """The file was written to after it was claimed, or while it was sent.

    `sha256` is that of the older bytes that REDCap has taken meanwhile, if it has.
    """

    size: int
    mtime_ns: int
    sent: bool
    sha256: str | None = None


Outcome: TypeAlias = Stored | Refused | Held | Later | LookAgain | WaitForRecord | RecordCreated | LimitReached | Gone | Rewritten


def about(job: Job) -> dict[str, Any]:
    """The keys that every log line about a file carries (design, part 6)."""
    keys: dict[str, Any] = {"job": job.id, "folder": job.folder, "file": shown(job.name)}
    if job.project:
        keys["project"] = job.project
    if job.record:
        keys["record"] = shown(job.record)
    if job.field:
        keys["field"] = job.field
    if job.event:
        keys["redcap_event"] = job.event
    if job.instance is not None:
        keys["instance"] = job.instance
    return keys


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
