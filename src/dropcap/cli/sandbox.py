"""`dropcap sandbox`: serve a REDCap stand-in until it is told to stop."""

from __future__ import annotations

import re
import signal
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import click

from dropcap.cli.extra import sandbox_or_stop

if TYPE_CHECKING:
    from redcap_sandbox import SandboxProject

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command("sandbox")
@click.option("--port", type=click.IntRange(0, 65535), default=0, help="Port on 127.0.0.1 (default: a free one).")
@click.option("--dictionary", type=_FILE, help="A data dictionary (CSV) to serve.")
@click.option("--event", "events", multiple=True, help="A unique event name for --dictionary; may be repeated.")
@click.option("--project-xml", type=_FILE, help="A REDCap project XML to serve, with its records.")
@click.option("--classic", is_flag=True, help="Serve the made-up project without events.")
@click.option("--records", type=_FILE, help="Records (a flat, raw CSV export) to put into the project.")
@click.option("--token", help="The token to accept (default: a new one). Other users of this machine can see it.")
@click.option("--token-file", type=_FILE, help="A file that holds the token to accept.")
@click.option("--rate-limit", type=click.IntRange(min=0), default=0, help="Ban after so many requests a minute (0: never).")
@click.option("--store", type=click.Path(file_okay=False, path_type=Path), help="Keep what is uploaded in this folder.")
@click.option(
    "--success",
    type=click.Choice(("empty", "json")),
    default="empty",
    help="Answer a stored file without a word, as REDCap does (default), or with JSON, as its documentation shows.",
)
@click.option("--ill", "kinds", multiple=True, metavar="KIND", help="Start with this fault; may be repeated.")
def sandbox_command(
    port: int,
    dictionary: Path | None,
    events: tuple[str, ...],
    project_xml: Path | None,
    classic: bool,
    records: Path | None,
    token: str | None,
    token_file: Path | None,
    rate_limit: int,
    store: Path | None,
    success: str,
    kinds: tuple[str, ...],
) -> None:
    """Serve a REDCap stand-in on 127.0.0.1, with made-up data, until Ctrl-C.

    The first two lines name the URL and the token. /_sandbox/holdings, /_sandbox/requests and POST /_sandbox/ill,
    /_sandbox/well and /_sandbox/unban look inside and make it ill and well.
    """
    sandbox_or_stop()
    from redcap_sandbox import Fault, Sandbox, load_records

    if sum((dictionary is not None, project_xml is not None, classic)) > 1:
        raise click.UsageError("--dictionary, --project-xml and --classic exclude each other; give one of them")
    if token is not None and token_file is not None:
        raise click.UsageError("--token and --token-file exclude each other; give one of them")
    try:
        project = _project(dictionary, events, project_xml, classic)
        if records is not None:
            load_records(project, records)
        faults = [Fault(kind) for kind in kinds]
        if token_file is not None:
            token = token_file.read_text(encoding="utf-8-sig", errors="replace").strip()
        if store is not None:
            store.mkdir(parents=True, exist_ok=True)
    except (OSError, ValueError) as error:
        raise click.UsageError(str(error)) from error
    if token is not None and not re.fullmatch(r"[0-9A-Za-z]{32}", token):
        raise click.UsageError("the token is not 32 letters and digits; leave it out to have one made up")
    box = Sandbox(project, token, port, rate_limit, store, success=success)
    for fault in faults:
        box.ill(fault)
    ended = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: ended.set())
    try:
        box.start()
    except OSError as error:
        raise click.UsageError(f"port {port} is not available ({error.strerror or error}); choose another --port") from error
    try:
        click.echo(f"url: {box.url}\ntoken: {box.token}")
        ended.wait()
    finally:
        box.stop()


def _project(dictionary: Path | None, events: tuple[str, ...], project_xml: Path | None, classic: bool) -> SandboxProject:
    from redcap_sandbox import classic_project, demo_project, from_dictionary, from_xml

    if events and dictionary is None:
        raise ValueError("--event goes with --dictionary; leave it out, or name a dictionary")
    for event in events:
        if not re.fullmatch(r"\w+", event) or events.count(event) > 1:
            raise ValueError(f"--event {event!r} is not a unique event name, or stands twice; write it as baseline_arm_1")
    if dictionary is not None:
        return from_dictionary(dictionary, events=events)
    if project_xml is not None:
        return from_xml(project_xml)
    return classic_project() if classic else demo_project()
