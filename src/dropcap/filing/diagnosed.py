"""A failed job as people are told of it: what is wrong with its name, and whether a file of the right name was stored before."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime

from dropcap.config.model import Folder
from dropcap.files import names
from dropcap.filing.failure import Failure, StoredTwin
from dropcap.ledger.job import Job
from dropcap.ledger.query import Query
from dropcap.naming.doctor import diagnose
from dropcap.naming.finding import Diagnosis
from dropcap.reasons import Reason
from dropcap.routing.route import Route, route, settings_for
from dropcap.routing.target import NEXT, ExistingFile, Target

_OF_NAMES = frozenset({Reason.NO_RULE, Reason.BAD_VALUE})


def told_by_name(folder: Folder, name: str) -> Target | None:
    """Where a file goes as far as its name tells those who drop it; None if no rule takes it.

    A record that a table has for a word of the name is left out: the name does not say it, as it does not say one that is found
    by its values.
    """
    found = route(folder.rules, folder.name, name)
    if not isinstance(found, Route):
        return None
    translated = found.rule.record is not None and bool(found.rule.record.tables)
    return replace(found.target, record="") if translated else found.target


def failure_of(
    job: Job, reason: str, message: str, when: datetime, folder: Folder, query: Query, sha256: Callable[[], str]
) -> Failure:
    """What people are told of `job`, which failed for `reason`. `sha256` reads the job's file; it may raise OSError."""
    told = told_by_name(folder, job.name)
    diagnosis = diagnose(folder.rules, folder.name, job.name) if reason in _OF_NAMES and told is None else None
    twin, replaces = None, False
    if diagnosis is not None and diagnosis.suggestion is not None:
        meant = names.join(names.split(job.name)[0], diagnosis.suggestion)
        found = route(folder.rules, folder.name, meant)
        if isinstance(found, Route) and found.target.instance != NEXT:
            twin = _twin(job, meant, when, query, sha256)
            replaces = found.settings.existing_file is not ExistingFile.REFUSE
    return Failure(
        name=job.name,
        job=job.id,
        reason=reason,
        when=when,
        record=told.record if told is not None else "",
        field=told.field if told is not None else "",
        size=job.size,
        attempts=job.attempts,
        diagnosis=diagnosis if diagnosis is not None or reason not in _OF_NAMES else Diagnosis(()),
        twin=twin,
        replaces=replaces,
        similar=message if reason == Reason.RECORD_DIFFERS and told and told.record and _suggests(folder, job.name) else "",
    )


def _suggests(folder: Folder, name: str) -> bool:
    settings = settings_for(folder.rules, name)
    return settings is not None and settings.suggest_records


def _twin(job: Job, meant: str, when: datetime, query: Query, sha256: Callable[[], str]) -> StoredTwin | None:
    stored = query.stored_as(job.folder, meant)
    if stored is None or stored.ended_at is None:
        return None
    at = datetime.fromtimestamp(stored.ended_at, when.tzinfo)
    same = False
    if stored.size == job.size and stored.sha256:
        with contextlib.suppress(OSError):
            same = sha256() == stored.sha256
    return StoredTwin(at, same)
