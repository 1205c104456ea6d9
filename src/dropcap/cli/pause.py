"""`dropcap pause` and `dropcap resume`: stop and go on with a server, a project or a folder."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any, TypeVar

import click

from dropcap.cli import completion, screen
from dropcap.cli.configured import config_option, done, known, query, usable
from dropcap.cli.jobs import clock
from dropcap.config.model import Config, PostgresLedger
from dropcap.daemon import control
from dropcap.display import shown
from dropcap.ledger.job import Pause
from dropcap.reasons import Reason, Scope

F = TypeVar("F", bound=Callable[..., Any])


def _scope_options(command: F) -> F:
    """What is paused or resumed: one of these."""
    for scope, metavar, text, proposed in (
        ("folder", "F", "This drop folder.", completion.folders),
        ("project", "P", "This project, and all folders that go to it.", completion.projects),
        ("server", "H", "This server: its host, or the name of one of its projects.", completion.servers),
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
