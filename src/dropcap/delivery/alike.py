"""Refusals in the same words, one after the other: perhaps it is the project that takes nothing, and no file is at fault."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field

from dropcap.ledger.job import Job
from dropcap.ledger.outcome import Later, Outcome, Refused
from dropcap.reasons import Reason, Scope

#: Different files that REDCap refuses alike, with none stored in between, before it counts as the project's trouble.
IN_A_ROW = 3
_REMEDY = (
    "see in REDCap whether the project and its forms take files; dropcap tries one file at a time, and goes on by itself once "
    "one is taken. If these files are at fault, take them out of in_progress/"
)


@dataclass(slots=True)
class _Row:
    """What REDCap says, to which files (folder and name: one that is dropped again and again is one), and whether that counts as
    the project's trouble."""

    words: str
    files: set[tuple[str, str]] = field(default_factory=set)
    believed: bool = False


class Alike:
    """Counts, by project. Safe for threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._rows: dict[str, _Row] = {}

    def stored(self, project: str) -> None:
        """The project takes files."""
        with self._lock:
            self._rows.pop(project, None)

    def judge(self, job: Job, refused: Refused, *, paused: bool) -> Outcome:
        """What becomes of a file that REDCap refuses in words that nobody knows. `paused`: its project is, for such refusals."""
        if not refused.alike:
            return refused
        with self._lock:
            row = self._rows.get(job.project)
            if row is None or row.words != refused.alike:
                row = self._rows[job.project] = _Row(refused.alike)
            row.files.add((job.folder, job.name))
            row.believed = row.believed or paused or len(row.files) >= IN_A_ROW
            if not row.believed:
                return refused
        told = f"REDCap refuses one file of this project after the other: {refused.message}"
        return Later(Reason.REFUSED, told, _REMEDY, Scope.PROJECT, certain=True)
