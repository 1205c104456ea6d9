"""The folder's status page, _STATUS.html."""

from __future__ import annotations

import base64
import hashlib
import html
import re
import time
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TypeVar

import structlog

from dropcap.config.model import Folder
from dropcap.display import said, shown
from dropcap.files.tree import Tree
from dropcap.filing.status_view import (
    HELD_OTHERWISE,
    LEFT,
    RESTS,
    WAITS_OTHERWISE,
    BeingSent,
    Line,
    PageVerdict,
    StatusView,
    WhyLeft,
    verdict,
)
from dropcap.filing.why import Advice, Failure, advice
from dropcap.language import Speaker, speaker
from dropcap.reasons import explained

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
            why = say(explained(line.reason).stays or WAITS_OTHERWISE)
        note = f'<p class="why">{text(why)}</p>' if why else ""
        when = self._time(say("dropped: {when}", when="{when}"), line.since)
        return f'<li><div><p class="name">{text(line.name)}</p>{note}</div><p class="small r">{when}</p></li>'

    def _held(self, line: Line) -> str:
        say = self._say
        why = say(explained(line.reason).stays or HELD_OTHERWISE)
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


_LIGHT = (
    "--bg:#fbfbfa;--ink:#1b2126;--quiet:#58626b;--line:#e0e4e4;--accent:#175a9a;"
    "--good:#0d7762;--wait:#936000;--bad:#8f1a10;--tint:#fcebe7"
)
_DARK = (
    "--bg:#13171a;--ink:#e7ebee;--quiet:#a1acb5;--line:#2d353b;--accent:#8ab8f0;"
    "--good:#86dcc0;--wait:#f0b84a;--bad:#ff7d6b;--tint:#36211d"
)

STYLE = (
    f':root{{color-scheme:light dark;{_LIGHT};--mono:"Cascadia Mono",Consolas,ui-monospace,Menlo,monospace}}\n'
    f"@media(prefers-color-scheme:dark){{:root{{{_DARK}}}}}\n"
    """*{box-sizing:border-box}
main{display:block}
body{margin:0 auto;max-width:62rem;padding:2.5rem 1.5rem 4rem;background:var(--bg);color:var(--ink);font:1rem/1.5 "Segoe UI",system-ui,Roboto,sans-serif;overflow-wrap:anywhere;word-wrap:break-word}
h1,h2,p,dl,dd,ul{margin:0;padding:0}
ul{list-style:none}
b{font-weight:600}
.folder{color:var(--quiet);margin-bottom:1.5rem}
.folder b{color:var(--ink)}
.test{border:2px solid currentColor;color:var(--wait);padding:.5rem .75rem;margin-bottom:1.5rem}
.verdict{display:grid;grid-template-columns:2rem minmax(0,1fr);column-gap:1rem;margin-bottom:2.5rem}
.verdict svg{width:2rem;height:2rem;margin-top:.15rem}
.hole{stroke:#fff;stroke:var(--bg)}
h1{font-size:1.75rem;line-height:1.3;font-weight:600;letter-spacing:-.01em;max-width:44rem}
h1 span{display:block;font-weight:400}
.verdict p{grid-column:2;max-width:40rem;margin-top:.5rem}
.good{color:var(--good)}.wait{color:var(--wait)}.bad{color:var(--bad)}.quiet{color:var(--quiet)}
.sum{display:grid;grid-template-columns:auto minmax(0,1fr);gap:1.5rem 4rem;border-top:1px solid var(--line);border-bottom:1px solid var(--line);padding:1.25rem 0 1.4rem;margin-bottom:3rem}
.sum dl{display:flex;gap:2.5rem}
.sum dt,.small{font-size:.875rem;color:var(--quiet)}
.sum dd{font-size:1.75rem;line-height:1.25;font-variant-numeric:tabular-nums}
.asof{max-width:29rem;justify-self:end}
.asof p+p{margin-top:.25rem}
section{margin-bottom:3rem}
h2{font-size:1.125rem;font-weight:600;line-height:1.4}
h2 span{font-weight:400;color:var(--quiet)}
h2+p{max-width:40rem;margin-top:.25rem}
section>ul{margin-top:1rem}
.plain{max-width:42rem}
section .plain li{grid-template-columns:minmax(0,1fr) auto}
section li{border-top:1px solid var(--line);padding:.75rem 0;display:grid;grid-template-columns:minmax(0,1fr) minmax(0,1fr);gap:.25rem 2.5rem}
.names li{display:block;padding:.25rem 0;border:0}
.name{font-family:Consolas,monospace;font-family:var(--mono);font-size:.9375rem;unicode-bidi:isolate}
.why,.do{font-size:.9375rem}
.why{color:var(--quiet)}
mark{background:var(--tint);color:var(--bad);font-weight:700;border-bottom:2px solid var(--bad)}
.sp{border:1px solid var(--bad);white-space:pre}
.to{font:600 .9375rem/1.5 var(--mono);display:block;-webkit-user-select:all;user-select:all}
progress{-webkit-appearance:none;appearance:none;display:block;width:100%;height:.5rem;border:0;border-radius:.25rem;background:var(--line);color:var(--accent);margin:.5rem 0 .4rem}
progress::-webkit-progress-bar{background:var(--line);border-radius:.25rem}
progress::-webkit-progress-value{background:var(--accent);border-radius:.25rem}
progress::-moz-progress-bar{background:var(--accent);border-radius:.25rem}
time{white-space:nowrap}
.r{text-align:right;font-variant-numeric:tabular-nums}
footer{border-top:1px solid var(--line);padding-top:1.25rem}
@media(max-width:44rem){body{padding:1.5rem 1.25rem 3rem}h1{font-size:1.5rem}.verdict{grid-template-columns:1.5rem minmax(0,1fr);column-gap:.75rem;margin-bottom:2rem}.verdict svg{width:1.5rem;height:1.5rem;margin-top:.2rem}.sum{grid-template-columns:1fr;margin-bottom:2.5rem}.sum dl{gap:1rem;justify-content:space-between}.asof{justify-self:start}section li,section .plain li{grid-template-columns:minmax(0,1fr)}.r{text-align:left}}
@media print{:root{color-scheme:light}body{padding:0;max-width:none}li,.verdict{break-inside:avoid}}"""  # noqa: E501
)
POLICY = (
    "default-src 'none'; style-src 'sha256-"
    + base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()
    + "'; form-action 'none'; base-uri 'none'"
)

