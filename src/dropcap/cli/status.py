"""`dropcap status`: is it alive, what waits, is held, failed; pauses."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Collection
from dataclasses import asdict
from enum import IntEnum
from pathlib import Path
from typing import Any

import click

from dropcap.cli import status_gathered
from dropcap.cli.configured import NoLedger, asked, cannot_read, config_option, folder_option, readable, stop, usable
from dropcap.cli.jobs import as_json, stamp
from dropcap.cli.status_gathered import FolderStatus, InMotion, LedgerAway, Status, StatusLine, away_json, gathered, tell_away
from dropcap.cli.status_text import FEW, goes_on, needs_somebody, tell, tell_files, verdict
from dropcap.config.model import Config, PostgresLedger
from dropcap.display import shown
from dropcap.ledger.database import DatabaseError
from dropcap.reasons import Reason, Scope


class NagiosState(IntEnum):
    """Exit codes of a check."""

    OK = 0
    WARNING = 1
    CRITICAL = 2
    UNKNOWN = 3


def judged(status: Status, warning: int, critical: int) -> tuple[NagiosState, str]:
    """The level and the line; `warning` and `critical` are numbers of waiting files."""
    waiting = sum(folder.waiting for folder in status.folders)
    held, failed = sum(folder.held for folder in status.folders), sum(folder.failed for folder in status.folders)
    wait = "1 file waits" if waiting == 1 else f"{waiting} files wait"
    troubles = [*_critical(status), *_warnings(status)]
    if waiting >= critical:
        troubles.insert(0, (NagiosState.CRITICAL, wait))
    elif waiting >= warning:
        troubles.append((NagiosState.WARNING, wait))
    level = max((one for one, _ in troubles), default=NagiosState.OK)
    said = ", ".join(text for _, text in troubles) or f"{wait}, all goes on by itself"
    figures = f"waiting={waiting};{warning};{critical};0 held={held};1;;0 failed={failed};1;;0"
    if status.oldest is not None:
        figures += f" oldest={max(time.time() - status.oldest, 0):.0f}s;;;0"
    # What stands before the bar must have none, and no line end.
    return level, f"DROPCAP {level.name} - {said.replace('|', '/')} | {figures}"


def _critical(status: Status) -> list[tuple[NagiosState, str]]:
    found = []
    if not status.running and not status.others:
        found.append("dropcap does not run")
    elif not status.running:
        pass  # others do: a warning
    elif not status.answers:
        found.append("dropcap runs and does not answer")
    elif not status.alive:
        found.append("a part of dropcap hangs")
    down = [p.name for p in status.pauses if p.scope == Scope.SERVER and p.reason != Reason.BY_HAND]
    if down:
        found.append(f"{_number(len(down), 'server does', 'servers do')} not answer or refuse dropcap")
    if names := status.stranded:
        found.append(f"{_number(len(names), 'folder is', 'folders are')} away for all hosts: {', '.join(names)}")
    for word, of in (("away", lambda one: one.away), ("full", lambda one: one.full or one.cannot_file)):
        names = _names(status, of)
        if names:
            found.append(f"{_number(len(names), 'folder is', 'folders are')} {word}: {', '.join(names)}")
    return [(NagiosState.CRITICAL, text) for text in found]


def _warnings(status: Status) -> list[tuple[NagiosState, str]]:
    held, failed = sum(folder.held for folder in status.folders), sum(folder.failed for folder in status.folders)
    found = []
    if not status.running and status.others:
        found.append("dropcap does not run on this host")
    if failed:
        found.append(f"{_number(failed, 'file has', 'files have')} failed")
    if held:
        found.append(f"{_number(held, 'file is', 'files are')} held")
    others = [p for p in status.pauses if p.scope != Scope.SERVER or p.reason == Reason.BY_HAND]
    if others:
        found.append(f"{_number(len(others), 'pause', 'pauses')} of projects, folders or by hand")
    if names := _names(status, lambda one: one.overdue):
        found.append(f"expected files are missing: {', '.join(names)}")
    if names := _names(status, lambda one: one.strays is not None and one.strays["count"]):
        found.append(f"strays: {', '.join(names)}")
    if status.problems or _names(status, lambda one: one.mistake):
        found.append("the configuration has problems")
    if status.not_pruned:
        found.append("dropcap prune has not run for 8 days")
    return [(NagiosState.WARNING, text) for text in found]


def _names(status: Status, of: Callable[..., object]) -> list[str]:
    return [folder.name for folder in status.folders if of(folder)]


def _number(number: int, one: str, more: str) -> str:
    return f"{number} {one if number == 1 else more}"


class _Status(click.Command):
    """Nagios takes the exit code 2 of a slip in its command for a trouble of dropcap's: it is 3, unknown, for it."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        typed = [*args]
        try:
            return super().parse_args(ctx, args)
        except click.UsageError as error:
            if "--nagios" not in typed:
                raise
            click.echo(f"DROPCAP UNKNOWN - {shown(error.format_message())}")
            ctx.exit(3)


