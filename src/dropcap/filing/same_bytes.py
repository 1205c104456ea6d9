"""Which bytes are sent, and whether a file still is what was sent: size and mtime can be put back, the ctime can not."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable

from dropcap.files.digest import sha256
from dropcap.files.tree import Tree
from dropcap.ledger.job import Job
from dropcap.ledger.outcome import Stored

Note = Callable[[int, str, dict[str, object]], None]


def record_what_is_sent(job: Job, instance: int | None, fd: int, note: Note) -> None:
    """Enter, durably, which bytes go to an instance that was chosen for being new, and to which: should a person move the file
    back, or a copy of it, it is known again, and makes no second instance. Raises OSError.
    """
    own = sha256(fd)
    news: dict[str, object] = {"sent_sha256": own} if own != job.sent_sha256 else {}
    if instance != job.instance:
        news["instance"] = instance
    if job.may_have_arrived:
        news["may_have_arrived"] = False  # it was looked for
    if news:
        note(job.id, "what is sent", news)


def as_sent(now: os.stat_result, ctime_ns: int | None, fd: int, sent: str) -> bool:
    """Whether a file of unchanged size and mtime still has the bytes of the SHA-256 `sent`. Raises OSError: it cannot be read.

    They are looked at if the ctime has moved since, or is not known.
    """
    return now.st_ctime_ns == ctime_ns or sha256(fd) == sent


def changed_since(tree: Tree, name: str, job: Job, stored: Stored) -> bool:
    """Whether somebody has written to a file, or put another in its place, since REDCap has it.

    Raises:
        OSError: its bytes cannot be read.
    """
    try:
        status = tree.lstat(name)
    except OSError:
        return False  # filing it tells
    if not same_times(status, job):
        return True
    if status.st_ctime_ns == stored.ctime_ns or not stat.S_ISREG(status.st_mode):
        return False
    fd = tree.open(name)
    try:
        return not as_sent(os.fstat(fd), stored.ctime_ns, fd, stored.sha256)
    finally:
        os.close(fd)


def same_times(status: os.stat_result, job: Job) -> bool:
    """Whether a file has the size and mtime that it had when it was taken."""
    return (status.st_size, status.st_mtime_ns) == (job.size, job.mtime_ns)


def is_file_of(job: Job, status: os.stat_result, stable_inodes: bool) -> bool:
    """Whether a file is the one that was taken, and nobody has written to it."""
    return same_times(status, job) and (not stable_inodes or job.inode in (0, status.st_ino))
