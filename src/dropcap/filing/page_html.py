"""The status page as HTML: one file, no script, nothing from elsewhere."""

from __future__ import annotations

import html
from collections.abc import Iterator
from datetime import datetime, timedelta

from dropcap.display import shown
from dropcap.filing.page_parts import Parts, text
from dropcap.filing.page_style import MARKS, POLICY, STYLE
from dropcap.filing.status_view import StatusView
from dropcap.filing.verdict import PageVerdict, verdict
from dropcap.language.speaker import Speaker, speaker

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
