"""`dropcap status --nagios`: one line and an exit code, by the conventions of Nagios, Icinga and their kin."""

from __future__ import annotations

import time
from collections.abc import Callable
from enum import IntEnum

from dropcap.cli.status_gathered import Status
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
