"""Taking a batch of files: the moves and the flushes."""

from __future__ import annotations

import errno
import math
import os
import stat
import time
from collections.abc import Sequence
from dataclasses import dataclass

from dropcap.display import shown
from dropcap.files import names
from dropcap.files.durable import REMEDY
from dropcap.files.lease import Lease, writer_free
from dropcap.files.move import remove_original
from dropcap.files.tree import NotRegular, Tree, sha256_of
from dropcap.intake import walk
from dropcap.intake.settle import RestTime, Seen, Sight, rest_note, settled_at
from dropcap.threads import begin

#: Files moved before they are flushed together; each is held open so long.
AT_ONCE = 64
#: Files flushed at once; more than these gain little.
THREADS = 4
#: How often a file that somebody has open is looked at, should no event tell of its closing (seconds).
WRITER_LOOK = 5.0
#: What a file waits for, or why it is not taken.
OPEN_FOR_WRITING = "somebody has it open for writing"
OPEN_ON_A_SHARE = "somebody has it open, and the share moves no open file"
NO_RIGHT = "dropcap may not read or move it"
#: What shares say of a file that somebody has open.
_IN_USE = {errno.EBUSY, errno.ETXTBSY}


@dataclass(frozen=True, slots=True)
class Taken:
    """It lies in in_progress/, whole and durable but for the directories, and may be entered in the ledger."""

    sight: Sight
    owner: int | None = None  # the uid that its file system names


@dataclass(frozen=True, slots=True)
class PutOff:
    """It is not settled: look again at the monotonic time `at`. `rests`: it waits for the end of its rest alone."""

    seen: Seen
    at: float
    note: str
    rests: bool = False


@dataclass(frozen=True, slots=True)
class Moved:
    """It lies in in_progress/, but somebody came in between and writes to it or put another in its place."""


@dataclass(frozen=True, slots=True)
class NotThere:
    """It is not there any more."""


@dataclass(frozen=True, slots=True)
class NameTaken:
    """in_progress/ has a file of that name."""


@dataclass(frozen=True, slots=True)
class Untakable:
    """It cannot be taken, and why."""

    why: str
    error: OSError


@dataclass(frozen=True, slots=True)
class Settled:
    """It has settled as it is seen now, and is open as `fd`."""

    seen: Seen
    fd: int


TakeOutcome = Taken | PutOff | Moved | NotThere | NameTaken | Untakable


@dataclass(frozen=True, slots=True)
class Wanted:
    """A file to take: where it lies, where it is to go (the same, if it lies there already), how it was seen."""

    source: str
    target: str
    seen: Seen
    pace: RestTime
    judged: Sight | None = None  # as what its content was judged, if it was: what has changed since is judged anew


@dataclass(slots=True)
class _Held:
    """It has settled and is open as `fd`, or is not where files cannot be moved while they are open."""

    file: Wanted
    seen: Seen
    fd: int = -1
    error: OSError | None = None

    def let_go(self, outcome: TakeOutcome) -> TakeOutcome:
        """Close it, as this is what becomes of it."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1
        return outcome


def take(tree: Tree, files: Sequence[Wanted]) -> list[TakeOutcome]:
    """Look at each file, move those that have settled, make them durable together, look at each once more."""
    return [outcome for start in range(0, len(files), AT_ONCE) for outcome in _take(tree, files[start : start + AT_ONCE])]


def _take(tree: Tree, files: Sequence[Wanted]) -> list[TakeOutcome]:
    with tree.batch():
        steps = [_look(tree, file) for file in files]
        steps = [_move(tree, step) if isinstance(step, _Held) else step for step in steps]
    _flush(tree, [step for step in steps if isinstance(step, _Held)])
    with tree.batch():  # opened anew: what has been put in the place of a directory meanwhile is seen
        return [step.let_go(_arrived(tree, step)) if isinstance(step, _Held) else step for step in steps]


def _look(tree: Tree, file: Wanted) -> _Held | TakeOutcome:
    found = open_settled(tree, file)
    if not isinstance(found, Settled):
        return found
    held = _Held(file, found.seen, found.fd)
    if file.judged is not None and file.judged != found.seen.sight:
        return held.let_go(PutOff(found.seen, time.monotonic(), ""))
    if not tree.stable_inodes:
        os.close(held.fd)
        held.fd = -1
    return held


def open_settled(tree: Tree, file: Wanted) -> Settled | TakeOutcome:
    """Open a file that has settled; the descriptor is the caller's."""
    try:
        fd, status = tree.open_seen(file.source)
    except (FileNotFoundError, NotADirectoryError):
        return NotThere()
    except OSError as error:
        return Untakable(reason(error), error)
    seen = file.seen
    try:
        seen = Seen.again(file.seen, Sight.of(status, tree.stable_inodes), time.monotonic(), time.time_ns())
        outcome = _unsettled(fd, seen, file.pace)
    except OSError as error:
        outcome = Untakable(reason(error), error)
    if outcome is not None:
        os.close(fd)
        return outcome
    return Settled(seen, fd)


