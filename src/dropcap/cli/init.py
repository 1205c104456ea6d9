"""`dropcap init`: read a project, propose a configuration for it."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable
from pathlib import Path

import click
from click.core import ParameterSource

from dropcap.cli import screen
from dropcap.cli.configured import DEFAULT, stop
from dropcap.cli.init_asked import Asked, Given
from dropcap.cli.init_owned import Account, left_to_do
from dropcap.cli.init_way import way_lines, way_of
from dropcap.cli.init_written import Existing, all_or_nothing, keep_token, make_folder, token_beside, write
from dropcap.config.load import STATE_DIR
from dropcap.display import shown
from dropcap.preflight.proposal import Proposal, config_text, proposed_rules

_PATH = click.Path(path_type=Path)
_THERE = click.Path(path_type=Path, exists=True, dir_okay=False)


@click.command("init")
@click.option("--url", metavar="URL", help="The address of REDCap's API; it ends with /api/.")
@click.option("--token-file", metavar="FILE", type=_PATH, help="The file that holds the project's API token.")
@click.option("--folder", metavar="PATH", type=_PATH, help="The drop folder; it is made if need be.")
@click.option("--project-name", metavar="NAME", help="What the project is called here.")
@click.option("--state-dir", metavar="PATH", type=_PATH, help=f"On a local disk. Default: {STATE_DIR}.")
@click.option("--ca-file", metavar="FILE", type=_THERE, help="The hospital's own authority (PEM).")
@click.option("--client-cert-file", metavar="FILE", type=_THERE, help="The certificate (PEM) that the server asks for.")
@click.option("--client-key-file", metavar="FILE", type=_THERE, help="Its key (PEM), if the certificate's file does not hold it.")
@click.option("--proxy", metavar="URL", help="The proxy that leads to REDCap, such as http://proxy.example.org:3128.")
@click.option("--proxy-credentials-file", metavar="FILE", type=_THERE, help="The file that holds user:password for the proxy.")
@click.option("--output", metavar="FILE", help=f"The configuration to write; `-` prints it. Default: {DEFAULT}.")
@click.option("--add", is_flag=True, help="Add the project to a configuration that is there.")
@click.option(
    "-c",
    "--config",
    "config_path",
    metavar="FILE",
    envvar="DROPCAP_CONFIG",
    type=_PATH,
    help=f"The configuration to --add to. Default: {DEFAULT}.",
)
@click.option("--yes", is_flag=True, help="Ask nothing; take the proposed answers.")
def init_command(
    url: str | None,
    token_file: Path | None,
    folder: Path | None,
    project_name: str | None,
    state_dir: Path | None,
    ca_file: Path | None,
    client_cert_file: Path | None,
    client_key_file: Path | None,
    proxy: str | None,
    proxy_credentials_file: Path | None,
    output: str | None,
    add: bool,
    config_path: Path | None,
    yes: bool,
) -> None:
    """Ask a project for its file fields and events, and write a commented configuration for it.

    What the options do not tell is asked for, and asked again after a slip. The token is never shown, and no file is ever
    written over. With --add, the project goes into a file of its own that the configuration includes.

    Exit codes: 0 written; 1 the project has no file field, or refuses the token; 2 usage; 3 REDCap cannot be reached.
    """
    _without_contradiction(add, output, state_dir)
    existing = Existing.read(config_path or Path(DEFAULT)) if add else None
    way = way_of((ca_file, client_cert_file, client_key_file), proxy, proxy_credentials_file)
    asked = Asked(Given(url, token_file, folder, project_name, output, way, yes, existing))
    target = asked.output() if output is not None else None
    address, token, kept, answer, records = asked.project(prints=output == "-")
    info = answer.structure.project
    title = f"{info.project_id} ({shown(info.title)})"
    if not proposed_rules(answer.structure):
        stop(f"the project {title} has no file upload field (at an event): add one in REDCap first", 1)
    screen.line(f"read: REDCap {answer.version}, project {title}", err=True)
    if existing is not None:
        existing.lacks(address, info.project_id)
    name = asked.name(answer)
    if existing is not None:
        target, state, overlapping = existing.file_for(name), None, existing.places
    else:
        target = target if output is not None else asked.output()
        state = Path(os.path.normpath(state_dir.absolute() if state_dir else _state_dir(target)))
        overlapping = {"state_dir": state}
    token_path = kept or token_beside(existing.path if existing else target, name)
    place = asked.folder(overlapping)
    account = Account.here()
    folder_name = _folder_name(place)
    proposal = Proposal(
        project_name=name,
        url=address,
        token_file=str(token_path),
        folder_name=existing.free_folder_name(folder_name) if existing else folder_name,
        folder=str(place),
        state_dir=str(state) if state else None,
        way=way_lines(way, proxy_credentials_file),
        tables_taken=existing.tables if existing else frozenset(),
    )
    text = config_text(proposal, answer.structure, records, answer.version)
    with all_or_nothing() as undo:
        told = []
        if kept is None:
            told.append(keep_token(token, token_path, account, undo))
        if not place.is_dir():
            told.append(make_folder(place, account, undo))
        if target is None:
            click.echo(text, nl=False)
        else:
            told += existing.add(target, text, name, account, undo) if existing else [write(target, text, account, undo)]
    for line in told:
        screen.line(line, err=True)
    if target is not None:
        _tell(left_to_do(account, place, existing.path if existing else target, token_path))
    sys.exit(0)


def _without_contradiction(add: bool, output: str | None, state_dir: Path | None) -> None:
    named = click.get_current_context().get_parameter_source("config_path")
    if not add and named is ParameterSource.COMMANDLINE:
        raise click.UsageError("-c goes with --add; --output names a new configuration")
    if add and (output is not None or state_dir is not None):
        raise click.UsageError("--add takes neither --output nor --state-dir: the configuration that is there says both")


def _folder_name(place: Path) -> str:
    """What the drop folder is called in the configuration."""
    return re.sub(r"[^\w.-]+", "-", place.name).strip("-.")[:60] or "drop"


def _tell(left: Iterable[str]) -> None:
    """What is left to do."""
    screen.line("left to do:", err=True)
    for line in left:
        screen.line(f"* {line}", 2, hang=4, err=True)


def _state_dir(target: Path | None) -> Path:
    """The usual place, or one beside the configuration for somebody who may not write there."""
    usual = Path(STATE_DIR)
    there = next(place for place in (usual, *usual.parents) if place.exists())
    return usual if target is None or os.access(there, os.W_OK) else target.with_name("dropcap-state")
