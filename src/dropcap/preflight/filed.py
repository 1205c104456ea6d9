"""Is what lies in done/, and are the copies that were kept, still what the ledger says? By SHA-256."""

from __future__ import annotations

import os
import stat
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from enum import StrEnum
from hashlib import sha256

from dropcap.config.model import Config
from dropcap.files.tree import Tree
from dropcap.intake.mounts import open_tree
from dropcap.ledger.job import Job
from dropcap.ledger.query import Query

_PAGE = 1000
_PIECE = 1024 * 1024


class Lies(StrEnum):
    """What lies where the ledger says that a file lies."""

    SAME = "same"
    CHANGED = "changed"
    GONE = "gone"  # somebody has taken it away, as people may, or `keep` has
    UNREADABLE = "unreadable"
    NOT_LOOKED = "not_looked"  # its folder is not in the configuration, or away


@dataclass(frozen=True, slots=True)
class FiledLook:
    """What came of one file; `copy` if it is the one that was kept of what REDCap held before."""

    job: Job
    copy: bool
    place: str
    outcome: Lies
    message: str = ""


class Interrupted(Exception):  # noqa: N818 - asked for, no error
    """A stop was asked for."""


def filed(
    query: Query,
    config: Config,
    since: float,
    folder: str | None,
    after: int,
    stop: threading.Event,
    kept_at: Callable[[Job], str | None],
) -> Iterator[FiledLook]:
    """Look at the files of done jobs that ended since then, in the order of their numbers, from behind job `after`.

    Raises:
        Interrupted: `stop` was set.
    """
    trees: dict[str, Tree | None] = {}
    with ExitStack() as stack:
        while page := query.stored_since(since, folder, after, _PAGE):
            for job in page:
                if job.folder not in trees:
                    trees[job.folder] = _opened(config, job.folder, stack)
                yield _in_done(job, trees[job.folder], stop)
                if job.preserved_sha256 and (place := kept_at(job)):
                    yield _copy(job, place, stop)
            after = page[-1].id


def _opened(config: Config, name: str, stack: ExitStack) -> Tree | None:
    folder = config.folders.get(name)
    if folder is None:
        return None
    try:
        tree = open_tree(folder.path)
    except OSError:
        return None
    stack.callback(tree.close)
    return tree


def _in_done(job: Job, tree: Tree | None, stop: threading.Event) -> FiledLook:
    place = job.filed_as or ""
    if not place:
        return FiledLook(job, False, place, Lies.GONE, "it was not filed, or `keep` has removed it")
    if tree is None:
        return FiledLook(job, False, place, Lies.NOT_LOOKED, "its folder is not in the configuration, or cannot be opened")
    return FiledLook(job, False, place, *_compared(lambda: tree.open(place), job.sha256, stop))


def _copy(job: Job, place: str, stop: threading.Event) -> FiledLook:
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    return FiledLook(job, True, place, *_compared(lambda: os.open(place, flags), job.preserved_sha256, stop))


def _compared(opened: Callable[[], int], wanted: str | None, stop: threading.Event) -> tuple[Lies, str]:
    try:
        fd = opened()
    except (FileNotFoundError, NotADirectoryError):
        return Lies.GONE, "it does not lie there any more"
    except OSError as error:
        return Lies.UNREADABLE, error.strerror or str(error)
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            return Lies.CHANGED, "it is no regular file"
        digest = sha256()
        while piece := os.read(fd, _PIECE):
            if stop.is_set():
                raise Interrupted
            digest.update(piece)
    except OSError as error:
        return Lies.UNREADABLE, error.strerror or str(error)
    finally:
        os.close(fd)
    found = digest.hexdigest()
    return (Lies.SAME, "") if found == wanted else (Lies.CHANGED, f"its SHA-256 is {found}, the ledger says {wanted}")
