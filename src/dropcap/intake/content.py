"""Whether a file looks cut off, and the marks that remember it."""

from __future__ import annotations

import math
import os
import threading
import time
from collections import deque
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from dropcap.content.reader import UNDECIDED, Finding, Wholeness
from dropcap.content.worker import TAKES_LONG, is_volume
from dropcap.display import shown
from dropcap.files.tree import Tree
from dropcap.intake.arrivals import OWN, Fingerprint, RestTime, Waiting, top
from dropcap.intake.opened import DropDirectory
from dropcap.ledger.database import DatabaseError
from dropcap.ledger.job import Mark, MarkKind, Refusal
from dropcap.ledger.store import Ledger
from dropcap.reasons import Reason
from dropcap.routing.route import settings_for
from dropcap.routing.rule import ContentCheck
from dropcap.threads import begin


class FileMarks:
    """The marks of one folder's files, but for a person's word that one is to be sent as it is. For one thread."""

    def __init__(self, ledger: Ledger, folder: str) -> None:
        self._ledger = ledger
        self._folder = folder
        self._marks: dict[tuple[str, MarkKind], Mark] = {
            (mark.name, mark.kind): mark for mark in ledger.query.marks(folder) if mark.kind is not MarkKind.AS_IS
        }
        self._unsaved: set[tuple[str, MarkKind]] = set()
        self._saving: threading.Thread | None = None

    def names(self) -> set[str]:
        """The files that have one."""
        return {name for name, _ in self._marks}

    def of(self, name: str, kind: MarkKind, fingerprint: Fingerprint, local: bool) -> Mark | None:
        """The mark of a file that is still as it was then. Of a share's own clock the ctime says little."""
        mark = self._marks.get((name, kind))
        if mark is None:
            return None
        then = Fingerprint(mark.size, mark.mtime_ns, mark.ctime_ns, mark.inode)
        return mark if then == fingerprint or (not local and then.same_bytes(fingerprint)) else None

    def make(self, name: str, kind: MarkKind, fingerprint: Fingerprint) -> Mark:
        """Mark a file as it is now; `save` keeps it."""
        mark = Mark(name, kind, fingerprint.size, fingerprint.mtime_ns, fingerprint.ctime_ns, fingerprint.inode, time.time())
        self._marks[name, kind] = mark
        self._unsaved.add((name, kind))
        return mark

    def forget(self, name: str) -> None:
        """The file is taken or gone."""
        for key in ((name, MarkKind.CUT), (name, MarkKind.FULL)):
            if self._marks.pop(key, None) is not None:
                self._unsaved.add(key)

    def save(self) -> None:
        """Have entered in the ledger what has changed since the last time.

        Nobody waits for it: its disk may be the one that is full, and who comes next must be seen meanwhile.
        """
        if self._unsaved and (self._saving is None or not self._saving.is_alive()):
            marks = {key: self._marks.get(key) for key in self._unsaved}
            self._saving = begin(self._write, "marks", marks)
            self._unsaved = set()

    def _write(self, marks: dict[tuple[str, MarkKind], Mark | None]) -> None:
        try:
            self._ledger.mark(self._folder, [mark for mark in marks.values() if mark is not None])
            for kind in (MarkKind.CUT, MarkKind.FULL):
                gone = [name for (name, its), mark in marks.items() if mark is None and its is kind]
                if gone:
                    self._ledger.unmark(self._folder, gone, (kind,))
        except DatabaseError:
            pass  # dropcap ends, or the ledger is damaged, of which it tells itself


#: What was seen so lately is not asked for again in a walk (seconds).
_KNOWN = 0.2