@click.command("status", cls=_Status)
@config_option
@folder_option
@click.option("--failed", is_flag=True, help="Every failed file, each with what is wrong with it.")
@click.option("--held", is_flag=True, help="Every held file.")
@click.option("--waiting", is_flag=True, help="Every file that arrives or waits.")
@click.option("--json", "as_data", is_flag=True, help="One JSON object, for programs.")
@click.option("--nagios", is_flag=True, help="One line and an exit code 0 to 3, for Nagios and its kin.")
@click.option(
    "--warning", metavar="N", type=click.IntRange(0), default=1000, help="--nagios: so many waiting files are a warning."
)
@click.option("--critical", metavar="N", type=click.IntRange(0), default=10000, help="--nagios: so many are critical.")
def status_command(
    config_path: Path,
    folder_name: str | None,
    failed: bool,
    held: bool,
    waiting: bool,
    as_data: bool,
    nagios: bool,
    warning: int,
    critical: int,
) -> None:
    """Tell what is on its way and when it goes on, what waits for somebody and what to do, and last whether all is well.

    Files that stand still for the same reason are one line; --failed, --held and --waiting list every one.

    Exit code: 0 all well; 1 dropcap does not run, or something is held, failed or paused, a folder is away or full, the
    configuration has a problem, or `keep` is set and prune does not run; 3 a server is paused because it cannot be reached or
    refuses us. With --nagios: 0 ok, 1 warning, 2 critical, 3 unknown.
    """
    if nagios:
        sys.exit(_nagios(config_path, folder_name, warning, critical))
    config = usable(config_path.absolute(), tell=False)
    view = asked(config, {"do": "status"})
    kinds = [kind for kind, wanted in (("failed", failed), ("held", held), ("waiting", waiting)) if wanted]
    status = _gathered(config, view, folder_name, kinds)
    if isinstance(status, LedgerAway):
        if as_data:
            click.echo(json.dumps(away_json(status), indent=2))
        else:
            tell_away(status)
        sys.exit(LedgerAway.CODE)
    if as_data:
        click.echo(json.dumps(_json(config, status), indent=2))
    elif kinds:
        tell_files(status, kinds)
    else:
        tell(status, folder_name)
    sys.exit(status.exit_code)


def _nagios(config_path: Path, folder_name: str | None, warning: int, critical: int) -> int:
    # GONE

    try:
        config = usable(config_path.absolute(), tell=False)
        view = asked(config, {"do": "status"})
        status = _gathered(config, view, folder_name, ())
        if isinstance(status, LedgerAway):
            level, line = NagiosState.CRITICAL, f"DROPCAP CRITICAL - {status.why}".replace("|", "/")
        else:
            level, line = judged(status, warning, critical)
    except (SystemExit, OSError, DatabaseError) as error:  # said on standard error, which Nagios does not show
        why = "" if isinstance(error, SystemExit) else f": {error}"
        level, line = NagiosState.UNKNOWN, f"DROPCAP UNKNOWN - the state cannot be told{why}; run dropcap status"
    click.echo(line)
    return level


