"""What can come of a job's turn."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TypeAlias

from dropcap.reasons import Reason, Scope


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
    """REDCap has no such record yet; looked up again on the schedule of `missing_record: wait`."""

    message: str


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
