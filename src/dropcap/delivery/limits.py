"""How large a file a server takes, as far as it has refused some for their size.

Two files at least must have been refused, and no file as large may have arrived since; after a day all is forgotten. What is
known so keeps files from being sent for nothing, but for those that a person has tried again.
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from dropcap.ledger.job import Job
from dropcap.ledger.outcome import Held, Refused
from dropcap.ledger.store import Ledger
from dropcap.reasons import Reason

KIND = "too_large"
_DAY = 86400.0
#: No server that takes files has a limit below this: what refuses smaller ones for their size has another trouble (bytes).
LEAST = 512 * 1024
#: Files that must have been refused, and sends of one file that must have broken off.
_FILES, _BREAKS = 2, 3


@dataclass(frozen=True, slots=True)
class Limit:
    """Files of `size` bytes and more are refused: `files` of them were."""

    size: int
    files: int

    def __str__(self) -> str:
        return f"the server has refused {self.files} files of late for their size, also of {self.size:,} bytes"


def limit_of(refused: Iterable[str]) -> Limit | None:
    """The limit that refused files (`SIZE MARK …`) tell of, None if they are too few. Those with a mark in common are one file:
    what is dropped again under its name, or the same bytes under another."""
    files = sorted((int(size), marks.split()) for size, _, marks in (one.partition(" ") for one in refused) if size.isdecimal())
    sizes: list[int] = []
    seen: set[str] = set()
    for size, marks in files:
        if marks and seen.isdisjoint(marks):
            sizes.append(size)
        seen.update(marks)
    return Limit(sizes[_FILES - 1], len(sizes)) if len(sizes) >= _FILES else None


def known_limits(learned: Mapping[tuple[str, str, str], float]) -> dict[str, Limit]:
    """The limits of all projects, of what the ledger has learned and not forgotten."""
    projects = {project for project, kind, _ in learned if kind == KIND}
    found = {name: limit_of(what for project, kind, what in learned if (project, kind) == (name, KIND)) for name in projects}
    return {name: limit for name, limit in found.items() if limit is not None}


class Limits:
    """What was learned of the limits of all projects' servers. Safe for threads."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._lock = threading.Lock()
        learned = ledger.query.learned(time.time())
        self._refused = {(project, what): until for (project, kind, what), until in learned.items() if kind == KIND}
        self._breaks: Counter[int] = Counter()
        self._smallest: dict[str, int] = {}  # the sizes of the smallest and the largest file that has arrived, by project
        self._largest: dict[str, int] = {}

    def refused(self, job: Job, sha256: str) -> None:
        """The server has refused a file of these bytes for its size. It tells of no limit if one as large has arrived; nor is one
        that a person has tried again another file.
        """
        if job.again_of is not None or job.size < LEAST or job.size <= self._largest.get(job.project, 0):
            return
        until = time.time() + _DAY
        name = hashlib.sha256(f"{job.folder}/{job.name}".encode("utf-8", "surrogatepass")).hexdigest()
        what = f"{job.size} {name[:32]} {sha256[:32] or job.id}"
        with self._lock:
            self._refused[job.project, what] = until
        self._ledger.learn(job.project, KIND, what, until)

    def stored(self, job: Job) -> None:
        """A file has arrived: what was refused and is no larger was refused for another reason, or the limit was raised."""
        with self._lock:
            self._breaks.pop(job.id, None)
            self._smallest[job.project] = min(job.size, self._smallest.get(job.project, job.size))
            self._largest[job.project] = max(job.size, self._largest.get(job.project, job.size))
            over = [key for key in self._refused if key[0] == job.project and int(key[1].partition(" ")[0]) <= job.size]
            for key in over:
                del self._refused[key]
        for project, what in over:
            self._ledger.learn(project, KIND, what, 0.0)

    def broke_off(self, job: Job) -> None:
        """The connection broke off while a file was sent, or before there was an answer."""
        with self._lock:
            self._breaks[job.id] += 1

    def forbids(self, job: Job) -> Refused | None:
        """Why a file that was never sent is not worth sending."""
        if job.attempts or job.again_of is not None:
            return None
        now = time.time()
        with self._lock:
            limit = limit_of(what for (project, what), until in self._refused.items() if project == job.project and now < until)
        if limit is None or job.size < limit.size:
            return None
        return Refused(
            Reason.TOO_LARGE,
            f"the file is {job.size:,} bytes, and {limit}: it was not sent",
            "make the file smaller, or have the server's limit raised; `dropcap retry` sends it all the same",
        )

    def gives_up(self, job: Job) -> Held | None:
        """Why a file is not sent once more: its sends break off, and smaller files arrive."""
        with self._lock:
            breaks = self._breaks[job.id]
            if breaks < _BREAKS or self._smallest.get(job.project, job.size) >= job.size:
                return None
            del self._breaks[job.id]  # `retry` begins anew
        message = (
            f"the connection broke off {breaks} times while this file of {job.size:,} bytes was sent, and smaller files arrive"
        )
        return Held(
            Reason.TOO_LARGE,
            f"{message}: perhaps it is too large for the server, or something on the way dislikes it",
            "ask REDCap's administrator how large a file may be; then `dropcap retry`, or take it out of in_progress/",
        )
