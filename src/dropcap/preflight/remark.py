"""One finding of `dropcap check`; and the one about `keep`, which `status` tells too: only `dropcap prune` removes files."""

from __future__ import annotations

import grp
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

from dropcap.config.model import Config, Folder, Project
from dropcap.config.secrets import SecretError
from dropcap.display import shown
from dropcap.ledger.query import Query
from dropcap.routing.rule import Rule

Level = Literal["ok", "warning", "error", "unsure"]


class Part(StrEnum):
    """What was looked at."""

    CONFIGURATION = "configuration"
    MACHINE = "machine"
    FOLDER = "folder"
    PROJECT = "project"
    RULE = "rule"


@dataclass(frozen=True, slots=True)
class Place:
    """Where something stands, and what it is called. As text: `FILE:LINE: folder x, rule y: key`."""

    part: Part
    name: str  # of the folder or project; else the whole text
    rule: str = ""
    file: str = ""
    line: int = 0
    key: str = ""

    @property
    def called(self) -> str:
        """What a person calls it: `consents/scan`, `trial`."""
        return f"{self.name}/{self.rule}" if self.rule else self.name

    @property
    def stands(self) -> str:
        """The line of the configuration, without the file's folders."""
        return f"{os.path.basename(self.file)}:{self.line}" if self.file else ""

    def __str__(self) -> str:
        if self.part in (Part.CONFIGURATION, Part.MACHINE):
            return self.name
        kind = "folder" if self.part is Part.RULE else str(self.part)
        said = f"{kind} {self.name}" + (f", rule {self.rule}" if self.rule else "") + (f": {self.key}" if self.key else "")
        return f"{self.file}:{self.line}: {said}" if self.file else said


@dataclass(frozen=True, slots=True)
class Remark:
    """What was found somewhere, and what to do.

    `later`: time may mend it, as with a server that cannot be reached. `done`: it tells what was done, not what was found.
    `also`: more places of which the same is true.
    """

    level: Level
    where: Place
    message: str
    remedy: str = ""
    later: bool = False
    done: bool = False
    also: tuple[Place, ...] = ()

    @property
    def text(self) -> str:
        """All but the level."""
        return shown(f"{self.where}: {self.message}" + (f"; {self.remedy}" if self.remedy else ""))

    def __str__(self) -> str:
        return f"{self.level:<8} {self.text}"


def place_of(thing: Folder | Project, rule: Rule | None = None, key: str = "") -> Place:
    """Where a project, a folder or one of its rules stands, and what it is called."""
    if rule is not None:
        return Place(Part.RULE, thing.name, rule.name, thing.file, rule.line, key)
    return Place(Part.FOLDER if isinstance(thing, Folder) else Part.PROJECT, thing.name, "", thing.file, thing.line, key)


def group_called(number: int) -> str:
    """The name of a group of this machine."""
    try:
        return grp.getgrgid(number).gr_name
    except KeyError:
        return f"#{number}"


def of_secret(where: Place, error: SecretError, *, credential: bool) -> Remark:
    """A secret that cannot be read. Only the service itself is given its credentials, so that a check by hand cannot tell."""
    by_hand = credential and "CREDENTIALS_DIRECTORY" not in os.environ
    return Remark("unsure" if by_hand else "error", where, error.message, error.remedy)


def on_machine(what: str) -> Place:
    """Something of this machine."""
    return Place(Part.MACHINE, what)


def in_configuration(where: str) -> Place:
    """A place in the configuration, as `FILE:LINE: KEY`."""
    return Place(Part.CONFIGURATION, where)


#: The word of the installation that says when a folder was pruned last, before the folder's name.
PRUNED = "pruned "
#: Seconds after which somebody should look why it was not.
_OVERDUE = 8 * 86400.0
#: What is later than now by more was entered by a clock that was ahead (seconds).
_AHEAD = 86400.0
REMEDY = "enable its timer (systemctl enable --now dropcap-prune.timer), or run it by hand"


@dataclass(frozen=True, slots=True)
class NotPruned:
    """A folder of which nothing was removed for too long; `since`: when it last was, None if never (seconds since the epoch)."""

    folder: str
    since: float | None


def not_pruned(config: Config, query: Query, folders: Sequence[str], now: float) -> list[NotPruned]:
    """Those of these folders that `dropcap prune` has not dealt with for eight days, or never, while `keep` is set."""
    if not config.keep.ends:
        return []
    last = {folder: float(at) for folder, at in query.metas(PRUNED).items()}
    found = []
    for folder in folders:
        pruned = last.get(folder)
        if pruned is not None and pruned > now + _AHEAD:
            pruned = None
        known = query.known_folder(folder)
        since = pruned if pruned is not None else known.first_seen if known is not None else now
        if now - since > _OVERDUE:
            found.append(NotPruned(folder, pruned))
    return found


def not_pruned_text(overdue: Sequence[NotPruned]) -> str:
    """That these were not pruned, in a sentence without its end."""
    names = ", ".join(shown(one.folder) for one in overdue)
    return f"`keep` is set, but `dropcap prune` has not run for 8 days, so nothing is removed and the disks fill up: {names}"


def retention_remarks(config: Config, query: Query, folders: Sequence[str], now: float) -> Iterator[Remark]:
    """The same for `check`."""
    if overdue := not_pruned(config, query, folders, now):
        yield Remark("warning", in_configuration(f"{config.path}: keep"), not_pruned_text(overdue), REMEDY)