def _gathered(
    config: Config, view: dict[str, Any] | None, folder_name: str | None, kinds: Collection[str]
) -> Status | LedgerAway:
    """What is so; `LedgerAway` where a database keeps the ledger and does not answer."""
    try:
        ledger = readable(config)
        try:
            return gathered(config, ledger, view, folder_name, kinds)
        finally:
            ledger.close()
    except NoLedger as error:
        if not error.away:
            stop(str(error), error.code)
        return LedgerAway.of(config, view, str(error))
    except DatabaseError as error:
        if not isinstance(config.ledger, PostgresLedger):
            raise
        return LedgerAway.of(config, view, cannot_read(config.ledger, error))


def _json(config: Config, status: Status) -> dict[str, Any]:
    somebody = needs_somebody(status)
    word, text = verdict(status, somebody)
    return {
        "ok": status.exit_code == 0,
        "exit_code": status.exit_code,
        "verdict": f"{word}: {text}",
        "waits_for_somebody": [_told_json(one) for one in somebody],
        "goes_on_by_itself": [_told_json(one) for one in goes_on(status, FEW)],
        "running": status.running,
        "answers": status.answers,
        "alive": status.alive,
        "version": status.version,
        "started": stamp(status.started),
        "under_way": status.under_way,
        "sending": [_sending_json(one) for one in status.moving],
        "limited": [
            {"server": one.server, "requests_per_minute": one.per_minute, "goes_on": stamp(one.goes_on)} for one in status.limits
        ],
        "ledger_unwritable": status.unwritable,
        "folders": {one.name: _folder_json(one, status) for one in status.folders},
        **({} if status.hosts is None else {"hosts": status_gathered.as_json(config, status)}),
        "pauses": [
            asdict(pause) | {"since": stamp(pause.since), "next_try": stamp(status.next_tries.get((pause.scope, pause.name)))}
            for pause in status.pauses
        ],
        "held": [as_json(config, job) for job in status.held],
        "failed": [as_json(config, job) for job in status.failed],
        "put_off": [as_json(config, job) for job in status.put_off],
        "read_back": [as_json(config, job) for job in status.read_back],
        "behind_held": [{"job": newer.id, "waits_for": held.id} for newer, held in status.behind_held],
        "not_pruned": [{"folder": one.folder, "since": stamp(one.since)} for one in status.not_pruned],
        "config_problems": status.problems,
    }


def _told_json(one: StatusLine) -> dict[str, Any]:
    return {
        "files": one.files,
        "message": shown(one.text),
        "first": [shown(name) for name in one.names],
        "command": one.then or None,
    }


def _sending_json(one: InMotion) -> dict[str, Any]:
    return asdict(one) | {"file": shown(one.file), "began": stamp(one.began)}


def _folder_json(one: FolderStatus, status: Status) -> dict[str, Any]:
    told = asdict(one) | {"last_walk": stamp(one.last_walk), "mistake_since": stamp(one.mistake_since)}
    told["overdue"] = stamp(one.overdue)
    del told["name"], told["unsettled"]
    if status.hosts is None:
        del told["host"], told["fence"]
    if one.path is not None:
        told["path"] = shown(one.path)
    if one.copies_in is not None:
        told["copies_in"] = shown(one.copies_in)
    for key, files in (("not_taken", one.not_taken), ("settling", one.settling)):
        if files is not None:
            told[key] = [{"file": shown(name), "why": why} for name, why in sorted(files.items())]
    for key, counted in (("left", one.left), ("strays", one.strays)):
        if counted is not None:
            told[key] = counted | {"first": [shown(name) for name in counted["first"]]}
    return told
