"""What `dropcap status` says to people."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable

from rich.console import Console

from dropcap.cli import screen
from dropcap.cli.jobs import clock, file_of, waits_until
from dropcap.cli.status_gathered import MOST_TOLD, FolderStatus, Status
from dropcap.display import shown
from dropcap.ledger.job import Job
from dropcap.reasons import Reason, Scope


def tell(status: Status) -> None:
    """Print it."""
    to = screen.console()
    _alive(to, status)
    _table(to, status)
    _copies(to, status.folders)
    _folders(to, status.folders)
    _pauses(to, status)
    total_held, total_failed = sum(f.held for f in status.folders), sum(f.failed for f in status.folders)
    _jobs(to, f"Held ({total_held})", status.held, total_held, "dropcap retry --held", _since_claimed)
    _behind(to, status)
    _jobs(to, f"Failed ({total_failed})", status.failed, total_failed, "dropcap retry --failed", _since_ended)
    waits = [job for job in status.put_off if waits_until(job) is not None]
    others = [job for job in status.put_off if waits_until(job) is None]
    _jobs(to, "Waiting for a record that REDCap does not have yet", waits, len(waits), "", _next_look)
    _jobs(to, "Waiting for another try", others, len(others), "", _next_try)
    if len(status.put_off) == MOST_TOLD:
        screen.line(to, "… and there may be more")
    title = "Taken away after they were sent and moved back under another name: what REDCap has under the old one"
    _jobs(to, title, status.read_back, len(status.read_back), "", _since_ended)
    if status.problems:
        screen.heading(to, "The configuration has problems; what they concern is disabled")
        for problem in status.problems:
            screen.line(to, problem)


def _alive(to: Console, status: Status) -> None:
    if status.answers and status.started is not None:
        for_so_long = _span(time.time() - status.started)
        text = (
            f"dropcap {status.version} runs since {clock(status.started)} ({for_so_long}), {status.under_way} uploads under way"
        )
        screen.line(to, text, 0, "bold")
        if not status.alive:
            screen.line(to, "a part of it hangs: look into its log, then restart it", 0, "bold red")
    elif status.running:
        screen.line(to, "dropcap runs but does not answer: it starts, stops, runs with --once, or hangs", 0, "bold red")
        screen.remedy(to, "ask again in a moment; if it stays so, look into its log and restart it", 0)
    else:
        screen.line(to, "dropcap does not run; below is what its ledger says", 0, "bold red")
        screen.remedy(to, "start it: systemctl start dropcap, or dropcap run", 0)


def _table(to: Console, status: Status) -> None:
    paused = {pause.name for pause in status.pauses if pause.scope == Scope.FOLDER}
    numbers = ("Arriving", "Waiting", "Held", "Failed", "Done today")
    rows = [
        (
            shown(one.name),
            "-" if one.arriving is None else str(one.arriving),
            *(str(number) for number in (one.waiting, one.held, one.failed, one.done_today)),
            ", ".join(_notes(one, paused)),
        )
        for one in status.folders
    ]
    to.print()
    screen.table(to, ("Folder", *numbers, ""), rows, dict.fromkeys(numbers, "right"))


def _notes(one: FolderStatus, paused: Iterable[str]) -> list[str]:
    notes = {
        "away": one.away,
        "full": one.full,
        "cannot file": one.cannot_file,
        "paused": one.name in paused,
        "old rules": one.mistake,
        "a file is missing": one.overdue,
        "not in the configuration": one.path is None,
    }
    return [note for note, true in notes.items() if true]


def _copies(to: Console, folders: list[FolderStatus]) -> None:
    above = dict.fromkeys(os.path.dirname(one.copies_in) for one in folders if one.copies_in is not None)
    if above:
        to.print()
        screen.line(to, f"Copies of what REDCap held lie in {shown(', '.join(above))}: dropcap preserved", 0)


def _folders(to: Console, folders: list[FolderStatus]) -> None:
    for one in folders:
        counted = [told for told in (one.strays, one.left) if told is not None and told["count"]]
        if not (
            one.away or one.full or one.cannot_file or one.mistake or one.overdue or one.not_taken or one.settling or counted
        ):
            continue
        screen.heading(to, f"Folder {shown(one.name)}")
        if one.away:
            screen.line(to, f"away: {one.away}")
        if one.mistake and one.mistake_since is not None:
            screen.line(to, f"since {clock(one.mistake_since)}: {one.mistake}")
            screen.remedy(to, "correct the configuration, then: dropcap reload")
        if one.overdue is not None:
            screen.line(to, f"a file was expected by {clock(one.overdue)}, and none was dropped")
            screen.remedy(to, "ask those who drop files there, or look at what writes them")
        if one.full:
            screen.line(to, "full: its file system has less room than min_free, nothing is taken")
            screen.remedy(to, "make room there, or lower min_free")
        if one.cannot_file:
            screen.line(to, f"finished files stay in in_progress/ for now: {one.cannot_file}")
        entries = sorted((one.not_taken or {}).items())
        for name, why in entries[:MOST_TOLD]:
            screen.line(to, f"not taken: {shown(name)}: {why}")
        if len(entries) > MOST_TOLD:
            screen.line(to, f"… and {len(entries) - MOST_TOLD} more that are not taken")
        for name, why in sorted((one.settling or {}).items()):
            screen.line(to, f"not taken yet: {shown(name)}: {why}")
        if (one.arriving or 0) > (told := len(one.settling or {})):
            screen.line(to, f"… and {(one.arriving or 0) - told} more that are not taken yet")
        for told_of in counted:
            screen.line(to, told_of["message"])
            screen.remedy(to, told_of["remedy"])


def _pauses(to: Console, status: Status) -> None:
    if status.pauses:
        screen.heading(to, "Paused")
    for pause in status.pauses:
        screen.line(to, f"{pause.scope} {shown(pause.name)}, since {clock(pause.since)}: {pause.message}")
        screen.remedy(to, pause.remedy)
        if not pause.until_resume:
            screen.line(to, "dropcap asks again by itself and goes on when it can", 4)
        elif pause.reason != Reason.BY_HAND:
            screen.line(to, f"then: dropcap resume --{pause.scope} {shown(pause.name)}", 4)


def _jobs(to: Console, title: str, jobs: list[Job], total: int, then: str, when: Callable[[Job], str]) -> None:
    if not jobs:
        return
    screen.heading(to, title)
    for job in jobs:
        screen.line(to, f"{file_of(job)}  (job {job.id}, {when(job)})")
        screen.line(to, job.message or job.reason or "", 4)
        screen.remedy(to, job.remedy)
    if total > len(jobs):
        screen.line(to, f"… and {total - len(jobs)} more: dropcap history --limit {total}")
    if then:
        screen.line(to, f"to try again: {then}, or dropcap retry and the job's number")


def _behind(to: Console, status: Status) -> None:
    if status.behind_held:
        screen.heading(to, "Waiting behind a held file that goes to the same place")
    for newer, held in status.behind_held:
        screen.line(to, f"{file_of(newer)}  (job {newer.id}) waits for job {held.id}, {file_of(held)}")
    if len(status.behind_held) == MOST_TOLD:
        screen.line(to, "… and there may be more")


def _since_claimed(job: Job) -> str:
    return f"dropped {clock(job.claimed_at)}"


def _since_ended(job: Job) -> str:
    return f"since {clock(job.ended_at or job.changed_at)}"


def _next_look(job: Job) -> str:
    return f"looked up again {clock(job.due)}, until {clock(waits_until(job) or 0.0)}"


def _next_try(job: Job) -> str:
    return f"next try {clock(job.due)}" if job.due > time.time() else "its turn is due"


def _span(seconds: float) -> str:
    for size, word in ((86400, "day"), (3600, "hour"), (60, "minute")):
        number = int(seconds // size)
        if number:
            return f"{number} {word}{'s' if number > 1 else ''}"
    return "just now"
