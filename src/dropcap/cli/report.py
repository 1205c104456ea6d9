"""`dropcap report`: a period, for those who sign it or put it into a file."""

from __future__ import annotations

import contextlib
import io
import os
import time
from collections.abc import Iterable
from pathlib import Path

import click

from dropcap.cli import spreadsheet
from dropcap.cli.configured import config_option, folder_option, known, moment, query, stop, usable
from dropcap.cli.outside import outside_of_all_folders
from dropcap.cli.report_facts import ReportFacts, gathered, interventions, local
from dropcap.cli.report_page import page, row
from dropcap.config.model import Config
from dropcap.daemon import witness
from dropcap.daemon.opening import database_of
from dropcap.display import shown
from dropcap.ledger.errors import DatabaseError
from dropcap.ledger.proof import prove
from dropcap.ledger.query import Query, WantedJobs


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
    ledger = query(config)
    try:
        if folder_name is not None and ledger.known_folder(folder_name) is None:
            known("folder", folder_name, config.folders)
        if project_name is not None and not ledger.number(WantedJobs(project=project_name)):
            known("project", project_name, config.projects)
        whole = _csv(config, ledger, wanted, file) if as_csv else _page(config, ledger, wanted, file)
    except DatabaseError as error:
        stop(f"the ledger cannot be read ({error})", 1)
    except OSError as error:
        stop(f"{shown(str(file))} cannot be written ({error.strerror}): name another place, or make room", 1)
    finally:
        ledger.close()
    if not whole:
        stop("the ledger is not as it was sealed: dropcap verify --chain tells what was changed", 1)


def _csv(config: Config, ledger: Query, wanted: WantedJobs, file: Path) -> bool:
    text = io.StringIO(newline="")
    spreadsheet.write(text, spreadsheet.COLUMNS, (spreadsheet.of_job(job, origin) for job, origin in gathered(ledger, wanted)))
    _write(file, ["\N{ZERO WIDTH NO-BREAK SPACE}", text.getvalue()])  # by which spreadsheets know that it is UTF-8
    return not prove(database_of(config), witness.known(config.state_dir)).broken


def _page(config: Config, ledger: Query, wanted: WantedJobs, file: Path) -> bool:
    facts, rows = ReportFacts(), []
    for job, origin in gathered(ledger, wanted):
        facts.add(job, origin)
        rows.append(row(job, origin))
    acts = interventions(ledger.acts(wanted.since, wanted.until))
    proof = prove(database_of(config), witness.known(config.state_dir))
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
