"""What `dropcap status` has to say: what goes on by itself, what waits for somebody, what is left alone."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator, Sequence

from dropcap.cli.jobs import waits_until
from dropcap.cli.reason_words import NextAct, Said, said_of
from dropcap.cli.screen import at_second, many, typed, when
from dropcap.cli.status_gathered import Queued, Status
from dropcap.cli.status_hosts import free, not_here, stranded
from dropcap.cli.status_line import Level, StatusLine
from dropcap.display import shown
from dropcap.ledger.job import Job, LikeJobs, Pause, State
from dropcap.preflight import retention
from dropcap.reasons import Reason, Scope

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
            yield _alone(one, jobs[0]) if one.count == 1 and jobs else _alike(one, said_of(one.reason), jobs)
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
    text = (
        f"{shown(job.folder)}/{shown(job.name)}, since {when(one.since)}: {_held(one)}{job.message or said_of(one.reason).what}"
    )
    if job.remedy:
        text += f"; what to do: {job.remedy}"
    looks = one.state is State.FAILED and said_of(one.reason).act is NextAct.LOOK  # the same again would fail again
    then = f"dropcap status --failed --folder {typed(one.folder)}" if looks else f"dropcap retry {job.id}"
    return StatusLine(Level.BAD, "1 file", text, then, 1)


def _alike(one: LikeJobs, said: Said, jobs: Sequence[Job]) -> StatusLine:
    kind = "--held" if one.state is State.HELD else "--failed"
    text = f"{shown(one.folder)}, since {when(one.since)}: {_held(one)}{said.what}"
    folder = f"--folder {typed(one.folder)}"
    then = {
        NextAct.LOOK: f"dropcap status {kind} {folder}",
        NextAct.RETRY: f"dropcap retry {kind} {folder}",
        NextAct.CHECK: f"dropcap check {folder}",
        NextAct.RESUME: f"dropcap retry {kind} {folder}",
    }[said.act]
    if said.mend:
        text += f"; {said.mend}" + (", then" if said.act in (NextAct.RETRY, NextAct.RESUME) else "")
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
        said = said_of(one.reason)
        first = [job for job in status.put_off if (job.folder, job.reason, job.state) == (one.folder, one.reason, one.state)]
        own = first[0] if one.count == 1 and first else None
        text = f"{shown(one.folder)}, since {when(one.since)}: {own.message if own and own.message else said.what}"
        mend = own.remedy if own is not None else said.mend
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
