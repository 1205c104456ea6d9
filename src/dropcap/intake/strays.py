"""Files that are reported and not taken: strays, and files left at the first start."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import math
import os
import re
import stat as modes
import time
from array import array
from bisect import bisect_left, insort
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta

import structlog

from dropcap.config.model import Folder
from dropcap.display import shown
from dropcap.files import names
from dropcap.files.tree import put_back
from dropcap.filing.why import is_text
from dropcap.intake import arrivals
from dropcap.intake.opened import DropDirectory
from dropcap.ledger.database import DatabaseError
from dropcap.ledger.job import FiledFile, State
from dropcap.ledger.store import Ledger
from dropcap.routing.route import ignored, matches

DONE = "done"
#: All of done/ is looked through so often (seconds).
ROUND = 86400.0
#: A look may take this part of the time at most, so that a large directory is looked at less often.
_SHARE_OF_TIME = 1 / 20
#: A directory whose time has not changed is not listed again, if that time was so old when it was listed (seconds).
_TIME_TELLS = 5.0
#: So many are told by their names, and so many are compared with the ledger at a time.
_TOLD, _AT_ONCE = 20, 10_000
#: What versions before 0.2.0 could put beside files in done/.
_RECEIPT = re.compile(r"\.receipt(?: \([1-9][0-9]*\))?\.[a-z]+$")


@dataclass(frozen=True, slots=True)
class StrayFiles:
    """How many strays lie in a folder, the first of their places in it, and what to say of them; nothing if there are none."""

    count: int = 0
    first: tuple[str, ...] = ()
    message: str = ""
    remedy: str = ""


def _above(name: str) -> str:
    """The directory that it lies in."""
    return name.rpartition("/")[0]


@dataclass(slots=True)
class _Directories:
    """What is known of a directory and of those beneath it, from before they were listed (nanoseconds since the epoch)."""

    changed: dict[str, int] = field(default_factory=dict)
    came: dict[str, int] = field(default_factory=dict)  # when they may have been moved there, with all that is in them

    def add(self, name: str, status: os.stat_result, above: int) -> None:
        """`above` is when the directory that it lies in was changed. Renaming a directory changes nothing in it."""
        moved = min(status.st_ctime_ns, above) if status.st_ctime_ns > status.st_mtime_ns else 0
        self.changed[name] = status.st_mtime_ns
        self.came[name] = max(moved, self.came.get(_above(name), 0))

    def put_at(self, name: str, status: os.stat_result) -> int:
        """When that file was put there at the latest. To change its rights changes it, and not its directory."""
        directory = _above(name)
        return max(min(status.st_ctime_ns, self.changed.get(directory, status.st_ctime_ns)), self.came.get(directory, 0))


@dataclass(slots=True)
class _Seen:
    """A directory as it was looked at last."""

    times: dict[str, int] | None = None  # of it and of those beneath it; None if they tell nothing
    judged: dict[str, tuple[int, int, bool]] = field(default_factory=dict)  # inode, ctime and whether it is a stray


class Strays:
    """The strays of one opened folder. For its thread; others may read `files`.

    A file is dropcap's own if it lies where the ledger has put one, or was moved from there: it has the inode and size of one,
    or, since inodes tell nothing on some file systems and a copy to another one has its own, its size and mtime. What lay there
    before this installation came is let be, also if its rights are changed: then its directory has not changed since.
    """

    def __init__(self, opened: DropDirectory) -> None:
        self._opened = opened
        self._tree = opened.tree
        self._folder = opened.folder.name
        self._query = opened.ledger.query
        self._since_ns = opened.marker.since_ns  # since when the folder is watched, by its own clock
        self._log = opened.log
        self._seen: dict[str, _Seen] = {}
        self._told: set[str] = set()
        self._wanted = False
        self._look_at = 0.0
        self._round: deque[str] = deque()  # what is left of it
        self._round_at = 0.0
        self._step_at = math.inf
        self.files = StrayFiles()

    def want(self) -> None:
        """The folder was walked: `step` is to look at all that is looked at after each walk."""
        self._wanted = True

    def _look(self) -> None:
        """Look at failed/, at done/ itself, at its directories of these days and at those that are no day's."""
        self._wanted = False
        began = time.monotonic()
        known = self._query.known_folder(self._folder)
        if known is not None and known.first_seen < time.time():  # else the clock was wrong then
            self._since_ns = max(self._since_ns, int(known.first_seen * 1e9))
        today = datetime.now().astimezone().date()
        days = [f"{DONE}/{(today - timedelta(days=ago)).isoformat()}" for ago in (1, 0)]
        inside = self._directories_in_done()
        self._look_into(arrivals.FAILED)
        self._look_into(DONE, recursive=False)
        for directory in inside:
            if directory in days or _day_of(directory) is None:
                self._look_into(directory)
        self._forget_gone({arrivals.FAILED, DONE, *inside})
        if began >= self._round_at:
            self._round_at = began + ROUND
            self._round = deque(directory for directory in inside if directory not in days)
            self._step_at = began
        self._tell()
        self._look_at = _rested(began)

    def next_step(self) -> float:
        """When `step` has something to do (monotonic)."""
        return min(self._step_at, self._look_at if self._wanted else math.inf)

    def step(self) -> None:
        """Look at what is due: what is looked at after a walk, or one more directory of the daily round.

        Raises:
            OSError: the whole folder does not answer.
        """
        began = time.monotonic()
        if self._wanted and began >= self._look_at:
            self._look()
            return
        if began < self._step_at:
            return
        if self._round:
            self._look_into(self._round.popleft(), anew=True)
        if self._round:
            self._step_at = _rested(began)
        else:
            self._step_at = math.inf
            self._tell()

    # Beneath ----------------------------------------------------------------------------------------------------------

    def _directories_in_done(self) -> list[str]:
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            return sorted(
                entry.name
                for entry in self._tree.scan(DONE, recursive=False)
                if entry.kind == "dir" and ignored(entry.leaf, ()) is None
            )
        return []

    def _look_into(self, directory: str, *, recursive: bool = True, anew: bool = False) -> None:
        seen = self._seen.setdefault(directory, _Seen())
        try:
            if not anew and self._as_it_was(seen):
                return
            seen.times, directories = None, _Directories()
            strangers = self._strangers(directory, recursive, directories)
            seen.judged = self._judged(directory, strangers, seen.judged, directories)
        except (FileNotFoundError, NotADirectoryError):
            del self._seen[directory]
        except OSError as error:
            self._opened.trouble(directory, error)
        else:
            # One that was changed just now may still change within the same tick of its clock.
            fresh = time.time_ns() - _TIME_TELLS * 1e9
            times = directories.changed
            seen.times = times if all(then < fresh for then in times.values()) else None

    def _as_it_was(self, seen: _Seen) -> bool:
        return seen.times is not None and all(self._tree.lstat(name).st_mtime_ns == then for name, then in seen.times.items())

    def _strangers(self, directory: str, recursive: bool, directories: _Directories) -> set[str]:
        """The files there that do not lie where dropcap has put one: nearly none, of what can be very many. `directories` is to
        have those in which they lie."""
        others: set[str] = set()
        of_people = _above(directory) == DONE and _day_of(directory) is None
        above = self._tree.lstat(DONE).st_mtime_ns if of_people else 0
        directories.add(directory, self._tree.lstat(directory), above)
        for entry in self._tree.scan(directory, recursive):
            if entry.error is not None:
                self._opened.trouble(entry.name, entry.error)
            elif entry.kind == "dir" and recursive and (status := entry.stat) is not None:
                directories.add(entry.name, status, directories.changed.get(_above(entry.name), 0))
            elif entry.kind == "file" and names.is_left_aside(entry.leaf):
                put_back(self._tree, entry.name)  # dropcap ended while it was being removed
            elif entry.kind == "file" and not _is_no_file(entry.name, entry.leaf):
                others.add(entry.name)
        if others:
            others.difference_update(self._put_into(directory))
        return others

    def _put_into(self, directory: str) -> Iterable[str]:
        """The places of the files that dropcap has lately put there; of what is no day's, none."""
        if directory == arrivals.FAILED:
            return self._query.failed_files(self._folder)
        day = _day_of(directory)
        if day is None:
            return ()
        # The name is a day of this machine's clock and zone, and so is when the job ended, nearly.
        start = datetime.combine(day, datetime.min.time()).timestamp()
        return self._query.each_done(self._folder, start - 86400, start + 2 * 86400)

    def _judged(
        self, directory: str, strangers: set[str], before: dict[str, tuple[int, int, bool]], there: _Directories
    ) -> dict[str, tuple[int, int, bool]]:
        judged: dict[str, tuple[int, int, bool]] = {}
        fresh: dict[str, os.stat_result] = {}
        for name in strangers:
            try:
                status = self._tree.lstat(name)
            except OSError:
                continue  # gone, or told by the listing
            was = before.get(name)
            if was is not None and was[:2] == (status.st_ino, status.st_ctime_ns):
                judged[name] = was
            elif modes.S_ISREG(status.st_mode) and there.put_at(name, status) > self._since_ns:
                fresh[name] = status
            if len(fresh) >= _AT_ONCE:
                judged |= self._compared(directory, fresh)
                fresh = {}
        return judged | self._compared(directory, fresh)

    def _compared(self, directory: str, files: dict[str, os.stat_result]) -> dict[str, tuple[int, int, bool]]:
        """Compare files with those that the ledger knows: with those of the last minutes first, which are being filed."""
        left = dict(files)
        for since in (time.time() - 300.0, None):
            if left:
                sizes = {status.st_size for status in left.values()}
                left = self._unknown(directory, left, self._query.each_filed(self._folder, sizes, since))
        return {name: (status.st_ino, status.st_ctime_ns, name in left) for name, status in files.items()}

    def _unknown(self, directory: str, files: dict[str, os.stat_result], filed: Iterable[FiledFile]) -> dict[str, os.stat_result]:
        by_inode: dict[tuple[int, int], list[str]] = {}
        by_time: dict[tuple[int, int], list[str]] = {}
        for name, status in files.items():
            by_inode.setdefault((status.st_ino, status.st_size), []).append(name)
            by_time.setdefault((status.st_size, status.st_mtime_ns), []).append(name)
        left = dict(files)
        # What failed and lies in done/ is no file of done/.
        own = (State.DONE, State.STORED) if directory != arrivals.FAILED else tuple(State)
        for file in filed:
            if file.state in own:
                known = by_inode.get((file.inode, file.size), [])
                if (alike := by_time.get((file.size, file.mtime_ns))) and not (
                    file.filed_as and self._tree.exists(file.filed_as)
                ):
                    known = [*known, *alike]  # else they are copies of it
                for name in [*known, file.filed_as or ""]:
                    left.pop(name, None)
        return left

    def _forget_gone(self, there: set[str]) -> None:
        for directory in self._seen.keys() - there:
            del self._seen[directory]
        for seen in self._seen.values():
            for name in [name for name, (_, _, stray) in seen.judged.items() if stray][:_TOLD]:
                if not self._tree.exists(name):
                    del seen.judged[name]

    def _tell(self) -> None:
        names = {name for seen in self._seen.values() for name, (_, _, stray) in seen.judged.items() if stray}
        self.files = stray_files(names)
        if names - self._told:
            told = self.files
            first = [shown(name) for name in told.first]
            self._log.warning("stray", count=told.count, first=first, message=told.message, remedy=told.remedy)
        self._told = names


