"""What is to be told: a trouble at its beginning and at its end, and files that wait for somebody, gathered."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from dropcap.config.model import Notify
from dropcap.picture.facts import Condition, Picture, conditions
from dropcap.reasons import Told, explained

#: Names of files in one notification, for those who may have them.
MOST_NAMES = 10


@dataclass(frozen=True, slots=True)
class Notice:
    """Something to tell. Concerned are `projects` and `folders`, or, without any, all. `names` is for those who may have it."""

    kind: Told
    text: str
    at: float
    projects: tuple[str, ...] = ()
    folders: tuple[str, ...] = ()
    names: str = ""


@dataclass(slots=True)
class _Known:
    """A condition since it was met first. `gone` is since when it is not met any more."""

    kind: str
    text: str
    projects: tuple[str, ...]
    folders: tuple[str, ...]
    first: float
    told: bool = False
    gone: float | None = None


@dataclass(slots=True)
class Files:
    """Files of one folder that have come to wait for somebody: how many for each reason, and the first of their names."""

    reasons: dict[str, int] = field(default_factory=dict)
    strays: int = 0
    names: tuple[str, ...] = ()


class Notices:
    """What was told already, kept over restarts by `kept` and `of`."""

    def __init__(self, now: float) -> None:
        self._known: dict[str, _Known] = {}
        self.files_until = now  # what came to wait for somebody until then is told
        self._strays: dict[str, int] = {}  # how many were told
        self._pending: float | None = None  # since when there are files to tell of

    @classmethod
    def of(cls, kept: Mapping[str, Any], now: float) -> Notices:
        """As it was kept. Raises KeyError, TypeError or ValueError for anything else."""
        notices = cls(min(float(kept["files_until"]), now))  # a clock that was ahead does not keep it silent
        notices._strays = {str(folder): int(number) for folder, number in kept["strays"].items()}
        for key, one in kept["known"].items():
            known = _Known(
                one["kind"],
                one["text"],
                tuple(one["projects"]),
                tuple(one["folders"]),
                min(float(one["first"]), now),
                one["told"],
            )
            notices._known[str(key)] = known
        return notices

    def kept(self) -> dict[str, Any]:
        """What `of` takes."""
        known = {
            key: {"kind": o.kind, "text": o.text, "projects": o.projects, "folders": o.folders, "first": o.first, "told": o.told}
            for key, o in self._known.items()
        }
        return {"files_until": self.files_until, "strays": self._strays, "known": known}

    def look(self, picture: Picture, notify: Notify) -> list[Notice]:
        """What is to be told of troubles now."""
        now, met = picture.at, {one.key: one for one in conditions(picture)}
        told = [notice for one in met.values() for notice in self._begun(one, now, notify.after)]
        return told + [notice for key in [*self._known] if key not in met for notice in self._ended(key, picture, notify.after)]

    def _begun(self, one: Condition, now: float, after: float) -> Iterable[Notice]:
        known = self._known.setdefault(one.key, _Known(one.kind, one.text, one.projects, one.folders, now))
        known.gone, known.first = None, min(known.first, now)  # the clock may have been set back
        if known.told or not (one.at_once or now - known.first >= after):
            return
        known.told, known.text = True, one.text
        yield Notice(one.kind, f"{one.text} {one.remedy}", now, one.projects, one.folders)

    def _ended(self, key: str, picture: Picture, after: float) -> Iterable[Notice]:
        """What goes and comes is told once: it has to stay away as long as it had to last."""
        known = self._known[key]
        known.gone = picture.at if known.gone is None else min(known.gone, picture.at)
        if known.told and picture.at - known.gone < after:
            return
        del self._known[key]
        if known.told:
            there = {folder.name for folder in picture.folders} | {project.name for project in picture.projects}
            left = known.folders and not there & {*known.folders, *known.projects}
            how = "It is no longer in the configuration" if left else "Over"
            yield Notice(Told.RESUMED, f"{how}: {known.text}", picture.at, known.projects, known.folders)

    def pending(self, picture: Picture, waits: bool, digest: float) -> bool:
        """Whether it is time to tell of files; `waits` says whether some have come to wait for somebody since the last time."""
        strays = any(folder.strays > self._strays.get(folder.name, 0) for folder in picture.here)
        for folder in picture.here:  # those that are put right count anew
            self._strays[folder.name] = min(folder.strays, self._strays.get(folder.name, 0))
        if not (waits or strays):
            self._pending = None
            return False
        self._pending = picture.at if self._pending is None else min(self._pending, picture.at)
        return picture.at - self._pending >= digest

    def digest(self, picture: Picture, waiting: Mapping[str, Files]) -> list[Notice]:
        """One notice a folder, of files that have come to wait for somebody until now."""
        notices = []
        for folder in picture.here:
            its = waiting.get(folder.name) or Files()
            its.strays = folder.strays - self._strays.get(folder.name, 0)
            self._strays[folder.name] = folder.strays
            if its.reasons or its.strays > 0:
                text = f"{folder.name}: {'. '.join(_sentences(its))}. Run: dropcap status --folder {folder.name}"
                notices.append(Notice(Told.FILES, text, picture.at, (folder.project,), (folder.name,), ", ".join(its.names)))
        self._pending, self.files_until = None, picture.at
        return notices


def _sentences(its: Files) -> list[str]:
    total = sum(its.reasons.values())
    said = [f"{total} {'file waits' if total == 1 else 'files wait'} for somebody"] if total else []
    said += [f"{explained(reason).title}: {number}" for reason, number in sorted(its.reasons.items(), key=lambda of: -of[1])]
    if its.strays > 0:
        said.append(
            f"{its.strays} {'file lies' if its.strays == 1 else 'files lie'} in done/ or failed/ that dropcap did not put there"
        )
    return said
