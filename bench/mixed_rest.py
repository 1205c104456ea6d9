"""What must be true once a mix of faults (`bench/mixed.py`) is over and everything has come to rest."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.postgres.hosts import Hosts
from tests.site import Daemon

from dropcap.ledger.job import OPEN, Job, State
from dropcap.reasons import Reason
from redcap_sandbox import Request

#: Seconds over which a limit counts.
MINUTE = 60.0


@dataclass(frozen=True)
class Dropped:
    """One file as it was dropped: its bytes, and whether its name goes somewhere by the rules in force at the end."""

    name: str
    folder: str
    sha256: str
    right: bool


def open_jobs(place: Hosts) -> list[Job]:
    """The jobs that are not over, but for those that are rightly held for a newer file to the same place."""
    return [job for job in place.jobs() if job.state in OPEN and not _passed(job)]


def taken(place: Hosts) -> bool:
    """Whether nothing is to be taken or entered any more, but for a held job's file and what waits for its name."""
    held = {f"{job.folder}/{job.name}" for job in place.jobs() if _passed(job)}
    where = [one for files in lies(place).values() for one in files]
    return all(one.split("/")[1] in ("done", "failed") or one.replace("/in_progress/", "/") in held for one in where)


def lies(place: Hosts) -> dict[str, list[str]]:
    """Where the dropped bytes lie, by SHA-256: `d1/done/2026-11-27/NAME`."""
    found: dict[str, list[str]] = {}
    for folder, path in place.folders.items():
        for one in path.rglob("*"):
            if one.is_file() and not one.name.startswith((".", "_STATUS")) and not one.name.endswith((".why.txt", ".json")):
                sha256 = hashlib.sha256(one.read_bytes()).hexdigest()
                found.setdefault(sha256, []).append(f"{folder}/{one.relative_to(path)}")
    return found


def wrong(place: Hosts, files: Iterable[Dropped], started: Mapping[str, Daemon], limit: int) -> list[str]:
    """Everything that is not as it should be, a sentence each."""
    jobs = place.jobs()
    told = [f"stuck: {job.folder}/{job.name} {job.state} {job.reason}: {job.message} (job {job.id})" for job in open_jobs(place)]
    told += _files(place, list(files), jobs)
    told += _order(place, jobs)
    for name, daemon in started.items():
        told += [f"{name}: {line}" for line in daemon.events("internal_error")]
        told += [f"{name}: {line.strip()}" for line in daemon.raw if "Traceback" in line]
    if limit:
        told += _above(place.box.requests, limit)
    return told


def _files(place: Hosts, files: list[Dropped], jobs: list[Job]) -> list[str]:
    """Each file is once in the folders, and in REDCap where it belongs."""
    found, told = lies(place), []
    held = Counter(holding.sha256 for holding in place.box.holdings())
    kept = {hashlib.sha256(one.read_bytes()).hexdigest() for one in (place.root / "preserved").rglob("*") if one.is_file()}
    ended: dict[str, list[Job]] = {}
    for job in jobs:
        if job.sha256:
            ended.setdefault(job.sha256, []).append(job)
    waits = {(job.folder, job.name) for job in jobs if job.state is State.HELD and _passed(job)}
    for file in files:
        where, s = found.get(file.sha256, []), file.sha256
        what = f"{file.folder}/{file.name} {s[:8]}, lies in {where}, jobs {[(j.id, str(j.state)) for j in ended.get(s, [])]}"
        at = [one.split("/")[1] for one in where]
        if len(where) != 1:
            told.append(f"{'lost' if not where else 'twice on disk'}: {what}")
        elif at == ["in_progress"]:
            if (file.folder, where[0].split("/", 2)[2]) not in waits:
                told.append(f"lies in in_progress/ without a job that is held: {what}")
        elif at == ["failed"]:
            why = place.folders[file.folder] / f"{where[0].partition('/')[2]}.why.txt"
            if file.right or not why.exists():
                told.append(f"failed wrongly, or without a text: {what}: {why.read_text() if why.exists() else ''}")
        elif at != ["done"]:
            if (file.folder, where[0].split("/", 1)[1]) in waits:
                continue  # one of its name is held
            told.append(f"not taken: {what}")
        elif not held[s] and s not in kept:
            told.append(f"falsely done: {what}")
        if held[s] > 1:
            told.append(f"twice in REDCap: {what}")
        if "_lab" in file.name and at == ["done"] and held[s] != 1:
            told.append(f"in {held[s]} instances: {what}")
    return told + [f"nobody dropped what {one} holds" for one in place.box.holdings() if one.sha256 not in found]


def _order(place: Hosts, jobs: list[Job]) -> list[str]:
    """Every place holds what was claimed last for it, under the record of its name."""
    last: dict[tuple[str, str | None, str, int | None], Job] = {}
    told = []
    for job in jobs:
        if job.state is State.DONE:
            last[(job.record, job.event, job.field, job.instance)] = job
            if not Path(job.name).name.startswith(f"{job.record}_"):
                told.append(f"to another record: {job}")
    for job in jobs:
        if _passed(job):
            newer = last.get((job.record, job.event, job.field, job.instance))
            if newer is None or newer.id < job.id:
                told.append(f"held for a newer one that is not there: {job}")
    holds = {(one.record, one.event, one.field, one.instance): one.sha256 for one in place.box.holdings()}
    for (record, event, field, instance), job in last.items():
        there = holds.get((record, event, field, instance))
        if there != job.sha256:
            told.append(
                f"{record} {event} {field} {instance} holds {(there or '')[:8]}, not {(job.sha256 or '')[:8]} of job {job.id}"
            )
    return told


def _above(requests: list[Request], limit: int) -> list[str]:
    """The minute with the most requests, if those are more than the limit."""
    times, most, first = sorted(one.time for one in requests), 0, 0
    for number, time in enumerate(times):
        while times[first] <= time - MINUTE:
            first += 1
        most = max(most, number - first + 1)
    print(f"at most {most} requests in a minute; the limit is {limit}")
    return [f"{most} requests within a minute, above {limit}"] if most > limit else []


def _passed(job: Job) -> bool:
    return job.state is State.HELD and job.reason == Reason.NEWER_WENT
