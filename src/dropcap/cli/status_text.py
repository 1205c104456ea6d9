"""What `dropcap status` says to people: details first, the verdict last, where the eye is on a terminal."""

from __future__ import annotations

import os
import time
from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence

import click
from rich.cells import cell_len

from dropcap import __version__
from dropcap.cli import screen
from dropcap.cli.jobs import FOUND, waits_until
from dropcap.cli.screen import at_second, many, typed, when
from dropcap.cli.status_gathered import (
    FolderStatus,
    InMotion,
    Level,
    Queued,
    Status,
    StatusLine,
    free,
    hosts_told,
    not_here,
    stranded,
)
from dropcap.display import shown
from dropcap.ledger.job import Job, LikeJobs, Pause, State
from dropcap.preflight import retention
from dropcap.reasons import NextAct, Reason, Scope, explained

#: Names of files that are told of many; with `--folder`, so many more.
FEW, MORE = 3, 20


def needs_somebody(status: Status) -> list[StatusLine]:
    """What does not go on by itself, the worst first."""
    told = [*_alive(status)]
    told += _mistakes(status.problems)
    told += [*stranded(status), *_folders(status), *_pauses(status), *_failed(status), *_not_pruned(status)]
    return sorted(told, key=lambda one: one.level)


def goes_on(status: Status, names: int) -> list[StatusLine]:
    """What goes on by itself, and when; `names` of each are told."""
    return [*free(status), *_servers(status), *_queues(status, names), *_put_off(status, names), *_arriving(status, names)]


def left_alone(status: Status) -> Iterator[StatusLine]:
    """What lies there and is not taken, which is no trouble of dropcap's."""
    for one in status.folders:
        for counted in (one.left, one.strays):
            if counted is not None and counted["count"]:
                text = f"{shown(one.name)}: {counted['message']}; {counted['remedy']}"
                yield StatusLine(Level.WELL, many(counted["count"], "file"), text)
        kinds: dict[str, list[str]] = defaultdict(list)
        for name, why in sorted((one.not_taken or {}).items()):
            kinds[why].append(name)
        for why, found in kinds.items():
            word = f"{len(found):,} " + ("entry" if len(found) == 1 else "entries")
            yield StatusLine(Level.WELL, word, f"{shown(one.name)}: not taken: {why}", names=tuple(found[:FEW]), files=len(found))


# What needs somebody -------------------------------------------------------------------------------------------------------


def _alive(status: Status) -> Iterator[StatusLine]:
    if not status.running and status.others:
        yield StatusLine(Level.BAD, "dropcap", not_here(status), "systemctl start dropcap")
    elif not status.running:
        where = "dropcap does not run" if status.hosts is None else "dropcap runs on no host"
        text = f"{where}; what stands here is what its ledger says"
        yield StatusLine(Level.ALL, "dropcap", text, "systemctl start dropcap")
    elif not status.answers:
        why = "it is starting, stopping, running with --once, or hangs"
        text = f"dropcap runs but does not answer: {why}; ask again in a moment, then look at"
        yield StatusLine(Level.ALL, "dropcap", text, "journalctl -u dropcap")
    elif status.unwritable:
        yield StatusLine(Level.ALL, "dropcap", f"the ledger cannot be written ({status.unwritable}): {status.mend}")
    elif not status.alive:
        yield StatusLine(
            Level.ALL, "dropcap", "a part of it hangs: look into its log, then restart it", "systemctl restart dropcap"
        )


def _mistakes(problems: Sequence[str]) -> Iterator[StatusLine]:
    for number, problem in enumerate(problems[:FEW], 1):
        last = number == min(len(problems), FEW)
        more = f" … and {many(len(problems) - FEW, 'mistake')} more" if last and len(problems) > FEW else ""
        yield StatusLine(Level.BAD, "config", problem + more, "dropcap check --offline" if last else "")


def _folders(status: Status) -> Iterator[StatusLine]:
    away = [one for one in status.folders if one.away]
    if len(away) > FEW:  # a share that is gone takes many with it
        names = ", ".join(shown(one.name) for one in away[:FEW])
        text = f"{names} and {len(away) - FEW} more are away; the first: {away[0].away}"
        yield StatusLine(Level.BAD, many(len(away), "folder"), text, "dropcap check")
    for one in status.folders:
        name = shown(one.name)
        if one.away and len(away) <= FEW:
            yield StatusLine(Level.BAD, "folder", f"{name} is away: {one.away}", f"dropcap check --folder {typed(one.name)}")
        if one.mistake and one.mistake_since is not None:
            text = (
                f"{name} goes on by its last good configuration, since {when(one.mistake_since)}: {one.mistake}; correct it, then"
            )
            yield StatusLine(Level.BAD, "folder", text, "dropcap reload")
        if one.overdue is not None:
            text = f"{name}: a file was expected by {when(one.overdue)}, and none was dropped; ask those who drop files there"
            yield StatusLine(Level.BAD, "folder", text)
        if one.full:
            text = f"{name}: less than min_free is free there, so nothing is taken; make room, or lower min_free"
            yield StatusLine(Level.BAD, "folder", text)
        if one.cannot_file:
            yield StatusLine(Level.BAD, "folder", f"{name}: finished files stay in in_progress/ for now: {one.cannot_file}")


