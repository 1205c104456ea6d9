"""A job that is over but for its file's move: what the ledger, the log and people are told of it."""

from __future__ import annotations

import time
from dataclasses import dataclass

import structlog

from dropcap.display import shown
from dropcap.ledger.job import Change, Job, Refused, Result, State, Stored, about
from dropcap.reasons import Reason

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Ending:
    """A job that is over but for its file's move. `entered`: the ledger knows already."""

    job: Job
    outcome: Stored | Refused
    entered: bool = False


def outcome_of(job: Job) -> Stored | Refused:
    """What had come of a job that the ledger knows to be over."""
    if job.state is State.STORED:
        result = next((one for one in Result if one == job.result), Result.STORED)
        confirmed, sha256, seconds = job.confirmed or "none", job.sha256 or "", job.seconds or 0.0
        return Stored(result, confirmed, sha256, job.size, seconds, job.sent_ctime_ns, job.instance)
    return Refused(Reason.of(job.reason, Reason.REFUSED), job.message or "", job.remedy or "")


def as_entered(ending: Ending) -> Change:
    """What enters that the job is over, before its file is moved."""
    outcome = ending.outcome
    if isinstance(outcome, Stored):
        columns = {
            "result": outcome.result,
            "confirmed": outcome.confirmed,
            "sha256": outcome.sha256,
            "sent_ctime_ns": outcome.ctime_ns,
            "instance": outcome.instance,
            "seconds": outcome.seconds,
            "reason": None,
            "message": None,
            "remedy": None,
        }
        return Change(ending.job.id, State.STORED, outcome.result, columns)
    told = {"reason": outcome.reason, "message": outcome.message, "remedy": outcome.remedy}
    return Change(ending.job.id, State.REFUSED, outcome.reason, told)


def as_filed(ending: Ending, filed_as: str | None) -> Change:
    """What enters where the file lies now; None: a person has taken it."""
    if isinstance(ending.outcome, Stored):
        note = f"filed as {shown(filed_as)}" if filed_as else "its file was taken out of in_progress/ before it was filed"
        return Change(ending.job.id, State.DONE, note, {"filed_as": filed_as})
    if filed_as is None:
        return Change(ending.job.id, State.WITHDRAWN, "its file was taken out of in_progress/", {})
    return Change(ending.job.id, State.FAILED, f"filed as {shown(filed_as)}", {"filed_as": filed_as})


def log_end(ending: Ending, filed_as: str) -> None:
    """One line for its end."""
    job, outcome = ending.job, ending.outcome
    keys = about(job)
    keys["filed_as"] = shown(filed_as)
    keys["attempts"] = job.attempts
    if isinstance(outcome, Stored):
        log.info(
            "done",
            **keys,
            result=outcome.result,
            confirmed=outcome.confirmed,
            sha256=outcome.sha256,
            size=outcome.size,
            seconds=round(outcome.seconds, 3),
            since_claim=round(time.time() - job.claimed_at, 3),
        )
    elif filed_as:
        log.warning("failed", **keys, reason=outcome.reason, message=outcome.message, remedy=outcome.remedy)
    else:
        log.warning("withdrawn", **keys, reason=Reason.VANISHED)
