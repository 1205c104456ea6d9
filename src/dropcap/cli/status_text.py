"""`dropcap status` on a terminal: details first, the verdict last, where the eye is."""

from __future__ import annotations

import os
import time
from collections import defaultdict
from collections.abc import Collection, Sequence

import click
from rich.cells import cell_len

from dropcap import __version__
from dropcap.cli import screen
from dropcap.cli.jobs import FOUND
from dropcap.cli.screen import many
from dropcap.cli.status_lines import FEW, MORE, Level, StatusLine, goes_on, hosts_told, left_alone, needs_somebody, notes, verdict
from dropcap.delivery.workers import Uploading
from dropcap.display import at_second, shown, span, when
from dropcap.ledger.job import Job
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
        _section("Hosts", hosts_told(status))
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
