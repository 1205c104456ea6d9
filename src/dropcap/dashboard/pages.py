"""The operator's pages, rendered, and what is pushed to browsers."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from importlib.resources import files
from itertools import groupby, pairwise
from typing import Any, Protocol
from urllib.parse import parse_qs

from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse

from dropcap.config.model import Config
from dropcap.dashboard import texts
from dropcap.dashboard.gate import LONGEST
from dropcap.dashboard.texts import (
    MOST,
    facts,
    folder_notes,
    life_in_a_sentence,
    may_retry,
    progress,
    server_note,
    shares,
    steps,
    tested,
    wrong_with,
)
from dropcap.delivery.workers import Uploading
from dropcap.display import at_second, shown, size, when
from dropcap.ledger.chain import AuditActor
from dropcap.ledger.job import Job, LikeJobs, State
from dropcap.ledger.reports import BUCKETS, Figures
from dropcap.reasons import NextAct, Reason, Scope, explained
from dropcap.snapshot import GOES_ON, FolderNow, ProjectNow, ServerNow, Snapshot


class Daemon(Protocol):
    """What the page has of the daemon. All may be called from any thread; reading raises DatabaseError."""

    @property
    def figures(self) -> Figures: ...

    @property
    def config(self) -> Config: ...

    def snapshot(self, oldest: float) -> Snapshot:
        """What is so now, or was so `oldest` seconds ago at most."""

    def metrics(self) -> bytes: ...

    def answer(self, asked: dict[str, Any], actor: AuditActor) -> dict[str, Any]:
        """What is asked, as by the control socket."""

    def alive(self) -> bool:
        """Whether all loops go round."""


_WIDTH, _ZERO, _UP, _DOWN, _TOP = 314.0, 91, 80, 24, 8


@dataclass(frozen=True, slots=True)
class Bars:
    """One plot as paths; `words` tells what it shows."""

    done: str
    running: str  # the bar that still grows
    failed: str
    labels: tuple[tuple[float, str], ...]
    peak: tuple[float, int] | None
    words: str


@dataclass(frozen=True, slots=True)
class Row:
    """One bucket of the histogram."""

    name: str
    number: int
    width: float  # of 100


def hours(now: float) -> list[float]:
    """The edges of the last 24 hours, the running one last (seconds since the epoch)."""
    full = datetime.fromtimestamp(now).astimezone().replace(minute=0, second=0, microsecond=0).timestamp()
    return [full + 3600.0 * step for step in range(-23, 2)]


def days(now: float) -> list[float]:
    """The edges of the last 30 days, by the calendar."""
    today = datetime.fromtimestamp(now).astimezone().date()
    return [datetime.combine(today + timedelta(days=step), datetime.min.time()).timestamp() for step in range(-29, 2)]


def bars(edges: Sequence[float], numbers: Sequence[tuple[int, int]], unit: str) -> Bars:
    """`numbers` are the done and failed files between each two edges; `unit` is `hour` or `day`."""
    step = _WIDTH / len(numbers)
    wide = max(step - 2, 1)
    most_done = max((done for done, _ in numbers), default=0)
    most_failed = max((failed for _, failed in numbers), default=0)
    done, failed, running = [], [], ""
    for place, (its_done, its_failed) in enumerate(numbers):
        x = place * step + 1
        if its_done:
            height = max(_UP * its_done / most_done, 1.0)
            path = f"M{x:.1f} {_ZERO}v-{height:.1f}h{wide:.1f}v{height:.1f}"
            if place == len(numbers) - 1:
                running = path
            else:
                done.append(path + "z")
        if its_failed:
            failed.append(f"M{x:.1f} {_ZERO + 1}h{wide:.1f}v{max(_DOWN * its_failed / most_failed, 1.5):.1f}h-{wide:.1f}z")
    peak_at = next((place for place, (its, _) in enumerate(numbers) if its and its == most_done), None)
    return Bars(
        "".join(done),
        running,
        "".join(failed),
        _labels(edges, step, unit),
        None if peak_at is None else (min(max((peak_at + 0.5) * step, 10), _WIDTH - 10), most_done),
        _words(edges, numbers, unit),
    )


def _labels(edges: Sequence[float], step: float, unit: str) -> tuple[tuple[float, str], ...]:
    every = 6 if unit == "hour" else 7
    found = []
    for place, (begin, _) in enumerate(pairwise(edges)):
        when = datetime.fromtimestamp(begin)  # noqa: DTZ006 - people's own time
        if place % every == 1 and (place + 0.5) * step < _WIDTH - 45:
            found.append(((place + 0.5) * step, f"{when:%H:%M}" if unit == "hour" else f"{when.day} {when:%b}"))
    return (*found, (_WIDTH - 8, "now" if unit == "hour" else "today"))


def _words(edges: Sequence[float], numbers: Sequence[tuple[int, int]], unit: str) -> str:
    done, failed = sum(its for its, _ in numbers), sum(its for _, its in numbers)
    if not done and not failed:
        return "Nothing was stored, and nothing failed."
    most = max(its for its, _ in numbers)
    at = datetime.fromtimestamp(edges[[its for its, _ in numbers].index(most)])  # noqa: DTZ006 - people's own time
    when = f"from {at:%H:%M}" if unit == "hour" else f"on {at.day} {at:%B}"
    return f"{done:,} stored, at most {most:,} in one {unit}, {when}; {failed:,} failed."


_NAMES = ("≤ 5 s", "≤ 15 s", "≤ 1 min", "≤ 5 min", "≤ 15 min", "≤ 1 h", "≤ 4 h", "≤ 1 day", "> 1 day")


def histogram(numbers: Sequence[int]) -> list[Row]:
    """The buckets as rows, without the empty ones at both ends."""
    assert len(_NAMES) == len(BUCKETS) + 1
    most = max(numbers, default=0) or 1
    used = [place for place, number in enumerate(numbers) if number]
    shown = range(min(used, default=0), max(used, default=0) + 1)
    return [Row(_NAMES[place], numbers[place], 100 * numbers[place] / most) for place in shown if used]


#: Waiting files that the page names, and groups of files that it tells of.
WAITING, GROUPS = 20, 50
#: Seconds between two counts of what runs, as old as the numbers beside the plots; and of how long files took.
_OFTEN, _RARELY = 1.0, 5.0


@dataclass(frozen=True, slots=True)
class GroupRow:
    """Files that wait for a person, with their one act."""

    group: LikeJobs
    title: str
    note: str
    retry: bool

    @property
    def asked(self) -> dict[str, str]:
        """What the list of these files is asked for by."""
        return {"folder": self.group.folder, "state": self.group.state.value, "reason": self.group.reason or ""}


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
    upload: Uploading
    name: str
    text: str
    percent: int


@dataclass(frozen=True, slots=True)
class HostRow:
    name: str
    here: bool
    started: float
    folders: int
    lacks: list[str]


@dataclass(frozen=True, slots=True)
class Plots:
    day: Bars
    month: Bars
    took: list[Row]


def group_rows(now: Snapshot, figures: Figures) -> list[GroupRow]:
    """By number of files, the most first."""
    rows: list[GroupRow] = []
    for group in sorted(now.groups, key=lambda one: -one.count):
        of, newest = explained(group.reason), figures.job(group.job) if len(rows) < GROUPS else None
        title = f"Held: {of.within}" if group.state is State.HELD else of.title
        note = texts.sentence(newest.remedy if newest is not None else "")
        rows.append(GroupRow(group, title, note, of.act is not NextAct.RENAME))
    return rows


def folder_rows(now: Snapshot) -> list[FolderRow]:
    """Not-well first, as well as all others by name."""
    ill = now.ill
    rows = [FolderRow(one, folder_notes(one, now), now.paused(Scope.FOLDER, one.name) is not None) for one in now.configured]
    return sorted(rows, key=lambda row: (row.folder.name not in ill, row.folder.name))


def server_rows(now: Snapshot) -> list[ServerRow]:
    """Not-well first."""
    rows = [
        ServerRow(
            one,
            server_note(one),
            one.pause is not None and not one.pause.until_resume,
            [project for project in now.projects if project.server == one.name],
        )
        for one in now.servers
    ]
    return sorted(rows, key=lambda row: (row.server.pause is None, row.server.name))


def upload_rows(now: Snapshot) -> list[UploadRow]:
    """What is being sent."""
    return [
        UploadRow(
            one, shown(f"{one.folder}/{one.file}"), progress(one, now.at), min(100 * one.sent // one.size, 100) if one.size else 0
        )
        for one in now.uploads
    ]


def host_rows(now: Snapshot) -> list[HostRow]:
    """Those that are alive."""
    names, hosts = {one.name for one in now.configured}, now.hosts
    return [
        HostRow(
            hosts.called(one),
            one.id == now.this_host,
            one.started,
            len(hosts.of(one, names)),
            sorted(names & set(one.lacks)),
        )
        for one in (hosts.alive if hosts is not None else ())
        if hosts is not None
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


#: Files on one page of the list.
A_PAGE = 50
#: Files that are tried again without a question.
_FEW = 20
#: And at once, in one go.
_MOST = 20_000
#: Seconds that what is shown may be old.
_FRESH = 1.0
_STATES = {
    "on its way": GOES_ON,
    "held": (State.HELD,),
    "failed": (State.FAILED,),
    "stored": (State.DONE,),
    "taken away": (State.WITHDRAWN,),
}


@dataclass(frozen=True, slots=True)
class Chosen:
    """Files that are to be tried again. `fields` say which, to be asked once more."""

    jobs: list[int]
    title: str
    fields: dict[str, str]
    back: str

    @property
    def ask_first(self) -> bool:
        return len(self.jobs) > _FEW


class Pages:
    """Any thread. All raise DatabaseError."""

    def __init__(self, daemon: Daemon) -> None:
        self._daemon = daemon
        self._plotter = Plotter(daemon.figures)

    def now(self) -> dict[str, Any]:
        """The first page."""
        now = self._daemon.snapshot(_FRESH)
        mark, head, text = texts.verdict(now)
        total = sum(one.waiting for one in now.configured)
        return {
            "title": f"{head.rstrip('.')}: dropcap",
            "as_of": at_second(now.at),
            "mark": mark,
            "head": head,
            "text": text,
            "problems": now.problems,
            "groups": group_rows(now, self._daemon.figures),
            "folders": folder_rows(now),
            "servers": server_rows(now),
            "hosts": host_rows(now),
            "uploads": upload_rows(now),
            "waiting": waiting(self._daemon.figures) if total else [],
            "waiting_total": total,
            "plots": self._plotter.plots(),
        }

    def files(self, asked: dict[str, str]) -> dict[str, Any]:
        """A list of files, newest first, by what was asked for."""
        text, folder, which = asked.get("q", "")[:200].strip(), asked.get("folder", ""), asked.get("state", "")
        reason = asked.get("reason")
        before = int(asked["before"]) if asked.get("before", "").isdecimal() and len(asked["before"]) < 19 else None
        names = sorted(self._daemon.config.folders)
        if reason is not None and folder and which in (State.HELD, State.FAILED):
            jobs = self._daemon.figures.of_group(folder, State(which), reason, A_PAGE + 1, before)
        else:
            reason = None
            jobs = self._daemon.figures.found(text, folder or None, _STATES.get(which, ()), A_PAGE + 1, before)
        more = jobs[A_PAGE - 1].id if len(jobs) > A_PAGE else None
        kept = {"q": text, "folder": folder, "state": which} | ({"reason": reason} if reason is not None else {})
        return {
            "jobs": jobs[:A_PAGE],
            "more": more,
            "asked": kept,
            "names": names,
            "states": list(_STATES),
            "reason": reason,
            "first": before is None,
        }

    def file(self, number: int) -> dict[str, Any] | None:
        """One file's life; None if there is no such job."""
        job = self._daemon.figures.job(number) if number < 2**63 else None
        if job is None:
            return None
        events = self._daemon.figures.history(job.id)
        mark, sentence = life_in_a_sentence(job)
        now = self._daemon.snapshot(_FRESH)
        upload = next((one for one in upload_rows(now) if one.upload.job == job.id), None)
        return {
            "job": job,
            "name": shown(job.name),
            "mark": mark,
            "sentence": sentence,
            "shares": shares(events, job, now.at),
            "days": [(day, list(steps)) for day, steps in groupby(steps(events, job.rule), lambda step: step.day)],
            "facts": facts(job, self._daemon.config),
            "retry": may_retry(job),
            "wrong": self._wrong_with(job),
            "upload": upload,
            "before": job.again_of or job.back_of,
            "after": job.tried_again if job.tried_again != job.id else None,
        }

    def _wrong_with(self, job: Job) -> list[str]:
        folder = self._daemon.config.folders.get(job.folder)
        of_its_name = job.state in (State.HELD, State.FAILED) and job.reason in (Reason.NO_RULE, Reason.BAD_VALUE)
        return wrong_with(folder, job.name) if folder is not None and of_its_name else []

    def rules(self, asked: dict[str, str]) -> dict[str, Any]:
        """The rule tester."""
        folders = self._daemon.config.folders
        chosen = asked.get("folder", "")
        names = [name.strip("\r") for name in asked.get("names", "").split("\n") if name.strip()]
        its = [folders[chosen]] if chosen in folders else list(folders.values())
        results = tested(its, names)
        marks = [result.mark for result in results]
        said = {"would go": "good", "would not be looked at": "wait", "would fail": "bad"}
        return {
            "folders": list(folders.values()),
            "chosen": chosen if chosen in folders else "",
            "names": asked.get("names", ""),
            "results": results,
            "summary": ", ".join(f"{marks.count(mark)} {words}" for words, mark in said.items() if mark in marks),
            "most": MOST if len(names) > MOST else 0,
        }

    def chosen(self, form: dict[str, str]) -> Chosen | None:
        """Which files are to be tried again; None if that cannot be told."""
        if form.get("job", "").isdecimal() and len(form["job"]) < 19:
            job = self._daemon.figures.job(int(form["job"]))
            return None if job is None else Chosen([job.id], shown(job.name), {"job": form["job"]}, f"/files/{job.id}")
        folder, state, reason = form.get("folder", ""), form.get("state", ""), form.get("reason", "")
        if not folder or state not in (State.HELD, State.FAILED):
            return None
        jobs: list[Job] = self._daemon.figures.of_group(folder, State(state), reason, _MOST)
        title = f"{explained(reason).title}, in {shown(folder)}"
        return Chosen([job.id for job in jobs], title, {"folder": folder, "state": state, "reason": reason}, "/")

    def can_be_paused(self, scope: str, name: str) -> bool:
        """Whether there is such a server, project or folder; what is paused can go on though it is no longer there."""
        config = self._daemon.config
        known = {
            Scope.FOLDER: set(config.folders),
            Scope.PROJECT: set(config.projects),
            Scope.SERVER: {one.host for one in config.projects.values()} | {one.server for one in config.projects.values()},
        }
        paused = {(pause.scope, pause.name) for pause in self._daemon.snapshot(_FRESH).pauses}
        return any(scope == of and name in names for of, names in known.items()) or (scope, name) in paused


