"""`dropcap report`: a period, for those who sign it or file it."""

from __future__ import annotations

import bisect
import contextlib
import io
import os
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from functools import lru_cache
from html import escape
from pathlib import Path
from typing import Any

import click

from dropcap import __version__
from dropcap.cli.configured import config_option, folder_option, known, moment, outside_of_all_folders, query, stop, usable
from dropcap.cli.history import COLUMNS, of_job, what_of, who_of, write
from dropcap.config.model import Config
from dropcap.daemon import log
from dropcap.daemon.opening import database_of
from dropcap.display import shown
from dropcap.ledger.chain import Act
from dropcap.ledger.database import DatabaseError
from dropcap.ledger.job import Job, State
from dropcap.ledger.proof import Proof, prove
from dropcap.ledger.query import Query
from dropcap.ledger.reports import WantedJobs

#: Upper ends of the times from the claim to done/ (seconds), and what they are called.
TIMES = (5.0, 15.0, 60.0, 300.0, 900.0, 3600.0, 14400.0, 86400.0)
TIME_WORDS = ("to 5 s", "15 s", "1 min", "5 min", "15 min", "1 h", "4 h", "1 day", "more")

_WIDTH, _LEFT = 660, 4
#: More columns than this are drawn by the week, and then by four weeks.
_MOST = 62