class Room:
    """The file system of one opened folder. For its thread."""

    def __init__(self, tree: Tree) -> None:
        self._tree = tree
        self._known = (-math.inf, True)  # when it was asked (monotonic), and whether there was a free block
        self._seen: float | None = None  # the wall clock when there was one

    def lacked(self, name: str, fingerprint: Fingerprint, pace: RestTime, *, closely: bool) -> bool:
        """Whether there is no free block now that the file is seen as `fingerprint`, so that its writer may have got stuck.

        A file that had rested while there was room is as its writer left it. `closely`: ask the file system in any case.
        """
        if self._has_block(os.path.dirname(name), closely=closely):
            return False
        changed = max(fingerprint.mtime_ns, fingerprint.ctime_ns) / 1e9
        return not (pace.local and self._seen is not None and changed + pace.quiet <= self._seen)

    def _has_block(self, directory: str, *, closely: bool) -> bool:
        now = time.monotonic()
        if closely or now - self._known[0] > _KNOWN:
            try:
                free = self._tree.free_bytes(directory) > 0
            except OSError:
                free = True  # not to be told
            self._known = (now, free)
            if free:
                self._seen = time.time()
        return self._known[1]


#: What looks cut off is refused when nothing has changed for so long (seconds).
REFUSED_AFTER = 3600.0
#: Files that the probing process has of one folder at a time; each is held open so long.
AT_ONCE = 256
#: How soon a file is asked for that the process could not take (seconds), or that it has said nothing of.
SOON, SILENT = 0.02, 600.0
#: Answers that come within so long are waited for (seconds).
TOGETHER = 0.03
#: A file that looks cut off is looked into again so often at least (seconds); what was found is believed for so long.
RELOOK, FRESH = 60.0, 10.0
#: A file with which the process has died so often is undecided.
TRIES = 3
#: A person's word that a file is to be sent as it is holds for so long (seconds) until the file is there.
_WORD = 3600.0

CUT_OFF = "it looks cut off"
_AS_IT_IS = (
    "drop it again, whole. If it is as it should be, only `dropcap retry` sends it as it is: moved back or renamed by hand it is"
    " looked into again"
)
DISK_WAS_FULL = "its disk was full when it was written, so its end may be missing: it waits until it is saved or copied again"


@dataclass(slots=True)
class Looked:
    """What was found in a file that was seen as `fingerprint`, at the monotonic time `at`."""

    fingerprint: Fingerprint
    finding: Finding
    at: float


@dataclass(frozen=True, slots=True)
class Ask:
    """It must be looked into."""


@dataclass(frozen=True, slots=True)
class Take:
    """It may be taken if it is still as it was judged; `refusal`: to go to failed/."""

    judged: Fingerprint | None = None
    refusal: Refusal | None = None


def refused_in(mark: Mark, local: bool, wall: float) -> float:
    """Seconds from the wall clock's `wall` until a file is refused that was first seen to be cut off as `mark` says. Pure.

    Where the file's times are of our own clock the hour counts from its last change, elsewhere from then. What lies in the
    future proves nothing.
    """
    changed = max(mark.mtime_ns, mark.ctime_ns) / 1e9
    rested = max(wall - mark.since, wall - changed if local else 0.0, 0.0)
    return REFUSED_AFTER - rested


