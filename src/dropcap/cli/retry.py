"""`dropcap retry`: try held, waiting and failed files again."""

from __future__ import annotations

import sys
from contextlib import closing
from pathlib import Path

import click

from dropcap.cli import completion, screen
from dropcap.cli.configured import config_option, done, folder_option, known, query, usable
from dropcap.config.model import Config
from dropcap.display import shown
from dropcap.ledger.reports import HostsNow

#: Files that are told one by one.
_TOLD = 20


@click.command("retry")
@click.argument("jobs", metavar="[JOB]...", nargs=-1, type=click.IntRange(1, 2**63 - 1), shell_complete=completion.jobs)
@config_option
@folder_option
@click.option("--failed", is_flag=True, help="All files that lie in failed/.")
@click.option("--held", is_flag=True, help="All files that are held.")
def retry_command(jobs: tuple[int, ...], config_path: Path, folder_name: str | None, failed: bool, held: bool) -> None:
    """Try again: JOB is a number that `status`, `history`, the log and why.txt tell.

    A held or waiting file has its turn at once; a failed one is moved back into its drop folder, where it is taken anew. If no
    dropcap runs, that happens when the next one starts. Of several hosts, the one that works in the folder tries it.

    Exit code: 0; 1 if some could not be tried again.
    """
    if bool(jobs) == (failed or held):
        raise click.UsageError("name either the numbers of jobs, or --failed, --held or both")
    if jobs and folder_name is not None:
        raise click.UsageError("--folder confines --failed and --held; a job's number says its folder already")
    config = usable(config_path.absolute())
    numbers = list(dict.fromkeys(jobs))
    with closing(query(config)) as ledger:
        if folder_name is not None:
            known("folder", folder_name, {*config.folders, *ledger.counts()})
        found = {job: ledger.job(job) for job in numbers}
    cannot = [f"there is no job {number}" for number, job in found.items() if job is None]
    numbers = [number for number, job in found.items() if job is not None]
    tried: list[int] = []
    if numbers or not jobs:
        told = done(config, {"do": "retry", "jobs": numbers, "failed": failed, "held": held, "folder": folder_name})
        tried, cannot = told["tried"], cannot + told["cannot"]
        if "hosts" in told:
            screen.line(_when(told["hosts"]), err=True)
    _tell(config, tried, cannot)
    sys.exit(1 if cannot else 0)


def _when(hosts: HostsNow | None) -> str:
    if hosts is None:
        return "no dropcap runs: they are tried when it starts"
    if hosts.alive:
        return "no dropcap runs on this host: those that work in the folders try them"
    return "no dropcap runs on any host: they are tried when one starts"


def _tell(config: Config, tried: list[int], cannot: list[str]) -> None:
    with closing(query(config)) as ledger:
        for number in tried[:_TOLD]:
            job = ledger.job(number)
            if job is not None:
                screen.line(f"tried again: {job.folder}/{shown(job.name)} (job {number})")
    if len(tried) > _TOLD:
        screen.line(f"and {len(tried) - _TOLD:,} more")
    for why in cannot[:_TOLD]:
        screen.line(f"not tried: {shown(why)}", hang=4, err=True)
    if len(cannot) > _TOLD:
        screen.line(f"not tried: {len(cannot) - _TOLD:,} more", err=True)
    if not tried and not cannot:
        click.echo("there is nothing to try again")