def stray_files(names: set[str]) -> StrayFiles:
    """What to say of strays at these places."""
    if not names:
        return StrayFiles()
    where = " and ".join(f"{own}/" for own in (DONE, arrivals.FAILED) if any(arrivals.top(name) == own for name in names))
    first = sorted(names)[:_TOLD]
    named = ", ".join(shown(name) for name in first[:3]) + (f", … ({len(names)} files)" if len(names) > 3 else "")
    message = f"these lie in {where}, but dropcap did not put them there: {named}"
    remedy = f"if REDCap is to have them, move them to where files are dropped; else take them out of {where}"
    return StrayFiles(len(names), tuple(first), message, remedy)


def _is_no_file(name: str, leaf: str) -> bool:
    """Whether it is dropcap's text or receipt, or nothing that anybody drops."""
    return is_text(leaf) or _RECEIPT.search(leaf) is not None or ignored(name.partition("/")[2], ()) is not None


def _day_of(directory: str) -> date | None:
    """The day of a directory of done/, None if it is no day's."""
    with contextlib.suppress(ValueError):
        return date.fromisoformat(directory.removeprefix(f"{DONE}/"))
    return None


def _rested(began: float) -> float:
    """When to look again (monotonic), after a look that began then."""
    now = time.monotonic()
    return now + (now - began) / _SHARE_OF_TIME


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

    def __init__(self, folder: Folder, ledger: Ledger, log: structlog.stdlib.BoundLogger) -> None:
        self._folder = folder
        self._ledger = ledger
        self._log = log
        self._kept = ledger.query.left_marks(folder.name) or ""
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
