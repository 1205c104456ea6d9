"""How a job is named in the log."""

from __future__ import annotations

from typing import Any

from dropcap.display import shown
from dropcap.ledger.job import Job


def about(job: Job) -> dict[str, Any]:
    """The keys that every log line about a file carries (design, part 6)."""
    keys: dict[str, Any] = {"job": job.id, "folder": job.folder, "file": shown(job.name)}
    if job.project:
        keys["project"] = job.project
    if job.record:
        keys["record"] = shown(job.record)
    if job.field:
        keys["field"] = job.field
    if job.event:
        keys["redcap_event"] = job.event
    if job.instance is not None:
        keys["instance"] = job.instance
    return keys
