"""Where a file is that is over and does not lie where it should: an earlier run or a person has moved it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from datetime import datetime

from dropcap.files.tree import Tree
from dropcap.filing.ending import Ending
from dropcap.filing.place import DONE, IN_PROGRESS, Filing
from dropcap.filing.preserve import DIRECTORY
from dropcap.filing.same_bytes import same_times
from dropcap.filing.why import FAILED, arrived_as, forget_why, free_name
from dropcap.ledger.job import Address, Job
from dropcap.ledger.outcome import Stored

#: Where a failed file that a person has moved is not looked for: if it lies there, it is tried again already.
_ON_THEIR_WAY = (IN_PROGRESS, DONE, DIRECTORY)


def locate(filing: Filing, ending: Ending, now: datetime) -> str | None:
    """Where the file is, if an earlier run or a person has moved it."""
    job = ending.job
    final = "done" if isinstance(ending.outcome, Stored) else "failed"
    within = ("in_progress", final)
    sha256 = ending.outcome.sha256 if isinstance(ending.outcome, Stored) else job.sha256
    since = datetime.fromtimestamp(job.changed_at, now.tzinfo).date()
    return filing.locate(job.inode, job.size, job.name, now.date(), sha256, within, job.mtime_ns, since)


def renamed(tree: Tree, ending: Ending, address: Callable[[str], Address]) -> str | None:
    """The name that a person gave to a stored file in in_progress/ meanwhile, if it is one for the same target."""
    job = ending.job
    if not isinstance(ending.outcome, Stored) or job.key is None:
        return None
    by_inode = job.inode != 0 and tree.stable_inodes
    found = [name.partition("/")[2] for name in _files_of(job, tree, IN_PROGRESS)]
    if not found or (len(found) > 1 and not by_inode):  # size and time are those of two files
        return None
    return found[0] if address(found[0]).key == job.key else None


def arrived(tree: Tree, job: Job) -> str | None:
    """Where a refused file arrived before an earlier run was killed, if a person has moved it since and it can be tried again."""
    filed = arrived_as(tree, job.name, job.id)
    now_at = list(_files_of(job, tree, "", lambda name: name not in _ON_THEIR_WAY))
    if filed is None:
        # Killed before the text was there. Where nobody knows it, it would lie in failed/ for ever.
        renamed = any(name.startswith(f"{FAILED}/") for name in now_at)
        return free_name(tree, f"{FAILED}/{job.name}") if renamed else None
    if now_at:
        return filed
    with contextlib.suppress(OSError):  # it is on its way already, as a job of its own, or was taken away
        forget_why(tree, filed, job.id)
    return None


def _files_of(job: Job, tree: Tree, directory: str, enter: Callable[[str], bool] | None = None) -> Iterator[str]:
    """The files beneath a directory that are the job's, or may be where inodes are not to be relied on."""
    by_inode = job.inode != 0 and tree.stable_inodes
    with contextlib.suppress(FileNotFoundError):
        for entry in tree.scan(directory, enter=enter):
            status = entry.stat if entry.kind == "file" else None
            if status is not None and same_times(status, job) and (not by_inode or status.st_ino == job.inode):
                yield entry.name
