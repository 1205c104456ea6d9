"""`dropcap run --once`: everything that is there, with a progress bar, and a summary."""

from __future__ import annotations

import contextlib
import threading
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from dropcap import __version__
from dropcap.cli import screen
from dropcap.cli.configured import cannot_read, stop, until_signal
from dropcap.cli.screen import typed
from dropcap.config.model import Config, PostgresLedger
from dropcap.config.values import BadValueError, duration
from dropcap.daemon import log
from dropcap.daemon import log as witness
from dropcap.daemon.engine import Engine
from dropcap.daemon.host_leases import SharedLeases
from dropcap.daemon.log import mask_of
from dropcap.daemon.opening import database_of, open_for_daemon, starting
from dropcap.daemon.state import only_one, prepare
from dropcap.display import many, shown
from dropcap.files.regular import ignore_lease_breaks
from dropcap.ledger.chain import AuditAction, AuditActor
from dropcap.ledger.database import DatabaseError, LedgerError
from dropcap.ledger.job import Job, State
from dropcap.ledger.query import Query
from dropcap.reasons import Reason, Scope, explained
from dropcap.threads import SHORTAGE, NoThread

#: Seconds for which nothing must be left to do before it is believed.
_QUIET = 0.3
#: Seconds between two counts of what is left, which take a while where that is much.
_COUNT = 0.5
#: Without --wait, the patience with what is not well, and how much longer than a rest is waited for its end (seconds).
_PATIENCE, _AFTER_REST = 30.0, 15.0
#: A turn that is under way for longer (seconds) gets on with something.
_LONG = 2.0
#: Lines of one kind in the summary.
_TOLD = 20
#: Files that are alike and are told one by one.
_FEW = 3
_OPEN = (State.WAITING, State.SENDING, State.UNKNOWN, State.STORED, State.REFUSED)


@dataclass(frozen=True, slots=True)
class _Patience:
    """For how long, with nothing going on, it is waited for files that only rest, and for what may never come (seconds)."""

    rest: float
    other: float


def _patience(config: Config, wait: str | None) -> _Patience:
    if wait is None:
        rests = [max(folder.settle_closed, folder.settle_quiet) + _AFTER_REST for folder in config.folders.values()]
        return _Patience(max([_PATIENCE, *rests]), _PATIENCE)
    try:
        seconds = duration(0, 86400.0)(wait)
    except BadValueError as error:
        raise click.BadParameter(str(error), param_hint="--wait") from None
    return _Patience(seconds, seconds)


def run_once(config: Config, wait: str | None) -> int:
    """Take and deliver what is there; the exit code."""
    patience = _patience(config, wait)
    console = Console(stderr=True)
    progress = console.is_terminal
    # With a progress bar the log would tear it apart; problems are told in the summary.
    prepare(config.state_dir)
    log.set_up(config.log.format, "error" if progress else config.log.level, mask=mask_of(config))
    with only_one(config.state_dir):
        ignore_lease_breaks()
        stopped = until_signal()
        _no_other_host(config)
        opened = open_for_daemon(config)
        ledger, leases = opened.ledger, opened.leases
        began = time.time()
        with starting(config):
            engine = Engine(config, ledger, leases)
            witness.compare(ledger, config.state_dir)
            ledger.act(AuditActor.me(), AuditAction.STARTED, dropcap=__version__, configuration=config.digest, once=True)
            # Whatever lay in in_progress/ or was held before is part of this run.
            engine.start()
        if leases is not None:
            leases.start(engine, ledger)
        obstacles: list[str] = []
        strange: list[str] = []
        try:
            _follow(engine, stopped, patience, console if progress else None, leases)
            obstacles, strange = _obstacles(engine), _strange(engine)  # folders tell nothing once they are closed
        finally:
            if leases is not None:
                leases.end()
            engine.stop(config.stop_within if not stopped.is_set() else 5.0)
        code = _summary(engine, began, obstacles, strange, stopped.is_set())
        witness.stopped(ledger, config.state_dir)
        if leases is not None:
            leases.stop(5.0)
        opened.close(config)
    return code


