"""`dropcap status`: is it alive, what waits, is held, failed; pauses. On a terminal the verdict comes last, where the eye is."""

from __future__ import annotations

import json
import os
import sys
import time
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from enum import IntEnum
from pathlib import Path
from typing import Any

import click
from rich.cells import cell_len

from dropcap import __version__, snapshot
from dropcap.cli import screen
from dropcap.cli.configured import NoLedger, asked, cannot_read, config_option, folder_option, known, readable, stop, usable
from dropcap.cli.jobs import FOUND, as_json, stamp
from dropcap.cli.status_lines import FEW, MORE, Level, StatusLine, goes_on, host_lines, left_alone, needs_somebody, notes, verdict
from dropcap.config.model import Config, PostgresLedger
from dropcap.daemon.control import released_of
from dropcap.daemon.state import running
from dropcap.delivery.workers import Uploading
from dropcap.display import at_second, many, shown, span, when
from dropcap.intake.strays import LeftFiles
from dropcap.ledger.database import DatabaseError
from dropcap.ledger.job import Job
from dropcap.ledger.query import Query
from dropcap.ledger.reports import HostsNow
from dropcap.reasons import explained
from dropcap.snapshot import FolderNow, Snapshot

_NUMBERS = ("ARRIVING", "WAITING", "SENDING", "HELD", "FAILED", "STORED TODAY")
#: The column at which what is told begins, after "10,000 files".
_AT = 14
_COLOURS = {Level.ALL: screen.BAD, Level.BAD: screen.BAD, Level.WAIT: screen.WAIT, Level.WELL: None}
#: Uploads that are told one by one.
_UPLOADS = 10


def tell(status: Snapshot, only: str | None) -> None:
    """Print it."""
    names = MORE if only is not None else FEW
    _table(status)
    if only is None:
        _section("Hosts", host_lines(status))
    _sent(status.sending)
    somebody = needs_somebody(status)
    _section("Goes on by itself", goes_on(status, names))
    _section("Left alone", list(left_alone(status)))
    _read_back(status)
    _section("Waits for somebody", somebody)
    if only is not None:
        _copies(status.folders)
    word, text = verdict(status, somebody)
    click.echo()
    colour = screen.GOOD if status.exit_code == 0 else screen.BAD
    screen.entry(word, text, len(word) + 2, colour)
    screen.line(_as_of(status), len(word) + 2)


def _table(status: Snapshot) -> None:
    rows = []
    head, first_cells = _first_column(status)
    for one, first_cell in zip(status.folders, first_cells, strict=True):
        numbers = (one.waiting, one.sending, one.held, one.failed, one.done_today)
        arriving = "-" if one.arriving is None else f"{one.arriving:,}"
        rows.append((first_cell, arriving, *(f"{number:,}" for number in numbers), ", ".join(notes(one, status))))
    widths = [max(len(head), *(len(row[at]) for row in rows)) if rows else len(head) for at, head in enumerate(_NUMBERS, 1)]
    first = max([len(head), *(cell_len(row[0]) for row in rows)])
    room = screen.width()
    if room is not None:
        first = min(first, max(0, room - sum(widths) - 2 * len(widths)))
    if cell_len(head) > first:
        click.secho(head, bold=True)
        head = ""
    click.secho(_row(head, first, _NUMBERS, widths), bold=True)
    for row in rows:
        _folder_row(row, first, widths, room)


def _first_column(status: Snapshot) -> tuple[str, list[str]]:
    """Its heading and its cells: folders, and where several hosts share them, who works there."""
    names = [shown(one.name) for one in status.folders]
    if status.hosts is None:
        return "FOLDER", names
    widest = max([6, *map(cell_len, names)])
    hosts = [shown(one.host or "-") for one in status.folders]
    cells = [name + " " * (widest - cell_len(name) + 2) + host for name, host in zip(names, hosts, strict=True)]
    return f"{'FOLDER':<{widest}}  HOST", cells


def _row(name: str, first: int, cells: Sequence[str], widths: Sequence[int]) -> str:
    return (
        name + " " * (first - cell_len(name)) + "".join(f"  {cell:>{width}}" for cell, width in zip(cells, widths, strict=True))
    )


def _folder_row(row: tuple[str, ...], first: int, widths: Sequence[int], room: int | None) -> None:
    name, *cells, note = row
    if cell_len(name) > first:  # no name is broken: it has a line of its own
        click.echo(name)
        name = ""
    coloured = _row(name, first, cells, widths)
    failed_from = len(_row(name, first, cells[:4], widths[:4]))
    failed, rest = coloured[failed_from : failed_from + widths[4] + 2], coloured[failed_from + widths[4] + 2 :]
    said = coloured[:failed_from] + (click.style(failed, fg=screen.BAD) if cells[4] != "0" else failed) + rest
    if not note:
        click.echo(said)
    elif room is None or cell_len(coloured) + 2 + len(note) <= room:
        click.echo(f"{said}  {click.style(note, fg=screen.WAIT)}")
    else:
        click.echo(said)
        click.secho(f"    {note}", fg=screen.WAIT)


