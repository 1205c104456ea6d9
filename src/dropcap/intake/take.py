"""The claim of files: opened, found settled, moved to in_progress/, made durable, looked at once more."""

from __future__ import annotations

import errno
import math
import os
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass

from dropcap.baton import BATON
from dropcap.display import shown
from dropcap.files.tree import NotRegular, Tree
from dropcap.intake.lease import Lease, writer_free
from dropcap.intake.settle import Pace, Seen, Sight, settled_at

#: Files moved before they are flushed together; each is held open so long.
AT_ONCE = 64
#: Files flushed at once; more than these gain little.
THREADS = 4
#: How often a file that somebody has open is looked at, should no event tell of its closing (seconds).
WRITER_LOOK = 5.0
#: What shares say of a file that somebody has open.
_IN_USE = {errno.EBUSY, errno.ETXTBSY}


@dataclass(frozen=True, slots=True)
class Taken:
    """It lies in in_progress/, whole and durable but for the directories, and may be entered in the ledger."""

    sight: Sight


@dataclass(frozen=True, slots=True)
class Later:
    """It is not settled: look again at the monotonic time `at`."""

    seen: Seen
    at: float
    note: str


@dataclass(frozen=True, slots=True)
class Moved:
    """It lies in in_progress/, but somebody came in between and writes to it or put another in its place."""


@dataclass(frozen=True, slots=True)
class Gone:
    """It is not there any more."""


@dataclass(frozen=True, slots=True)
class NameTaken:
    """in_progress/ has a file of that name."""


@dataclass(frozen=True, slots=True)
class Refused:
    """It cannot be taken, and why."""

    why: str
    error: OSError


Outcome = Taken | Later | Moved | Gone | NameTaken | Refused


@dataclass(frozen=True, slots=True)
class Wanted:
    """A file to take: where it lies, where it is to go (the same, if it lies there already), how it was seen."""

    source: str
    target: str
    seen: Seen
    pace: Pace


@dataclass(frozen=True, slots=True)
class _Carried:
    """It lies in in_progress/, open as `fd`, but may not be on the disk yet."""

    fd: int
    target: str
    before: Sight


def take(tree: Tree, files: Sequence[Wanted]) -> list[Outcome]:
    """Move settled files, one after the other; make them durable together; look at each once more."""
    outcomes: list[Outcome] = []
    for start in range(0, len(files), AT_ONCE):
        moved = [_move(tree, file) for file in files[start : start + AT_ONCE]]
        carried = [one for one in moved if isinstance(one, _Carried)]
        with BATON.down:
            errors = dict(zip((one.fd for one in carried), _flush(tree, carried), strict=True))
        outcomes += [_arrived(tree, one, errors[one.fd]) if isinstance(one, _Carried) else one for one in moved]
    return outcomes


def _move(tree: Tree, file: Wanted) -> _Carried | Outcome:
    try:
        fd = tree.open(file.source)
    except (FileNotFoundError, NotADirectoryError):
        return Gone()
    except OSError as error:
        return Refused(reason(error), error)
    held = False
    try:
        seen = Seen.again(file.seen, Sight.of(os.fstat(fd), tree.stable_inodes), time.monotonic())
        outcome = _unsettled(fd, seen, file.pace)
        if outcome is None and tree.stable_inodes:
            outcome = _moved(tree, fd, file)
            held = outcome is None
    except OSError as error:
        outcome = Refused(reason(error), error)
    finally:
        if not held:
            os.close(fd)
    if outcome is not None:
        return outcome
    return _Carried(fd, file.target, seen.sight) if held else _let_go(tree, file, seen)


def _unsettled(fd: int, seen: Seen, pace: Pace) -> Later | None:
    now = time.monotonic()
    at = settled_at(seen, pace, writer_free(fd), now, time.time_ns())
    if at <= now:
        return None
    if math.isinf(at):
        return Later(seen, now + WRITER_LOOK, "somebody has it open for writing")
    return Later(seen, at, "must rest unchanged for a while")


def _moved(tree: Tree, fd: int, file: Wanted) -> Outcome | None:
    """Move the file open as `fd`, so that what is looked at afterwards is the very same; None if all went well."""
    if file.source == file.target:
        return None
    try:
        tree.move(file.source, file.target)
    except FileExistsError:
        return NameTaken()
    except FileNotFoundError:
        return Gone()
    # A writer may have opened it, or another file taken its name, between the look and the move.
    return Moved() if writer_free(fd) is Lease.WRITER else None


def _let_go(tree: Tree, file: Wanted, seen: Seen) -> _Carried | Outcome:
    """Move the file where only size and mtime know it again. Such shares rename no file that is open (smbnetfs)."""
    try:
        if file.source != file.target:
            tree.move(file.source, file.target)
        return _Carried(tree.open(file.target), file.target, seen.sight)
    except FileExistsError:
        return NameTaken()
    except FileNotFoundError:
        return Gone()
    except OSError as error:
        if error.errno in _IN_USE:
            return Later(seen, time.monotonic() + WRITER_LOOK, "somebody has it open, and the share moves no such file")
        return Refused(reason(error), error)


def _flush(tree: Tree, carried: Sequence[_Carried]) -> list[OSError | None]:
    """Flush the files, several at once: an fsync waits for the disk, and many wait together.

    The threads are daemons: one that a dead share holds must not keep the process from ending.
    """
    errors: list[OSError | None] = [None] * len(carried)
    numbers = iter(range(len(carried)))

    def work() -> None:
        for number in numbers:  # next() on a range is atomic
            try:
                tree.sync_file(carried[number].fd)
            except OSError as error:
                errors[number] = error

    others = THREADS - 1 if len(carried) > THREADS else 0
    workers = [threading.Thread(target=work, daemon=True) for _ in range(others)]
    for worker in workers:
        worker.start()
    work()
    for worker in workers:
        worker.join()
    return errors


def _arrived(tree: Tree, file: _Carried, error: OSError | None) -> Outcome:
    """Look at a moved and flushed file once more, and let go of it."""
    try:
        if error is not None:
            return Refused(reason(error), error)
        now, there = os.fstat(file.fd), tree.lstat(file.target)
        if not Sight.of(now, tree.stable_inodes).same_bytes(file.before):
            return Moved()
        if tree.stable_inodes and (there.st_dev, there.st_ino) != (now.st_dev, now.st_ino):
            return Moved()
        return Taken(Sight.of(now, tree.stable_inodes))
    except OSError as trouble:
        return Refused(reason(trouble), trouble)
    finally:
        os.close(file.fd)


def reason(error: OSError) -> str:
    """Why a file is not taken, and what to do."""
    if isinstance(error, NotRegular):
        return error.strerror or str(error)
    if isinstance(error, PermissionError):
        return "dropcap may not read or move it; give dropcap's user the right to read it and to write in its folder"
    where = f" ({shown(error.filename)})" if isinstance(error.filename, str) else ""
    return f"{error.strerror or error}{where}; mend that, dropcap tries again at every walk"
