"""What is wrong with a file and what to do, in the reader's words: for the text beside it and for the status page."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from dropcap.display import shown
from dropcap.filing.failure import Failure
from dropcap.filing.finding_words import acts, said_of
from dropcap.filing.reason_words import NO_SUCH_RECORD, OF_REASONS, UNKNOWN
from dropcap.language.speaker import Speaker, marked
from dropcap.naming.finding import Kind, Slip

GOES_ON = marked("dropcap then takes it by itself, and this text goes away.")
#: Wrong parts of one name that are told: nobody reads more.
_MOST_TOLD = 3


@dataclass(frozen=True, slots=True)
class Advice:
    """`because` is the state with its cause in one sentence, `wrong` says more of the cause.

    What to do: `first`, then rename to one of `names`, `then`; `goes_on` says what comes of it. `marks` are the wrong parts of
    the name's last part, as start and end. `of_name`: it is the name that is wrong, so that examples help. `delete`: the file
    is not needed.
    """

    because: str
    wrong: tuple[str, ...] = ()
    first: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    then: tuple[str, ...] = ()
    goes_on: str = ""
    marks: tuple[tuple[int, int], ...] = ()
    of_name: bool = False
    delete: bool = False


def advice(failure: Failure, folder_name: str, contact: str, say: Speaker) -> Advice:
    """What people are told of `failure` of a file in the folder `folder_name`."""
    who = shown(contact) or say("the people who look after this folder")
    values = {
        "contact": who,
        "folder": shown(folder_name),
        "record": shown(failure.record),
        "size": say.size(failure.size),
    }
    if failure.diagnosis is None:
        wrong, do = OF_REASONS.get(failure.reason, UNKNOWN)
        if "{record}" in wrong[0] and not failure.record:
            wrong, do = NO_SUCH_RECORD
        return Advice(say("This file is not in REDCap."), _said(wrong, say, values), then=_said(do, say, values))
    return _of_the_name(failure, say, values)


def _said(texts: tuple[str, ...], say: Speaker, values: dict[str, str]) -> tuple[str, ...]:
    return tuple(say(text, **values) for text in texts)


def _of_the_name(failure: Failure, say: Speaker, values: dict[str, str]) -> Advice:
    diagnosis = failure.diagnosis
    assert diagnosis is not None
    because = say("This file is not in REDCap, because its name does not fit.")
    marks = tuple((one.start, one.end) for one in diagnosis.findings)
    if not diagnosis.findings:
        wrong, do = OF_REASONS["bad_value"]
        return Advice(because, _said(wrong, say, values), then=_said(do, say, values), goes_on=say(GOES_ON), of_name=True)
    wrong = tuple(dict.fromkeys(said_of(one, say) for one in diagnosis.findings))[:_MOST_TOLD]
    other = next((one for one in diagnosis.findings if one.kind is Kind.OTHER_KIND), None)
    if other is not None and other.wanted:
        because = say("This file is not in REDCap, because only {kind} files are taken here.", kind=other.wanted.upper())
    if diagnosis.suggestion is not None:
        return _to_rename(failure, because, wrong, marks, say, values)
    names = tuple(map(shown, diagnosis.candidates))
    worst = _worst(diagnosis.findings)
    first, then = acts(worst, bool(names), say, values)
    goes_on = "" if worst.kind is Kind.OTHER_KIND and worst.wanted else say(GOES_ON)
    return Advice(because, wrong, first, names, then, goes_on, marks, of_name=True)


def _worst(findings: tuple[Slip, ...]) -> Slip:
    """The one that decides what is to be done."""
    order = (Kind.OTHER_KIND, Kind.NOT_TEXT, Kind.NO_ENDING, Kind.NOT_LIKE, Kind.NO_SUCH_WORD)
    return min(findings, key=lambda one: order.index(one.kind) if one.kind in order else len(order))


def _to_rename(
    failure: Failure,
    because: str,
    wrong: tuple[str, ...],
    marks: tuple[tuple[int, int], ...],
    say: Speaker,
    values: dict[str, str],
) -> Advice:
    diagnosis, twin = failure.diagnosis, failure.twin
    assert diagnosis is not None
    assert diagnosis.suggestion is not None
    names = (shown(diagnosis.suggestion),)
    first = tuple(say("First check on the paper that “{part}” is right.", part=shown(part)) for part in diagnosis.checks)
    then: tuple[str, ...] = ()
    goes_on = say(GOES_ON)
    if twin is None:
        first += (say("Rename the file, here in this folder, to:"),)
        return Advice(because, wrong, first, names, then, goes_on, marks, of_name=True)
    if twin.same:
        wrong += (say("The very same file is in REDCap already. It was stored: {when}.", when=_when(twin.at, failure.when, say)),)
        return Advice(because, wrong, (say("Delete this file. It is a copy."),), marks=marks, of_name=True, delete=True)
    wrong += (
        say(
            "A file of the right name was stored already: {when}. Its content is another one.",
            when=_when(twin.at, failure.when, say),
        ),
    )
    first += (
        say("Find out which of the two is right. If it is the stored one, delete this file."),
        say("If it is this one, rename it, here in this folder, to:"),
    )
    if failure.replaces:
        then = (say("It then takes the place of the other one in REDCap."),)
    return Advice(because, wrong, first, names, then, goes_on, marks, of_name=True)


def _when(moment: datetime, now: datetime, say: Speaker) -> str:
    return say.when(moment, now)
