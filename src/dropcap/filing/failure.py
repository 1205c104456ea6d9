"""Why a job failed, as it is told to the people who drop files."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from dropcap.naming.finding import Diagnosis


@dataclass(frozen=True, slots=True)
class StoredTwin:
    """A file of the suggested name that was stored `at` already. `same`: it has the same bytes."""

    at: datetime
    same: bool


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a job failed, for people.

    It has only what the file's name tells, and no words of REDCap's: those who drop may not learn from it which record has a
    hospital number. `name` is the file's name as it was dropped, relative to the drop folder; `when` is when it failed, with a
    time zone. `record` is the record as the name tells it, empty if it does not. `diagnosis` says what is wrong with the name, if
    that is what is wrong; `replaces`: what goes by the suggested name takes the place of what REDCap holds. `similar` names
    records that are written almost like this one, where `suggest_records` has them told.
    """

    name: str
    job: int
    reason: str
    when: datetime
    record: str = ""
    field: str = ""
    size: int = 0
    attempts: int = 0
    diagnosis: Diagnosis | None = None
    twin: StoredTwin | None = None
    replaces: bool = True
    similar: str = ""
