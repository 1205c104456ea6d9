"""One line of `dropcap check`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from dropcap.config.model import Folder, Project
from dropcap.display import shown
from dropcap.routing.rule import Rule

Level = Literal["ok", "warning", "error", "unsure"]


@dataclass(frozen=True, slots=True)
class Remark:
    """What was found somewhere, and what to do. `later`: time may mend it, as with a server that cannot be reached."""

    level: Level
    where: str
    message: str
    remedy: str = ""
    later: bool = False

    @property
    def text(self) -> str:
        """All but the level."""
        return shown(f"{self.where}: {self.message}" + (f"; {self.remedy}" if self.remedy else ""))

    def __str__(self) -> str:
        return f"{self.level:<8} {self.text}"


def place_of(thing: Folder | Project, rule: Rule | None = None) -> str:
    """Where a project, a folder or one of its rules stands, and what it is called: `FILE:LINE: folder x, rule y`."""
    kind = "folder" if isinstance(thing, Folder) else "project"
    line, name = (thing.line, f"{kind} {thing.name}") if rule is None else (rule.line, f"{kind} {thing.name}, rule {rule.name}")
    return f"{thing.file}:{line}: {name}" if thing.file else name
