"""What a report tells of a period, gathered from the ledger."""

from __future__ import annotations

import bisect
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from functools import lru_cache
from typing import Any

from dropcap.cli.report_plots import TIME_WORDS, TIMES
from dropcap.ledger.act import Act
from dropcap.ledger.job import Job, State
from dropcap.ledger.query import Query, WantedJobs

#: States in which REDCap has the file.
_THERE = frozenset({State.DONE, State.STORED})
#: States in which it will not have it by itself.
_NOT = frozenset({State.FAILED, State.REFUSED, State.WITHDRAWN})


@dataclass(slots=True)
class ReportFacts:
    """The figures of a period: of the files that were dropped in it."""

    dropped: int = 0
    there: int = 0
    results: Counter[str] = field(default_factory=Counter)
    confirmed: Counter[str] = field(default_factory=Counter)
    kept: int = 0
    not_there: int = 0
    again: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    on_the_way: int = 0
    done_days: Counter[date] = field(default_factory=Counter)
    failed_days: Counter[date] = field(default_factory=Counter)
    times: list[int] = field(default_factory=lambda: [0] * len(TIME_WORDS))
    droppers: Counter[str] = field(default_factory=Counter)
    versions: Counter[str] = field(default_factory=Counter)
    configurations: Counter[str] = field(default_factory=Counter)
    redcaps: Counter[str] = field(default_factory=Counter)

    def add(self, job: Job, origin: Mapping[str, Any]) -> None:
        """Count one job."""
        self.dropped += 1
        day = local(job.claimed_at).date()
        if job.state in _THERE:
            self.there += 1
            self.results[job.result or "stored"] += 1
            self.confirmed[job.confirmed or "none"] += 1
            self.kept += job.preserved_sha256 is not None
            self.done_days[day] += 1
            if job.ended_at is not None:
                self.times[bisect.bisect_left(TIMES, max(0.0, job.ended_at - job.claimed_at))] += 1
        elif job.state in _NOT:
            self.not_there += 1
            self.again += job.tried_again not in (None, job.id)
            self.reasons[job.reason or "not known"] += 1
            self.failed_days[day] += 1
        else:
            self.on_the_way += 1
        self.droppers[dropper(job)] += 1
        self.versions[str(origin.get("dropcap") or "before this was kept")] += 1
        self.configurations[str(origin.get("configuration") or "before this was kept")] += 1
        self.redcaps[redcap_of(origin) or f"project {job.project}" if job.project else "no project"] += 1


def gathered(ledger: Query, wanted: WantedJobs) -> Iterator[tuple[Job, Mapping[str, Any]]]:
    """The jobs of a report with the documents of their origin, in their order."""
    origin = lru_cache(256)(ledger.document)
    for job in ledger.each(wanted):
        yield job, origin(job.origin)


def local(seconds: float) -> datetime:
    """A time in this machine's own zone."""
    return datetime.fromtimestamp(seconds).astimezone()


def dropper(job: Job) -> str:
    """Whose file it was at the claim."""
    if job.dropped_by is None:
        return "not known"
    return job.dropped_by_name or f"uid {job.dropped_by}"


def redcap_of(origin: Mapping[str, Any]) -> str:
    """The project that a file went to, in words; empty if that was not kept."""
    told = origin.get("redcap") or {}
    if not told.get("url"):
        return ""
    number = f"project {told['project_id']}" if told.get("project_id") is not None else f"project {told.get('project')}"
    title = f" ({told['title']})" if told.get("title") else ""
    user = f", token of {told['user']}" if told.get("user") else ""
    return f"{number}{title} at {told['url']}{user}"


def interventions(acts: list[Act]) -> list[Act]:
    """The acts of people, without dropcap's own starts and ends."""
    return [act for act in acts if act.what not in ("started", "stopped", "created")]