def days(done: Mapping[date, int], failed: Mapping[date, int], first: date, last: date) -> str:
    """Files by the day that they were dropped: what is in REDCap above the line, what is not below."""
    step = 1
    while ((last - first).days + 1) / step > _MOST and step < 28:
        step = 7 if step == 1 else 28
    columns = max(1, -(-((last - first).days + 1) // step))
    above, below = [0] * columns, [0] * columns
    for of, into in ((done, above), (failed, below)):
        for day, number in of.items():
            if first <= day <= last:
                into[(day - first).days // step] += number
    most, least = max(1, *above), max(above and below)
    height = 110
    unit = height / (most + least)
    base, width = 16 + most * unit, (_WIDTH - _LEFT) / columns
    parts = []
    for index, (good, bad) in enumerate(zip(above, below, strict=True)):
        x, w = _LEFT + index * width + width * 0.12, width * 0.76
        if good:
            parts.append(_bar(x, base - good * unit, w, good * unit, "good"))
        if bad:
            parts.append(_bar(x, base, w, bad * unit, "bad"))
        if columns <= 31:
            parts += [_text(x + w / 2, base - good * unit - 3, f"{good:,}")] if good else []
            parts += [_text(x + w / 2, base + bad * unit + 9, f"{bad:,}", "bad")] if bad else []
    parts.append(f'<path class="axis" d="M{_LEFT} {base:.1f}H{_WIDTH}"/>')
    bottom = 16 + height + 22
    every = max(1, -(-columns // 8))
    for index in range(0, columns, every):
        day = first + timedelta(days=index * step)
        parts.append(_text(_LEFT + (index + 0.5) * width, bottom, f"{day.day} {day:%b}", "q"))
    per = {1: "day", 7: "week", 28: "four weeks"}[step]
    said = f"{sum(above):,} in REDCap, {sum(below):,} not; at most {most:,} in a {per}"
    title = f"Files by the {per} on which they were dropped: above the line those that are in REDCap, below it those that are not"
    return _svg(bottom + 6, title, said, parts)


def times(seconds: Sequence[int]) -> str:
    """How many files took how long from the claim to done/: one number for each of `TIME_WORDS`."""
    most, height = max(1, *seconds), 80
    width = (_WIDTH - _LEFT) / len(seconds)
    parts = []
    for index, (number, word) in enumerate(zip(seconds, TIME_WORDS, strict=True)):
        x, tall = _LEFT + index * width, height * number / most
        if number:
            parts.append(_bar(x + width * 0.12, 16 + height - tall, width * 0.76, tall, "good"))
        parts.append(_text(x + width / 2, 16 + height - tall - 3, f"{number:,}" if number else "0", "" if number else "q"))
        parts.append(_text(x + width / 2, 16 + height + 14, word, "q"))
    parts.append(f'<path class="axis" d="M{_LEFT} {16 + height}H{_WIDTH}"/>')
    return _svg(16 + height + 20, "Time from the claim to done/", f"{sum(seconds):,} files", parts)


def reasons(failed: Mapping[str, int]) -> str:
    """Files that are not in REDCap, by reason, the most frequent first."""
    rows = Counter(dict(sorted(failed.items()))).most_common(12)
    most = max(number for _, number in rows)
    parts = []
    for index, (reason, number) in enumerate(rows):
        y = 4 + index * 20
        parts.append(f'<text class="left" x="{_LEFT}" y="{y + 12}">{escape(reason)}</text>')
        parts.append(_bar(170, y + 2, 430 * number / most, 12, "bad"))
        parts.append(f'<text class="left" x="{176 + 430 * number / most:.1f}" y="{y + 12}">{number:,}</text>')
    said = ", ".join(f"{reason} {number:,}" for reason, number in rows)
    return _svg(8 + len(rows) * 20, "Files that are not in REDCap, by reason", said, parts)


def _svg(height: float, title: str, description: str, parts: Sequence[str]) -> str:
    return (
        f'<figure><figcaption>{escape(title)}</figcaption><svg role="img" viewBox="0 0 {_WIDTH} {height:.0f}">'
        f"<title>{escape(title)}</title><desc>{escape(description)}</desc>{''.join(parts)}</svg></figure>"
    )


def _bar(x: float, y: float, width: float, height: float, kind: str) -> str:
    return f'<rect class="{kind}" x="{x:.1f}" y="{y:.1f}" width="{max(width, 0.5):.1f}" height="{max(height, 0.5):.1f}"/>'


def _text(x: float, y: float, text: str, kind: str = "") -> str:
    return f'<text{f""" class="{kind}" """.rstrip() if kind else ""} x="{x:.1f}" y="{y:.1f}">{escape(text)}</text>'


#: States in which REDCap has the file.
_THERE = frozenset({State.DONE, State.STORED})
#: States in which it will not have it by itself.
_NOT = frozenset({State.FAILED, State.REFUSED, State.WITHDRAWN})


@dataclass(slots=True)
class ReportFacts:
    """The figures of a period: of the files that were dropped in it."""

    dropped: int = 0
    there: int = 0
    results: Counter[str] = field(default_factory=Counter)
    confirmed: Counter[str] = field(default_factory=Counter)
    kept: int = 0
    not_there: int = 0
    again: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    on_the_way: int = 0
    done_days: Counter[date] = field(default_factory=Counter)
    failed_days: Counter[date] = field(default_factory=Counter)
    times: Counter[str] = field(default_factory=Counter)
    droppers: Counter[str] = field(default_factory=Counter)
    versions: Counter[str] = field(default_factory=Counter)
    configurations: Counter[str] = field(default_factory=Counter)
    redcaps: Counter[str] = field(default_factory=Counter)

    def add(self, job: Job, origin: Mapping[str, Any]) -> None:
        """Count one job."""
        self.dropped += 1
        day = local(job.claimed_at).date()
        if job.state in _THERE:
            self.there += 1
            self.results[job.result or "stored"] += 1
            self.confirmed[job.confirmed or "none"] += 1
            self.kept += job.preserved_sha256 is not None
            self.done_days[day] += 1
            if job.ended_at is not None:
                self.times[TIME_WORDS[bisect.bisect_left(TIMES, max(0.0, job.ended_at - job.claimed_at))]] += 1
        elif job.state in _NOT:
            self.not_there += 1
            self.again += job.tried_again not in (None, job.id)
            self.reasons[job.reason or "not known"] += 1
            self.failed_days[day] += 1
        else:
            self.on_the_way += 1
        self.droppers[dropper(job)] += 1
        self.versions[str(origin.get("dropcap") or "before this was kept")] += 1
        self.configurations[str(origin.get("configuration") or "before this was kept")] += 1
        self.redcaps[redcap_of(origin) or f"project {job.project}" if job.project else "no project"] += 1


def gathered(ledger: Query, wanted: WantedJobs) -> Iterator[tuple[Job, Mapping[str, Any]]]:
    """The jobs of a report with the documents of their origin, in their order."""
    origin = lru_cache(256)(ledger.document)
    for job in ledger.each(wanted):
        yield job, origin(job.origin)


def local(seconds: float) -> datetime:
    """A time in this machine's own zone."""
    return datetime.fromtimestamp(seconds).astimezone()


def dropper(job: Job) -> str:
    """Whose file it was at the claim."""
    if job.dropped_by is None:
        return "not known"
    return job.dropped_by_name or f"uid {job.dropped_by}"


def redcap_of(origin: Mapping[str, Any]) -> str:
    """The project that a file went to, in words; empty if that was not kept."""
    told = origin.get("redcap") or {}
    if not told.get("url"):
        return ""
    number = f"project {told['project_id']}" if told.get("project_id") is not None else f"project {told.get('project')}"
    title = f" ({told['title']})" if told.get("title") else ""
    user = f", token of {told['user']}" if told.get("user") else ""
    return f"{number}{title} at {told['url']}{user}"


def interventions(acts: list[Act]) -> list[Act]:
    """The acts of people, without dropcap's own starts and ends."""
    return [act for act in acts if act.what not in ("started", "stopped", "created")]


#: `{footer}` is a CSS string.
STYLE = """
:root{--ink:#1b2126;--quiet:#58626b;--line:#c9cfd2;--good:#0d7762;--bad:#8f1a10;
--mono:"Cascadia Mono",Consolas,ui-monospace,Menlo,monospace}
@page{size:A4;margin:18mm 16mm 20mm;
@bottom-left{content:{footer};font:8pt "Segoe UI",sans-serif;color:#58626b}
@bottom-right{content:"Page " counter(page) " of " counter(pages);font:8pt "Segoe UI",sans-serif;color:#58626b}}
*{box-sizing:border-box}
body{margin:0 auto;max-width:178mm;padding:18mm 0;background:#fff;color:var(--ink);font:10pt/1.45 "Segoe UI",system-ui,sans-serif}
h1,h2,p,dl,dd,figure,ul{margin:0}
h1{font-size:18pt;line-height:1.25;font-weight:600}
h1 span{display:block;font-weight:400}
h2{font-size:12pt;font-weight:600;margin:9mm 0 2mm;break-after:avoid}
ul{padding-left:5mm}
.lead{margin-top:3mm;max-width:140mm}
.q,dt,th{color:var(--quiet);font-size:9pt}
dl{display:grid;grid-template-columns:repeat(4,1fr);gap:2mm 8mm;
border:solid var(--line);border-width:1px 0;padding:4mm 0;margin-top:7mm}
dd{font-size:14pt;font-variant-numeric:tabular-nums}
table{border-collapse:collapse;width:100%}
th{text-align:left;font-weight:400;padding:0 3mm 1mm 0;vertical-align:bottom}
td{border-top:1px solid var(--line);padding:1.6mm 3mm 1.6mm 0;vertical-align:top;font-size:9pt;overflow-wrap:anywhere}
tr{break-inside:avoid}
td:last-child,th:last-child{padding-right:0}
.m{font-family:var(--mono);font-size:8pt;width:62mm}
.m small,.h{font-family:var(--mono);font-size:7pt;color:var(--quiet);display:block;overflow-wrap:anywhere}
.w{min-width:15mm}
.p{min-width:32mm}
.n{white-space:nowrap;overflow-wrap:normal;font-variant-numeric:tabular-nums}
.bad{color:var(--bad);font-weight:600}
.good{color:var(--good);font-weight:600}
figure{margin-top:5mm;break-inside:avoid}
figcaption{font-size:9pt;color:var(--quiet)}
svg{width:100%;height:auto;display:block;font:9px "Segoe UI",system-ui,sans-serif}
svg rect.good{fill:var(--good)}
svg rect.bad{fill:#fff;stroke:var(--bad);stroke-width:1.5}
svg text{fill:var(--ink);text-anchor:middle;font-weight:400}
svg text.left{text-anchor:start;font-size:10px}
svg text.q{fill:var(--quiet)}
svg text.bad{fill:var(--bad)}
svg .axis{stroke:#868f95;stroke-width:1;fill:none}
.sign{display:grid;grid-template-columns:1fr 1fr;gap:12mm;margin-top:14mm;break-inside:avoid}
.sign p{border-top:1px solid var(--ink);padding-top:1.5mm;font-size:9pt;color:var(--quiet)}
@media print{body{padding:0;max-width:none}}
@media screen and (max-width:48rem){body{padding:1.25rem}dl{grid-template-columns:1fr 1fr}.wide{overflow-x:auto}
.wide table{min-width:40rem}}
""".strip()


def css_string(text: str) -> str:
    """A text as a CSS string: every character that is not plain as its number."""
    return '"' + "".join(c if c.isascii() and (c.isalnum() or c in " ,.-:") else f"\\{ord(c):06x} " for c in text) + '"'


_CONFIRMED = {"readback": "read back, the same SHA-256", "listed": "listed in the record", "none": "REDCap's answer alone"}
_RESULTS = {"stored": "stored", "replaced": "replaced", "already_there": "was there already, the same bytes"}
_MONTHS = "January February March April May June July August September October November December".split()  # noqa: SIM905


def day(of: date) -> str:
    """A day for people."""
    return f"{of.day} {_MONTHS[of.month - 1]} {of.year}"


def span(first: date, last: date) -> str:
    """A period for people."""
    if first == last:
        return day(first)
    if first.year != last.year:
        return f"{day(first)} to {day(last)}"
    begin = f"{first.day}" if first.month == last.month else f"{first.day} {_MONTHS[first.month - 1]}"
    return f"{begin} to {day(last)}"


def page(
    of: str, first: date, last: date, facts: ReportFacts, rows: Iterable[str], acts: Sequence[Act], proof: Proof
) -> Iterator[str]:
    """The page, piece by piece. `of` says which files it is about; `rows` are those of `row`."""
    title = f"{of}, {span(first, last)}"
    made = datetime.now().astimezone()
    style = STYLE.replace("{footer}", css_string(f"dropcap audit report, {title}, made {made:%Y-%m-%d %H:%M}"))
    yield (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n"
        '<meta name="viewport" content="width=device-width,initial-scale=1">\n'
        f"<title>dropcap audit report, {escape(title)}</title>\n"
        f"<style>{style}</style>\n</head>\n<body>\n<main>\n<h1>Audit report <span>{escape(title)}</span></h1>\n"
    )
    yield f'<p class="lead">{_lead(facts)} {_verdict(proof)}</p>\n'
    sums = {"Dropped": facts.dropped, "In REDCap": facts.there, "Not in REDCap": facts.not_there}
    yield _figures({**sums, "On the way": facts.on_the_way})
    if facts.dropped:
        yield days(facts.done_days, facts.failed_days, first, last)
    if facts.there:
        yield times([facts.times[word] for word in TIME_WORDS])
    if facts.reasons:
        yield reasons(Counter({reason.replace("_", " "): number for reason, number in facts.reasons.items()}))
    yield "\n<h2>Every file</h2>\n"
    yield from _table(("Dropped", "File and SHA-256", "By", "Record", "Event, field", "Result", "Job"), rows)
    yield "<h2>Who intervened</h2>\n"
    if acts:
        told = (_cells(("n", _when(a.at)), ("", who_of(a)), ("", a.what.replace("_", " ")), ("", what_of(a))) for a in acts)
        yield from _table(("When", "Who", "What", "About"), told)
    else:
        yield "<p>Nobody paused, resumed, retried, reloaded or adopted anything.</p>\n"
    yield "<h2>What this report rests on</h2>\n" + _sources(facts, proof, made)
    yield '<div class="sign"><p>Prepared by, date</p><p>Reviewed by, date</p></div>\n</main>\n</body>\n</html>\n'


def row(job: Job, origin: Mapping[str, Any]) -> str:
    """A job as a row of the table of files."""
    place = " ".join(part for part in (job.event, job.field, f"({job.instance})" if job.instance is not None else "") if part)
    digest = " ".join((job.sha256 or "")[n : n + 16] for n in range(0, 64, 16)).strip()
    file = f"{escape(shown(job.name))}" + (f"<small>{digest}</small>" if digest else "")
    result, kind = _result(job)
    dropped = f'<td class="n">{_when(job.claimed_at)}</td><td class="m">{file}</td>'
    rest = _cells(("w", dropper(job)), ("", job.record or "–"), ("p", place or "–"), (kind, result), ("n", str(job.id)))
    return dropped + rest


def _result(job: Job) -> tuple[str, str]:
    if job.state in (State.DONE, State.STORED):
        said = _RESULTS.get(job.result or "stored", job.result or "")
        if job.preserved_sha256:
            said += f"; the old file is kept (SHA-256 {job.preserved_sha256[:16]}…)"
        if job.confirmed in ("listed", "none"):
            said += f"; {_CONFIRMED[job.confirmed]}"
        return said + (f"; {job.attempts} attempts" if job.attempts > 1 else ""), ""
    if job.state in (State.FAILED, State.REFUSED, State.WITHDRAWN):
        said = "taken away" if job.state is State.WITHDRAWN else f"failed: {(job.reason or '').replace('_', ' ')}"
        return said + (f"; tried again as job {job.tried_again}" if job.tried_again not in (None, job.id) else ""), "bad"
    return f"on the way: {job.state.value}" + (f" ({job.reason})" if job.reason else ""), ""


def _lead(facts: ReportFacts) -> str:
    if not facts.dropped:
        return "No file was dropped."
    files = "The one file that was dropped" if facts.dropped == 1 else f"Of {facts.dropped:,} files that were dropped"
    if facts.there == facts.dropped:
        files = files if facts.dropped == 1 else f"All {facts.dropped:,} files that were dropped"
        said = f"{files} {'is' if facts.dropped == 1 else 'are'} in REDCap."
    elif facts.dropped == 1:
        said = f"{files} is not in REDCap."
    else:
        left = [f"{facts.not_there:,} {'is' if facts.not_there == 1 else 'are'} not"] if facts.not_there else []
        left += [f"{facts.on_the_way:,} {'is' if facts.on_the_way == 1 else 'are'} on the way"] if facts.on_the_way else []
        said = f"{files}, {facts.there:,} {'is' if facts.there == 1 else 'are'} in REDCap, {' and '.join(left)}."
    if facts.again:
        said += f" {facts.again:,} of those that are not {'was' if facts.again == 1 else 'were'} tried again, as another job."
    ways = [f"{number:,} {_CONFIRMED.get(way, way)}" for way, number in facts.confirmed.most_common()]
    said += f" Confirmed: {'; '.join(ways)}." if ways else ""
    if facts.kept:
        said += f" {facts.kept:,} replaced what REDCap held before; a copy of it is kept."
    return said


def _verdict(proof: Proof) -> str:
    if not proof.broken:
        return 'The record is <span class="good">whole</span>: its chains were verified as this was made.'
    number = f"{len(proof.broken):,} {'finding' if len(proof.broken) == 1 else 'findings'}"
    return f'The record is <span class="bad">not as it was sealed: {number}</span>, told below.'


def _figures(figures: Mapping[str, int]) -> str:
    return "<dl>" + "".join(f"<div><dt>{name}</dt><dd>{number:,}</dd></div>" for name, number in figures.items()) + "</dl>\n"


def _table(heads: Sequence[str], rows: Iterable[str]) -> Iterator[str]:
    label = escape(heads[1])
    yield f'<div class="wide" role="region" aria-label="{label}" tabindex="0"><table><thead><tr>'
    yield "".join(f'<th scope="col">{escape(head)}</th>' for head in heads) + "</tr></thead>\n<tbody>\n"
    for one in rows:
        yield f"<tr>{one}</tr>\n"
    yield "</tbody></table></div>\n"


def _cells(*cells: tuple[str, str]) -> str:
    return "".join(f"<td{f' class={kind}' if kind else ''}>{escape(shown(text))}</td>" for kind, text in cells)


def _when(seconds: float) -> str:
    at = local(seconds)
    return f"{at.day} {at:%b %H:%M}"


def _noted(heads: int) -> str:
    if not heads:
        return "no head that was noted elsewhere was compared"
    return (
        "the one head that was noted elsewhere is in them"
        if heads == 1
        else f"{heads} heads that were noted elsewhere are in them"
    )


def _sources(facts: ReportFacts, proof: Proof, made: datetime) -> str:
    def many(of: Counter[str], cut: int = 200) -> str:
        return "; ".join(f"{escape(shown(name[:cut]))} ({number:,})" for name, number in of.most_common())

    zone = f"{time.tzname[time.localtime().tm_isdst > 0]} (UTC{made:%z})"
    lines = [
        f"REDCap: {many(facts.redcaps)}." if facts.redcaps else "",
        f"Dropped by the owner of the file at the claim: {many(facts.droppers)}." if facts.droppers else "",
        f"dropcap: {many(facts.versions)}; this report by {__version__}." if facts.versions else f"dropcap {__version__}.",
        f"Configuration in force, SHA-256: {many(facts.configurations)}." if facts.configurations else "",
        f"Times are {escape(zone)}. Each file is counted on the day of its claim.",
        f"Chains: {proof.entries:,} entries of {proof.jobs:,} jobs and {proof.acts:,} acts were verified on"
        f" {day(made.date())}, {made:%H:%M}; {_noted(proof.witnessed)}.",
        *(f"Act of the ledger: {escape(shown(told))}." for told in proof.told),
        *(f'<span class="bad">{escape(shown(str(broken)))}.</span>' for broken in proof.broken[:50]),
    ]
    heads = "".join(f'<span class="h">{escape(str(head))}</span>' for head in proof.heads)
    told = "".join(f"<li>{line}</li>" for line in lines if line)
    return f"<ul>{told}<li>Heads of the chains, for <code>dropcap verify --chain --witness</code>:{heads}</li></ul>\n"


@click.command("report")
@config_option
@folder_option
@click.option("--since", metavar="T", required=True, help="Dropped since then: a day like 2026-11-18, or an age like 7d.")
@click.option("--until", metavar="T", help="Dropped until then; a day is part of it. Else until now.")
@click.option("--project", "project_name", metavar="P", help="Files for this project only.")
@click.option("--html", "as_html", is_flag=True, help="A page to print.")
@click.option("--csv", "as_csv", is_flag=True, help="A table for spreadsheets.")
@click.argument("file", metavar="FILE", type=click.Path(path_type=Path, dir_okay=False))
def report_command(
    config_path: Path,
    folder_name: str | None,
    since: str,
    until: str | None,
    project_name: str | None,
    as_html: bool,
    as_csv: bool,
    file: Path,
) -> None:
    """Write a report of a period into FILE: what was sent, refused and replaced, confirmed how, who dropped, who intervened, and
    whether the ledger's chains are whole.

    The page prints on A4. FILE has names and records, and is made for its owner alone.

    Exit code: 0; 1 if the chains are not whole (the report is written all the same).
    """
    if as_html == as_csv:
        raise click.UsageError("name one of --html and --csv")
    config = usable(config_path.absolute(), tell=False)
    wanted = WantedJobs(since=moment(since), until=moment(until, end=True), folder=folder_name, project=project_name)
    if wanted.since >= wanted.until:
        raise click.UsageError("--until lies before --since")
    outside_of_all_folders(config, file)
    try:
        with contextlib.closing(query(config)) as ledger:
            if folder_name is not None and ledger.known_folder(folder_name) is None:
                known("folder", folder_name, config.folders)
            if project_name is not None and not ledger.number(WantedJobs(project=project_name)):
                known("project", project_name, config.projects)
            whole = _csv(config, ledger, wanted, file) if as_csv else _page(config, ledger, wanted, file)
    except DatabaseError as error:
        stop(f"the ledger cannot be read ({error})", 1)
    except OSError as error:
        stop(f"{shown(str(file))} cannot be written ({error.strerror}): name another place, or make room", 1)
    if not whole:
        stop("the ledger is not as it was sealed: dropcap verify --chain tells what was changed", 1)


def _csv(config: Config, ledger: Query, wanted: WantedJobs, file: Path) -> bool:
    text = io.StringIO(newline="")
    write(text, COLUMNS, (of_job(job, origin) for job, origin in gathered(ledger, wanted)))
    _write(file, ["\N{ZERO WIDTH NO-BREAK SPACE}", text.getvalue()])  # by which spreadsheets know that it is UTF-8
    return not prove(database_of(config), log.known(config.state_dir)).broken


def _page(config: Config, ledger: Query, wanted: WantedJobs, file: Path) -> bool:
    facts, rows = ReportFacts(), []
    for job, origin in gathered(ledger, wanted):
        facts.add(job, origin)
        rows.append(row(job, origin))
    acts = interventions(ledger.acts(wanted.since, wanted.until))
    proof = prove(database_of(config), log.known(config.state_dir))
    first = local(wanted.since).date()
    last = max(first, local(min(wanted.until, time.time()) - 1).date())
    folder = f"Folder {wanted.folder}" if wanted.folder else "All folders"
    of = folder + (f", project {wanted.project}" if wanted.project else "")
    _write(file, page(of, first, last, facts, rows, acts, proof))
    return not proof.broken


def _write(file: Path, pieces: Iterable[str]) -> None:
    """Write for the owner alone, whole or not at all."""
    beside = file.with_name(f".{file.name}.{os.getpid()}.new")
    try:
        with open(
            os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "w", encoding="utf-8", newline=""
        ) as to:
            to.writelines(pieces)
        beside.replace(file)
    except BaseException:
        with contextlib.suppress(OSError):
            beside.unlink()
        raise
