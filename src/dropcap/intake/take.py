"""The claim of one file: opened, found settled, moved to in_progress/, looked at once more, made durable."""

from __future__ import annotations

import errno
import math
import os
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from dropcap.display import shown
from dropcap.files.tree import NotRegular, Tree
from dropcap.intake.lease import Lease, writer_free
from dropcap.intake.settle import Pace, Seen, Sight, settled_at

Item = TypeVar("Item")
Result = TypeVar("Result")

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


def take(tree: Tree, source: str, target: str, seen: Seen, pace: Pace) -> Outcome:
    """Move the settled file `source` to `target`; they may be the same if it lies there already."""
    try:
        fd = tree.open(source)
    except (FileNotFoundError, NotADirectoryError):
        return Gone()
    except OSError as error:
        return Refused(reason(error), error)
    try:
        try:
            seen = Seen.again(seen, Sight.of(os.fstat(fd), tree.stable_inodes), time.monotonic())
            later = _unsettled(fd, seen, pace)
            if later is not None:
                return later
            if tree.stable_inodes:
                return _held(tree, fd, source, target, seen.sight)
        finally:
            os.close(fd)
        return _let_go(tree, source, target, seen)
    except OSError as error:
        return Refused(reason(error), error)


def _unsettled(fd: int, seen: Seen, pace: Pace) -> Later | None:
    now = time.monotonic()
    at = settled_at(seen, pace, writer_free(fd), now, time.time_ns())
    if at <= now:
        return None
    if math.isinf(at):
        return Later(seen, now + WRITER_LOOK, "somebody has it open for writing")
    return Later(seen, at, "must rest unchanged for a while")


def _held(tree: Tree, fd: int, source: str, target: str, before: Sight) -> Outcome:
    """Move the file open as `fd`, so that what is looked at afterwards is the very same."""
    if source != target:
        try:
            tree.move(source, target)
        except FileExistsError:
            return NameTaken()
        except FileNotFoundError:
            return Gone()
        # A writer may have opened it, or another file taken its name, between the look and the move.
        if writer_free(fd) is Lease.WRITER:
            return Moved()
    tree.sync_file(fd)
    after, there = os.fstat(fd), tree.lstat(target)
    if not Sight.of(after).same_bytes(before) or (there.st_dev, there.st_ino) != (after.st_dev, after.st_ino):
        return Moved()
    return Taken(Sight.of(after))


def _let_go(tree: Tree, source: str, target: str, seen: Seen) -> Outcome:
    """Move the file where only size and mtime know it again. Such shares rename no file that is open (smbnetfs)."""
    if source != target:
        try:
            tree.move(source, target)
        except FileExistsError:
            return NameTaken()
        except FileNotFoundError:
            return Gone()
        except OSError as error:
            if error.errno not in _IN_USE:
                raise
            return Later(seen, time.monotonic() + WRITER_LOOK, "somebody has it open, and the share moves no such file")
    try:
        fd = tree.open(target)
    except FileNotFoundError:
        return Gone()
    try:
        tree.sync_file(fd)
        after = Sight.of(os.fstat(fd), stable_inodes=False)
    finally:
        os.close(fd)
    return Taken(after) if after.same_bytes(seen.sight) else Moved()


def reason(error: OSError) -> str:
    """Why a file is not taken, and what to do."""
    if isinstance(error, NotRegular):
        return error.strerror or str(error)
    if isinstance(error, PermissionError):
        return "dropcap may not read or move it; give dropcap's user the right to read it and to write in its folder"
    where = f" ({shown(error.filename)})" if isinstance(error.filename, str) else ""
    return f"{error.strerror or error}{where}; mend that, dropcap tries again at every walk"


def in_threads(function: Callable[[Item], Result], items: Sequence[Item], threads: int) -> list[Result]:
    """`function` of each item, in order, in several threads at once: an fsync waits for the disk, and many wait together.

    The threads are daemons: one that a dead share holds must not keep the process from ending.
    """
    results: list[Result | None] = [None] * len(items)
    numbers = iter(range(len(items)))
    errors: list[BaseException] = []

    def work() -> None:
        try:
            for number in numbers:  # next() on a range is atomic
                results[number] = function(items[number])
        except BaseException as error:
            errors.append(error)

    workers = [threading.Thread(target=work, daemon=True) for _ in range(min(threads, len(items)) - 1)]
    for worker in workers:
        worker.start()
    work()
    for worker in workers:
        worker.join()
    if errors:
        raise errors[0]
    return [result for result in results if result is not None]
