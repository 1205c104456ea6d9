"""`dropcap status`: is it alive, what waits, is held, failed; pauses."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, replace
from enum import IntEnum
from pathlib import Path
from typing import Any

import click

from dropcap import __version__, snapshot
from dropcap.cli import screen
from dropcap.cli.configured import NoLedger, asked, cannot_read, config_option, folder_option, known, readable, stop, usable
from dropcap.cli.jobs import as_json, stamp
from dropcap.cli.status_lines import FEW, StatusLine, goes_on, needs_somebody, verdict
from dropcap.cli.status_text import tell, tell_files
from dropcap.config.model import Config, PostgresLedger
from dropcap.daemon.control import released_of
from dropcap.daemon.state import running
from dropcap.display import at_second, shown
from dropcap.intake.strays import LeftFiles
from dropcap.ledger.database import DatabaseError
from dropcap.ledger.query import Query
from dropcap.ledger.reports import HostsNow
from dropcap.snapshot import FolderNow, Snapshot


class NagiosState(IntEnum):
    """Exit codes of a check."""

    OK = 0
    WARNING = 1
    CRITICAL = 2
    UNKNOWN = 3


def judged(status: Snapshot, warning: int, critical: int) -> tuple[NagiosState, str]:
    """The level and the line; `warning` and `critical` are numbers of waiting files."""
    waiting = sum(folder.going_on for folder in status.folders)
    held, failed = sum(folder.held for folder in status.folders), sum(folder.failed for folder in status.folders)
    wait = "1 file waits" if waiting == 1 else f"{waiting} files wait"
    bad, doubtful = _critical(status), _warnings(status, held, failed)
    if waiting >= critical:
        bad.insert(0, wait)
    elif waiting >= warning:
        doubtful.append(wait)
    level = NagiosState.CRITICAL if bad else NagiosState.WARNING if doubtful else NagiosState.OK
    said = ", ".join(bad + doubtful) or f"{wait}, all goes on by itself"
    figures = f"waiting={waiting};{warning};{critical};0 held={held};1;;0 failed={failed};1;;0"
    if status.oldest is not None:
        figures += f" oldest={max(status.at - status.oldest, 0):.0f}s;;;0"
    # What stands before the bar must have none, and no line end.
    return level, f"DROPCAP {level.name} - {said.replace('|', '/')} | {figures}"


def _critical(status: Snapshot) -> list[str]:
    stops = {
        "not running": "dropcap does not run",
        "silent": "dropcap runs and does not answer",
        "unwritable": "the ledger cannot be written",
        "hangs": "a part of dropcap hangs",
    }
    found = [stops[status.stops]] if status.stops else []
    if status.down:
        found.append(f"{_number(len(status.down), 'server does', 'servers do')} not answer or refuse dropcap")
    away = [one.name for one in status.folders if one.away]
    full = [one.name for one in status.folders if one.full or one.cannot_file]
    for word, names in (("away for all hosts", status.stranded), ("away", away), ("full", full)):
        if names:
            found.append(f"{_number(len(names), 'folder is', 'folders are')} {word}: {', '.join(names)}")
    return found


def _warnings(status: Snapshot, held: int, failed: int) -> list[str]:
    found = []
    if not status.running and status.others:
        found.append("dropcap does not run on this host")
    if failed:
        found.append(f"{_number(failed, 'file has', 'files have')} failed")
    if held:
        found.append(f"{_number(held, 'file is', 'files are')} held")
    if others := len(status.pauses) - len(status.down):
        found.append(f"{_number(others, 'pause', 'pauses')} of projects, folders or by hand")
    if names := [one.name for one in status.folders if one.overdue]:
        found.append(f"expected files are missing: {', '.join(names)}")
    if names := [one.name for one in status.folders if one.stray_count]:
        found.append(f"strays: {', '.join(names)}")
    if status.problems or any(one.mistake for one in status.folders):
        found.append("the configuration has problems")
    if status.not_pruned:
        found.append("dropcap prune has not run for 8 days")
    return found


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
    kinds = [kind for kind, wanted in (("failed", failed), ("held", held), ("waiting", waiting)) if wanted]
    status = _snapshot(config, folder_name, kinds)
    if isinstance(status, LedgerAway):
        if as_data:
            click.echo(json.dumps(_away_json(status), indent=2))
        else:
            _tell_away(status)
        sys.exit(1)
    if as_data:
        click.echo(json.dumps(_json(config, status), indent=2))
    elif kinds:
        tell_files(status, kinds)
    else:
        tell(status, folder_name)
    sys.exit(status.exit_code)


def _nagios(config_path: Path, folder_name: str | None, warning: int, critical: int) -> int:
    try:
        config = usable(config_path.absolute(), tell=False)
        status = _snapshot(config, folder_name, ())
        if isinstance(status, LedgerAway):
            level, line = NagiosState.CRITICAL, f"DROPCAP CRITICAL - {status.why}".replace("|", "/")
        else:
            level, line = judged(status, warning, critical)
    except (SystemExit, OSError, DatabaseError) as error:  # said on standard error, which Nagios does not show
        why = "" if isinstance(error, SystemExit) else f": {error}"
        level, line = NagiosState.UNKNOWN, f"DROPCAP UNKNOWN - the state cannot be told{why}; run dropcap status"
    click.echo(line)
    return level


@dataclass(frozen=True, slots=True)
class LedgerAway:
    """What is known without the ledger: `why` it cannot be read, whether a dropcap runs on this host, and what it answers."""

    why: str
    running: bool
    live: dict[str, Any] | None

    @property
    def then(self) -> str:
        """What becomes of the files."""
        if self.running:
            return "The dropcap of this host waits for it: nothing is taken or sent meanwhile, and it goes on by itself."
        return "No dropcap runs on this host."


def _snapshot(config: Config, only: str | None, kinds: Collection[str]) -> Snapshot | LedgerAway:
    """What is so; `LedgerAway` where a database keeps the ledger and does not answer."""
    live = asked(config, {"do": "status"})
    try:
        ledger = readable(config)
        try:
            return gathered(config, ledger, live, only, kinds)
        finally:
            ledger.close()
    except NoLedger as error:
        if not error.away:
            stop(str(error), error.code)
        why = str(error)
    except DatabaseError as error:
        if not isinstance(config.ledger, PostgresLedger):
            raise
        why = cannot_read(config.ledger, error)
    return LedgerAway(why, live is not None or running(config.state_dir), live)


def gathered(
    config: Config, ledger: Query, live: dict[str, Any] | None, only: str | None, kinds: Collection[str] = ()
) -> Snapshot:
    """A snapshot with the jobs that are named; those of `kinds` all."""
    now = time.time()
    seen = snapshot.read(ledger, {*config.folders, *(live or {}).get("folders", ())}, now)
    if only is not None:
        known("folder", only, sorted(seen.done_today))
    seen = replace(seen, released=released_of(ledger))
    status = snapshot.taken(config, ledger, seen, live, now, tuple(str(problem) for problem in config.told), only)
    here = live is not None or running(config.state_dir)
    return replace(status, running=here, **snapshot.listed(config, ledger, status, only, kinds))


def _tell_away(away: LedgerAway) -> None:
    word = "NOT WELL"
    screen.entry(word, f"{away.why[0].upper()}{away.why[1:]}. {away.then}", len(word) + 2, screen.BAD)
    here = "running" if away.running else "not running"
    click.echo(" " * (len(word) + 2) + f"As of {at_second(time.time())}. dropcap {__version__}, {here} here.")


def _away_json(away: LedgerAway) -> dict[str, Any]:
    """Of the keys of `status --json` those that are known."""
    told = away.live or {}
    return {
        "ok": False,
        "exit_code": 1,
        "verdict": f"NOT WELL: {away.why}. {away.then}",
        "waits_for_somebody": [{"files": 0, "message": away.why, "first": [], "command": None}],
        "goes_on_by_itself": [],
        "running": away.running,
        "answers": away.live is not None,
        "alive": told.get("alive"),
        "version": told.get("version"),
        "started": stamp(told.get("started")),
        "under_way": told.get("under_way"),
        "ledger_unwritable": away.why,
    }


def _json(config: Config, status: Snapshot) -> dict[str, Any]:
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
        "sending": [asdict(one) | {"file": shown(one.file), "began": stamp(one.began)} for one in status.sending],
        "limited": [
            {"server": one.server, "requests_per_minute": one.per_minute, "goes_on": stamp(one.goes_on)} for one in status.limits
        ],
        "ledger_unwritable": status.unwritable if status.answers else None,
        "folders": {one.name: _folder_json(one, status) for one in status.folders},
        **({} if status.hosts is None else {"hosts": _hosts_json(config, status, status.hosts)}),
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
        "config_problems": list(status.problems),
    }


def _told_json(one: StatusLine) -> dict[str, Any]:
    return {
        "files": one.files,
        "message": shown(one.text),
        "first": [shown(name) for name in one.names],
        "command": one.then or None,
    }


def _folder_json(one: FolderNow, status: Snapshot) -> dict[str, Any]:
    told = {
        "path": None if one.path is None else shown(one.path),
        "copies_in": None if one.copies_in is None else shown(one.copies_in),
        "waiting": one.going_on,
        "sending": one.sending,
        "held": one.held,
        "failed": one.failed,
        "done_today": one.done_today,
        "arriving": one.arriving,
        "away": one.away,
        "full": one.full,
        "cannot_file": one.cannot_file,
        "last_walk": stamp(one.last_walk),
        "not_taken": _files_json(one.not_taken),
        "settling": _files_json(one.settling),
        "mistake": one.mistake,
        "mistake_since": stamp(one.mistake_since),
        "left": _left_json(one.left),
        "overdue": stamp(one.overdue),
        "strays": _left_json(one.strays),
    }
    return told if status.hosts is None else told | {"host": one.host, "fence": one.fence}


def _files_json(files: Mapping[str, str] | None) -> list[dict[str, str]] | None:
    return None if files is None else [{"file": shown(name), "why": why} for name, why in sorted(files.items())]


def _left_json(left: LeftFiles | None) -> dict[str, Any] | None:
    return None if left is None else asdict(left) | {"first": [shown(name) for name in left.first]}


def _hosts_json(config: Config, status: Snapshot, hosts: HostsNow) -> list[dict[str, Any]]:
    """All hosts of the last day."""
    configured = [one.name for one in status.configured]
    return [
        {
            "host": shown(host.name),
            "pid": host.pid,
            "id": host.id,
            "here": host.id == status.this_host,
            "alive": host.alive,
            "version": host.version,
            "same_configuration": host.configuration == config.digest,
            "started": stamp(host.started),
            "until": stamp(host.until),
            "folders": hosts.of(host, configured),
            "lacks": list(host.lacks),
        }
        for host in hosts.hosts
    ]
