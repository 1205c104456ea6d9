"""What a shell proposes after `--folder`, `--project`, `--server` and `retry`: read from the configuration and the ledger, never
asked of a daemon, and never waited for.
"""

from __future__ import annotations

import contextlib
import io
import os
from pathlib import Path

import click
from click.shell_completion import CompletionItem

from dropcap.config.load import load
from dropcap.config.model import Config, PostgresLedger
from dropcap.daemon.opening import database_of
from dropcap.daemon.state import LEDGER
from dropcap.display import shown
from dropcap.ledger.query import Query
from dropcap.threads import begin

_DEFAULT = "/etc/dropcap/config.yaml"
#: Seconds after which nothing is proposed: who types waits for no disk.
_PATIENCE = 1.0
_MOST_JOBS = 200

Proposed = list[tuple[str, str]]


def folders(ctx: click.Context, _: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """The drop folders, each with its path."""
    return _items(ctx, incomplete, "folders")


def projects(ctx: click.Context, _: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """The projects, each with its address."""
    return _items(ctx, incomplete, "projects")


def servers(ctx: click.Context, _: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """The servers, each with the projects that are there."""
    return _items(ctx, incomplete, "servers")


def jobs(ctx: click.Context, _: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """The jobs that can be tried again, each with its file."""
    return _items(ctx, incomplete, "jobs")


def _proposed(config: Config, what: str) -> Proposed:
    projects = config.projects.values()
    match what:
        case "folders":
            return [(one.name, str(one.path)) for one in config.folders.values()]
        case "projects":
            return [(one.name, one.url) for one in projects]
        case "servers":
            hosts = dict.fromkeys(project.host for project in projects)
            return [(host, ", ".join(one.name for one in projects if one.host == host)) for host in hosts]
    if not isinstance(config.ledger, PostgresLedger) and not (config.state_dir / LEDGER).exists():
        return []
    with contextlib.closing(Query(database_of(config))) as ledger:
        return [(str(job.id), f"{job.folder}/{job.name}, {job.reason or job.state}") for job in ledger.may_retry(_MOST_JOBS)]


def _items(ctx: click.Context, incomplete: str, what: str) -> list[CompletionItem]:
    given = ctx.params.get("config_path") or os.environ.get("DROPCAP_CONFIG") or _DEFAULT
    found: Proposed = []

    def look() -> None:
        with contextlib.suppress(Exception), contextlib.redirect_stderr(io.StringIO()):  # nothing is told in the middle of a line
            found.extend(_proposed(load(Path(given).absolute()), what))

    begin(look, "completion").join(_PATIENCE)  # it may hang in a dead file system, and the shell goes on
    # Of what `found` holds by now: it may still grow.
    return [CompletionItem(value, help=shown(text)) for value, text in tuple(found) if value.startswith(incomplete)]
