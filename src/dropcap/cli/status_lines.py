"""What `dropcap status` says to people, line by line: what needs somebody, what goes on by itself, and the verdict."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum

from dropcap import __version__
from dropcap.cli.jobs import waits_until
from dropcap.cli.screen import typed
from dropcap.display import at_second, many, shown, when
from dropcap.ledger.job import Job, LikeJobs, Pause, State
from dropcap.ledger.reports import HostAtWork, HostsNow
from dropcap.preflight import remark
from dropcap.reasons import NextAct, Reason, Scope, explained
from dropcap.snapshot import FolderNow, Queued, Snapshot

#: Names of files that are told of many; with `--folder`, so many more.
FEW, MORE = 3, 20


class Level(IntEnum):
    """How bad it is; the worst comes first."""

    ALL = 0  # everything stands still
    BAD = 1
    WAIT = 2
    WELL = 3


@dataclass(frozen=True, slots=True)
class StatusLine:
    """One thing to tell. `files` are as many as it concerns, `names` the first of them, `then` a command that brings it on."""

    level: Level
    word: str
    text: str
    then: str = ""
    files: int = 0
    names: tuple[str, ...] = ()


#: Seconds, beyond a lease, after which a folder that a host could have is one that somebody should look after.
_LONG = 60.0


def host_lines(status: Snapshot) -> list[StatusLine]:
    """A line for each host that is alive, and for each that is gone since not long ago."""
    if status.hosts is None:
        return []
    return [*(_alive_host(status, status.hosts, host) for host in status.hosts.alive), *_gone(status.hosts), *_elsewhere(status)]


def _alive_host(status: Snapshot, hosts: HostsNow, host: HostAtWork) -> StatusLine:
    here = ", here" if host.id == status.this_host else ""
    version = f", dropcap {host.version}" if host.version != __version__ else ""
    names = {one.name for one in status.configured}
    lacks = sorted(set(host.lacks) & names)
    missing = f"; it lacks {_names(lacks)}" if lacks else ""
    text = f"{shown(hosts.called(host))}{here}, since {when(host.started)}{version}{missing}"
    works = len(hosts.of(host, names))
    return StatusLine(Level.WAIT if lacks or not works else Level.WELL, many(works, "folder"), text)


def _gone(hosts: HostsNow) -> Iterator[StatusLine]:
    for host in hosts.gone:
        yield StatusLine(Level.WAIT, "gone", f"{shown(host.name)}, since {when(host.until)}")


def _elsewhere(status: Snapshot) -> Iterator[StatusLine]:
    if any(one.host is not None and one.arriving is None for one in status.folders):
        yield StatusLine(Level.WELL, "", "what arrives in a folder, and whether its disk has room, is told on its own host")


def not_here(status: Snapshot) -> str:
    """That no dropcap runs on this host, though some do elsewhere."""
    alive = () if status.hosts is None else status.hosts.alive
    names = _names([status.hosts.called(host) for host in alive]) if status.hosts is not None else ""
    return f"no dropcap runs on this host; {many(len(alive), 'other')} {'does' if len(alive) == 1 else 'do'}: {names}"


def stranded(status: Snapshot) -> Iterator[StatusLine]:
    """Folders in which nobody works and will."""
    told = {one.name for one in status.folders if one.away}  # by the host that was asked, and why
    for name in status.stranded:
        if name in told:
            continue
        text = f"{shown(name)} is away for every host, so nothing is taken from it; mount it on one"
        yield StatusLine(Level.BAD, "folder", text, f"dropcap check --folder {typed(name)}")
    for name in status.free:
        if _untaken_for(status, name) > _LONG + status.lease:
            text = f"{shown(name)}: no host has taken it for {_untaken_for(status, name) / 60:.0f} min; look into their logs"
            yield StatusLine(Level.BAD, "folder", text, "journalctl -u dropcap")


def free(status: Snapshot) -> Iterator[StatusLine]:
    """Folders that a host is about to take."""
    for name in status.free:
        if _untaken_for(status, name) <= _LONG + status.lease:
            yield StatusLine(Level.WAIT, "folder", f"{shown(name)}: no host works in it just now; one takes it by itself")


def _untaken_for(status: Snapshot, folder: str) -> float:
    return 0.0 if status.hosts is None else status.hosts.untaken_for(folder, time.time())


def _names(names: list[str]) -> str:
    more = f" and {len(names) - FEW} more" if len(names) > FEW else ""
    return ", ".join(shown(name) for name in names[:FEW]) + more


def needs_somebody(status: Snapshot) -> list[StatusLine]:
    """What does not go on by itself, the worst first."""
    told = [*_alive(status)]
    told += _mistakes(status.problems)
    told += [*stranded(status), *_folders(status), *_pauses(status), *_failed(status), *_not_pruned(status)]
    return sorted(told, key=lambda one: one.level)


def goes_on(status: Snapshot, names: int) -> list[StatusLine]:
    """What goes on by itself, and when; `names` of each are told."""
    return [*free(status), *_servers(status), *_queues(status, names), *_put_off(status, names), *_arriving(status, names)]


def left_alone(status: Snapshot) -> Iterator[StatusLine]:
    """What lies there and is not taken, which is no trouble of dropcap's."""
    for one in status.folders:
        for counted in (one.left, one.strays):
            if counted is not None and counted.count:
                text = f"{shown(one.name)}: {counted.message}; {counted.remedy}"
                yield StatusLine(Level.WELL, many(counted.count, "file"), text)
        kinds: dict[str, list[str]] = defaultdict(list)
        for name, why in sorted((one.not_taken or {}).items()):
            kinds[why].append(name)
        for why, found in kinds.items():
            word = f"{len(found):,} " + ("entry" if len(found) == 1 else "entries")
            yield StatusLine(Level.WELL, word, f"{shown(one.name)}: not taken: {why}", names=tuple(found[:FEW]), files=len(found))


