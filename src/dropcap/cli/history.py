"""`dropcap history`: what happened to a file, or the last files."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Mapping
from dataclasses import asdict, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import click

from dropcap.cli import screen, spreadsheet
from dropcap.cli.acts import what_of, who_of
from dropcap.cli.configured import config_option, folder_option, known, moment, query, usable
from dropcap.cli.explain import inside
from dropcap.cli.jobs import (
    as_json,
    clock,
    file_of,
    kept_at,
    minute,
    place_of,
    result_of,
    short_target_of,
    stamp,
    state_of,
    target_of,
)
from dropcap.config.model import Config
from dropcap.display import shown
from dropcap.ledger.job import Event, Job
from dropcap.ledger.query import Query, WantedJobs

_LAST = 50
_NUMBER = re.compile("[0-9]{1,18}")


@click.command("history")
@click.argument("name", metavar="[NAME]", required=False)
@config_option
@folder_option
@click.option("--record", metavar="R", help="Files for this record.")
@click.option("--failed", is_flag=True, help="Only files that were refused.")
@click.option("--since", metavar="T", help="Dropped since then: an age like 2h or 7d, or a day like 2026-11-24.")
@click.option("--until", metavar="T", help="Dropped until then; a day is part of it.")
@click.option("--project", "project_name", metavar="P", help="Files for this project only.")
@click.option("--acts", is_flag=True, help="What people had dropcap do, and what happened to the ledger, in place of files.")
@click.option(
    "--limit",
    metavar="N",
    type=click.IntRange(1, 10**9),
    help=f"So many at most, the newest; else {_LAST}, or all of NAME, R or a time.",
)
@click.option("--json", "as_data", is_flag=True, help="One JSON object a line, for programs.")
@click.option("--csv", "as_csv", is_flag=True, help="A table for spreadsheets.")
def history_command(
    name: str | None,
    config_path: Path,
    folder_name: str | None,
    record: str | None,
    failed: bool,
    since: str | None,
    until: str | None,
    project_name: str | None,
    acts: bool,
    limit: int | None,
    as_data: bool,
    as_csv: bool,
) -> None:
    """Tell what happened to the files called NAME, step by step; without NAME, list the last files.

    NAME is a file's name, in whatever subfolder, or its path in the drop folder, as it was dropped or as it lies there now;
    or the number of a job. Where a name, a record or a time is asked for, all that there are are told.

    Exit code: 0; 1 if no such file is known.
    """
    if as_data and as_csv:
        raise click.UsageError("--json or --csv, not both")
    config = usable(config_path.absolute(), tell=False)
    period = (moment(since), moment(until, end=True))
    if acts:
        _of_the_whole(name, record, failed, folder_name, project_name)
        _acts(config, period, limit, as_data, as_csv)
        return
    if name is not None:
        folder_name, name = named(config, folder_name, name)
    every = name is not None or record is not None
    ledger = query(config)
    try:
        if folder_name is not None and ledger.known_folder(folder_name) is None:
            known("folder", folder_name, config.folders)
        wanted = _by_number(ledger, WantedJobs(failed, *period, folder_name, project_name, name, record))
        newest = limit or (None if every or since or until else _LAST)
        told = _told(config, ledger, wanted, newest, in_full=name is not None, as_data=as_data, as_csv=as_csv)
        more = ledger.number(wanted) - told if newest is not None and told == newest else 0
    finally:
        ledger.close()
    if more > 0:
        screen.line(f"{more:,} more: --since, --until or --limit tells them", err=True)
    if told:
        sys.exit(0)
    if not (as_data or as_csv) or every:
        screen.line(_nothing(name, record, failed, since), err=True)
    sys.exit(1 if every else 0)


def _of_the_whole(*narrower: object) -> None:
    if any(narrower):
        raise click.UsageError("--acts are of the whole dropcap: only --since, --until and --limit confine them")


def _by_number(ledger: Query, wanted: WantedJobs) -> WantedJobs:
    """The same; where no file is called so, by the number that people read in the text beside a file."""
    name = wanted.name
    if name is None or not _NUMBER.fullmatch(name) or ledger.number(wanted):
        return wanted
    return replace(wanted, name=None, job=int(name))


def _told(
    config: Config, ledger: Query, wanted: WantedJobs, newest: int | None, *, in_full: bool, as_data: bool, as_csv: bool
) -> int:
    """Tell of these jobs, the newest last, where the eye is on a terminal; how many there are."""
    origin = lru_cache(64)(ledger.document)
    number = 0
    if as_csv:
        spreadsheet.write(sys.stdout, spreadsheet.COLUMNS, ())
    listed: list[Job] = []
    for job in ledger.each(wanted, newest):
        number += 1
        if as_data:
            click.echo(json.dumps(as_json(config, job, ledger.history(job.id), origin(job.origin))))
        elif as_csv:
            spreadsheet.write(sys.stdout, (), [spreadsheet.of_job(job, origin(job.origin))])
        elif in_full:
            if number > 1:
                click.echo()
            _one(config, job, ledger.history(job.id), origin(job.origin))
        else:
            listed.append(job)
    if listed:
        _listed(listed)
    return number


def _acts(config: Config, period: tuple[float, float], limit: int | None, as_data: bool, as_csv: bool) -> None:
    ledger = query(config)
    try:
        acts = ledger.acts(*period)
    finally:
        ledger.close()
    acts = acts[-limit:] if limit else acts
    if as_data:
        for act in acts:
            click.echo(json.dumps({**asdict(act), "at": stamp(act.at), "told": dict(act.told)}))
    elif as_csv:
        spreadsheet.write(sys.stdout, spreadsheet.ACTS, [spreadsheet.of_act(act) for act in acts])
    else:
        rows = [(str(act.n), clock(act.at), who_of(act), act.what.replace("_", " "), what_of(act)) for act in acts]
        screen.table(("ACT", "WHEN", "WHO", "WHAT", "ABOUT"), rows, {"ACT"})


def named(config: Config, folder_name: str | None, name: str) -> tuple[str | None, str]:
    """The folder and the name in it, if `name` is the path of a file in a drop folder; else as they were given."""
    found = inside(list(config.folders.values()), name)
    if found is not None:
        folder_name, name = found[0].name, found[1]
    head, _, rest = name.removeprefix("./").partition("/")
    return folder_name, rest if rest and head == "in_progress" else name.removeprefix("./")


def _nothing(name: str | None, record: str | None, failed: bool, since: str | None) -> str:
    what = "no file"
    if name is not None:
        what = f"no file and no job {name}" if _NUMBER.fullmatch(name) else f"no file called {shown(name)}"
    if record is not None:
        what += f" for record {shown(record)}"
    if failed:
        what += " that failed"
    if since is not None:
        what += f" since {since}"
    return f"{what} is known to the ledger"


def _listed(jobs: list[Job]) -> None:
    rows = [(str(job.id), minute(job.claimed_at), file_of(job), short_target_of(job), result_of(job)) for job in jobs]
    screen.table(("JOB", "DROPPED", "FILE", "RECORD, EVENT, FIELD", "STATE"), rows, {"JOB"})


def _one(config: Config, job: Job, steps: list[Event], origin: Mapping[str, Any]) -> None:
    screen.line(f"{file_of(job)}  job {job.id}: {state_of(job)}", hang=4, bold=True)
    target = target_of(job)
    about = {
        "dropped": f"{clock(job.claimed_at)}, {job.size} bytes{_owner(job)}",
        "goes to": f"project {job.project}" + (f", {target}" if target else "") if job.project else "",
        "rule": job.rule,
        "REDCap": _redcap(origin),
        "sha256": job.sha256 or "",
        "result": (job.result or "").replace("_", " "),
        "confirmed": {"readback": "read back, the same bytes", "listed": "listed in the record", "none": "not looked at"}.get(
            job.confirmed or "", ""
        ),
        "why": job.message or job.reason or "",
        "what to do": job.remedy or "",
        "preserved": shown(kept_at(config, job) or "") + (f" (sha256 {job.preserved_sha256})" if job.preserved_sha256 else ""),
        "lies in": _place(config, job),
        "before": f"job {job.again_of or job.back_of}" if job.again_of or job.back_of else "",
        "tried again": f"as job {job.tried_again}" if job.tried_again and job.tried_again != job.id else "",
    }
    for word, text in about.items():
        if text:
            screen.line(f"{word + ':':<12} {text}", 2, hang=15)
    screen.line("steps:", 2)
    for step in steps:
        screen.line(f"{clock(step.at)}  {step.state.value}" + (f": {step.note}" if step.note else ""), 4, hang=25)


def _owner(job: Job) -> str:
    if job.dropped_by is None:
        return ""
    return (
        f", a file of {shown(job.dropped_by_name)} (uid {job.dropped_by})"
        if job.dropped_by_name
        else f", a file of uid {job.dropped_by}"
    )


def _redcap(origin: Mapping[str, Any]) -> str:
    told = origin.get("redcap") or {}
    number = f"project {told['project_id']}" if told.get("project_id") is not None else ""
    title, user = (shown(str(told.get(key) or "")) for key in ("title", "user"))
    return ", ".join(part for part in (told.get("url"), number, title, f"token of {user}" if user else "") if part)


def _place(config: Config, job: Job) -> str:
    place = place_of(job)
    if place is None:
        return "" if job.tried_again and job.tried_again != job.id else "not with dropcap any more: somebody took it away"
    folder = config.folders.get(job.folder)
    return shown(os.path.join(folder.path, place) if folder else place)
