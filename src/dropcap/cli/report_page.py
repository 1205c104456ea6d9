"""A report as a page to print."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import date, datetime
from html import escape
from typing import Any

from dropcap import __version__
from dropcap.cli.acts import what_of, who_of
from dropcap.cli.report_facts import ReportFacts, dropper, local
from dropcap.cli.report_plots import days, reasons, times
from dropcap.cli.report_style import STYLE, css_string
from dropcap.display import shown
from dropcap.ledger.act import Act
from dropcap.ledger.job import Job, State
from dropcap.ledger.proof import Proof

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
        yield times(facts.times)
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