@lru_cache(maxsize=1)
def static() -> dict[str, tuple[bytes, str]]:
    """Content and kind of each file."""
    folder = files("dropcap.dashboard") / "static"
    kinds = {"app.css": "text/css; charset=utf-8", "app.js": "text/javascript; charset=utf-8"}
    return {name: ((folder / name).read_bytes(), kind) for name, kind in kinds.items()}


@lru_cache(maxsize=1)
def templates() -> Environment:
    """Everything that they show is escaped."""
    made = Environment(
        loader=PackageLoader("dropcap.dashboard"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters.update(
        {
            "shown": shown,
            "when": when,
            "size": size,
            "second": at_second,
            "target": texts.target_of,
            "sentence": texts.sentence,
        }
    )
    made.globals.update(count=texts.count, state_of=texts.state_of, explained=explained)
    made.globals["version_of"] = lambda name: hashlib.sha256(static()[name][0]).hexdigest()[:12]
    return made


def html(template: str, status: int = 200, **values: Any) -> HTMLResponse:
    """A page. What is no Unicode text in names was escaped before."""
    return HTMLResponse(templates().get_template(template).render(values).encode("utf-8", "replace"), status)


async def form_of(request: Request) -> dict[str, str]:
    """The fields of a form, each once. Raises HTTPException for what is too long or none."""
    body = b""
    async for piece in request.stream():
        body += piece
        if len(body) > LONGEST:
            raise HTTPException(413)
    try:
        return {key: values[-1] for key, values in parse_qs(body.decode("utf-8", "replace"), max_num_fields=50).items()}
    except ValueError:
        raise HTTPException(400) from None
