"""`dropcap history`: what happened to a file, or the last files."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import click

from dropcap.cli import screen
from dropcap.cli.configured import config_option, folder_option, known, moment, query, usable
from dropcap.cli.explain import inside
from dropcap.cli.jobs import as_json, clock, file_of, kept_at, minute, place_of, result_of, short_target_of, state_of, target_of
from dropcap.config.model import Config
from dropcap.display import shown
from dropcap.ledger.job import Event, Job
from dropcap.ledger.query import Query

_LAST = 50
_ALL = 1_000_000


@click.command("history")
@click.argument("name", metavar="[NAME]", required=False)
@config_option
@folder_option
@click.option("--record", metavar="R", help="Files for this record.")
@click.option("--failed", is_flag=True, help="Only files that were refused.")
@click.option("--since", metavar="T", help="Dropped since then: an age like 2h or 7d, or a day like 2026-11-24.")
@click.option(
    "--limit", metavar="N", type=click.IntRange(1, 10**9), help=f"So many at most, the newest; else {_LAST}, or all of NAME."
)
@click.option("--json", "as_data", is_flag=True, help="One JSON object a line, for programs.")
def history_command(
    name: str | None,
    config_path: Path,
    folder_name: str | None,
    record: str | None,
    failed: bool,
    since: str | None,
    limit: int | None,
    as_data: bool,
) -> None:
    """Tell what happened to the files called NAME, step by step; without NAME, list the last files.

    NAME is a file's name, in whatever subfolder, or its path in the drop folder, as it was dropped or as it lies there now.

    Exit code: 0; 1 if no such file is known.
    """
    config = usable(config_path.absolute(), tell=False)
    begin = moment(since)
    if name is not None:
        folder_name, name = named(config, folder_name, name)
    every = name is not None or record is not None
    ledger = query(config)
    try:
        if folder_name is not None and ledger.known_folder(folder_name) is None:
            known("folder", folder_name, config.folders)
        jobs = ledger.recent(
            limit or (_ALL if every else _LAST), failed=failed, since=begin, folder=folder_name, name=name, record=record
        )
        jobs.reverse()  # the newest stands last, where the eye is on a terminal
        if as_data:
            for job in jobs:
                click.echo(json.dumps(as_json(config, job, ledger.history(job.id))))
        elif name is not None:
            _in_full(config, ledger, jobs)
        elif jobs:
            _listed(jobs)
    finally:
        ledger.close()
    if jobs:
        sys.exit(0)
    if not as_data or every:
        screen.line(_nothing(name, record, failed, since), err=True)
    sys.exit(1 if every else 0)


def named(config: Config, folder_name: str | None, name: str) -> tuple[str | None, str]:
    """The folder and the name in it, if `name` is the path of a file in a drop folder; else as they were given."""
    found = inside(list(config.folders.values()), name)
    if found is not None:
        folder_name, name = found[0].name, found[1]
    head, _, rest = name.removeprefix("./").partition("/")
    return folder_name, rest if rest and head == "in_progress" else name.removeprefix("./")


def _nothing(name: str | None, record: str | None, failed: bool, since: str | None) -> str:
    what = "no file" if name is None else f"no file called {shown(name)}"
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


def _in_full(config: Config, ledger: Query, jobs: list[Job]) -> None:
    for number, job in enumerate(jobs):
        if number:
            click.echo()
        _one(config, job, ledger.history(job.id))


def _one(config: Config, job: Job, steps: list[Event]) -> None:
    screen.line(f"{file_of(job)}  job {job.id}: {state_of(job)}", hang=4, bold=True)
    target = target_of(job)
    about = {
        "dropped": f"{clock(job.claimed_at)}, {job.size} bytes",
        "goes to": f"project {job.project}" + (f", {target}" if target else "") if job.project else "",
        "rule": job.rule,
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


def _place(config: Config, job: Job) -> str:
    place = place_of(job)
    if place is None:
        return "" if job.tried_again and job.tried_again != job.id else "not with dropcap any more: somebody took it away"
    folder = config.folders.get(job.folder)
    return shown(os.path.join(folder.path, place) if folder else place)
