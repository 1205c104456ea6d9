"""Do REDCap, done/ and the kept copies still hold what the ledger says? By SHA-256."""

from __future__ import annotations

import os
import stat
import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from enum import StrEnum
from hashlib import sha256

from dropcap.config.model import Config
from dropcap.delivery.project_client import ProjectLine
from dropcap.files.tree import Tree
from dropcap.intake.mounts import open_tree
from dropcap.ledger.job import OPEN, Job
from dropcap.ledger.query import Query
from dropcap.reasons import Reason
from dropcap.redcap.client import FileTarget, NoFile, RedcapError
from dropcap.redcap.reply import Verdict, remedy_now
from dropcap.redcap.window import Stopped

#: Jobs read from the ledger at a time.
PAGE = 1000
#: Tries for one file, with seconds between them, before the server counts as out of reach.
WAITS = (2.0, 10.0)
#: Files in a row that REDCap does not give out before it is taken to give out none.
IN_A_ROW = 3
#: The longest wait that the server may ask for. Seconds.
LONGEST = 600.0

_Place = tuple[str, str, str, str, int]


class Found(StrEnum):
    """What REDCap has of a file that history says is stored."""

    SAME = "same"
    MISSING = "missing"
    DIFFERS = "differs"
    REPLACED = "replaced"  # by a newer job meanwhile
    NOT_ASKED = "not_asked"  # its project is not in the configuration, or refuses to tell, or its file is not given out


class Lies(StrEnum):
    """What lies where the ledger says that a file lies."""

    SAME = "same"
    CHANGED = "changed"
    GONE = "gone"  # somebody has taken it away, as people may, or `keep` has
    UNREADABLE = "unreadable"
    NOT_LOOKED = "not_looked"  # its folder is not in the configuration, or away


@dataclass(frozen=True, slots=True)
class Compared:
    """What came of one file; `copy` if it is the one that was kept of what REDCap held before, `place` where either lies."""

    job: Job
    outcome: Found | Lies
    message: str = ""
    place: str = ""
    copy: bool = False


class NotReached(Exception):  # noqa: N818 - a state of the server
    """The server cannot be reached; `job` is the first that was not verified."""

    def __init__(self, job: Job, error: RedcapError) -> None:
        super().__init__(error.meaning.message)
        self.job = job
        self.remedy = remedy_now(error.meaning)
        self.banned = error.meaning.verdict is Verdict.BANNED


class _ProjectError(RedcapError):
    """The project refuses to give out a file."""


def latest(query: Query, since: float, folder: str | None) -> list[Job]:
    """The jobs to verify, in the order in which they ended: of several to one place, only the last.

    The last may be another folder's, so all folders are looked through.
    """
    last: dict[_Place, Job] = {}
    for job in _stored(query, since):
        before = last.get(_place(job))
        if before is None or (before.ended_at or 0) <= (job.ended_at or 0):
            last[_place(job)] = job
    wanted = [job for job in last.values() if folder is None or job.folder == folder]
    return sorted(wanted, key=_ended)


def _ended(job: Job) -> tuple[float, int]:
    return job.ended_at or 0, job.id


def verify(
    query: Query,
    lines: Mapping[str, ProjectLine],
    jobs: list[Job],
    began: float,
    stop: threading.Event,
) -> Iterator[Compared]:
    """Compare each job's file with what REDCap holds.

    `began` (seconds since the epoch) is when `jobs` were read: what was stored later explains a difference.

    Raises:
        NotReached: the server cannot be reached.
        Stopped: `stop` was set.
    """
    refusing: dict[str, str] = {}
    in_a_row = 0
    for job in jobs:
        line = lines.get(job.project)
        if line is None:
            yield Compared(job, Found.NOT_ASKED, f"the project `{job.project}` is not in the configuration")
        elif job.project in refusing:
            yield Compared(job, Found.NOT_ASKED, refusing[job.project])
        else:
            try:
                found = _compared(job, line, stop)
            except NotReached as error:
                if error.banned or in_a_row + 1 >= IN_A_ROW or not _answers(line, stop):
                    raise
                found = Compared(job, Found.NOT_ASKED, f"{error}; the server answers other requests; {error.remedy}")
            except _ProjectError as error:
                meaning = error.meaning
                found = Compared(job, Found.NOT_ASKED, f"{meaning.message}; {meaning.remedy}")
                if meaning.reason != Reason.RIGHTS or in_a_row + 1 >= IN_A_ROW:  # which may be rights to one form, or record
                    refusing[job.project] = found.message
            in_a_row = in_a_row + 1 if found.outcome == Found.NOT_ASKED else 0
            if found.outcome in (Found.MISSING, Found.DIFFERS) and _overtaken(query, job, began):
                found = Compared(job, Found.REPLACED, "a newer file went there meanwhile")
            yield found


