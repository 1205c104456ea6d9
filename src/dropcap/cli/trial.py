"""`dropcap trial`: does your REDCap do what dropcap relies on?"""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import click
from rich.console import Console

from dropcap import __version__
from dropcap.cli import screen
from dropcap.cli.configured import config_option, known, projects, remembered, stop, until_signal, usable, windows
from dropcap.config.model import REQUESTS_PER_MINUTE, Config
from dropcap.config.secrets import SecretError, TokenSource
from dropcap.config.values import BadValueError, api_url, size
from dropcap.delivery.project_client import redcap_for
from dropcap.display import many, shown
from dropcap.ledger.database import DatabaseError
from dropcap.ledger.query import Query
from dropcap.preflight.project import LATER
from dropcap.preflight.trial import MOST_REQUESTS, Budget, Judgement, Observed, Trial, TrialError, TrialJournal, Tried, report
from dropcap.redcap.client import FileTarget, RedcapError
from dropcap.redcap.reply import remedy_now
from dropcap.redcap.window import RequestWindow, Stopped
from dropcap.secret import Token

_COLOURS = {Judgement.EXPECTED: screen.GOOD, Judgement.COPES: screen.WAIT, Judgement.UNUSABLE: screen.BAD}
#: The columns of the first two cells of a row; with the verdict, 80.
_RELIES, _DID = 31, 32


@dataclass(frozen=True)
class _Jobs:
    """The jobs of the entries that lead to the address; none without a ledger."""

    ledger: Query | None
    entries: Sequence[str]

    def busy(self, target: FileTarget) -> bool:
        return self.ledger is not None and self.ledger.waits_for(self.entries, target.record, target.field)


@dataclass(frozen=True)
class _Server:
    """Whom the trial asks, and where its journal lies."""

    redcap: Observed
    second: Observed | None
    api: str
    place: Path
    jobs: _Jobs


def _of_configuration(config: Config, name: str | None, second: Token | None, stack: ExitStack) -> _Server:
    if name is None and len(config.projects) != 1:
        raise click.UsageError("--project is needed: the configuration has several, or none")
    project = config.projects[known("project", name or next(iter(config.projects)), config.projects)]
    window = stack.enter_context(windows(config))
    try:
        ledger = stack.enter_context(remembered(config))
    except DatabaseError as error:
        stop(f"the ledger cannot be read ({error}), so nobody knows which files are on their way: run this as dropcap's user", 2)
    entries = [one.name for one in config.projects.values() if one.api == project.api]
    place = config.state_dir if os.access(config.state_dir, os.W_OK) else _home()
    redcap = cast(Observed, redcap_for(config, project, window, Observed))
    other = None
    if second is not None:
        other = cast(Observed, redcap_for(config, project, window, Observed))
        other.token = lambda: second
    return _Server(redcap, other, project.api, place, _Jobs(ledger, entries))


def _of_address(url: str, token: Token, second: Token | None) -> _Server:
    try:
        address = api_url(allow_http=False)(url)
    except BadValueError as error:
        raise click.UsageError(f"--url: {error.message}: {error.remedy}") from None
    window = RequestWindow(_home() / "trial.window", REQUESTS_PER_MINUTE)
    other = Observed(address, lambda: second, window) if second else None
    return _Server(Observed(address, lambda: token, window), other, address, _home(), _Jobs(None, ()))


def _home() -> Path:
    return Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / "dropcap"


def _read(path: Path | None) -> Token | None:
    try:
        return TokenSource("file", str(path.absolute())).read() if path else None
    except SecretError as error:
        stop(f"{error.message}: {error.remedy}", 2)


def _size(_ctx: click.Context, _parameter: click.Parameter, text: str | None) -> int:
    try:
        return size(1, 1 << 40)(text) if text else 0
    except BadValueError as error:
        raise click.BadParameter(f"{error.message}: {error.remedy}") from None


