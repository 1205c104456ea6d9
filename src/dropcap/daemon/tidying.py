"""Removing what is over, where the configuration asks for it (`keep`): nothing else of dropcap's ever removes a dropped file."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from datetime import datetime

import structlog

from dropcap.config.model import Folder
from dropcap.display import shown
from dropcap.files import names
from dropcap.files.digest import sha256
from dropcap.files.private import PrivateTree
from dropcap.files.tree import NotRegular, Tree
from dropcap.filing.copies import copies
from dropcap.intake.walk import is_dropped
from dropcap.ledger.job import Job
from dropcap.ledger.log_keys import about
from dropcap.ledger.store import Ledger

log = structlog.get_logger()

#: Seconds by which a file system's clock may be ahead of ours before a subfolder counts as changed by somebody else.
_CLOCKS = 2.0


def tidy_done(tree: Tree, folder: Folder, ledger: Ledger, kept_for: float, *, directories: bool) -> Iterator[None]:
    """Remove the files in done/ that REDCap gave out byte by byte, have not changed since, and are older than `kept_for` (s).

    `directories`: also those of done/ that are empty then. Stops after each batch: whether it is still to go on. Raises OSError.
    """
    before, last = time.time() - kept_for, 0
    while jobs := ledger.query.read_back_and_filed(folder.name, before, last):
        for job in jobs:
            if _is_as_filed(tree, job):
                _remove(tree, job, ledger, kept_for)
                if directories and job.filed_as is not None:
                    tree.remove_empty(names.split(job.filed_as)[0])
        last = jobs[-1].id
        yield


def _is_as_filed(tree: Tree, job: Job) -> bool:
    """Whether the very bytes lie there that REDCap has. Raises OSError: it cannot be told."""
    if job.filed_as is None:
        return False
    try:
        fd, before = tree.open_seen(job.filed_as)
    except (FileNotFoundError, NotADirectoryError, NotRegular):
        return False
    try:
        same = (before.st_size, before.st_mtime_ns) == (job.size, job.mtime_ns) and sha256(fd) == job.sha256
        after = os.fstat(fd)
        return same and (after.st_mtime_ns, after.st_ctime_ns) == (before.st_mtime_ns, before.st_ctime_ns)
    finally:
        os.close(fd)


def _remove(tree: Tree, job: Job, ledger: Ledger, kept_for: float) -> None:
    place = job.filed_as or ""
    # The row first: what is gone has one, whatever happens next.
    ledger.note(job.id, f"removed from {shown(place)}: keep.done is {_told(kept_for)}", {"filed_as": None})
    try:
        with tree.parent(place) as (directory, leaf):
            os.unlink(leaf, dir_fd=directory)
    except OSError as error:
        ledger.note(job.id, f"could not be removed ({error.strerror})", {"filed_as": place})
        raise
    log.info(
        "removed", what="done", **about(job), lay_in=shown(place), sha256=job.sha256, size=job.size, kept_for=_told(kept_for)
    )


def tidy_copies(tree: PrivateTree, folder: str, ledger: Ledger, kept_for: float) -> None:
    """Remove copies of what REDCap held that are older than `kept_for` (s) and as they were made. Raises OSError."""
    now = time.time()
    for copy in list(copies(tree)):
        with contextlib.suppress(ValueError):
            if now - datetime.fromisoformat(copy.preserved_at).timestamp() < kept_for:
                continue
            if not copy.intact(tree):
                continue
            ledger.note(
                copy.job, f"the copy {shown(copy.name)} of what REDCap held was removed: keep.preserved is {_told(kept_for)}", {}
            )
            for name in (copy.name, f"{copy.name}.json"):
                with tree.parent(name) as (directory, leaf):
                    os.unlink(leaf, dir_fd=directory)
            log.info("removed", what="preserved", folder=folder, job=copy.job, copy=shown(copy.name), sha256=copy.sha256)


def tidy_subfolders(tree: Tree, folder: Folder, ledger: Ledger, kept_for: float) -> None:
    """Remove subfolders whose last file dropcap has taken out, and in which nobody has done anything since. Raises OSError."""
    if not folder.subfolders:
        return
    now = time.time()
    found = sorted(_subfolders(tree, folder), key=lambda one: -one[0].count("/"))
    for name, changed in found:
        last = ledger.query.last_claim_beneath(folder.name, name)
        if last is None or changed > last + _CLOCKS or now - max(last, changed) < kept_for:
            continue
        parent, leaf = names.split(name)
        with contextlib.suppress(OSError), tree.directory(parent) as fd:  # it is not empty
            os.rmdir(leaf, dir_fd=fd)
            log.info("removed", what="subfolder", folder=folder.name, subfolder=shown(name), kept_for=_told(kept_for))


def _subfolders(tree: Tree, folder: Folder) -> Iterator[tuple[str, float]]:
    for entry in tree.scan(enter=lambda name: is_dropped(name, folder)):
        if entry.kind == "dir" and is_dropped(entry.name, folder) and (status := entry.stat) is not None:
            yield entry.name, status.st_mtime


def _told(seconds: float) -> str:
    return f"{seconds / 86400:g}d"
