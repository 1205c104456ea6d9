"""`_STATUS.html`: what a person who only sees the share can know. No script, nothing from elsewhere, every text escaped."""

from __future__ import annotations

import html
import re
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

import structlog

from dropcap.config.model import Folder
from dropcap.display import shown
from dropcap.files.tree import Tree


@dataclass(frozen=True, slots=True)
class Line:
    """One file on the page. `since` has a time zone; `note` says why it waits; `message` and `remedy` why it did not go."""

    name: str
    since: datetime
    note: str = ""
    reason: str = ""
    message: str = ""
    remedy: str = ""


@dataclass(frozen=True, slots=True)
class StatusView:
    """What one folder's page shows. Only this folder's files, and nothing that REDCap holds.

    A list may be cut: `*_count` then says how many there are in all (None: as many as are listed).
    """

    folder: str
    generated: datetime
    contact: str = ""
    waiting: list[Line] = field(default_factory=list)
    held: list[Line] = field(default_factory=list)
    failed: list[Line] = field(default_factory=list)
    done_today: int = 0
    done_last: list[Line] = field(default_factory=list)
    not_taken: list[tuple[str, str]] = field(default_factory=list)
    pauses: list[str] = field(default_factory=list)
    version: str = ""
    waiting_count: int | None = None
    held_count: int | None = None
    failed_count: int | None = None
    left: list[str] = field(default_factory=list)  # the first names
    left_count: int = 0
    left_note: str = ""
    strays: list[str] = field(default_factory=list)  # the first of their places
    stray_count: int = 0
    stray_note: str = ""


_WAITING_SHOWN = 100
_TROUBLE_SHOWN = 200
_DONE_SHOWN = 20
_REFRESH = 30  # seconds

_MARK = b'<meta name="generator" content="dropcap">'
# The mark stands in the head, and only there: a page that quotes it in its text is not ours.
_OURS = re.compile(rb"<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n" + re.escape(_MARK))

_STYLE = """
:root{color-scheme:light dark;--line:#8884;--quiet:#667;--bad:#b3261e;--hold:#8a5a00;--good:#1b6e3c}
@media(prefers-color-scheme:dark){:root{--quiet:#9aa;--bad:#ff8a80;--hold:#ffc46b;--good:#7bd49b}}
*{box-sizing:border-box}
body{font:16px/1.45 system-ui,"Segoe UI",sans-serif;max-width:64rem;margin:0 auto;padding:1rem;overflow-wrap:anywhere}
h1{font-size:1.4rem;margin:.2rem 0}
h2{font-size:1.1rem;margin:1.6rem 0 .4rem}
.alive,.quiet{color:var(--quiet)}
.pause{border-left:.3rem solid var(--hold);padding:.3rem .8rem;margin:.6rem 0}
dl{display:grid;grid-template-columns:repeat(auto-fit,minmax(7rem,1fr));gap:.6rem;margin:1rem 0}
dl div{border:1px solid var(--line);border-radius:.5rem;padding:.5rem .8rem}
dt{color:var(--quiet)}
dd{margin:0;font-size:1.5rem;font-weight:600}
.bad{color:var(--bad)}.hold{color:var(--hold)}.good{color:var(--good)}
ul{list-style:none;margin:0;padding:0}
li{border-top:1px solid var(--line);padding:.45rem 0}
li b{font-weight:600}
li p{margin:.15rem 0}
time{white-space:nowrap}
"""


def is_ours(content: bytes) -> bool:
    """Whether `content` is a page that `render` made."""
    return _OURS.match(content) is not None


