"""One file's whole life: a sentence, where the time went, and every step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise

from dropcap.config.model import Config
from dropcap.dashboard.texts import count, size, span, state_of, target_of, when
from dropcap.display import shown
from dropcap.ledger.job import OPEN, Event, Job, State
from dropcap.ledger.outcome import Result
from dropcap.picture.words import title_of
from dropcap.reasons import Reason


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
        note = title_of(word) if word else shown(event.note)
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


def sentence(job: Job) -> tuple[str, str]:
    """The mark and what became of it."""
    mark, words = state_of(job)
    if job.state is State.DONE and job.ended_at is not None:
        took = span(job.ended_at - job.claimed_at)
        how = _CONFIRMED.get(job.confirmed or "", "")
        result = _RESULTS.get(job.result or "", "Stored")
        return mark, f"{result} at {when(job.ended_at)}, {took} after it was taken" + (f": {how}." if how else ".")
    if job.reason:
        return mark, f"{words[:1].upper()}{words[1:]} since {when(job.ended_at or job.changed_at)}: {title_of(job.reason)}."
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