#: A disc, a ring and a triangle: word and shape tell as much as the colour.
MARKS = {
    "good": '<circle cx="16" cy="16" r="15" fill="currentColor"/>'
    '<path class="hole" d="M9 16.5l5 5 9.5-10.5" fill="none" stroke-width="3"/>',
    "wait": '<circle cx="16" cy="16" r="13.5" fill="none" stroke="currentColor" stroke-width="3"/>'
    '<path d="M12.5 11v10m7-10v10" stroke="currentColor" stroke-width="3"/>',
    "bad": '<path d="M16 2 31 29H1z" fill="currentColor"/><path class="hole" d="M16 12v8m0 3v3" stroke-width="3"/>',
}


MARK = '<meta name="generator" content="dropcap">'
#: Seconds after which a browser loads the page again: as long as nobody has to work on it, and while somebody has.
_REFRESH, _WHILE_WORKED_ON = 60.0, 300.0
#: Seconds between two pages at most.
LATEST = 60.0


#: So many of a group are shown, as long as the page stays as small as it has to (bytes): names can be long.
_SHOWN, _SMALL = (50, 20, 8, 3), 100_000


def render(view: StatusView) -> str:
    """The whole page. Pure."""
    for shown_of_a_group in _SHOWN:
        page = _rendered(view, shown_of_a_group)
        if len(page.encode()) < _SMALL:
            break
    return page


def _rendered(view: StatusView, most: int) -> str:
    say = speaker(view.language)
    contact = shown(view.contact) or say("the people who look after this folder")
    told = verdict(view, contact, say)
    lines = [
        *_head(view, told),
        *_header(view, told, say),
        "<main>",
        *_sum(view, contact, say),
        *Parts(view, contact, say, most).all(),
        "</main>",
        '<footer class="small">',
        f"<p>{html.escape(say('Help: {contact}.', contact=contact))} {html.escape(_renews(view, say))}</p>",
        f"<p>dropcap {text(view.version)}</p>",
        "</footer>",
        "</body>",
        "</html>",
        "",
    ]
    return "\n".join(lines)


def _head(view: StatusView, told: PageVerdict) -> Iterator[str]:
    yield "<!doctype html>"
    yield f'<html lang="{view.language}">'
    yield "<head>"
    yield '<meta charset="utf-8">'
    yield MARK
    yield '<meta http-equiv="X-UA-Compatible" content="IE=edge">'
    yield f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
    yield f'<meta http-equiv="refresh" content="{_refresh(view):g}">'
    yield '<meta name="viewport" content="width=device-width,initial-scale=1">'
    yield '<meta name="robots" content="noindex">'
    yield f"<title>{text(view.folder)}: {text(told.state)}</title>"
    yield f"<style>{STYLE}</style>"
    yield "</head>"
    yield "<body>"


def _header(view: StatusView, told: PageVerdict, say: Speaker) -> Iterator[str]:
    yield "<header>"
    folder = html.escape(say("Drop folder {name}", name="\0")).replace("\0", f"<b>{text(view.folder)}</b>")
    yield f'<p class="folder">{folder}</p>'
    if view.test:
        yield f'<p class="test"><b>TEST</b> {html.escape(say("This study is not in production in REDCap yet."))}</p>'
    yield '<div class="verdict">'
    yield f'<svg class="{told.mark}" viewBox="0 0 32 32" aria-hidden="true">{MARKS[told.mark]}</svg>'
    rest = f" <span>{text(told.rest)}</span>" if told.rest else ""
    yield f"<h1>{text(told.state)}{rest}</h1>"
    if told.means:
        yield f"<p>{text(' '.join(told.means))}</p>"
    if told.since:
        yield f'<p class="quiet">{text(" ".join(told.since))}</p>'
    if view.old_rules:
        old = say("The rules of this folder were changed and have a mistake. The old ones go on.")
        yield f'<p class="quiet">{html.escape(old)}</p>'
    yield "</div>"
    yield "</header>"


