"""The sentence with which the status page begins."""

from __future__ import annotations

from dataclasses import dataclass

from dropcap.filing.page_words import STILL, STILL_OTHERWISE
from dropcap.filing.status_view import StatusView, Still
from dropcap.language.speaker import Speaker
from dropcap.reasons import Reason


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
        state = say("The share is full.") if view.full else say(STILL.get(still.reason, STILL_OTHERWISE))
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
        told.append(say(STILL.get(still.reason, STILL_OTHERWISE)))
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
