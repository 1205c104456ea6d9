"""What one folder's status page shows: facts, without words for people."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from dropcap.filing.failure import Failure
from dropcap.language.speaker import Language


class Rest(StrEnum):
    """What a file that was not taken yet waits for."""

    QUIET = "quiet"  # that it does not change any more
    OPEN = "open"  # that somebody closes it
    CUT_OFF = "cut_off"  # that it is whole
    DISK_WAS_FULL = "disk_was_full"
    NAMESAKE = "namesake"  # the end of another one of its name


class WhyLeft(StrEnum):
    """Why something is left where it lies."""

    LINK = "link"
    NO_FILE = "no_file"
    NO_RIGHT = "no_right"
    OTHER_FOLDER = "other_folder"
    TROUBLE = "trouble"


@dataclass(frozen=True, slots=True)
class Line:
    """A file that is on its way, held or stored. `since` has a time zone: when it was dropped, or stored.

    `reason` is the `Reason` for which it waits, if it is not just its turn. `behind` is the held file that it waits for, `to` the
    place in REDCap as far as its name tells it.
    """

    name: str
    since: datetime
    reason: str = ""
    behind: str = ""
    rest: Rest | None = None
    to: str = ""


@dataclass(frozen=True, slots=True)
class BeingSent:
    """A file that is being sent; `ends` is when it will have gone at the pace so far, if that can be told."""

    name: str
    since: datetime
    size: int
    sent: int
    ends: datetime | None = None


@dataclass(frozen=True, slots=True)
class Still:
    """Why nothing moves: a `Reason` of a pause `of` a server, project or folder, since when; or until when (a request limit)."""

    reason: str
    since: datetime | None = None
    until: datetime | None = None
    by_itself: bool = True  # it goes on by itself


@dataclass(frozen=True, slots=True)
class StatusView:
    """All of it. Only this folder's files, and nothing that REDCap holds.

    A list may be cut: `*_count` then says how many there are in all (None: as many as are listed).
    """

    folder: str
    generated: datetime
    contact: str = ""
    language: Language = Language.EN
    refresh: float | None = None  # seconds; None: as it needs
    stopped: bool = False  # dropcap ends with this page
    test: bool = False  # the project is not in production
    examples: list[str] = field(default_factory=list)
    still: list[Still] = field(default_factory=list)
    full: bool = False  # the share has no room
    unrecorded: bool = False  # dropcap cannot enter what it does, and does nothing meanwhile
    old_rules: bool = False  # the new ones have a mistake
    missing_since: datetime | None = None  # by then a file should have come, and none has
    sending: list[BeingSent] = field(default_factory=list)
    arriving: list[Line] = field(default_factory=list)
    arriving_count: int | None = None
    waiting: list[Line] = field(default_factory=list)
    waiting_count: int | None = None
    held: list[Line] = field(default_factory=list)
    held_count: int | None = None
    failed: list[Failure] = field(default_factory=list)
    failed_count: int | None = None
    not_taken: list[tuple[str, WhyLeft]] = field(default_factory=list)
    not_taken_count: int | None = None
    strays: list[str] = field(default_factory=list)
    stray_count: int = 0
    lay_here: list[str] = field(default_factory=list)  # before dropcap first looked
    lay_here_count: int = 0
    done_today: int = 0
    done_last: list[Line] = field(default_factory=list)
    version: str = ""

    def counted(self, which: str) -> int:
        """How many there are in all of `arriving`, `waiting`, `held`, `failed` or `not_taken`."""
        number: int | None = getattr(self, f"{which}_count")
        return len(getattr(self, which)) if number is None else number

    @property
    def needing(self) -> int:
        """Files that people who drop have to do something about."""
        return self.counted("failed") + self.counted("not_taken") + self.stray_count

    @property
    def on_their_way(self) -> int:
        """Files that go on by themselves."""
        return len(self.sending) + self.counted("arriving") + self.counted("waiting")