def _agreed(trial: Trial, given: dict[str, Any]) -> None:
    """Say what is going to happen, and ask; the end with exit code 2 without the words that production needs."""
    project, target = trial.answer.structure.project, trial.place.target
    where = f"record {target.record}, field {target.field}" + (f", event {target.event}" if target.event else "")
    where += f", instance {target.instance}" if target.instance else ""
    state = "in PRODUCTION" if project.in_production else "in development"
    screen.line(f"REDCap {trial.answer.version}, project {project.project_id} ({shown(project.title)}), {state}", bold=True)
    screen.line(f"dropcap is going to upload small made-up files to {where}, which is empty, and to take them back.")
    if not project.in_production:
        screen.line("It also sends files for a record that does not exist, for an unknown event and for a text field.")
        if trial.place.repeating or target.instance:
            screen.line("It also makes a new repeat instance.")
    screen.line(
        f"At most {MOST_REQUESTS} requests. What cannot be taken back: entries in REDCap's log, versions of the file, "
        "an empty repeat instance, alerts and triggers that an upload sets off."
    )
    if project.in_production:
        if not (given["production"] and given["field_name"]):
            raise click.UsageError(
                "this project is in production, or REDCap does not tell: give --production, --record and --field"
            )
        if click.prompt("type the project's title", default="", show_default=False, err=True).strip() != project.title.strip():
            stop("that is not the project's title: nothing was sent", 2)
    elif not given["yes"] and not click.confirm("go on?", err=True):
        stop("nothing was sent", 2)


@contextlib.contextmanager
def _doing(console: Console) -> Iterator[None]:
    with console.status("asking REDCap …") if console.is_terminal else contextlib.nullcontext():
        yield


def _print(one: Tried) -> None:
    """A row in at most 80 columns."""
    cells = [list(screen.wrapped(shown(text).split(" "), room - 2)) for text, room in ((one.relies, _RELIES), (one.did, _DID))]
    for number in range(max(map(len, cells))):
        row = "".join(
            f"{cell[number] if number < len(cell) else '':<{room}}" for cell, room in zip(cells, (_RELIES, _DID), strict=True)
        )
        click.echo((row + (click.style(one.verdict.value, fg=_COLOURS[one.verdict]) if number == 0 else "")).rstrip())
    if one.advice and one.verdict is not Judgement.EXPECTED:
        for text in screen.wrapped(f"-> {one.advice}".split(" "), 78, 3):
            click.echo(f"  {text}")


def _write(path: Path, text: str, yes: bool) -> None:
    """Show the report, then write it."""
    click.echo(text)
    if yes or click.confirm(f"write this to {shown(str(path))}?", err=True):
        with open(path, "x", encoding="utf-8") as file:
            file.write(text + "\n")