def _no_other_host(config: Config) -> None:
    """Or the end with exit code 4: those that work with a shared ledger take what is there by themselves. Raises LedgerError."""
    if not isinstance(config.ledger, PostgresLedger):
        return
    try:
        with contextlib.closing(Query(database_of(config))) as ledger:
            hosts = ledger.hosts() if ledger.version() else None
    except DatabaseError as error:
        raise LedgerError(cannot_read(config.ledger, error)) from None
    if hosts is not None and hosts.alive:
        names = ", ".join(shown(hosts.called(host)) for host in hosts.alive)
        lately = f"or did within the last {config.ledger.lease:g} s"
        stop(
            f"{names} {'works' if len(hosts.alive) == 1 else 'work'} with {config.ledger}, {lately}: they deliver what is there",
            4,
        )


def _follow(
    engine: Engine, stopped: threading.Event, patience: _Patience, console: Console | None, leases: SharedLeases | None
) -> None:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    bar = Progress(*columns, console=console) if console else None
    if bar:
        bar.start()
    task = bar.add_task("delivering", total=None) if bar else None
    quiet_since: float | None = None
    moved_at, last, counted_at = time.monotonic(), (-1, -1, -1), 0.0
    busy_since: float | None = None
    try:
        while not stopped.wait(0.05):
            if SHORTAGE.is_set():
                raise NoThread
            now = time.monotonic()
            settled = leases is None or leases.settled(engine)
            if engine.idle() and settled and not _due_within(engine, patience.other - (now - moved_at)):
                quiet_since = quiet_since or now
                if now - quiet_since > _QUIET:
                    return
            else:
                quiet_since = None
            busy_since = (busy_since or now) if engine.delivery.under_way() else None
            if busy_since is not None and now - busy_since > _LONG:  # a try of what is not well is over sooner, and moves nothing
                moved_at = now
            if now - counted_at > _COUNT:
                numbers, counted_at = _numbers(engine), now
                if numbers != last:
                    moved_at, last = now, numbers
                if bar and task is not None:
                    bar.update(task, completed=last[2], total=sum(last))
            if now - moved_at > (patience.rest if _resting(engine) else patience.other) and (_stuck(engine) or not settled):
                return
    finally:
        if bar and task is not None:
            numbers = _numbers(engine)
            bar.update(task, completed=numbers[2], total=sum(numbers))
            bar.stop()


def _due_within(engine: Engine, seconds: float) -> bool:
    """Whether a file that could not be sent has its next turn soon: one lost connection does not wait for the next run."""
    now = time.time()
    return any((due := engine.ledger.query.next_due(name, now)) is not None and due <= now + seconds for name in engine.channels)


def _stuck(engine: Engine) -> bool:
    """Whether all that is left waits: for its rest, or for what may never come."""
    intakes = [one.intake for one in engine.channels.values()]
    if engine.ledger.trouble.unwritable:
        return True
    if any(intake.at_work and not intake.away for intake in intakes):
        return False
    if engine.delivery.breakers.pauses():
        return True  # what is paused may be due all the time
    return any(intake.unsettled for intake in intakes) and engine.delivery.idle()


def _resting(engine: Engine) -> bool:
    """Whether any file waits for the end of its rest alone."""
    return any(one.intake.resting for one in engine.channels.values())


def _numbers(engine: Engine) -> tuple[int, int, int]:
    """Files that lie in the drop folders, that are on their way, that have ended."""
    query = engine.ledger.query
    counts = query.counts()
    arriving = sum(len(one.intake.unsettled) + one.intake.behind for one in engine.channels.values())
    under_way = sum(of.get(state.value, 0) for of in counts.values() for state in _OPEN)
    ended = sum(
        query.ended_since(name, engine.started, state)
        for name in engine.channels
        for state in (State.DONE, State.FAILED, State.WITHDRAWN)
    )
    return arriving, under_way, ended


