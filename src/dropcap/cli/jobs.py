"""A job in words and as JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from dropcap.config.model import Config
from dropcap.delivery.plan import RECORD_WAIT_ENDS
from dropcap.display import shown
from dropcap.ledger.job import OPEN, Event, Job, State
from dropcap.reasons import Reason

_WORDS = {
    State.WAITING: "waiting",
    State.HELD: "held",
    State.SENDING: "being sent",
    State.UNKNOWN: "sent, to be read back",
    State.STORED: "stored, to be filed",
    State.REFUSED: "refused, to be filed",
    State.DONE: "done",
    State.FAILED: "failed",
    State.WITHDRAWN: "withdrawn",
}

#: Of a file that was taken away after it was sent, and moved back under another name: whether REDCap has it under the old one.
FOUND = {"yes": "found in REDCap", "no": "not in REDCap", "other": "not in REDCap", "unknown": "perhaps in REDCap"}


def clock(seconds: float) -> str:
    """A time for people: local, to the second."""
    return datetime.fromtimestamp(seconds).strftime("%Y-%m-%d %H:%M:%S")  # noqa: DTZ006 - people's own time


def minute(seconds: float) -> str:
    """A time for people, in a column of a table."""
    return clock(seconds)[:-3]


def stamp(seconds: float | None) -> str | None:
    """A time for programs, as in the log: RFC 3339, UTC, milliseconds."""
    if seconds is None:
        return None
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def file_of(job: Job) -> str:
    """Folder and name."""
    return f"{job.folder}/{shown(job.name)}"


def state_of(job: Job) -> str:
    """The state in words."""
    return _WORDS[job.state]


def result_of(job: Job) -> str:
    """The state in words, and what came of it."""
    if job.state is State.DONE:
        return f"done: {(job.result or 'stored').replace('_', ' ')}"
    if job.found is not None:
        return f"withdrawn: {FOUND.get(job.found, job.found)}"
    if job.reason and job.state is not State.SENDING:
        return f"{_WORDS[job.state]}: {job.reason}"
    return _WORDS[job.state]


def short_target_of(job: Job) -> str:
    """The place in REDCap as far as it is known, in a column of a table."""
    instance = None if job.instance is None else f"({job.instance})"
    return " ".join(shown(part) for part in (job.record, job.event, job.field, instance) if part)


def place_of(job: Job) -> str | None:
    """Where the file lies, in its drop folder; None if dropcap does not have it any more."""
    if job.state in OPEN:
        return f"in_progress/{job.name}"
    return None if job.tried_again is not None else job.filed_as


def waits_until(job: Job) -> float | None:
    """When waiting for a missing record ends, for a job that does."""
    waits = job.state in (State.WAITING, State.UNKNOWN) and job.reason == Reason.NO_RECORD
    return job.claimed_at + RECORD_WAIT_ENDS if waits else None


def as_json(
    config: Config, job: Job, steps: Sequence[Event] | None = None, origin: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """The keys that docs/commands.md promises. `origin` is the document of that SHA-256."""
    place, kept = place_of(job), config.kept_at(job.folder, job.preserved_as)
    told: dict[str, Any] = {
        "job": job.id,
        "folder": job.folder,
        "file": shown(job.name),
        "state": job.state.value,
        "lies_in": None if place is None else shown(place),
        "project": job.project or None,
        "rule": job.rule or None,
        "record": shown(job.record) or None,
        "redcap_event": job.event,
        "field": job.field or None,
        "instance": job.instance,
        "size": job.size,
        "sha256": job.sha256,
        "attempts": job.attempts,
        "result": job.result,
        "confirmed": job.confirmed,
        "reason": job.reason,
        "message": job.message,
        "remedy": job.remedy,
        "preserved_as": None if kept is None else shown(kept),
        "preserved_sha256": job.preserved_sha256,
        "again_of": job.again_of,
        "back_of": job.back_of,
        "found": job.found,
        "tried_again": None if job.tried_again == job.id else job.tried_again,
        "claimed": stamp(job.claimed_at),
        "changed": stamp(job.changed_at),
        "ended": stamp(job.ended_at),
        "seconds": job.seconds,
        "next_try": stamp(job.due) if job.due and job.state in (State.WAITING, State.UNKNOWN) else None,
        "waits_until": stamp(waits_until(job)),
    }
    if origin is not None:
        told["dropped_by"] = None if job.dropped_by is None else {"uid": job.dropped_by, "name": job.dropped_by_name}
        told["origin"] = dict(origin) or None
    if steps is not None:
        told["steps"] = [{"at": stamp(step.at), "state": step.state.value, "note": step.note} for step in steps]
    return told
