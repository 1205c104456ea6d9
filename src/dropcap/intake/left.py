"""What lay in a folder when it was first watched and is left there: nobody has dropped it for dropcap."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import os
from array import array
from bisect import bisect_left, insort
from dataclasses import dataclass

import structlog

from dropcap.config.model import Folder
from dropcap.display import shown
from dropcap.intake.entries import IntakeLedger
from dropcap.ledger.errors import DatabaseError
from dropcap.routing.route import matches

#: So many are told by their names.
TOLD = 20


@dataclass(frozen=True, slots=True)
class LeftFiles:
    """How many files of a folder are left, the first of their names, and what to say of them; nothing if there are none."""

    count: int = 0
    first: tuple[str, ...] = ()
    message: str = ""
    remedy: str = ""


class Marks:
    """Files by 64 bits of a hash of their name, size and mtime: eight bytes each, since there can be very many."""

    def __init__(self, text: str | None = None) -> None:
        """`text` is what `str` made of another one."""
        self._marks = array("q", base64.b64decode(text or ""))

    def __str__(self) -> str:
        return base64.b64encode(self._marks.tobytes()).decode()

    def __len__(self) -> int:
        return len(self._marks)

    def add(self, name: str, status: os.stat_result) -> None:
        """Add a file; `sort` before the next question."""
        self._marks.append(_mark(name, status))

    def sort(self) -> None:
        """All are added."""
        self._marks = array("q", sorted(self._marks))

    def has(self, name: str, status: os.stat_result) -> bool:
        """Whether it is among them."""
        if not self._marks:
            return False
        mark = _mark(name, status)
        place = bisect_left(self._marks, mark)
        return place < len(self._marks) and self._marks[place] == mark


class Left:
    """The files of one opened folder that are left, as the last walk met them. For its thread; others may read `files`."""

    def __init__(self, folder: Folder, ledger: IntakeLedger, log: structlog.stdlib.BoundLogger) -> None:
        self._folder = folder
        self._ledger = ledger
        self._log = log
        self._kept = ledger.left_marks(folder.name) or ""
        self._known = Marks(self._kept)
        self._met: Marks | None = None  # while a walk is under way
        self._names: list[str] = []
        self._since_ns = 0
        self._told = self._compared = False
        self.files = LeftFiles()

    def begin(self, since_ns: int) -> None:
        """A walk of the whole folder begins; it is watched since `since_ns` (nanoseconds, by its own clock)."""
        self._since_ns = since_ns
        self._met, self._names = Marks(), []

    def end(self) -> None:
        """The walk has met every file."""
        if self._met is None:
            return
        self._known, self._met = self._met, None
        self._known.sort()
        self._compared = True
        self._keep()
        self.files = left_files(self._folder, len(self._known), self._names)
        if self.files.count and not self._told:
            self._told = True
            told = self.files
            self._log.warning("files_left", count=told.count, message=told.message, remedy=told.remedy)

    def _keep(self) -> None:
        marks = str(self._known)
        if marks != self._kept:
            with contextlib.suppress(DatabaseError):  # the ledger itself has told why; the next walk tries again
                self._ledger.keep_left_marks(self._folder.name, marks)
                self._kept = marks

    def has(self, name: str, status: os.stat_result) -> bool:
        """Whether the file is to be left where it lies."""
        # Those of the last walk were compared with these very rules then, and there can be a hundred thousand.
        as_before = self._compared and self._folder.first_start != "leave" and self._known.has(name, status)
        if not as_before and not is_left(self._folder, name, status, self._since_ns, self._known):
            return False
        if self._met is not None:
            self._met.add(name, status)
            note_first(self._names, name)
        return True


def is_left(folder: Folder, name: str, status: os.stat_result, since_ns: int | None, known: Marks) -> bool:
    """Whether a file lay in the folder when that was first watched (`since_ns`; None: it never was), and is left for that.

    With `first_start: leave` those are all that lay there at first, else those that no rule matches. A file that was changed,
    renamed or moved there since has a newer ctime, whatever its mtime, and was dropped. So has one whose owner or rights were
    changed, as an administrator may do with hundreds, who drops none: those that match no rule are `known` again.
    """
    at_first = since_ns is None or status.st_ctime_ns <= since_ns
    if folder.first_start == "leave":
        return at_first
    return (at_first or known.has(name, status)) and not matches(folder.rules, name)


def note_first(names: list[str], name: str) -> None:
    """Keep the first names of many, in their order."""
    if len(names) < TOLD or name < names[-1]:
        insort(names, name)
        del names[TOLD:]


def left_files(folder: Folder, count: int, first: list[str]) -> LeftFiles:
    """What to say of so many files."""
    if not count:
        return LeftFiles()
    files, have, match, are = ("1 file", "has", "matches", "is") if count == 1 else (f"{count} files", "have", "match", "are")
    since = f"{files} {have} been there since before the folder was watched"
    named = ", ".join(shown(name) for name in first[:3]) + (", …" if count > 3 else "")
    if folder.first_start == "leave":
        message, remedy = f"{since} and {are} left (first_start: leave): {named}", "to have one taken, rename it or drop it again"
    else:
        message = f"{since}, {match} no rule and {are} left: {named}"
        remedy = "to have one taken, give it a name that a rule matches, or add a rule for such names"
    return LeftFiles(count, tuple(first), message, remedy)


def _mark(name: str, status: os.stat_result) -> int:
    identity = f"{status.st_size} {status.st_mtime_ns} ".encode() + os.fsencode(name)
    return int.from_bytes(hashlib.blake2b(identity, digest_size=8).digest(), signed=True)
