"""The parts of the status page. Every text is escaped, and what could mislead a reader is shown as such."""

from __future__ import annotations

import html
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from typing import TypeVar

from dropcap.display import said, shown
from dropcap.filing.advice import Advice, advice
from dropcap.filing.failure import Failure
from dropcap.filing.page_words import HELD, HELD_OTHERWISE, LEFT, RESTS, WAITS, WAITS_OTHERWISE
from dropcap.filing.status_view import BeingSent, Line, StatusView, WhyLeft
from dropcap.language.speaker import Speaker

_EXAMPLES = 5
_Item = TypeVar("_Item")


def text(words: str) -> str:
    """`words` as they can stand in the page."""
    return html.escape(said(words))


def section(
    title: str, number: str, count: int, lead: str, items: Iterable[str], listed: int, more: str, kind: str = ""
) -> Iterator[str]:
    """A group with its number, if it is one to be told; nothing if it is empty."""
    if not count:
        return
    yield "<section>"
    yield f"<h2>{html.escape(title)} <span>{number}</span></h2>" if number else f"<h2>{html.escape(title)}</h2>"
    if lead:
        yield f"<p>{html.escape(lead)}</p>"
    yield f'<ul class="{kind}">' if kind else "<ul>"
    yield from items
    yield "</ul>"
    if count > listed:
        yield f'<p class="small">{html.escape(more)}</p>'
    yield "</section>"