def _pauses(status: Status) -> Iterator[StatusLine]:
    for pause in status.pauses:
        if not pause.passes:
            yield _pause(status, pause)


def _pause(status: Status, pause: Pause) -> StatusLine:
    its = [one for one in status.queued if one.pause == pause]
    files = sum(one.count for one in its)
    by_hand = pause.reason == Reason.BY_HAND
    text = f"{pause.scope} {shown(pause.name)}, since {when(pause.since)}: {pause.message}"
    then = f"dropcap resume --{pause.scope} {typed(pause.name)}"
    if by_hand:
        text += "; go on with"
    elif pause.until_resume:
        text += f"; {pause.remedy}; then"
    else:
        text += f"; {pause.remedy}" + _asked_again(status, pause)
        then = f"dropcap check --folder {typed(pause.name)}" if pause.scope == Scope.FOLDER else "dropcap check"
    names = tuple(job.name for one in its for job in one.first)[:FEW]
    return StatusLine(Level.WAIT if by_hand else Level.BAD, many(files, "file"), text, then, files, names)


def _asked_again(status: Status, pause: Pause) -> str:
    at = status.next_tries.get((pause.scope, pause.name))
    if at is None:
        return ""
    return f". It is asked again at {at_second(at)}" if at > time.time() else ". It is asked again now"


def _failed(status: Status) -> Iterator[StatusLine]:
    for one in status.alike:
        if one.state in (State.FAILED, State.HELD):
            of = status.held if one.state is State.HELD else status.failed
            jobs = [job for job in of if (job.folder, job.reason) == (one.folder, one.reason)]
            yield _alone(one, jobs[0]) if one.count == 1 and jobs else _alike(one, jobs)
    held = [older.id for _, older in status.behind_held]
    for number in dict.fromkeys(held):
        files = tuple(newer.name for newer, older in status.behind_held if older.id == number)
        name = next(shown(older.name) for _, older in status.behind_held if older.id == number)
        text = f"behind job {number}, {name}, which is held and goes to the same place"
        yield StatusLine(Level.WAIT, many(len(files), "file"), text, names=files[:FEW])


def _not_pruned(status: Status) -> Iterator[StatusLine]:
    if status.not_pruned:
        yield StatusLine(Level.WAIT, "keep", f"{retention.told(status.not_pruned)}; {retention.REMEDY}", "dropcap prune")


def _alone(one: LikeJobs, job: Job) -> StatusLine:
    """A file whose like there is no other: in its own words."""
    of = explained(one.reason)
    text = f"{shown(job.folder)}/{shown(job.name)}, since {when(one.since)}: {_held(one)}{job.message or of.within}"
    if job.remedy:
        text += f"; what to do: {job.remedy}"
    # The same again would fail again.
    looks = one.state is State.FAILED and of.act in (NextAct.LOOK, NextAct.RENAME)
    then = f"dropcap status --failed --folder {typed(one.folder)}" if looks else f"dropcap retry {job.id}"
    return StatusLine(Level.BAD, "1 file", text, then, 1)


def _alike(one: LikeJobs, jobs: Sequence[Job]) -> StatusLine:
    of = explained(one.reason)
    kind = "--held" if one.state is State.HELD else "--failed"
    text = f"{shown(one.folder)}, since {when(one.since)}: {_held(one)}{of.within}"
    folder = f"--folder {typed(one.folder)}"
    then = {
        NextAct.RENAME: f"dropcap status {kind} {folder}",
        NextAct.LOOK: f"dropcap status {kind} {folder}",
        NextAct.RETRY: f"dropcap retry {kind} {folder}",
        NextAct.CHECK: f"dropcap check {folder}",
        NextAct.RESUME: f"dropcap retry {kind} {folder}",
    }[of.act]
    if of.remedy:
        text += f"; {of.remedy}" + (", then" if of.act in (NextAct.RETRY, NextAct.RESUME) else "")
    return StatusLine(Level.BAD, many(one.count, "file"), text, then, one.count, tuple(job.name for job in jobs[:FEW]))


def _held(one: LikeJobs) -> str:
    return "held: " if one.state is State.HELD else ""


# What goes on by itself ----------------------------------------------------------------------------------------------------


