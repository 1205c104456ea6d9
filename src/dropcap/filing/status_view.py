"""What a folder's status page shows, and its verdict."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from dropcap.filing.why import Failure
from dropcap.language import Language, Speaker, marked
from dropcap.reasons import Reason, explained


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


HELD_OTHERWISE = marked("REDCap does not take this file at the moment.")
WAITS_OTHERWISE = marked("It did not work the first time. dropcap tries again by itself.")

RESTS: dict[Rest, str] = {
    Rest.OPEN: marked("Open in another program. Close it."),
    Rest.CUT_OFF: marked("It looks cut off. Is it still being copied? If not, drop it again."),
    Rest.DISK_WAS_FULL: marked("The disk was full when it was saved. Save it again."),
    Rest.NAMESAKE: marked("Another file of this name is on its way."),
}

LEFT: dict[WhyLeft, tuple[str, str]] = {
    WhyLeft.LINK: (marked("A link, not a file."), marked("Copy the file itself here.")),
    WhyLeft.NO_FILE: (marked("This is no file."), marked("Take it away.")),
    WhyLeft.NO_RIGHT: (marked("dropcap may not read or move it."), marked("Ask: {contact}.")),
    WhyLeft.OTHER_FOLDER: (marked("This is a drop folder of its own."), marked("Ask: {contact}.")),
    WhyLeft.TROUBLE: (marked("dropcap cannot take it."), marked("Ask: {contact}.")),
}


@dataclass(frozen=True, slots=True)
class PageVerdict:
    """`mark` is `good`, `wait` or `bad`. `state` is the verdict, `rest` what is true beside it; `means` and `since` say more."""

    mark: str
    state: str
    rest: str = ""
    means: tuple[str, ...] = ()
    since: tuple[str, ...] = ()


def verdict(view: StatusView, contact: str, say: Speaker) -> PageVerdict:
    """What is most in need of being said."""
    if view.stopped:
        return PageVerdict(
            "wait",
            say("dropcap was stopped at {time}.", time=say.clock(view.generated)),
            _safe(view, say),
            (say("You can still drop files. They are taken once it runs again."),),
        )
    if view.needing:
        return _needs(view, contact, say)
    if view.unrecorded:
        state = say("dropcap cannot get at its records.")
        return PageVerdict("wait", state, _safe(view, say), _goes_on(Still(Reason.AWAY), False, contact, say))
    if view.still or view.full:
        still = view.still[0] if view.still else Still(Reason.NO_SPACE)
        state = say("The share is full.") if view.full else say(explained(still.reason).still)
        return PageVerdict("wait", state, _safe(view, say), _goes_on(still, view.full, contact, say), _since(still, view, say))
    if held := view.counted("held"):
        state = say.many("{count} file waits for {contact}.", "{count} files wait for {contact}.", held, contact=contact)
        return PageVerdict("wait", state, _stored(view, say), (say("Nothing for you to do. No file is harmed."),))
    if view.missing_since is not None:
        return PageVerdict("wait", *missing(view, contact, say))
    if view.on_their_way:
        on_way = say.many("{count} file is on its way to REDCap.", "{count} files are on their way to REDCap.", view.on_their_way)
        return PageVerdict("good", say("All is well."), on_way, (say("Nothing for you to do."),))
    if view.done_today:
        stored = say.many("{count} file is in REDCap today.", "{count} files are in REDCap today.", view.done_today)
        return PageVerdict("good", say("All is well."), stored)
    return PageVerdict("good", say("All is well."), say("Nothing has been dropped today."))


def missing(view: StatusView, contact: str, say: Speaker) -> tuple[str, str]:
    """That a file should have come, and what to do."""
    since = say.when(view.missing_since or view.generated, view.generated)
    return say("A file was expected here by {when}.", when=since), say("None came. Drop it, or tell: {contact}.", contact=contact)


def stands_still(view: StatusView, contact: str, say: Speaker) -> list[str]:
    """Why nothing moves, where the verdict says something else."""
    told = []
    if view.unrecorded:
        told += [say("dropcap cannot get at its records."), *_goes_on(Still(Reason.AWAY), False, contact, say)[:1]]
    for still in () if view.unrecorded else view.still:
        told.append(say(explained(still.reason).still))
        told += [*_goes_on(still, False, contact, say)[:1], *_since(still, view, say)]
    if view.missing_since is not None:
        told += missing(view, contact, say)
    if view.full:
        told += [say("The share is full."), *_goes_on(Still(Reason.NO_SPACE), True, contact, say)[:1]]
    return list(dict.fromkeys(told))


def _needs(view: StatusView, contact: str, say: Speaker) -> PageVerdict:
    state = say.many("{count} file needs you.", "{count} files need you.", view.needing)
    named = [one for one in view.failed if one.diagnosis is not None]
    sure = sum(1 for one in named if one.diagnosis is not None and one.diagnosis.suggestion and one.twin is None)
    means = []
    if named and view.counted("failed") == len(view.failed):
        means.append(say.many("{count} has a name that does not fit.", "{count} have a name that does not fit.", len(named)))
        if sure:
            means.append(
                say.many("The right name of {count} is given below.", "The right names of {count} are given below.", sure)
            )
    means.append(say("No file is harmed."))
    return PageVerdict("bad", state, _stored(view, say), (" ".join(means), *stands_still(view, contact, say)))


def _stored(view: StatusView, say: Speaker) -> str:
    if not view.done_today:
        return ""
    return say.many("{count} other was stored in REDCap today.", "{count} others were stored in REDCap today.", view.done_today)


def _safe(view: StatusView, say: Speaker) -> str:
    waiting = view.on_their_way
    if not waiting:
        return say("No file waits.")
    return say.many("{count} file waits here and is safe.", "{count} files wait here and are safe.", waiting)


def _goes_on(still: Still, full: bool, contact: str, say: Speaker) -> tuple[str, ...]:
    if full:
        return (say("Nothing is taken until there is room. Tell: {contact}.", contact=contact),)
    if still.until is not None:
        return (
            say("Nothing for you to do. It goes on at {time} by itself.", time=say.clock(still.until, seconds=True)),
            say("Drop files as usual, and drop nothing again."),
        )
    if still.by_itself:
        return (
            say("Nothing for you to do. dropcap asks again and again, and goes on by itself."),
            say("Drop files as usual, and drop nothing again."),
        )
    return (
        say("It goes on once somebody sees to it. Ask: {contact}.", contact=contact),
        say("Drop files as usual, and drop nothing again."),
    )


def _since(still: Still, view: StatusView, say: Speaker) -> tuple[str, ...]:
    if still.since is None:
        return ()
    return (say("Since: {when}.", when=say.when(still.since, view.generated)),)
