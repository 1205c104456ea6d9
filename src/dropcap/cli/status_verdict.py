"""The verdict of `dropcap status`, and a word or two on each folder."""

from __future__ import annotations

from collections.abc import Sequence

from dropcap.cli.screen import many
from dropcap.cli.status_gathered import FolderStatus, Status
from dropcap.cli.status_line import Level, StatusLine
from dropcap.reasons import Reason, Scope


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