def _servers(status: Status) -> Iterator[StatusLine]:
    for pause in status.pauses:
        if pause.passes:
            its = [one for one in status.queued if one.pause == pause]
            text = f"{pause.scope} {shown(pause.name)}, since {when(pause.since)}: {pause.message}{_asked_again(status, pause)}"
            files = sum(one.count for one in its)
            yield StatusLine(
                Level.WAIT,
                many(files, "file"),
                text,
                files=files,
                names=tuple(job.name for one in its for job in one.first)[:FEW],
            )


def _queues(status: Status, names: int) -> Iterator[StatusLine]:
    limits = {one.server: one for one in status.limits}
    free = [one for one in status.queued if one.count and one.pause is None]
    for server, limit in limits.items():
        its = [one for one in free if one.server == server]
        files = sum(one.count for one in its)
        first = tuple(f"{job.folder}/{job.name}" if len(its) > 1 else job.name for one in its for job in one.first)
        text = f"request limit: goes on at {at_second(limit.goes_on)} ({limit.per_minute} requests a minute to {shown(server)})"
        yield StatusLine(Level.WAIT, many(files, "file"), text, files=files, names=first[:names])
    for one in free:
        if one.server not in limits:
            yield _queue(status, one, names)


def _queue(status: Status, one: Queued, names: int) -> StatusLine:
    away = any(folder.name == one.folder and folder.away for folder in status.folders)
    if status.hosts is not None and status.hosts.holder(one.folder) is None:
        text = "their turn comes once a host works there"
    elif not status.answers and not status.others:
        text = "on their way" if status.running else "their turn comes once dropcap runs"
    elif away:
        text = "their turn comes once the folder is back"
    else:
        text = "their turn comes"
    return StatusLine(
        Level.WELL,
        many(one.count, "file"),
        f"{shown(one.folder)}: {text}",
        files=one.count,
        names=tuple(job.name for job in one.first[:names]),
    )


def _put_off(status: Status, names: int) -> Iterator[StatusLine]:
    stopped = {one.folder: one.pause.reason for one in status.queued if one.pause is not None}
    for one in status.alike:
        if one.state in (State.FAILED, State.HELD) or stopped.get(one.folder) == one.reason:
            continue
        of = explained(one.reason)
        first = [job for job in status.put_off if (job.folder, job.reason, job.state) == (one.folder, one.reason, one.state)]
        own = first[0] if one.count == 1 and first else None
        text = f"{shown(one.folder)}, since {when(one.since)}: {own.message if own and own.message else of.within}"
        mend = own.remedy if own is not None else of.remedy
        text += f"; what to do: {mend}" if mend else ""
        if one.reason == Reason.NO_RECORD and first:
            text += f"; looked up until {when(max(waits_until(job) or 0.0 for job in first))}"
        if status.answers or status.others:
            text += f"; next try {_moment(one.due)}"
        yield StatusLine(
            Level.WAIT, many(one.count, "file"), text, files=one.count, names=tuple(job.name for job in first[:names])
        )


def _moment(at: float) -> str:
    now = time.time()
    if at <= now:
        return "now"
    return at_second(at) if at < now + 3600 else when(at)


def _arriving(status: Status, names: int) -> Iterator[StatusLine]:
    for one in status.folders:
        kinds: dict[str, list[str]] = defaultdict(list)
        for name, why in sorted((one.settling or {}).items()):
            kinds[why].append(name)
        if one.away or one.full:
            continue
        for why, found in kinds.items():
            text = f"{shown(one.name)}: not taken yet: {why}"
            yield StatusLine(Level.WELL, many(len(found), "file"), text, files=len(found), names=tuple(found[:names]))
        rest = (one.arriving or 0) - len(one.settling or {})
        if rest > 0:
            yield StatusLine(Level.WELL, many(rest, "file"), f"{shown(one.name)}: more that are not taken yet", files=rest)


def verdict(status: Status, somebody: Sequence[StatusLine]) -> tuple[str, str]:
    """Two words for the exit code, and what they mean."""
    waiting = sum(one.files for one in somebody)
    servers = {pause.name for pause in status.pauses if pause.scope == Scope.SERVER and pause.reason != Reason.BY_HAND}
    parts: list[str] = []
    if waiting:
        parts.append(f"{many(waiting, 'file')} {'waits' if waiting == 1 else 'wait'} for somebody.")
    if servers:
        parts.append(f"{many(len(servers), 'server')} {'does' if len(servers) == 1 else 'do'} not take files now.")
    if not status.running and status.others:
        parts.insert(0, "No dropcap runs on this host.")
    for one in somebody:
        if one.level is Level.ALL:
            parts.insert(0, {True: "dropcap does not do its work.", False: "dropcap does not run."}[status.running])
    ill = {one.name for one in status.folders if one.away or one.full or one.mistake or one.cannot_file or one.overdue}
    troubled = len(ill.union(status.stranded))
    if troubled:
        parts.append(f"{many(troubled, 'folder')} {'needs' if troubled == 1 else 'need'} a look.")
    if status.problems:
        parts.append("The configuration has mistakes.")
    if status.not_pruned:
        parts.append("What `keep` says is over is not removed.")
    if not parts:
        parts.append(_well(status) if status.exit_code == 0 else "See above.")
    return {0: "ALL WELL", 3: "SERVER AWAY"}.get(status.exit_code, "NOT WELL"), " ".join(parts)