@click.command("trial")
@config_option
@click.option("--project", "project_name", metavar="P", shell_complete=projects, help="This project of the configuration.")
@click.option("--url", metavar="URL", help="Instead of a project of the configuration: the address of REDCap's API.")
@click.option("--token-file", metavar="FILE", type=click.Path(path_type=Path), help="The token, with --url.")
@click.option("--record", metavar="R", required=True, help="The record to try it on.")
@click.option("--field", "field_name", metavar="F", help="The file field, empty there. Without it, dropcap chooses one.")
@click.option("--event", metavar="E", help="The unique name of the event.")
@click.option("--size", "large", metavar="SIZE", callback=_size, help="Also try a file of this size, such as 200MB.")
@click.option(
    "--second-token-file", metavar="FILE", type=click.Path(path_type=Path), help="Also try a token that lacks import or export."
)
@click.option(
    "--report", "report_path", metavar="FILE", type=click.Path(path_type=Path), help="Write the result, to be sent to us."
)
@click.option("--production", is_flag=True, help="The project is in production; its title is asked for.")
@click.option("--yes", is_flag=True, help="Ask nothing, but for the title in production.")
def trial_command(**given: Any) -> None:
    """Try on one record whether your REDCap does what dropcap relies on, and take back what was uploaded.

    Use a test project in development. A field that holds a file is never touched.

    Exit codes: 0 dropcap can be used with it; 1 it must not be used so; 2 usage; 3 REDCap cannot be reached or refuses
    us for now.
    """
    if (given["url"] is None) != (given["token_file"] is None) or (given["url"] and given["project_name"]):
        raise click.UsageError("give --url and --token-file, or a project of the configuration")
    if not given["record"].isprintable() or not given["record"].strip():
        raise click.UsageError("--record: that is no record's name")
    path = given["report_path"]
    if path is not None and (os.path.lexists(path) or not path.absolute().parent.is_dir()):
        raise click.UsageError(f"--report: {shown(str(path))} exists already, or its directory does not")
    with ExitStack() as stack:
        second, token = _read(given["second_token_file"]), _read(given["token_file"])
        if token is not None:
            server = _of_address(given["url"], token, second)
        else:
            server = _of_configuration(usable(given["config_path"]), given["project_name"], second, stack)
        try:
            journal = TrialJournal(server.place / "trial.journal")
        except TrialError as error:
            stop(str(error), 2)
        except OSError as error:
            stop(f"the trial's journal {error.filename} cannot be written ({error.strerror}): run this as another user", 2)
        stack.callback(journal.close)
        budget = Budget()
        for client in filter(None, (server.redcap, server.second)):
            stack.callback(client.observe(budget).close)
        sys.exit(_tried(server, journal, given))


def _tried(server: _Server, journal: TrialJournal, given: dict[str, Any]) -> int:
    """Make the trial; the exit code."""
    trial = Trial(server.redcap, server.api, given["record"], journal, server.jobs, given["large"], server.second)
    try:
        trial.look(given["field_name"], given["event"])
    except TrialError as error:
        stop(str(error), 2)
    except RedcapError as error:
        return _away(error)
    _agreed(trial, given)
    trial.stop = until_signal()
    tried: list[Tried] = []
    code, console = 0, Console(stderr=True)
    rows = trial.rows()
    click.echo()
    click.secho(f"{'dropcap relies on':<{_RELIES}}{'your server':<{_DID}}verdict", bold=True)
    try:
        while True:
            with _doing(console):
                one = next(rows, None)
            if one is None:
                break
            tried.append(one)
            _print(one)
    except TrialError as error:
        screen.complain(str(error))
        code = 1
    except RedcapError as error:
        code = _away(error)
    except Stopped:
        code = 130
    finally:
        trial.stop.clear()
        with _doing(console), contextlib.suppress(Stopped):
            trial.take_back()
    click.echo()
    left = [*trial.left, *(f"{one.record}, {one.field}: see the next trial" for one in trial.pending())]
    for line in left:
        screen.line(f"left in REDCap: {line}", hang=4)
    bad = sum(one.verdict is Judgement.UNUSABLE for one in tried)
    copes = sum(one.verdict is Judgement.COPES for one in tried)
    if not left:
        click.echo("All that was uploaded was taken back.")
    if code == 0:
        click.secho(
            f"{many(bad, 'row')} where dropcap must not be used so" if bad else "dropcap can be used with this REDCap",
            fg=screen.BAD if bad else screen.GOOD,
        )
        click.echo(
            f"{len(tried) - bad - copes} as expected, {copes} different where dropcap copes; {server.redcap.budget.used} requests"
        )
    if given["report_path"] is not None and tried:
        told = report(tried, trial.answer.version, __version__, trial.hidden())
        _write(given["report_path"], json.dumps(told, indent=1, ensure_ascii=False), given["yes"])
    return code or int(bool(bad))


def _away(error: RedcapError) -> int:
    screen.complain(f"{error.meaning.message}; {remedy_now(error.meaning)}")
    return 3 if error.meaning.reason in LATER else 1
