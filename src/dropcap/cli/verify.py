"""`dropcap verify`: export what history says is stored, and compare."""

from __future__ import annotations

import json
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from dropcap.cli import completion, screen, verify_chain, verify_files
from dropcap.cli.asking import chosen, lines
from dropcap.cli.configured import config_option, moment, query, stop, usable
from dropcap.config.model import Config
from dropcap.display import shown
from dropcap.ledger.errors import DatabaseError
from dropcap.ledger.job import Job
from dropcap.ledger.query import Query
from dropcap.preflight.verification import Compared, Found, NotReached, latest, verify
from dropcap.redcap.window import Stopped

_BAD = frozenset({Found.MISSING, Found.DIFFERS, Found.NOT_ASKED})


@click.command("verify")
@config_option
@click.option("--since", metavar="T", help="Only what was stored since: an age (7d) or a day (2026-11-24).")
@click.option("--folder", "folder_name", metavar="F", shell_complete=completion.folders, help="Files of this drop folder only.")
@click.option("--list", "every", is_flag=True, help="Tell of each file, not only of those that are not as they should be.")
@click.option("--chain", is_flag=True, help="See whether the ledger is whole; REDCap is not asked.")
@click.option(
    *("--witness", "witnesses"),
    metavar="FILE",
    multiple=True,
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="With --chain: a log, report or note that has heads of the chains.",
)
@click.option("--files", "filed", is_flag=True, help="Compare what lies in done/, and copies that were kept, with the ledger.")
@click.option("--after", metavar="JOB", type=click.IntRange(0, 2**63 - 1), help="With --files: go on behind this job.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object instead of text.")
def verify_command(
    config_path: Path,
    since: str | None,
    folder_name: str | None,
    every: bool,
    chain: bool,
    witnesses: tuple[Path, ...],
    filed: bool,
    after: int | None,
    as_json: bool,
) -> None:
    """Export every file that history says is stored, and compare it by SHA-256. Nothing is kept or changed.

    Where a later file went to the same field, only that is looked for. Each file costs one request, within the limit.
    --chain and --files look at this machine alone.

    Exit codes: 0 REDCap holds them all; 1 some are missing or differ, or could not be asked for; 2 usage or
    configuration; 3 the server cannot be reached.
    """
    if chain and (filed or since or folder_name or every):
        raise click.UsageError("--chain looks at the whole ledger, and at nothing else")
    if (witnesses and not chain) or (after is not None and not filed):
        raise click.UsageError("--witness goes with --chain, --after with --files")
    config = usable(config_path)
    if chain:
        verify_chain.run(config, witnesses, as_json)
    if folder_name is not None:
        chosen(config, folder_name)
    begin = moment(since)
    if filed:
        verify_files.run(config, begin, folder_name, after or 0, every, as_json)
    ledger = query(config)
    try:
        began = time.time()
        jobs = latest(ledger, begin, folder_name)
        found, ended, code = _compared(config, ledger, jobs, began)
    except DatabaseError as error:
        stop(f"the ledger cannot be read ({error})", 1)
    except OSError as error:
        stop(f"the request window cannot be used ({error}): run this as dropcap's user", 1)
    finally:
        ledger.close()
    if as_json:
        click.echo(json.dumps(_as_json(found, len(jobs), ended, every), indent=1))
    else:
        _tell(found, len(jobs), ended, every)
    sys.exit(code or int(any(finding.outcome in _BAD for finding in found)))


def _compared(config: Config, ledger: Query, jobs: list[Job], began: float) -> tuple[list[Compared], str, int]:
    """What was found of the files, why no more was if it ended early, and the exit code of that.

    Raises DatabaseError and, where the request window cannot be used, OSError.
    """
    stopped = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda _number, _frame: stopped.set())
    found: list[Compared] = []
    try:
        with lines(config) as asked, _bar(len(jobs)) as progress:
            task = progress.add_task("verifying", total=len(jobs))
            for finding in verify(ledger, asked, jobs, began, stopped, lambda: progress.advance(task)):
                found.append(finding)
    except NotReached as error:
        return found, f"the server cannot be reached: {error}; {error.remedy}{_go_on(error.job)}", 3
    except Stopped:
        return found, "interrupted" + (_go_on(jobs[len(found)]) if len(found) < len(jobs) else ""), 130
    return found, "", 0


def _bar(total: int) -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    console = Console(stderr=True)
    return Progress(*columns, console=console, disable=not console.is_terminal or not total, transient=True)


def _go_on(job: Job) -> str:
    # `--since` takes whole minutes; that some files are verified twice does no harm.
    when = datetime.fromtimestamp(job.ended_at or 0).astimezone()
    return f"; go on with: dropcap verify --since {when:%Y-%m-%dT%H:%M}"


def _line(finding: Compared) -> str:
    job = finding.job
    goal = [f"record {job.record}", f"event {job.event}" if job.event else "", f"field {job.field}"]
    goal.append(f"instance {job.instance}" if job.instance else "")
    when = datetime.fromtimestamp(job.ended_at or 0).astimezone()
    where = ", ".join(part for part in goal if part)
    return shown(
        f"{finding.outcome}: {job.folder}/{job.name} (job {job.id}, stored {when:%Y-%m-%d %H:%M}): {where}"
        + (f": {finding.message}" if finding.message else "")
    )


def _tell(found: Sequence[Compared], total: int, ended: str, every: bool) -> None:
    for finding in found:
        if every or finding.outcome in _BAD:
            screen.line(_line(finding), hang=4)
    counts = Counter(finding.outcome for finding in found)
    said = ", ".join(f"{counts[word]} {word}" for word in Found if counts[word] or word is Found.SAME)
    screen.line(f"{len(found)} of {total} files verified: {said}")
    if ended:
        screen.line(shown(ended), err=True)


def _as_json(found: Sequence[Compared], total: int, ended: str, every: bool) -> dict[str, Any]:
    return {
        "files": total,
        "verified": len(found),
        "outcomes": dict(Counter(finding.outcome for finding in found)),
        "ended": ended or None,
        **({"each": [_one_as_json(finding) for finding in found]} if every else {}),
        "problems": [_one_as_json(finding) for finding in found if finding.outcome in _BAD],
    }


def _one_as_json(finding: Compared) -> dict[str, Any]:
    return {
        "outcome": finding.outcome,
        "message": shown(finding.message),
        "job": finding.job.id,
        "folder": finding.job.folder,
        "name": shown(finding.job.name),
        "project": finding.job.project,
        "record": shown(finding.job.record),
        "event": finding.job.event,
        "field": finding.job.field,
        "instance": finding.job.instance,
        "stored": datetime.fromtimestamp(finding.job.ended_at or 0).astimezone().isoformat(timespec="seconds"),
        "sha256": finding.job.sha256,
    }