def _well(status: Status) -> str:
    done = sum(one.done_today for one in status.folders)
    said = "No file was stored today yet." if not done else f"{many(done, 'file')} {'was' if done == 1 else 'were'} stored today."
    return f"{said} Nothing waits for somebody."


def notes(one: FolderStatus, status: Status) -> list[str]:
    """What the table says of a folder beside its numbers."""
    stopped = next((queued.pause for queued in status.queued if queued.folder == one.name), None)
    told = {
        "away": one.away,
        "full": one.full,
        "cannot file": one.cannot_file,
        "paused": stopped is not None and (stopped.scope == Scope.FOLDER or stopped.until_resume),
        "project paused": stopped is not None and stopped.scope == Scope.PROJECT and not stopped.until_resume,
        "server away": stopped is not None and stopped.scope == Scope.SERVER and not stopped.until_resume,
        "old rules": one.mistake,
        "a file is missing": one.overdue,
        "not in the configuration": one.path is None,
        "no host": one.name in status.stranded,
    }
    return [note for note, true in told.items() if true]


_NUMBERS = ("ARRIVING", "WAITING", "SENDING", "HELD", "FAILED", "STORED TODAY")
#: The column at which what is told begins, after "10,000 files".
_AT = 14
_COLOURS = {Level.ALL: screen.BAD, Level.BAD: screen.BAD, Level.WAIT: screen.WAIT, Level.WELL: None}
#: Uploads that are told one by one.
_UPLOADS = 10


def tell(status: Status, only: str | None) -> None:
    """Print it."""
    names = MORE if only is not None else FEW
    _table(status)
    if only is None:
        _section("Hosts", hosts_told(status))
    _sent(status.moving)
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


def _table(status: Status) -> None:
    rows = []
    head, first_cells = _first_column(status)
    for one, first_cell in zip(status.folders, first_cells, strict=True):
        waiting = one.waiting - one.sending
        numbers = (waiting, one.sending, one.held, one.failed, one.done_today)
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


def _first_column(status: Status) -> tuple[str, list[str]]:
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


def _sent(moving: Sequence[InMotion]) -> None:
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


def _left(one: InMotion) -> str:
    took = time.time() - one.began
    if one.sent <= 0 or took <= 1:
        return "just begun"
    if one.sent >= one.size:
        return "all sent"
    seconds = (one.size - one.sent) * took / one.sent
    if seconds < 60:
        return f"{max(1, round(seconds))} s left"
    return f"{round(seconds / 60)} min left" if seconds < 3600 else f"{seconds / 3600:.1f} h left"


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


def _read_back(status: Status) -> None:
    if status.read_back:
        screen.heading("Taken away after they were sent and moved back under another name")
    for job in status.read_back:
        found = FOUND.get(job.found or "", job.found)
        screen.line(
            f"{shown(job.folder)}/{shown(job.name)}  (job {job.id}): {found} under this name. {job.message or ''}", 2, hang=4
        )


def _copies(folders: Sequence[FolderStatus]) -> None:
    above = dict.fromkeys(os.path.dirname(one.copies_in) for one in folders if one.copies_in is not None)
    if above:
        click.echo()
        screen.line(f"Copies of what REDCap held lie in {shown(', '.join(above))}: dropcap preserved")


def _as_of(status: Status) -> str:
    now = f"As of {screen.at_second(time.time())}. dropcap {status.version or __version__}"
    if status.started is not None:
        return f"{now}, running since {screen.when(status.started)}."
    here = "" if status.hosts is None else " here"
    return f"{now}, running{here}, but it does not answer." if status.running else f"{now}, not running{here}."


def tell_files(status: Status, kinds: Collection[str]) -> None:
    """Print all files of these kinds."""
    told = False
    if "waiting" in kinds:
        told |= _arriving_files(status)
        told |= _groups("waiting", [job for one in status.queued for job in one.first] + status.put_off)
    if "held" in kinds:
        told |= _groups("held", status.held)
    if "failed" in kinds:
        told |= _groups("failed", status.failed)
    if not told:
        click.echo(f"no file is {' or '.join(sorted(kinds))}")


def _arriving_files(status: Status) -> bool:
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