def _compared(job: Job, line: ProjectLine, stop: threading.Event) -> Compared:
    place = FileTarget(job.record, job.field, job.event, job.instance)
    for wait in (*WAITS, None):
        try:
            there = line.client.export_file(place, stop=stop)
        except NoFile:
            return Compared(job, Found.MISSING, "the field holds no file")
        except RedcapError as error:
            if error.meaning.verdict is Verdict.UNCLEAR and error.meaning.said:
                known = error.meaning.reason not in (
                    Reason.REFUSED,
                    Reason.RIGHTS,
                )  # that there is no such record, field or event
                return Compared(job, Found.MISSING if known else Found.NOT_ASKED, error.meaning.message)
            if error.meaning.verdict is Verdict.PROJECT:
                raise _ProjectError(error.meaning) from None
            later = error.meaning.verdict in (Verdict.SERVER, Verdict.RATE_LIMITED, Verdict.UNCLEAR)
            if wait is None or not later or stop.wait(max(wait, min(error.meaning.retry_after or 0.0, LONGEST))):
                raise NotReached(job, error) from None
            continue
        if there.sha256 == job.sha256:
            return Compared(job, Found.SAME)
        # A reply of no known length may have been cut off unnoticed: only a second such answer is believed.
        if there.proven_whole or wait is None:
            return Compared(job, Found.DIFFERS, f"REDCap holds other bytes ({there.size:,}, SHA-256 {there.sha256})")
    raise AssertionError("the last try ends in an answer")


def _answers(line: ProjectLine, stop: threading.Event) -> bool:
    try:
        line.client.version(stop)
    except RedcapError:
        return False
    return True


def _overtaken(query: Query, job: Job, began: float) -> bool:
    place = _place(job)
    newer = any(_place(other) == place and other.id != job.id for other in _stored(query, began))
    return newer or any(_place(other) == place for other in query.in_state(OPEN, limit=1_000_000))


def _stored(query: Query, since: float) -> Iterator[Job]:
    after = 0
    while page := query.stored_since(since, None, after, PAGE):
        yield from page
        after = page[-1].id


def _place(job: Job) -> _Place:
    return job.project, job.record, job.event or "", job.field, job.instance or 1


_PIECE = 1024 * 1024


def filed(
    query: Query,
    config: Config,
    since: float,
    folder: str | None,
    after: int,
    stop: threading.Event,
) -> Iterator[Compared]:
    """Look at the files of done jobs that ended since then, in the order of their numbers, from behind job `after`.

    Raises:
        Stopped: `stop` was set.
    """
    trees: dict[str, Tree | None] = {}
    with ExitStack() as stack:
        while page := query.stored_since(since, folder, after, PAGE):
            for job in page:
                if job.folder not in trees:
                    trees[job.folder] = _opened(config, job.folder, stack)
                yield _in_done(job, trees[job.folder], stop)
                if job.preserved_sha256 and (place := config.kept_at(job.folder, job.preserved_as)):
                    yield Compared(job, *_compared_file(None, place, job.preserved_sha256, stop), place, copy=True)
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


def _in_done(job: Job, tree: Tree | None, stop: threading.Event) -> Compared:
    place = job.filed_as or ""
    if not place:
        return Compared(job, Lies.GONE, "it was not filed, or `keep` has removed it")
    if tree is None:
        return Compared(job, Lies.NOT_LOOKED, "its folder is not in the configuration, or cannot be opened", place)
    return Compared(job, *_compared_file(tree, place, job.sha256, stop), place)


def _compared_file(tree: Tree | None, place: str, wanted: str | None, stop: threading.Event) -> tuple[Lies, str]:
    """`place` is a path, or a name in `tree`."""
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        fd = tree.open(place) if tree is not None else os.open(place, flags)
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
                raise Stopped("stopped while a file was read")
            digest.update(piece)
    except OSError as error:
        return Lies.UNREADABLE, error.strerror or str(error)
    finally:
        os.close(fd)
    found = digest.hexdigest()
    return (Lies.SAME, "") if found == wanted else (Lies.CHANGED, f"its SHA-256 is {found}, the ledger says {wanted}")
