"""`dropcap pause`, `resume` and `retry`: stop and go on with a server, a project or a folder, and try files again."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any, TypeVar

import click

from dropcap.cli import configured, screen
from dropcap.cli.configured import config_option, done, folder_option, known, query, usable
from dropcap.cli.jobs import clock
from dropcap.config.model import Config, PostgresLedger
from dropcap.daemon import control
from dropcap.display import shown
from dropcap.ledger.job import Pause
from dropcap.ledger.reports import HostsNow
from dropcap.reasons import Reason, Scope

F = TypeVar("F", bound=Callable[..., Any])


def _scope_options(command: F) -> F:
    """What is paused or resumed: one of these."""
    for scope, metavar, text, proposed in (
        ("folder", "F", "This drop folder.", configured.folders),
        ("project", "P", "This project, and all folders that go to it.", configured.projects),
        ("server", "H", "This server: its host, or the name of one of its projects.", configured.servers),
    ):
        command = click.option(f"--{scope}", metavar=metavar, shell_complete=proposed, help=text)(command)
    return command


@click.command("pause")
@config_option
@_scope_options
@click.option("--release", is_flag=True, help="--folder: also let go of its directory, so that its share can be unmounted.")
def pause_command(config_path: Path, server: str | None, project: str | None, folder: str | None, release: bool) -> None:
    """Send nothing more to a server or a project, or from a folder, until `dropcap resume`, also over a restart.

    What is being sent just now ends as it began. Files are still taken and wait in in_progress/, but with --release.

    Exit code: 0; 1 if something of a folder to let go of is still open; 4 if the dropcap that runs does not answer.
    """
    config = usable(config_path.absolute())
    scope, given = _one_of(server, project, folder)
    if release:
        if scope is not Scope.FOLDER:
            raise click.UsageError("--release goes with --folder: only a folder has a share")
        _release(config, _name(config, scope, given, []))
        return
    pauses = _pauses(config)
    name = _name(config, scope, given, [])
    before = pauses.get((scope, name))
    if before is not None and before.reason == Reason.BY_HAND:
        screen.line(f"{scope} {shown(name)} is paused already, since {clock(before.since)}")
        return
    done(config, {"do": "pause", "scope": scope, "name": name})
    seen = " (other hosts see it in some seconds)" if isinstance(config.ledger, PostgresLedger) else ""
    screen.line(f"{scope} {shown(name)} is paused{seen}; end it with: dropcap resume --{scope} {screen.typed(name)}")


def _release(config: Config, name: str) -> None:
    still_open = done(config, {"do": "release", "name": name})["open"]
    for path in still_open:
        screen.line(f"still open: {shown(path)}", err=True)
    resume = f"dropcap resume --folder {screen.typed(name)}"
    if still_open:
        screen.line(f"folder {shown(name)} is paused, and let go of once what is said above has ended; end it with: {resume}")
        sys.exit(1)
    if isinstance(config.ledger, PostgresLedger):
        elsewhere = "other hosts let go of it in some seconds, or once what they send from it has ended"
        screen.line(f"folder {shown(name)} is paused: its share can be unmounted here; {elsewhere}; end it with: {resume}")
        return
    screen.line(f"folder {shown(name)} is paused and let go of: its share can be unmounted; end it with: {resume}")


@click.command("resume")
@config_option
@_scope_options
def resume_command(config_path: Path, server: str | None, project: str | None, folder: str | None) -> None:
    """Go on with a server, a project or a folder, whether it was paused by hand or by dropcap itself.

    Exit code: 0; 1 if it was not paused.
    """
    config = usable(config_path.absolute())
    scope, given = _one_of(server, project, folder)
    # What is no longer in the configuration may still be paused.
    name = _name(config, scope, given, [name for of, name in _pauses(config) if of == scope])
    if not done(config, {"do": "resume", "scope": scope, "name": name})["done"]:
        screen.line(f"{scope} {shown(name)} was not paused", err=True)
        sys.exit(1)
    screen.line(f"{scope} {shown(name)} goes on")


def _one_of(server: str | None, project: str | None, folder: str | None) -> tuple[Scope, str]:
    given = [
        (scope, name)
        for scope, name in ((Scope.SERVER, server), (Scope.PROJECT, project), (Scope.FOLDER, folder))
        if name is not None
    ]
    if len(given) != 1:
        raise click.UsageError("name one of --server, --project and --folder")
    return given[0]


def _pauses(config: Config) -> dict[tuple[str, str], Pause]:
    with closing(query(config)) as ledger:
        return {(pause.scope, pause.name): pause for pause in ledger.pauses()}


def _name(config: Config, scope: Scope, given: str, paused: list[str]) -> str:
    if given in paused:
        return given
    if scope == Scope.FOLDER:
        return known(scope, given, config.folders)
    if scope == Scope.PROJECT:
        return known(scope, given, config.projects)
    servers = {project.host for project in config.projects.values()} | set(paused)
    return control.server_of(config, given, paused) or known(scope, given, servers)


#: Files that are told one by one.
_TOLD = 20


@click.command("retry")
@click.argument("jobs", metavar="[JOB]...", nargs=-1, type=click.IntRange(1, 2**63 - 1), shell_complete=configured.jobs)
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
