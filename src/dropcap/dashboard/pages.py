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
from typing import Any
from urllib.parse import parse_qs

from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse

from dropcap.config.model import Config
from dropcap.dashboard import texts
from dropcap.dashboard.gate import LONGEST
from dropcap.dashboard.tester import MOST, tested, wrong_with
from dropcap.dashboard.texts import count, folder_notes, progress, server_note, size, span, state_of, target_of, when
from dropcap.dashboard.wires import Wires
from dropcap.display import shown
from dropcap.ledger.job import OPEN, Event, Job, Result, State
from dropcap.ledger.reports import BUCKETS, Figures
from dropcap.picture.facts import FailureGroup, FolderNow, Picture, ProjectNow, ServerNow, UploadFacts
from dropcap.reasons import NextAct, Reason, Scope, explained


@dataclass(frozen=True, slots=True)
class LifeStep:
    """One point of the timeline."""

    at: str
    day: str
    mark: str  # good, wait, bad, or none
    title: str
    note: str


@dataclass(frozen=True, slots=True)
class Share:
    """What a part of the time was spent with; `x` and `width` are of 1000."""

    name: str
    look: str
    time: str
    x: float
    width: float


_TITLES = {
    State.WAITING: ("", "Waits for its turn"),
    State.HELD: ("bad", "Held: somebody has to look"),
    State.SENDING: ("", "Sent"),
    State.UNKNOWN: ("wait", "Sent, and nobody knows whether it arrived"),
    State.STORED: ("good", "REDCap has it"),
    State.REFUSED: ("bad", "Will not be stored as it is"),
    State.DONE: ("good", "Filed in done/"),
    State.FAILED: ("bad", "Filed in failed/"),
    State.WITHDRAWN: ("wait", "Taken away by somebody"),
}
_CONFIRMED = {
    "readback": "REDCap gave back the same bytes",
    "listed": "the record lists a file",
    "none": "not looked at; REDCap's answer alone",
}
_RESULTS: dict[str, str] = {
    Result.STORED: "Stored",
    Result.REPLACED: "Stored, in place of what the field held",
    Result.ALREADY_THERE: "Already there: REDCap held the same bytes",
}
#: Of each state: what the time was spent with, and how that looks.
_SPENT = {
    State.WAITING: ("waiting", "b"),
    State.HELD: ("held", "d"),
    State.SENDING: ("looking and sending", "a"),
    State.UNKNOWN: ("waiting to be read back", "b"),
    State.STORED: ("filing", "c"),
    State.REFUSED: ("filing", "c"),
}


def steps(events: Sequence[Event], rule: str) -> list[LifeStep]:
    """The timeline; the first step of a file is that it was taken."""
    found = []
    for number, event in enumerate(events):
        told = datetime.fromtimestamp(event.at)  # noqa: DTZ006 - people's own time
        mark, title = ("", "Taken") if number == 0 else _TITLES[event.state]
        if event.state is State.SENDING and number == len(events) - 1:
            title = "Being sent"
        word = Reason.of(event.note, Reason.NONE)
        note = explained(word).title if word else shown(event.note)
        if number == 0:
            note = "Moved to in_progress/." + (f" The rule “{shown(rule)}” takes it." if rule else " No rule takes it.")
        found.append(LifeStep(f"{told:%H:%M:%S}", f"{told:%A} {told.day} {told:%B %Y}", mark, title, note[:1].upper() + note[1:]))
    return found


def shares(events: Sequence[Event], job: Job, now: float) -> list[Share]:
    """Where the time went, the parts of each kind together, in the order in which they came first."""
    ends = [*events, Event(job.id, now, job.state, "")] if job.state in OPEN else list(events)
    spent: dict[tuple[str, str], float] = {}
    for begin, end in pairwise(ends):
        kind = _SPENT.get(begin.state)
        if kind is not None:
            spent[kind] = spent.get(kind, 0.0) + max(end.at - begin.at, 0.0)
    total, x = sum(spent.values()), 0.0
    if total <= 0:
        return []
    found = []
    for (name, look), seconds in spent.items():
        width = 1000 * seconds / total
        found.append(Share(name, look, span(seconds), x, max(width - 4, 1)))
        x += width
    return found


def life_in_a_sentence(job: Job) -> tuple[str, str]:
    """The mark and what became of it."""
    mark, words = state_of(job)
    if job.state is State.DONE and job.ended_at is not None:
        took = span(job.ended_at - job.claimed_at)
        how = _CONFIRMED.get(job.confirmed or "", "")
        result = _RESULTS.get(job.result or "", "Stored")
        return mark, f"{result} at {when(job.ended_at)}, {took} after it was taken" + (f": {how}." if how else ".")
    if job.reason:
        return (
            mark,
            f"{words[:1].upper()}{words[1:]} since {when(job.ended_at or job.changed_at)}: {explained(job.reason).title}.",
        )
    return mark, f"{words[:1].upper()}{words[1:]} since {when(job.changed_at)}."


def facts(job: Job, config: Config) -> list[tuple[str, str]]:
    """What stands beside the timeline."""
    project = config.projects.get(job.project)
    digest = job.sha256 or ""
    lies = f"in_progress/{job.name}" if job.state in OPEN else (job.filed_as or "") if job.tried_again is None else ""
    told = {
        "Folder": shown(job.folder),
        "Goes to": target_of(job),
        "Project": job.project + (f", on {project.host}" if project is not None else ""),
        "Rule": shown(job.rule),
        "Dropped as": shown(job.name),
        "Lies in": shown(lies),
        "Size": f"{size(job.size)} ({job.size:,} bytes)" if job.size >= 1024 else size(job.size),
        "Sent": count(job.attempts, "time", "times") if job.attempts else "",
        "Confirmed": _CONFIRMED.get(job.confirmed or "", ""),
        "What REDCap held": "kept: dropcap preserved" if job.preserved_sha256 else "",
        "SHA-256": " ".join(digest[at : at + 8] for at in range(0, len(digest), 8)),
        "Job": str(job.id),
    }
    return [(name, text) for name, text in told.items() if text]