def _obstacles(engine: Engine) -> list[str]:
    """Why files were not taken out of the drop folders, a line each."""
    lines = []
    if engine.ledger.trouble.unwritable:
        lines.append(f"  {engine.ledger.trouble.said()}")
    for name in sorted(engine.config.folders.keys() - engine.channels.keys()):
        lines.append(f"  not taken: {name}: it is away for this host, or another one works in it: dropcap check")
    for name, one in engine.channels.items():
        waiting = len(one.intake.unsettled) + one.intake.behind
        if one.intake.away:
            lines.append(f"  away: {name}: {one.intake.away}")
        elif one.intake.full:
            said = f"{_files(waiting)} not taken, since less than min_free is free there"
            lines.append(f"  full: {name}: {said}; make room, or lower min_free")
        else:
            notes = one.intake.notes
            lines += [f"  not taken: {name}: {shown(file)}: {why}" for file, why in list(notes.items())[:_TOLD]]
            if waiting > (told := min(len(notes), _TOLD)):
                lines.append(f"  not taken: {name}: and {waiting - told} more that are not settled yet")
            if one.intake.resting:
                lines.append(f"  what rests in {name} is taken by the next run, or by this one with a longer --wait")
    return lines


def _strange(engine: Engine) -> list[str]:
    """What lies in the drop folders and is no file to take, a line each, and what is left there."""
    left = [
        f"  {word}: {name}: {files.message}; {files.remedy}"
        for name, one in engine.channels.items()
        for word, files in (("stray", one.intake.strays), ("left", one.intake.left))
        if files.count
    ]
    return left + [
        f"  not taken: {name}: {shown(entry)}: {why}"
        for name, one in engine.channels.items()
        for entry, why in list(one.intake.not_taken.items())[:_TOLD]
    ]


def _files(number: int) -> str:
    return "1 file was" if number == 1 else f"{number} files were"


def _summary(engine: Engine, began: float, obstacles: Sequence[str], strange: Sequence[str], stopped: bool) -> int:
    query = engine.ledger.query
    done = sum(query.ended_since(name, began, State.DONE) for name in engine.channels)
    failed = [job for job in query.failed(limit=1000) if (job.ended_at or 0) >= began]
    held = query.in_state((State.HELD,), limit=1000)
    left = query.in_state(_OPEN, limit=1000)
    screen.line(f"{done} done, {len(failed)} failed, {len(held)} held, {len(left)} waiting")
    for title, jobs in (("failed", failed), ("held", held), ("waiting", left)):
        _tell_jobs(title, jobs)
    pauses = engine.delivery.breakers.pauses()
    for pause in pauses:
        screen.line(f"paused: {pause.scope} {pause.name}: {pause.message}; {pause.remedy}", 2, hang=4)
    for line in (*obstacles, *strange):
        screen.line(line.strip(), 2, hang=4)
    if stopped:
        return 130
    if left and any(pause.scope == Scope.SERVER and pause.reason != Reason.BY_HAND for pause in pauses):
        return 3
    return 1 if failed or held or obstacles or left or engine.config.problems else 0


def _tell_jobs(title: str, jobs: Sequence[Job]) -> None:
    """A few are told one by one, many that are alike in one line."""
    groups: dict[tuple[str, str | None], list[Job]] = defaultdict(list)
    for job in jobs:
        groups[job.folder, job.reason].append(job)
    for (folder, reason), its in groups.items():
        if len(its) <= _FEW:
            for job in its:
                screen.line(f"{title}: {_line(job)}", 2, hang=4)
            continue
        of = explained(reason)
        why = f": {of.within}" + (f"; {of.remedy}" if of.remedy else "") if reason else ""
        first = ", ".join(shown(job.name) for job in its[:_FEW])
        more = f"{first} and {len(its) - _FEW:,} more; see `dropcap status --{title} --folder {typed(folder)}`"
        screen.line(f"{title}: {many(len(its), 'file')} in {folder}{why}: {more}", 2, hang=4)


def _line(job: Job) -> str:
    why = f": {job.message}" if job.message else ""
    remedy = f"; {job.remedy}" if job.remedy else ""
    return f"{job.folder}/{shown(job.name)} (job {job.id}){why}{remedy}"