def _sent(moving: Sequence[Uploading]) -> None:
    if not moving:
        return
    screen.heading("Being sent")
    told = [(progress_of(one.sent, one.size), _left(one), one) for one in moving[:_UPLOADS]]
    sizes, lefts = max(len(size) for size, _, _ in told), max(len(left) for _, left, _ in told)
    for size, left, one in told:
        part = f"{100 * one.sent // max(one.size, 1)} %"
        screen.line(f"{part:>6}  {size:>{sizes}}  {left:<{lefts}}  {shown(one.folder)}/{shown(one.file)}", hang=8)
    if len(moving) > _UPLOADS:
        screen.line(f"and {len(moving) - _UPLOADS} more", 8)


def progress_of(sent: int, size: int) -> str:
    """How much of a file has gone, in the unit that fits its size, as the Explorer counts."""
    unit, of = ("MB", 1024**2) if size >= 1024**2 else ("KB", 1024) if size >= 1024 else ("bytes", 1)

    def told(count: int) -> str:
        number = count / of
        return f"{number:.1f}" if number < 10 and of > 1 else f"{number:,.0f}"

    return f"{told(sent)} of {told(size)} {unit}"


def _left(one: Uploading) -> str:
    now = time.time()
    if one.began is None or one.sent <= 0 or now - one.began <= 1:
        return "just begun"
    left = one.seconds_left(now)
    return "all sent" if left is None else f"{span(max(1, left))} left"


def _section(title: str, told: Sequence[StatusLine]) -> None:
    if not told:
        return
    screen.heading(title)
    for one in told:
        screen.entry(one.word, one.text, _AT, _COLOURS[one.level], right=True)
        if one.then:
            screen.line(one.then, _AT)
        if one.names:
            screen.names(one.names, one.files - len(one.names), _AT)


def _read_back(status: Snapshot) -> None:
    if status.read_back:
        screen.heading("Taken away after they were sent and moved back under another name")
    for job in status.read_back:
        found = FOUND.get(job.found or "", job.found)
        screen.line(
            f"{shown(job.folder)}/{shown(job.name)}  (job {job.id}): {found} under this name. {job.message or ''}", 2, hang=4
        )


def _copies(folders: Sequence[FolderNow]) -> None:
    above = dict.fromkeys(os.path.dirname(one.copies_in) for one in folders if one.copies_in is not None)
    if above:
        click.echo()
        screen.line(f"Copies of what REDCap held lie in {shown(', '.join(above))}: dropcap preserved")


def _as_of(status: Snapshot) -> str:
    now = f"As of {at_second(time.time())}. dropcap {status.version or __version__}"
    if status.started is not None:
        return f"{now}, running since {when(status.started)}."
    here = "" if status.hosts is None else " here"
    return f"{now}, running{here}, but it does not answer." if status.running else f"{now}, not running{here}."


def tell_files(status: Snapshot, kinds: Collection[str]) -> None:
    """Print all files of these kinds."""
    told = False
    if "waiting" in kinds:
        told |= _arriving_files(status)
        told |= _groups("waiting", [*(job for one in status.queued for job in one.first), *status.put_off])
    if "held" in kinds:
        told |= _groups("held", status.held)
    if "failed" in kinds:
        told |= _groups("failed", status.failed)
    if not told:
        click.echo(f"no file is {' or '.join(sorted(kinds))}")


def _arriving_files(status: Snapshot) -> bool:
    for one in status.folders:
        if not one.arriving:
            continue
        screen.line(f"{shown(one.name)}, arriving: {many(one.arriving, 'file')}", bold=True)
        why = one.settling or {}
        for name in sorted(one.unsettled, key=lambda name: name not in why):
            screen.line(shown(name) + (f": {why[name]}" if name in why else ""), 2, hang=6)
        if (rest := one.arriving - len(one.unsettled)) > 0:
            screen.line(f"and {rest:,} more", 2)
    return any(one.arriving for one in status.folders)


def _groups(kind: str, jobs: Sequence[Job]) -> bool:
    groups: dict[tuple[str, str | None], list[Job]] = defaultdict(list)
    for job in jobs:
        groups[job.folder, job.reason].append(job)
    for (folder, reason), its in groups.items():
        what = f": {explained(reason).within}" if reason else ""
        screen.line(f"{shown(folder)}, {kind}: {many(len(its), 'file')}{what}", hang=2, bold=True)
        _group(its)
    return bool(groups)


def _group(jobs: Sequence[Job]) -> None:
    """What is the same for all stands once, at the end."""
    messages, remedies = {job.message for job in jobs}, {job.remedy for job in jobs}
    for job in jobs:
        screen.line(f"{job.id:>7}  {when(job.ended_at or job.claimed_at)}  {shown(job.name)}", hang=9)
        if job.message and len(messages) > 1:
            screen.line(job.message, 9)
        if len(remedies) > 1:
            screen.remedy(job.remedy, 9)
    if len(messages) == 1 and jobs[0].message:
        screen.line(jobs[0].message, 2)
    if len(remedies) == 1:
        screen.remedy(jobs[0].remedy, 2)


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
    status = snapshot.taken(config, ledger, seen, live, now, tuple(str(problem) for problem in config.reported), only)
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
