"""`dropcap dry-run --report`: one page to read, print and pass on. No script, nothing from elsewhere, every text escaped."""

from __future__ import annotations

import base64
import hashlib
import html
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime

from dropcap import __version__
from dropcap.cli.dry_run_words import goal, word
from dropcap.cli.reason_words import said_of
from dropcap.cli.screen import many
from dropcap.display import shown
from dropcap.preflight.rehearsal import missing_records
from dropcap.preflight.remark import Remark
from dropcap.preflight.survey import LANDS, QUIET, Prospect
from dropcap.reasons import Reason

_STYLE = """
:root{color-scheme:light dark;--bg:#fbfbfa;--ink:#1b2126;--quiet:#58626b;--line:#e0e4e4;
--good:#0d7762;--wait:#936000;--bad:#8f1a10}
@media(prefers-color-scheme:dark){:root{--bg:#13171a;--ink:#e7ebee;--quiet:#a1acb5;--line:#2d353b;
--good:#86dcc0;--wait:#f0b84a;--bad:#ff7d6b}}
@page{size:A4;margin:16mm}
*{box-sizing:border-box}
body{margin:0 auto;max-width:62rem;padding:1.5rem 1rem 3rem;background:#fff;background:var(--bg);color:#000;color:var(--ink);
font:1rem/1.5 "Segoe UI",system-ui,sans-serif}
h1{font-size:1.75rem;line-height:1.3;font-weight:600;margin:0 0 .5rem}
h2{font-size:1.125rem;font-weight:600;margin:2.5rem 0 .5rem;break-after:avoid}
p{margin:.25rem 0;max-width:40rem}
b{font-weight:600}
.q,th,dt{color:var(--quiet);font-size:.875rem;font-weight:400}
.good{color:var(--good)}.wait{color:var(--wait)}.bad{color:var(--bad)}
dl{display:flex;flex-wrap:wrap;gap:.75rem 2.5rem;border:solid var(--line);border-width:1px 0;padding:.75rem 0;margin:1.5rem 0}
dd{margin:0;font-size:1.3rem;font-variant-numeric:tabular-nums}
table{border-collapse:collapse;width:100%;overflow-wrap:anywhere}
caption{text-align:left;color:var(--quiet);font-size:.875rem;padding-bottom:.25rem}
th{text-align:left;vertical-align:bottom;padding:0 .75rem .25rem 0}
td{border-top:1px solid var(--line);padding:.4rem .75rem .4rem 0;vertical-align:top;font-size:.9375rem}
td:first-child{width:38%}
tr{break-inside:avoid}
code{font:.9375em "Cascadia Mono",Consolas,ui-monospace,monospace}
thead{display:table-header-group}
@media print{:root{--bg:#fff;--ink:#000}body{padding:0;max-width:none}}
@media(max-width:44rem){table,tbody,tr,td{display:block;width:auto}thead{display:none}td:first-child{width:auto}
td+td{border:0;padding-top:0}}
"""
_HASH = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()


def report(prospects: Sequence[Prospect], troubles: Sequence[Remark], folders: Sequence[str], now: datetime) -> str:
    """The whole page. Pure; names are shown with what could mislead a reader escaped."""
    lands = [one for one in prospects if one.outcome in LANDS]
    others = [one for one in prospects if one.outcome not in QUIET]
    verdict, colour, means = _verdict(prospects, troubles)
    where = ", ".join(folders)
    body = [
        f'<h1><span class="{colour}">{"✓" if colour == "good" else "!"}</span> {_text(verdict)}</h1>',
        f"<p>{_text(means)}</p>",
        f'<p class="q">dropcap {_text(__version__)} looked at {_text(where)} on {now.day} {now:%B %Y} at {now:%H:%M}.'
        " Nothing was changed or sent. Whether a field already holds the same file was not found out.</p>",
        *_figures(prospects, len(lands), len(others)),
        *_troubles(troubles),
        *_not_landing(others),
        *_counted("By rule", ("Rule", "Files", "Would land"), _rules(prospects)),
        *_missing(prospects),
        *_landing(lands),
    ]
    return "\n".join([_head(f"{verdict} – dropcap dry-run of {where}"), *body, "</main>\n</body>\n</html>\n"])


