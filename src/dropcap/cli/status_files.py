"""`dropcap status --failed`, `--held` and `--waiting`: every such file, those alike beneath one heading."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Sequence

import click

from dropcap.cli import screen
from dropcap.cli.reason_words import said_of
from dropcap.cli.screen import many, when
from dropcap.cli.status_gathered import Status
from dropcap.display import shown
from dropcap.ledger.job import Job


def tell_files(status: Status, kinds: Collection[str]) -> None:
    """Print all files of these kinds."""
    told = False
    if "waiting" in kinds:
        told |= _arriving(status)
        told |= _groups("waiting", [job for one in status.queued for job in one.first] + status.put_off)
    if "held" in kinds:
        told |= _groups("held", status.held)
    if "failed" in kinds:
        told |= _groups("failed", status.failed)
    if not told:
        click.echo(f"no file is {' or '.join(sorted(kinds))}")


def _arriving(status: Status) -> bool:
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
        what = f": {said_of(reason).what}" if reason else ""
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