def _sum(view: StatusView, contact: str, say: Speaker) -> Iterator[str]:
    yield '<div class="sum">'
    figures = (
        (say("Need you"), view.needing),
        (say("On their way"), view.on_their_way),
        (say("Stored today"), view.done_today),
    )
    told = "".join(f"<div><dt>{html.escape(label)}</dt><dd>{say.number(number)}</dd></div>" for label, number in figures)
    yield f"<dl>{told}</dl>"
    yield '<div class="asof small">'
    now = view.generated
    as_of = html.escape(say("As of {time}, {day}.", time="\0", day=say.day(now, weekday=True)))
    stamp = f'<b><time datetime="{now.isoformat(timespec="minutes")}">{say.clock(now)}</time></b>'
    until = html.escape(say("Good until {time}.", time="\0")).replace("\0", f"<b>{say.clock(_good_until(view))}</b>")
    if view.stopped:
        yield f"<p>{as_of.replace(chr(0), stamp)}</p>"
        yield f"<p>{html.escape(say('dropcap is not running. If it should be, tell: {contact}.', contact=contact))}</p>"
    else:
        yield f"<p>{as_of.replace(chr(0), stamp)} {until}</p>"
        late = say(
            "Does your clock show a later time? Reload the page. If this line stays, dropcap is not running: tell {contact}. You "
            "can still drop files. They are taken once it runs again.",
            contact=contact,
        )
        yield f"<p>{html.escape(late)}</p>"
    yield "</div>"
    yield "</div>"


def _refresh(view: StatusView) -> float:
    return view.refresh or (_WHILE_WORKED_ON if view.needing else _REFRESH)


def _good_until(view: StatusView) -> datetime:
    """The time after which a page that is looked at must have been replaced, in whole minutes."""
    until = view.generated + timedelta(seconds=LATEST + _refresh(view) + 60.0)
    return (until + timedelta(seconds=59)).replace(second=0, microsecond=0)


def _renews(view: StatusView, say: Speaker) -> str:
    minutes = max(1, round(_refresh(view) / 60))
    return say.many("This page renews itself every minute.", "This page renews itself every {count} minutes.", minutes)


# The mark stands in the head, and only there: a page that quotes it in its text is not ours.
_OURS = re.compile(rb'<!doctype html>\n<html lang="[a-z]{2}">\n<head>\n<meta charset="utf-8">\n' + re.escape(MARK.encode()))


def is_ours(content: bytes) -> bool:
    """Whether `content` is a page that `render` made."""
    return _OURS.match(content) is not None


NAME = "_STATUS.html"
#: Where somebody else's file has that name.
OTHER_NAME = "_STATUS (dropcap).html"

#: Seconds between two pages at least.
SOONEST = 5.0

_log = structlog.get_logger()


class StatusPage:
    """Keeps one folder's page: at once when something changed, at most every 5 s, at least every 60 s."""

    def __init__(self, tree: Tree, folder: Folder, clock: Callable[[], float] = time.monotonic) -> None:
        self._tree = tree
        self._folder = folder
        self._clock = clock
        self._offered: StatusView | None = None
        self._written: StatusView | None = None
        self._tried_at: float | None = None
        self._trouble: str | None = None

    def offer(self, view: StatusView) -> bool:
        """Take the newest view, and write it if it is time to, or the last one. Whether it was written. Never raises OSError."""
        self._offered = view
        now = self._clock()
        if self.due(now) > now and not view.stopped:
            return False
        self._tried_at = now
        try:
            self._write(render(view).encode())
        except OSError as error:
            self._tell(error.strerror or str(error))
            return False
        self._written = view
        self._trouble = None
        return True

    def due(self, now: float) -> float:
        """When, on the clock given, the page next wants a view: in the past if at once."""
        if self._tried_at is None:
            return now
        changed = self._offered is not None and (self._written is None or not _same(self._offered, self._written))
        return self._tried_at + (SOONEST if changed else LATEST)

    def _write(self, page: bytes) -> None:
        try:
            self._tree.write_over(NAME, page, is_ours)
        except FileExistsError:
            self._tree.write_over(OTHER_NAME, page, is_ours)

    def _tell(self, trouble: str) -> None:
        if trouble != self._trouble:
            self._trouble = trouble
            _log.warning(
                "check_problem",
                folder=self._folder.name,
                file=NAME,
                message=f"the status page cannot be written: {trouble}",
                remedy="give dropcap's user the right to write in the folder, and make room on its disk",
            )


def _same(one: StatusView, other: StatusView) -> bool:
    """Whether the two differ in nothing but the time."""
    epoch = datetime.fromtimestamp(0, UTC)
    return replace(one, generated=epoch) == replace(other, generated=epoch)