def _head(title: str) -> str:
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f"<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'sha256-{_HASH}'\">\n"
        '<meta name="viewport" content="width=device-width,initial-scale=1">\n<meta name="referrer" content="no-referrer">\n'
        f"<title>{_text(title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n<main>"
    )


def _verdict(prospects: Sequence[Prospect], troubles: Sequence[Remark]) -> tuple[str, str, str]:
    counts = Counter(one.outcome in LANDS for one in prospects if one.outcome != "ignored")
    lands, others = counts[True], counts[False]
    if troubles:
        return "Not everything could be looked at", "bad", "What stands below is what could be found out."
    if others:
        wait = f"{many(others, 'file')} of {lands + others:,} would not land in REDCap"
        return wait, "bad", "Each stands below with the cause and what to do."
    if not lands:
        return "There is nothing to store", "good", "No file lies in these folders that dropcap would take."
    return f"All {many(lands, 'file')} would land in REDCap", "good", "They can be taken as they are."


def _figures(prospects: Sequence[Prospect], lands: int, others: int) -> Iterator[str]:
    figures = {"Files": len(prospects), "Would land": lands, "Would not": others, "Ignored": len(prospects) - lands - others}
    cells = "".join(f"<div><dt>{name}</dt><dd>{number:,}</dd></div>" for name, number in figures.items())
    yield f"<dl>{cells}</dl>"


def _troubles(troubles: Sequence[Remark]) -> Iterator[str]:
    if troubles:
        yield "<h2>Could not be looked at</h2>"
    for one in troubles:
        yield f'<p><b class="bad">{_text(str(one.where))}</b>: {_text(one.message)}. {_text(one.remedy)}</p>'


def _not_landing(others: Sequence[Prospect]) -> Iterator[str]:
    for outcome, count in Counter(one.outcome for one in others).most_common():
        yield f"<h2>{many(count, 'file')}: {_text(_kind(outcome))}</h2>"
        rows = ((_file(one), _sentence(one.message) + "<br>" + _sentence(one.remedy)) for one in others if one.outcome == outcome)
        yield _table(("File", "Why, and what to do"), rows)


def _landing(lands: Sequence[Prospect]) -> Iterator[str]:
    if lands:
        yield "<h2>Would land</h2>"
        rows = ((_file(one), _text(goal(one)), _text(word(one.outcome))) for one in lands)
        yield _table(("File", "Goes to", ""), rows)


def _rules(prospects: Sequence[Prospect]) -> Iterator[tuple[str, str, str]]:
    for (folder, rule), count in Counter((one.folder, one.rule) for one in prospects if one.rule).most_common():
        land = sum(one.outcome in LANDS for one in prospects if (one.folder, one.rule) == (folder, rule))
        yield f"<code>{_text(folder)}/{_text(rule)}</code>", f"{count:,}", f"{land:,}"


def _missing(prospects: Sequence[Prospect]) -> Iterator[str]:
    rows = [(f"<code>{_text(record)}</code>", f"{count:,}") for record, count in missing_records(prospects).items()]
    yield from _counted("Records that REDCap does not have", ("Record", "Files"), rows)


def _counted(title: str, heads: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    found = list(rows)
    if found:
        yield f"<h2>{title}</h2>"
        yield _table(heads, found)


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    head = "".join(f'<th scope="col">{name}</th>' for name in heads)
    body = "\n".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table><thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody></table>"


def _kind(outcome: str) -> str:
    reason = Reason.of(outcome, Reason.NONE)
    return f"would fail: {said_of(reason).what}" if reason else word(outcome)


def _sentence(text: str) -> str:
    return _text(f"{text[0].upper()}{text[1:]}.") if text else ""


def _file(one: Prospect) -> str:
    return f"<code>{_text(one.folder)}/{_text(one.name)}</code>"


def _text(text: str) -> str:
    return html.escape(shown(text))