class ContentJudge:
    """Judges the content of one opened folder's files before they are taken. For its thread, but for what says otherwise."""

    def __init__(self, opened: DropDirectory) -> None:
        """Without an examiner all is whole."""
        self._tree = opened.tree
        self._folder = opened.folder
        self._ledger = opened.ledger
        self._examiner = opened.context.examiner
        self._thread = opened.thread
        self._log = opened.log
        self._marks = FileMarks(opened.ledger, opened.folder.name)
        self._refused_at: dict[str, float] = {}  # monotonic: a clock that is set does not change it
        self._asked: dict[int, tuple[str, Waiting, Fingerprint]] = {}
        self._late: set[int] = set()  # those whose answers take long
        self._line: deque[Waiting] = deque()  # those that are to be asked for when there is room
        self._looked: dict[str, Looked] = {}
        self._died: dict[str, int] = {}
        self._lock = threading.Lock()
        self._answers: list[tuple[int, Finding | None]] = []
        self._first_answer = 0.0
        self._missing = 0  # answers that are soon to come, together with those in `_answers`
        self._room = Room(opened.tree)

    # Judging ----------------------------------------------------------------------------------------------------------

    def must_ask(self, name: str, waiting: Waiting) -> bool:
        """Whether a file must be looked into before it can be judged."""
        return isinstance(self._found(name, waiting), Ask)

    def judge(self, name: str, waiting: Waiting) -> Take | Ask | None:
        """Whether a file may be taken, or must be looked into first; None if it is put off."""
        finding, fingerprint = self._found(name, waiting), waiting.seen.fingerprint
        if isinstance(finding, Ask):
            return finding
        if finding is None:
            return Take()
        full = self._marks.of(name, MarkKind.FULL, fingerprint, local=True) is not None
        if finding.verdict is Wholeness.WHOLE or not (full or finding.is_cut) or self._is_to_be_sent(name, fingerprint):
            return Take(fingerprint)
        if finding.is_cut:
            return self._cut(name, waiting, finding)
        waiting.put_off(RELOOK, DISK_WAS_FULL)
        return None

    def _cut(self, name: str, waiting: Waiting, finding: Finding) -> Take | None:
        """It waits, or is refused when it has waited long enough."""
        fingerprint, now = waiting.seen.fingerprint, time.monotonic()
        mark = self._marks.of(name, MarkKind.CUT, fingerprint, waiting.pace.local)
        if mark is None:
            mark = self._marks.make(name, MarkKind.CUT, fingerprint)
            self._refused_at.pop(name, None)
            self._log.warning("looks_cut_off", file=shown(name), message=f"{CUT_OFF}: {finding.why}")
        at = self._refused_at.setdefault(name, now + refused_in(mark, waiting.pace.local, time.time()))
        if at <= now:
            message = f"{CUT_OFF}: save or copy it again ({finding.why})"
            return Take(fingerprint, Refusal(Reason.INCOMPLETE, message, _AS_IT_IS))
        clock = time.strftime("%H:%M", time.localtime(time.time() + at - now))
        waiting.put_off(
            min(at - now, RELOOK), f"{CUT_OFF}: {finding.why}; it is taken once it is whole, and goes to failed/ at {clock} else"
        )
        return None

    def _found(self, name: str, waiting: Waiting) -> Finding | Ask | None:
        """What was found in a file as it is now; None if its content does not matter."""
        if self._examiner is None:
            return None
        looked = self._looked.get(name)
        if looked is not None and looked.fingerprint == waiting.seen.fingerprint:
            old = looked.finding.is_cut and time.monotonic() - looked.at > FRESH
            return Ask() if old else looked.finding
        if not self._is_checked(name):
            return None
        return UNDECIDED if is_volume(name) else Ask()

    def _is_checked(self, name: str) -> bool:
        """Whether a file of this name is to be looked into. One that no rule matches goes to failed/ anyway."""
        settings = settings_for(self._folder.rules, plain(name))
        return settings is not None and settings.content_check is not ContentCheck.OFF

    def _is_to_be_sent(self, name: str, fingerprint: Fingerprint) -> bool:
        """Whether a person has said that it is to be sent as it is, even if it is cut off."""
        said = [mark for mark in self._ledger.query.marks(self._folder.name, name) if mark.kind is MarkKind.AS_IS]
        return any((mark.size, mark.mtime_ns) == (fingerprint.size, fingerprint.mtime_ns) for mark in said)

    # Looking into files -----------------------------------------------------------------------------------------------

    def ask(self, files: Sequence[tuple[str, Waiting, int]]) -> None:
        """Have files looked into that have settled and are open; each is put off until its answer comes."""
        if self._examiner is None or not files:
            return
        fds = [fd for _, _, fd in files[: self._vacant()]]
        numbers = self._examiner.ask(self._folder.name, fds, self) if fds else []
        for number, (name, waiting, _) in zip(numbers, files, strict=False):
            self._asked[number] = (name, waiting, waiting.seen.fingerprint)
            waiting.put_off(SILENT, waiting.note, rests=True)
        self._missing = len(self._asked) - len(self._late)
        for _, waiting, _ in files[len(numbers) :]:
            waiting.put_off(SOON, waiting.note, rests=True)

    def line_up(self, files: Sequence[tuple[str, Waiting]]) -> list[tuple[str, Waiting]]:
        """The first of the files, as many as may be asked for now; the others wait until answers have made room."""
        room = self._vacant()
        for _, waiting in files[room:]:
            waiting.put_off(SILENT, waiting.note, rests=True)
            self._line.append(waiting)
        return list(files[:room])

    def _vacant(self) -> int:
        """How many more files may be asked for."""
        return max(0, AT_ONCE - len(self._asked) + len(self._late))

    @property
    def asks(self) -> bool:
        """Whether an answer is still to come. For any thread."""
        return bool(self._asked)

    def answered(self, number: int, finding: Finding | None) -> None:
        """What the examiner has found. From another thread."""
        with self._lock:
            if not self._answers:
                self._first_answer = time.monotonic()
            self._answers.append((number, finding))
            wake = len(self._answers) == 1 or len(self._answers) >= self._missing
        if wake:
            self._thread.has_answer()

    def next(self) -> float:
        """When `take_answers` has something to do (monotonic), `math.inf` if nothing was found out."""
        with self._lock:
            return self._first_answer + TOGETHER if self._answers else math.inf

    def take_answers(self) -> None:
        """Make due what was found out meanwhile; together, since files that are claimed together cost much less."""
        now = time.monotonic()
        with self._lock:
            if len(self._answers) < self._missing and now < self._first_answer + TOGETHER:
                return
            answers, self._answers = self._answers, []
        for number, finding in answers:
            if finding == TAKES_LONG:
                self._late.add(number)
                continue
            self._late.discard(number)
            asked = self._asked.pop(number, None)
            if asked is None:
                continue
            name, waiting, fingerprint = asked
            waiting.at = now
            if finding is None:
                self._died[name] = self._died.get(name, 0) + 1
                if self._died[name] < TRIES:
                    continue
                finding = UNDECIDED
            self._looked[name] = Looked(fingerprint, finding, now)
        self._missing = len(self._asked) - len(self._late)
        for _ in range(min(self._vacant(), len(self._line))):
            self._line.popleft().at = now

    # A full disk ------------------------------------------------------------------------------------------------------

    def saw(self, name: str, fingerprint: Fingerprint, pace: RestTime, *, closely: bool) -> None:
        """A file was looked at. `closely`: ask its file system in any case whether it is full."""
        if self._room.lacked(name, fingerprint, pace, closely=closely) and not self._marks.of(
            name, MarkKind.FULL, fingerprint, local=True
        ):
            self._marks.make(name, MarkKind.FULL, fingerprint)
            self._log.warning("looks_cut_off", file=shown(name), message=DISK_WAS_FULL)

    # Remembering ------------------------------------------------------------------------------------------------------

    def forget(self, name: str) -> None:
        """The file is taken or gone: what is known of it is of no more use."""
        self._looked.pop(name, None)
        self._died.pop(name, None)
        self._refused_at.pop(name, None)
        self._marks.forget(name)

    def keep(self, names: Collection[str]) -> None:
        """A walk has ended, and these files wait: forget what is not there any more."""
        for name in self._marks.names().difference(names):
            if not self._lies(name):
                self.forget(name)
        for name in self._looked.keys() - names:
            del self._looked[name]
        old = time.time() - _WORD
        marks = self._ledger.query.marks(self._folder.name)
        words = {mark.name for mark in marks if mark.since < old and mark.kind is MarkKind.AS_IS}
        gone = [name for name in words.difference(names) if not self._lies(name)]
        if gone:
            self._ledger.unmark(self._folder.name, gone, (MarkKind.AS_IS,))

    def save(self) -> None:
        """Have entered in the ledger what has changed since the last time. Nobody waits for it."""
        self._marks.save()

    def _lies(self, name: str) -> bool:
        try:
            self._tree.lstat(name)
        except (FileNotFoundError, NotADirectoryError):
            return False
        except OSError:
            pass  # it cannot be told
        return True


def plain(name: str) -> str:
    """The name without dropcap's own directory."""
    return name.partition("/")[2] if top(name) in OWN else name