def may_retry(job: Job) -> bool:
    """Whether `retry` can do something for it."""
    return job.state is State.HELD or (job.state is State.FAILED and job.tried_again is None and job.filed_as is not None)


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


#: Waiting files that the page names.
WAITING = 20
#: Seconds between two counts of what runs, as old as the numbers beside the plots; and of how long files took.
_OFTEN, _RARELY = 1.0, 5.0


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
        of = explained(group.reason)
        title = f"Held: {of.within}" if group.state is State.HELD else of.title
        rows.append(GroupRow(group, title, texts.sentence(group.remedy), of.act is not NextAct.RENAME))
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


#: Files on one page of the list.
A_PAGE = 50
#: Files that are tried again without a question.
_FEW = 20
#: And at once, in one go.
_MOST = 20_000
#: Seconds that what is shown may be old.
_FRESH = 1.0
_STATES = {
    "on its way": (State.WAITING, State.SENDING, State.UNKNOWN, State.STORED, State.REFUSED),
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

    def __init__(self, wires: Wires) -> None:
        self._wires = wires
        self._plotter = Plotter(wires.figures)

    def now(self) -> dict[str, Any]:
        """The first page."""
        picture = self._wires.picture(_FRESH)
        mark, head, text = texts.verdict(picture)
        total = sum(one.waiting for one in picture.folders)
        return {
            "title": f"{head.rstrip('.')}: dropcap",
            "as_of": texts.second(picture.at),
            "mark": mark,
            "head": head,
            "text": text,
            "picture": picture,
            "groups": group_rows(picture),
            "folders": folder_rows(picture),
            "servers": server_rows(picture),
            "uploads": upload_rows(picture),
            "waiting": waiting(self._wires.figures) if total else [],
            "waiting_total": total,
            "plots": self._plotter.plots(),
        }

    def files(self, asked: dict[str, str]) -> dict[str, Any]:
        """A list of files, newest first, by what was asked for."""
        text, folder, which = asked.get("q", "")[:200].strip(), asked.get("folder", ""), asked.get("state", "")
        reason = asked.get("reason")
        before = int(asked["before"]) if asked.get("before", "").isdecimal() and len(asked["before"]) < 19 else None
        names = sorted(self._wires.config().folders)
        if reason is not None and folder and which in (State.HELD, State.FAILED):
            jobs = self._wires.figures.of_group(folder, State(which), reason, A_PAGE + 1, before)
        else:
            reason = None
            jobs = self._wires.figures.found(text, folder or None, _STATES.get(which, ()), A_PAGE + 1, before)
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
        job = self._wires.figures.job(number) if number < 2**63 else None
        if job is None:
            return None
        events = self._wires.figures.history(job.id)
        mark, sentence = life_in_a_sentence(job)
        picture = self._wires.picture(_FRESH)
        upload = next((one for one in upload_rows(picture) if one.upload.job == job.id), None)
        return {
            "job": job,
            "name": shown(job.name),
            "mark": mark,
            "sentence": sentence,
            "shares": shares(events, job, picture.at),
            "days": [(day, list(steps)) for day, steps in groupby(steps(events, job.rule), lambda step: step.day)],
            "facts": facts(job, self._wires.config()),
            "retry": may_retry(job),
            "wrong": self._wrong_with(job),
            "upload": upload,
            "before": job.again_of or job.back_of,
            "after": job.tried_again if job.tried_again != job.id else None,
        }

    def _wrong_with(self, job: Job) -> list[str]:
        folder = self._wires.config().folders.get(job.folder)
        of_its_name = job.state in (State.HELD, State.FAILED) and job.reason in (Reason.NO_RULE, Reason.BAD_VALUE)
        return wrong_with(folder, job.name) if folder is not None and of_its_name else []

    def rules(self, asked: dict[str, str]) -> dict[str, Any]:
        """The rule tester."""
        folders = self._wires.config().folders
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
            job = self._wires.figures.job(int(form["job"]))
            return None if job is None else Chosen([job.id], shown(job.name), {"job": form["job"]}, f"/files/{job.id}")
        folder, state, reason = form.get("folder", ""), form.get("state", ""), form.get("reason", "")
        if not folder or state not in (State.HELD, State.FAILED):
            return None
        jobs: list[Job] = self._wires.figures.of_group(folder, State(state), reason, _MOST)
        title = f"{explained(reason).title}, in {shown(folder)}"
        return Chosen([job.id for job in jobs], title, {"folder": folder, "state": state, "reason": reason}, "/")

    def can_be_paused(self, scope: str, name: str) -> bool:
        """Whether there is such a server, project or folder; what is paused can go on though it is no longer there."""
        config = self._wires.config()
        known = {
            Scope.FOLDER: set(config.folders),
            Scope.PROJECT: set(config.projects),
            Scope.SERVER: {one.host for one in config.projects.values()} | {one.server for one in config.projects.values()},
        }
        paused = {(pause.scope, pause.name) for pause in self._wires.picture(_FRESH).pauses}
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
            "when": texts.when,
            "size": texts.size,
            "second": texts.second,
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
