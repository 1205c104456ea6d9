"""Whether a place in REDCap is empty, where an export is refused with words that nobody knows.

REDCap's words for "there is no file" differ between versions and languages, and other refusals sound alike. A look-up of the
record that began after the refusal decides; once it has shown a field as empty, the same words count as "no file" for that
project for a day. Where the rights of the token can hide a file from both, nothing is concluded.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from enum import Enum

from dropcap.delivery.identity import stamp
from dropcap.delivery.plan import Facts
from dropcap.ledger.store import Ledger
from dropcap.redcap.blanking import blanked
from dropcap.redcap.model import FileTarget

_WORDS, _EXPORTED = "no_file", "exported"
#: Seconds for which words count as "no file"; and for which it is known that a token may export a field.
_DAY = 86400.0
FOR_GOOD = 100 * 365 * _DAY


class Vacancy(Enum):
    """What is concluded from an export that was refused."""

    EMPTY = "there is no file"
    LOOK = "the record is to be looked up anew"
    TAKEN = "there is a file, which REDCap does not give out"
    HIDDEN = "there may be a file that this token may not see"


@dataclass(frozen=True, slots=True)
class RefusedExport:
    """An export that REDCap refused with the words `said`; `of_rights`: they speak of rights, as far as they are known."""

    project: str
    job: int
    place: FileTarget
    said: str
    of_rights: bool

    @property
    def words(self) -> str:
        """The words without what was asked for, which is another in each question."""
        place = self.place
        return blanked(self.said, [place.record, place.field, place.event or "", str(place.instance or "")])


class Vacancies:
    """What refused exports have told so far, of all projects. Safe for threads."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._lock = threading.Lock()
        self._learned = ledger.query.learned(time.time())  # and until when
        self._refused: dict[int, float] = {}  # jobs whose export was refused, and when (monotonic)

    def judge(self, refused: RefusedExport, facts: Facts, looked: float, *, hideable: bool) -> Vacancy:
        """What a refusal means, given the `facts` of a look-up that began at `looked` (monotonic).

        `hideable`: the field's files may be hidden from this token, and from its look-ups too.
        """
        told = facts.known and facts.record is not None
        empty = told and not facts.shows and refused.place.field not in facts.untold
        if empty and not hideable and self._knows(refused.project, _WORDS, refused.words, _DAY):
            return Vacancy.EMPTY
        with self._lock:
            before = self._refused.get(refused.job)
            if before is None or not told or looked < before:
                self._refused[refused.job] = time.monotonic()
                return Vacancy.LOOK
            del self._refused[refused.job]
        if facts.shows:
            return Vacancy.TAKEN
        if hideable or refused.of_rights or not empty:
            return Vacancy.HIDDEN
        self._learn(refused.project, _WORDS, refused.words, _DAY)
        return Vacancy.EMPTY

    def exported(self, project: str, field: str, token: str) -> None:
        """This token has been given a file of this field."""
        if not self.has_exported(project, field, token):
            self._learn(project, _EXPORTED, f"{stamp(self._ledger, token)} {field}", FOR_GOOD)

    def has_exported(self, project: str, field: str, token: str) -> bool:
        """Whether this token was ever given a file of this field."""
        return self._knows(project, _EXPORTED, f"{stamp(self._ledger, token)} {field}", FOR_GOOD)

    def _knows(self, project: str, kind: str, what: str, seconds: float) -> bool:
        """Whether it was learned within so many `seconds`, and not by a clock that was ahead."""
        now = time.time()
        with self._lock:
            return now < self._learned.get((project, kind, what), 0.0) <= now + seconds + 1.0

    def _learn(self, project: str, kind: str, what: str, seconds: float) -> None:
        until = time.time() + seconds
        with self._lock:
            self._learned[project, kind, what] = until
        self._ledger.learn(project, kind, what, until)
