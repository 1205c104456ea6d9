"""What the first page shows, put together."""

from __future__ import annotations

import time
from dataclasses import dataclass

from dropcap.dashboard import texts
from dropcap.dashboard.plots import Bars, Row, bars, days, histogram, hours
from dropcap.dashboard.texts import folder_notes, progress, server_note
from dropcap.display import shown
from dropcap.ledger.figures import Figures
from dropcap.ledger.job import Job, State
from dropcap.picture.facts import FailureGroup, FolderNow, Picture, ProjectNow, ServerNow, UploadFacts
from dropcap.picture.words import title_of
from dropcap.reasons import Reason, Scope

#: Waiting files that the page names.
WAITING = 20
#: Seconds between two counts of what runs, as old as the numbers beside the plots; and of how long files took.
_OFTEN, _RARELY = 1.0, 5.0
#: Only another name, or another rule, helps these.
_BY_NAME = frozenset({Reason.NO_RULE, Reason.BAD_VALUE, Reason.BLOCKED_EXTENSION})


@dataclass(frozen=True, slots=True)
class GroupRow:
    """Files that wait for a person, with their one act."""

    group: FailureGroup
    title: str
    note: str
    retry: bool


@dataclass(frozen=True, slots=True)
class FolderRow:
    folder: FolderNow
    notes: list[str]
    paused: bool


@dataclass(frozen=True, slots=True)
class ServerRow:
    """One way to a REDCap, and the projects that go it."""

    server: ServerNow
    note: str
    by_itself: bool  # paused, and asked again by itself
    projects: list[ProjectNow]


@dataclass(frozen=True, slots=True)
class UploadRow:
    upload: UploadFacts
    name: str
    text: str
    percent: int


@dataclass(frozen=True, slots=True)
class Plots:
    day: Bars
    month: Bars
    took: list[Row]


def group_rows(picture: Picture) -> list[GroupRow]:
    """By number of files, the most first."""
    rows = []
    for group in picture.groups:
        title = title_of(group.reason)
        title = (
            f"Held: {title[:1].lower() + title[1:] if title[1:2].islower() else title}" if group.state is State.HELD else title
        )
        reason = Reason.of(group.reason, Reason.REFUSED)
        rows.append(GroupRow(group, title, texts.sentence(group.remedy), reason not in _BY_NAME))
    return rows


def folder_rows(picture: Picture) -> list[FolderRow]:
    """Not-well first, as well as all others by name."""
    rows = [
        FolderRow(one, folder_notes(one, picture), picture.paused(Scope.FOLDER, one.name) is not None) for one in picture.folders
    ]
    return sorted(rows, key=lambda row: (not row.folder.ill, row.folder.name))


def server_rows(picture: Picture) -> list[ServerRow]:
    """Not-well first."""
    rows = [
        ServerRow(
            one,
            server_note(one),
            one.pause is not None and not one.pause.until_resume,
            [project for project in picture.projects if project.server == one.name],
        )
        for one in picture.servers
    ]
    return sorted(rows, key=lambda row: (row.server.pause is None, row.server.name))


def upload_rows(picture: Picture) -> list[UploadRow]:
    """What is being sent now."""
    return [
        UploadRow(one, shown(f"{one.folder}/{one.name}"), progress(one), min(100 * one.sent // one.size, 100) if one.size else 0)
        for one in picture.uploads
    ]


def waiting(figures: Figures) -> list[Job]:
    """The files that wait longest."""
    return figures.in_state((State.WAITING, State.UNKNOWN, State.STORED, State.REFUSED), None, WAITING)


class _Spans:
    """Files per hour or day: what is over is counted once, what runs every few seconds."""

    def __init__(self, figures: Figures) -> None:
        self._figures = figures
        self._known: tuple[list[float], list[tuple[int, int]], float] | None = None

    def counted(self, edges: list[float]) -> list[tuple[int, int]]:
        now = time.monotonic()
        if self._known is None or self._known[0] != edges:
            self._known = (edges, self._figures.per_span(edges), now)
        elif now - self._known[2] > _OFTEN:
            self._known = (edges, [*self._known[1][:-1], *self._figures.per_span(edges[-2:])], now)
        return self._known[1]


class Plotter:
    """Draws the plots. Any thread; counted twice at worst."""

    def __init__(self, figures: Figures) -> None:
        self._figures = figures
        self._day, self._month = _Spans(figures), _Spans(figures)
        self._took: tuple[float, list[Row]] | None = None

    def plots(self) -> Plots:
        """As they are now. Raises DatabaseError."""
        now, monotonic = time.time(), time.monotonic()
        if self._took is None or monotonic - self._took[0] > _RARELY:
            self._took = (monotonic, histogram(self._figures.took(days(now)[-3])))
        day, month = hours(now), days(now)
        return Plots(bars(day, self._day.counted(day), "hour"), bars(month, self._month.counted(month), "day"), self._took[1])
