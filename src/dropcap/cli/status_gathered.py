"""What `dropcap status` tells, gathered from the ledger and from the dropcap that runs."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from dropcap.cli.configured import known
from dropcap.config.model import Config
from dropcap.daemon.state import running
from dropcap.ledger.job import Job, Pause, State
from dropcap.ledger.query import Query
from dropcap.ledger.returned import KNOWN_FOR
from dropcap.reasons import Reason, Scope

_WAITING = (State.WAITING, State.SENDING, State.UNKNOWN, State.STORED, State.REFUSED)
#: Jobs of a kind, and entries of a folder, that are told one by one.
MOST_TOLD = 20


@dataclass(frozen=True, slots=True)
class FolderStatus:
    """One folder. What only a running dropcap knows is None without one."""

    name: str
    path: str | None  # None: not in the configuration (any more)
    copies_in: str | None  # where copies of what REDCap held are kept
    waiting: int
    held: int
    failed: int
    done_today: int
    arriving: int | None
    away: str | None
    full: bool | None
    cannot_file: str | None
    last_walk: float | None
    not_taken: dict[str, str] | None
    settling: dict[str, str] | None  # what the first of the arriving files wait for
    mistake: str | None  # what is wrong with its new configuration, so that it goes on by the last good one
    mistake_since: float | None
    left: dict[str, Any] | None  # what lay there at first and is left: count, first, message, remedy
    overdue: float | None  # since when a file is missing that `expect` names
    strays: dict[str, Any] | None  # what somebody put into done/ or failed/: the same

    @property
    def troubled(self) -> bool:
        """Whether somebody should look at it."""
        return bool(self.held or self.failed or self.away or self.full or self.cannot_file or self.mistake or self.overdue)


@dataclass(frozen=True, slots=True)
class Status:
    """Everything that `status` tells."""

    running: bool  # a dropcap works with this state_dir
    answers: bool  # and answers what it is asked
    alive: bool | None  # all its parts work
    version: str | None
    started: float | None
    under_way: int | None
    folders: list[FolderStatus]
    pauses: list[Pause]
    held: list[Job]
    failed: list[Job]
    put_off: list[Job]
    read_back: list[Job]  # taken away after they were sent, moved back under another name, and looked for: of the last week
    behind_held: list[tuple[Job, Job]]  # a file that waits, and the held one before it to the same place
    oldest: float | None  # when the oldest file was claimed that goes on by itself
    problems: list[str]  # of the configuration file as it is now

    @property
    def exit_code(self) -> int:
        """What the command ends with."""
        if not self.answers or not self.alive:
            return 1
        if any(pause.scope == Scope.SERVER and pause.reason != Reason.BY_HAND for pause in self.pauses):
            return 3
        return 1 if self.pauses or self.problems or any(folder.troubled for folder in self.folders) else 0


def gathered(config: Config, ledger: Query, view: dict[str, Any] | None, only: str | None) -> Status:
    """What the configuration, the ledger and (`view`) a running dropcap tell; of the folder `only` alone, if it is given."""
    counts = ledger.counts()
    live: dict[str, dict[str, Any]] = view["folders"] if view else {}
    names = sorted({*config.folders, *live, *counts})
    if only is not None:
        names = [known("folder", only, names)]
    # By way of the date alone: on the day that the clocks change, midnight has another offset than now.
    midnight = datetime.combine(datetime.now().astimezone().date(), datetime.min.time()).timestamp()
    return Status(
        running=view is not None or running(config.state_dir),
        answers=view is not None,
        alive=view["alive"] if view else None,
        version=view["version"] if view else None,
        started=view["started"] if view else None,
        under_way=view["under_way"] if view else None,
        folders=[_folder(config, ledger, name, counts.get(name, {}), live.get(name), midnight) for name in names],
        pauses=[pause for pause in ledger.pauses() if only is None or _concerns(config, pause, only)],
        held=ledger.in_state((State.HELD,), only, MOST_TOLD),
        failed=ledger.failed(only, MOST_TOLD),
        put_off=ledger.put_off(only, MOST_TOLD),
        read_back=ledger.read_back(time.time() - KNOWN_FOR, only, MOST_TOLD),
        behind_held=ledger.behind_held(only, MOST_TOLD),
        oldest=min((job.claimed_at for job in ledger.in_state(_WAITING, only, 1)), default=None),
        problems=[str(problem) for problem in config.told],
    )


def _folder(
    config: Config, ledger: Query, name: str, counts: dict[str, int], live: dict[str, Any] | None, midnight: float
) -> FolderStatus:
    if live is not None:
        path = live["path"]
    else:
        path = str(config.folders[name].path) if name in config.folders else None
    live = live or {}
    return FolderStatus(
        name=name,
        path=path,
        copies_in=str(config.keeps_in(config.folders[name])) if name in config.folders else None,
        waiting=sum(counts.get(state.value, 0) for state in _WAITING),
        held=counts.get("held", 0),
        failed=counts.get("failed", 0),
        done_today=ledger.ended_since(name, midnight, State.DONE),
        arriving=len(live["unsettled"]) + live.get("behind", 0) if live else None,
        away=live.get("away"),
        full=live.get("full"),
        cannot_file=live.get("cannot_file") or None,
        last_walk=live.get("last_walk"),
        not_taken=live.get("not_taken"),
        settling=live.get("notes"),
        mistake=live.get("mistake"),
        mistake_since=live.get("mistake_since"),
        left=live.get("left"),
        overdue=live.get("overdue"),
        strays=live.get("strays"),
    )


def _concerns(config: Config, pause: Pause, folder_name: str) -> bool:
    folder = config.folders.get(folder_name)
    project = config.projects.get(folder.project) if folder else None
    if pause.scope == Scope.SERVER:
        return project is not None and project.stands_still_with(pause.name, pause.until_resume)
    return (pause.scope, pause.name) in {(Scope.FOLDER, folder_name), (Scope.PROJECT, project.name if project else None)}