def render(view: StatusView) -> str:
    """The whole page. Pure; names are shown with what could mislead a reader escaped."""
    contact = view.contact or "the people who look after this folder"
    waiting, held, failed = (
        len(lines) if number is None else number
        for lines, number in (
            (view.waiting, view.waiting_count),
            (view.held, view.held_count),
            (view.failed, view.failed_count),
        )
    )
    body = [
        f"<h1>{_text(view.folder)}</h1>",
        f'<p class="alive">dropcap was alive at {_when(view.generated)}. If that is more than 2 minutes ago it is not '
        f"running: tell {_text(contact)}. Files may be dropped all the same; they are taken once it runs again.</p>",
        *(f'<p class="pause">{_text(pause)}</p>' for pause in view.pauses),
        "<dl>",
        _figure("Waiting", waiting, ""),
        _figure("Held", held, "hold"),
        _figure("Failed", failed, "bad"),
        _figure("Done today", view.done_today, "good"),
        "</dl>",
        *_section("Failed", "Not stored in REDCap. These lie in <b>failed/</b>, each with a text that says why.",
                  (_trouble(line) for line in view.failed[:_TROUBLE_SHOWN]), failed, len(view.failed[:_TROUBLE_SHOWN])),
        *_section("Held", "These lie in <b>in_progress/</b> and go on once the cause is mended.",
                  (_trouble(line) for line in view.held[:_TROUBLE_SHOWN]), held, len(view.held[:_TROUBLE_SHOWN])),
        *_section("Not taken", "These were left where they lie.",
                  (_not_taken(*entry) for entry in view.not_taken[:_TROUBLE_SHOWN]),
                  len(view.not_taken), len(view.not_taken[:_TROUBLE_SHOWN])),
        *_section("Not put there by dropcap", _text(view.stray_note),
                  (f"<li>{_text(name)}</li>" for name in view.strays), view.stray_count, len(view.strays)),
        *_section("Left", _text(view.left_note),
                  (f"<li>{_text(name)}</li>" for name in view.left), view.left_count, len(view.left)),
        *_section("Waiting", "", (_waits(line) for line in view.waiting[:_WAITING_SHOWN]),
                  waiting, len(view.waiting[:_WAITING_SHOWN])),
        *_section("Done last", "", (_waits(line) for line in view.done_last[:_DONE_SHOWN]), 0, 0),
        f'<p class="quiet">Contact: {_text(contact)} · This page renews itself. dropcap {_text(view.version)}</p>',
    ]  # fmt: skip
    return "\n".join([*_head(view), *body, "</body>", "</html>", ""])


def _head(view: StatusView) -> Sequence[str]:
    return (
        "<!doctype html>",
        '<html lang="en">',
        "<head>",
        '<meta charset="utf-8">',
        _MARK.decode(),
        '<meta name="viewport" content="width=device-width,initial-scale=1">',
        '<meta name="robots" content="noindex">',
        f'<meta http-equiv="refresh" content="{_REFRESH}">',
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">",
        f"<title>{_text(view.folder)}: dropcap</title>",
        f"<style>{_STYLE}</style>",
        "</head>",
        "<body>",
    )


def _section(title: str, lead: str, items: Iterable[str], count: int, listed: int) -> Iterable[str]:
    entries = list(items)
    if not entries and not count:
        return
    yield f"<h2>{title}</h2>"
    if lead:
        yield f'<p class="quiet">{lead}</p>'
    yield "<ul>"
    yield from entries
    yield "</ul>"
    if count > listed:
        yield f'<p class="quiet">and {count - listed} more</p>'


def _figure(label: str, number: int, kind: str) -> str:
    return f'<div><dt>{label}</dt><dd class="{kind if number else ""}">{number}</dd></div>'


def _trouble(line: Line) -> str:
    said = "".join(f"<p>{_text(text)}</p>" for text in (line.message or line.note or line.reason,) if text)
    if line.remedy:
        said += f"<p><b>What to do:</b> {_text(line.remedy)}</p>"
    return f'<li><b>{_text(line.name)}</b> <span class="quiet">since {_when(line.since)}</span>{said}</li>'


def _waits(line: Line) -> str:
    note = f" · {_text(line.note)}" if line.note else ""
    return f'<li>{_text(line.name)} <span class="quiet">{_when(line.since)}{note}</span></li>'


def _not_taken(name: str, why: str) -> str:
    return f"<li><b>{_text(name)}</b><p>{_text(why)}</p></li>"


def _when(moment: datetime) -> str:
    zone = moment.strftime("%Z")
    return (
        f'<time datetime="{moment.isoformat(timespec="seconds")}">{moment:%Y-%m-%d %H:%M:%S}{" " + zone if zone else ""}</time>'
    )


def _text(text: str) -> str:
    return html.escape(shown(text))


NAME = "_STATUS.html"
#: Where somebody else's file has that name.
OTHER_NAME = "_STATUS (dropcap).html"

#: Seconds between two pages: at least, and at most.
SOONEST = 5.0
LATEST = 60.0

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
        """Take the newest view, and write it if it is time to. Returns whether a page was written. Never raises OSError."""
        self._offered = view
        now = self._clock()
        if self.due(now) > now:
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
                message=f"The status page cannot be written: {trouble}",
                remedy="Give dropcap's user the right to write in the folder, and make room on its disk",
            )


def _same(one: StatusView, other: StatusView) -> bool:
    """Whether the two differ in nothing but the time."""
    epoch = datetime.fromtimestamp(0, UTC)
    return replace(one, generated=epoch) == replace(other, generated=epoch)