def _unsettled(fd: int, seen: Seen, pace: RestTime) -> TakeOutcome | None:
    now, lease = time.monotonic(), writer_free(fd)
    at = settled_at(seen, pace, lease)
    if at <= now:
        return None
    if math.isinf(at):
        return PutOff(seen, now + WRITER_LOOK, OPEN_FOR_WRITING)
    return PutOff(seen, at, rest_note(seen, pace, lease), rests=True)


def _move(tree: Tree, held: _Held) -> _Held | TakeOutcome:
    """Move a file, open, so that what is looked at afterwards is the very same.

    Where only size and mtime know it again, it is opened afterwards: such shares move no file that is open (smbnetfs).
    """
    file = held.file
    try:
        if file.source != file.target:
            tree.move(file.source, file.target)
        if held.fd < 0:
            held.fd = tree.open(file.target)
        return held
    except FileExistsError:
        return held.let_go(NameTaken())
    except FileNotFoundError:
        return held.let_go(NotThere())
    except OSError as error:
        if not tree.stable_inodes and error.errno in _IN_USE:
            why = OPEN_ON_A_SHARE
            return held.let_go(PutOff(held.seen, time.monotonic() + WRITER_LOOK, why))
        return held.let_go(Untakable(reason(error), error))


def _flush(tree: Tree, files: Sequence[_Held]) -> None:
    """Flush files, several at once: an fsync waits for the disk, and many wait together.

    The threads are daemons: one that a dead share holds must not keep the process from ending.
    """
    numbers = iter(range(len(files)))

    def work() -> None:
        for number in numbers:  # next() on a range is atomic
            try:
                tree.sync_file(files[number].fd)
            except OSError as error:
                files[number].error = error

    others = THREADS - 1 if len(files) > THREADS else 0
    workers = [begin(work) for _ in range(others)]
    work()
    for worker in workers:
        worker.join()


def _arrived(tree: Tree, held: _Held) -> TakeOutcome:
    """Look once more at a file that was moved and flushed: a writer or another file may have come in between."""
    file = held.file
    if held.error is not None:
        return Untakable(reason(held.error), held.error)
    try:
        if file.source != file.target and tree.stable_inodes and writer_free(held.fd) is Lease.WRITER:
            return Moved()
        now, there = os.fstat(held.fd), tree.lstat(file.target)
    except OSError as error:
        return Untakable(reason(error), error)
    after = Sight.of(now, tree.stable_inodes)
    if not after.same_bytes(held.seen.sight):
        return Moved()
    if tree.stable_inodes and (there.st_dev, there.st_ino) != (now.st_dev, now.st_ino):
        return Moved()
    return Taken(after, now.st_uid)


def reason(error: OSError) -> str:
    """Why a file is not taken, and what to do."""
    if isinstance(error, NotRegular):
        return error.strerror or str(error)
    if isinstance(error, PermissionError):
        return NO_RIGHT + "; give dropcap's user the right to read it and to write in its folder"
    where = f" ({shown(error.filename)})" if isinstance(error.filename, str) else ""
    if error.errno == errno.EROFS:
        return f"{error.strerror}{where}; {REMEDY}"
    return f"{error.strerror or error}{where}; mend that; dropcap tries again at every walk"


def remove_twin(tree: Tree, copy: str, name: str) -> str | None:
    """`copy` lies in in_progress/ and has no job: remove what it was copied from, dropped as `name` or moved within failed/, if
    that has the same size, mtime and bytes. Where it lay, None if there is none.

    Raises:
        OSError: it cannot be told, somebody writes to it, or another host may work there.
    """
    there = tree.lstat(copy)
    for source in (name, f"{walk.FAILED}/{name}"):
        try:
            tree.remove_temporaries(names.split(source)[0], recursive=False)  # it may lie aside
            before = tree.lstat(source)
        except (FileNotFoundError, NotADirectoryError):
            continue
        one = stat.S_ISREG(before.st_mode) and (before.st_dev, before.st_ino) != (there.st_dev, there.st_ino)
        if not one or (before.st_size, before.st_mtime_ns) != (there.st_size, there.st_mtime_ns):
            continue
        sha256 = sha256_of(tree, copy)
        if sha256_of(tree, source) != sha256:
            continue
        with tree.parent(source) as (fd, leaf):
            tree.be_ours()  # the bytes of both may have taken long
            remove_original(tree, fd, leaf, before, sha256)
            return source
    return None