class Parts:
    """The groups of one view, in one language."""

    def __init__(self, view: StatusView, contact: str, say: Speaker, most: int) -> None:
        """`most` of a group are shown."""
        self._most = most
        self._view = view
        self._contact = contact
        self._say = say

    def all(self) -> Iterator[str]:
        """What needs somebody first, then what is on its way, then what is stored."""
        yield from self._failed()
        yield from self._others()
        yield from self._moving()
        yield from self._well()

    def _failed(self) -> Iterator[str]:
        view, say = self._view, self._say
        told = [(one, advice(one, view.folder, self._contact, say)) for one in view.failed[: self._most]]
        rename = [(one, how) for one, how in told if how.names and one.twin is None]
        others = [(one, how) for one, how in told if not (how.names and one.twin is None)]
        # What is not shown may belong to either.
        rest = view.counted("failed") - len(told)
        lead = say("They lie in the folder “failed”. Rename them there. dropcap then takes them by itself.")
        yield from self._section(say("Rename these"), len(rename), lead, (self._trouble(*one) for one in rename), len(rename), "")
        lead = (
            say("They lie in the folder “failed” too. A text beside each one says more.")
            if rename
            else say("They lie in the folder “failed”. A text beside each one says more.")
        )
        count = len(others) + rest
        yield from self._section(
            say("Look at these"), count, lead, (self._trouble(*one) for one in others), len(others), self._more(rest)
        )

    def _trouble(self, failure: Failure, how: Advice) -> str:
        say = self._say
        leaf = failure.name.rpartition("/")[2]
        folder = html.escape(shown(failure.name[: len(failure.name) - len(leaf)]))
        names = "".join(f'<span class="to">{text(name)}</span>' for name in how.names)
        if how.names and failure.twin is None:  # where to rename it stands above the group
            lead = say("Rename to:") if len(how.names) == 1 else say("See on the paper. It is one of these:")
            do = f"{text(' '.join(how.first[:-1]))} {html.escape(lead)} {names}"
        else:
            do = f"{text(' '.join(how.first))} {names}{text(' '.join(how.then))}"
        since = self._time(say("here since: {when}", when="{when}"), failure.when)
        why = " ".join(how.wrong)
        return (
            f'<li><div><p class="name">{folder}{marked_name(leaf, how.marks)}</p><p class="why">{text(why)}</p></div>'
            f'<div class="do"><p>{do}</p><p class="small">{since}</p></div></li>'
        )

    def _others(self) -> Iterator[str]:
        view, say = self._view, self._say
        yield from self._listed(
            say("Left where they lie"), "not_taken", say("dropcap could not take these."), self._left, view.not_taken
        )
        yield from self._section(
            say("Not put there by dropcap"), view.stray_count,
            say("They lie in “done” or “failed”, but they are not in REDCap. Move them into the folder “{folder}” itself.",
                folder=shown(view.folder)),
            (f'<li><p class="name">{text(name)}</p></li>' for name in view.strays), len(view.strays),
            self._more(view.stray_count - len(view.strays)), "plain",
        )  # fmt: skip
        lead = say(
            "Nothing for you to do. {contact} has to look at them. They lie in the folder “in_progress”.", contact=self._contact
        )
        yield from self._listed(say("Held"), "held", lead, self._held, view.held)

    def _moving(self) -> Iterator[str]:
        view, say = self._view, self._say
        sending = view.sending[: self._most]
        yield from self._section(
            say("Being sent"), len(view.sending), "", (self._sending(number, one) for number, one in enumerate(sending)),
            len(sending), self._more(len(view.sending) - len(sending)), "plain",
        )  # fmt: skip
        lead = say("Just dropped. dropcap takes a file once nobody writes to it any more.")
        yield from self._listed(say("Arriving"), "arriving", lead, self._waits, view.arriving, "plain")
        lead = say("The oldest first. They are sent in this order.")
        yield from self._listed(say("Waiting"), "waiting", lead, self._waits, view.waiting, "plain")

    def _well(self) -> Iterator[str]:
        view, say = self._view, self._say
        done = view.done_last[: self._most]
        yield from self._section(say("Stored last"), len(done), "", map(self._done, done), len(done), "", "plain", told=False)
        examples = view.examples[:_EXAMPLES]
        yield from self._section(
            say("How names look here"), len(examples), "", (f'<li class="name">{text(name)}</li>' for name in examples),
            len(examples), "", "names", told=False,
        )  # fmt: skip
        yield from self._section(
            say("Lay here before"), view.lay_here_count,
            say("They lay here before dropcap first looked, and are left. To send one, give it a right name, or drop it again."),
            (f'<li><p class="name">{text(name)}</p></li>' for name in view.lay_here), len(view.lay_here),
            self._more(view.lay_here_count - len(view.lay_here)), "plain",
        )  # fmt: skip

    def _listed(
        self, title: str, which: str, lead: str, item: Callable[[_Item], str], items: list[_Item], kind: str = ""
    ) -> Iterator[str]:
        listed, count = items[: self._most], self._view.counted(which)
        yield from self._section(title, count, lead, map(item, listed), len(listed), self._more(count - len(listed)), kind)

    def _section(
        self, title: str, count: int, lead: str, items: Iterable[str], listed: int, more: str, kind: str = "", told: bool = True
    ) -> Iterator[str]:
        return section(title, self._say.number(count) if told else "", count, lead, items, listed, more, kind)

    def _more(self, count: int) -> str:
        return self._say.many("and {count} more", "and {count} more", count)

    def _time(self, pattern: str, moment: datetime) -> str:
        when = html.escape(self._say.when(moment, self._view.generated))
        stamp = moment.isoformat(timespec="seconds")
        return html.escape(self._say(pattern, when="\0")).replace("\0", f'<time datetime="{stamp}">{when}</time>')

    def _waits(self, line: Line) -> str:
        say, why = self._say, ""
        if line.behind:
            why = say("It goes to the same place as {name}, which is held, and waits for that one.", name=line.behind)
        elif line.rest is not None and line.rest in RESTS:
            why = say(RESTS[line.rest])
        elif line.reason:
            why = say(WAITS.get(line.reason, WAITS_OTHERWISE))
        note = f'<p class="why">{text(why)}</p>' if why else ""
        when = self._time(say("dropped: {when}", when="{when}"), line.since)
        return f'<li><div><p class="name">{text(line.name)}</p>{note}</div><p class="small r">{when}</p></li>'

    def _held(self, line: Line) -> str:
        say = self._say
        why = say(HELD.get(line.reason, HELD_OTHERWISE))
        when = self._time(say("dropped: {when}", when="{when}"), line.since)
        return (
            f'<li><div><p class="name">{text(line.name)}</p><p class="why">{text(why)}</p></div><p class="small">{when}</p></li>'
        )

    def _done(self, line: Line) -> str:
        to = f'<p class="why">{text(line.to)}</p>' if line.to else ""
        when = self._time(self._say("stored: {when}", when="{when}"), line.since)
        return f'<li><div><p class="name">{text(line.name)}</p>{to}</div><p class="small r">{when}</p></li>'

    def _left(self, entry: tuple[str, WhyLeft]) -> str:
        name, why = entry
        state, act = (self._say(words, contact=self._contact) for words in LEFT[why])
        return (
            f'<li><div><p class="name">{text(name)}</p><p class="why">{text(state)}</p></div><p class="do">{text(act)}</p></li>'
        )

    def _sending(self, number: int, one: BeingSent) -> str:
        say = self._say
        part = min(100, 100 * one.sent // one.size) if one.size else 0
        sent, size = say.size(one.sent), say.size(one.size)
        told = say("{part} % sent: {sent} of {size}.", part=part, sent=sent, size=size)
        if one.ends is not None:
            told += " " + say("Done at about {time}.", time=say.clock(one.ends))
        when = self._time(say("dropped: {when}", when="{when}"), one.since)
        return (
            f'<li><div><p class="name" id="f{number}">{text(one.name)}</p>'
            f'<progress value="{part}" max="100" aria-labelledby="f{number}">{part} %</progress>'
            f'<p class="small">{text(told)}</p></div><p class="small r">{when}</p></li>'
        )


def marked_name(leaf: str, marks: tuple[tuple[int, int], ...]) -> str:
    """A name with its wrong parts marked, a wrong space as an empty box."""
    wrong = {at for start, end in marks for at in range(start, end)}
    made, at = "", 0
    while at < len(leaf):
        end = at + 1
        space = unicodedata.category(leaf[at]) == "Zs"
        if at not in wrong:
            while end < len(leaf) and end not in wrong:
                end += 1
            made += html.escape(shown(leaf[at:end]))
        elif space:
            made += '<mark class="sp"> </mark>'
        else:
            while end in wrong and end < len(leaf) and unicodedata.category(leaf[end]) != "Zs":
                end += 1
            made += f"<mark>{html.escape(shown(leaf[at:end]))}</mark>"
        at = end
    return made