# What needs somebody -------------------------------------------------------------------------------------------------------


def _alive(status: Snapshot) -> Iterator[StatusLine]:
    match status.stops:
        case "" if not status.running:
            yield StatusLine(Level.BAD, "dropcap", not_here(status), "systemctl start dropcap")
        case "not running":
            where = "dropcap does not run" if status.hosts is None else "dropcap runs on no host"
            text = f"{where}; what stands here is what its ledger says"
            yield StatusLine(Level.ALL, "dropcap", text, "systemctl start dropcap")
        case "silent":
            why = "it is starting, stopping, running with --once, or hangs"
            text = f"dropcap runs but does not answer: {why}; ask again in a moment, then look at"
            yield StatusLine(Level.ALL, "dropcap", text, "journalctl -u dropcap")
        case "unwritable":
            yield StatusLine(Level.ALL, "dropcap", f"the ledger cannot be written ({status.unwritable}): {status.mend}")
        case "hangs":
            text = "a part of it hangs: look into its log, then restart it"
            yield StatusLine(Level.ALL, "dropcap", text, "systemctl restart dropcap")


def _mistakes(problems: Sequence[str]) -> Iterator[StatusLine]:
    for number, problem in enumerate(problems[:FEW], 1):
        last = number == min(len(problems), FEW)
        more = f" … and {many(len(problems) - FEW, 'mistake')} more" if last and len(problems) > FEW else ""
        yield StatusLine(Level.BAD, "config", problem + more, "dropcap check --offline" if last else "")


def _folders(status: Snapshot) -> Iterator[StatusLine]:
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


def _pauses(status: Snapshot) -> Iterator[StatusLine]:
    for pause in status.pauses:
        if not pause.passes:
            yield _pause(status, pause)


def _pause(status: Snapshot, pause: Pause) -> StatusLine:
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


def _asked_again(status: Snapshot, pause: Pause) -> str:
    at = status.next_tries.get((pause.scope, pause.name))
    if at is None:
        return ""
    return f". It is asked again at {at_second(at)}" if at > time.time() else ". It is asked again now"


def _failed(status: Snapshot) -> Iterator[StatusLine]:
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


def _not_pruned(status: Snapshot) -> Iterator[StatusLine]:
    if status.not_pruned:
        yield StatusLine(Level.WAIT, "keep", f"{remark.not_pruned_text(status.not_pruned)}; {remark.REMEDY}", "dropcap prune")


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


def _servers(status: Snapshot) -> Iterator[StatusLine]:
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


def _queues(status: Snapshot, names: int) -> Iterator[StatusLine]:
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


def _queue(status: Snapshot, one: Queued, names: int) -> StatusLine:
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


def _put_off(status: Snapshot, names: int) -> Iterator[StatusLine]:
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


def _arriving(status: Snapshot, names: int) -> Iterator[StatusLine]:
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


def verdict(status: Snapshot, somebody: Sequence[StatusLine]) -> tuple[str, str]:
    """Two words for the exit code, and what they mean."""
    waiting = sum(one.files for one in somebody)
    down, ill = len(set(status.down)), len(status.ill)
    parts: list[str] = []
    if not status.running and status.others:
        parts.append("No dropcap runs on this host.")
    if status.stops:
        parts.append("dropcap does not do its work." if status.running else "dropcap does not run.")
    if waiting:
        parts.append(f"{many(waiting, 'file')} {'waits' if waiting == 1 else 'wait'} for somebody.")
    if down:
        parts.append(f"{many(down, 'server')} {'does' if down == 1 else 'do'} not take files now.")
    if ill:
        parts.append(f"{many(ill, 'folder')} {'needs' if ill == 1 else 'need'} a look.")
    if status.problems:
        parts.append("The configuration has mistakes.")
    if status.not_pruned:
        parts.append("What `keep` says is over is not removed.")
    if not parts:
        parts.append(_well(status) if status.exit_code == 0 else "See above.")
    return {0: "ALL WELL", 3: "SERVER AWAY"}.get(status.exit_code, "NOT WELL"), " ".join(parts)


def _well(status: Snapshot) -> str:
    done = sum(one.done_today for one in status.folders)
    said = "No file was stored today yet." if not done else f"{many(done, 'file')} {'was' if done == 1 else 'were'} stored today."
    return f"{said} Nothing waits for somebody."


def notes(one: FolderNow, status: Snapshot) -> list[str]:
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
