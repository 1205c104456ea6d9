"""`dropcap prune`, step by step: what `keep` says is over, looked for and removed. Nothing else ever removes a dropped file."""

from __future__ import annotations

import contextlib
import functools
import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

import structlog

from dropcap.config.model import Folder
from dropcap.daemon.engine import Engine
from dropcap.display import shown
from dropcap.files import names
from dropcap.files.regular import Lease, writer_free
from dropcap.files.tree import NotRegular, Tree, put_all_back, remove, sha256
from dropcap.filing.place import DONE
from dropcap.filing.preserve import Copy, Keep, NoCopy, PrivateTree, copy_of, names_of_copies
from dropcap.intake.arrivals import is_dropped
from dropcap.ledger.chain import AuditAction, AuditActor
from dropcap.ledger.database import LeaseLost
from dropcap.ledger.job import Job, about
from dropcap.ledger.store import Ledger
from dropcap.preflight.remark import PRUNED

log = structlog.get_logger()

#: Seconds after which a step that looks is over, so that the client hears of it.
_STEP = 2.0
#: Seconds by which a file system's clock may be ahead of ours before a subfolder counts as changed by somebody else.
_CLOCKS = 2.0
#: Seconds by which hosts' clocks may differ.
_DAY = 86400.0


class What(StrEnum):
    """A kind of thing that is over, in the order in which they go."""

    DONE = "done"  # files in done/ that REDCap gave out byte by byte, and that have not changed since
    SUBFOLDER = "subfolder"  # those whose last file dropcap has taken out, and in which nobody has done anything since
    PRESERVED = "preserved"  # copies of what REDCap held, as they were made, that no open job relies on
    HISTORY = "history"  # what the ledger knows of files that dropcap has no more


@dataclass(frozen=True, slots=True)
class Over:
    """One thing that is over. `key` is what `remove` is told: a job's number, or a name; `name` is where it lies."""

    what: What
    folder: str
    key: str | int
    name: str = ""
    size: int = 0


@dataclass(frozen=True, slots=True)
class Aged:
    """How old what is to go must be.

    `now` is the time that the ages are counted by (seconds since the epoch), which the caller has made sure of: a clock that is
    set meanwhile changes nothing. `until` is the first job that was claimed too lately; those behind it are younger, whatever a
    wrong clock has entered for them. Its end, None, is no such job.
    """

    kept_for: float
    now: float
    until: int | None = None

    @property
    def before(self) -> float:
        """What ended later is kept."""
        return self.now - self.kept_for

    def is_older(self, job: int) -> bool:
        """Whether nothing was claimed before that job that is younger itself."""
        return self.until is None or job < self.until

    @property
    def text(self) -> str:
        """For how long it is kept, as people write it."""
        return f"{self.kept_for / 86400:g}d"


@dataclass(frozen=True, slots=True)
class FoundOver:
    """What a look has found; `after` is where the next look begins, None if that was all. `doubtful`: so many are not told, since
    the times in the ledger contradict each other."""

    over: Sequence[Over] = ()
    after: str | int | None = None
    doubtful: int = 0


def aged(ledger: Ledger, kept_for: float, now: float, *, trusting: bool) -> Aged:
    """`trusting`: the times in the ledger are believed, whatever their order. Raises DatabaseError."""
    return Aged(kept_for, now, None if trusting else ledger.query.claimed_since(now - kept_for + _DAY, now))


class Pruning:
    """What is over in one drop folder. For one thread at a time. `tree` and `copies` are None for a folder that is configured no
    more, of which there is history alone.

    Raises OSError and NoCopy (it cannot be looked at or removed), DatabaseError.
    """

    def __init__(self, ledger: Ledger, name: str, folder: Folder | None, tree: Tree | None, copies: Keep | None) -> None:
        self._ledger = ledger
        self._name = name
        self._folder = folder
        self._tree = tree
        self._copies = copies

    def put_back(self) -> None:
        """Put back what an end in the midst of removing has left aside in done/."""
        if self._tree is not None:
            with contextlib.suppress(FileNotFoundError):
                put_all_back(self._tree, DONE)

    def look(self, what: What, age: Aged, after: str | int | None) -> FoundOver:
        """Some of what is over, behind `after`. Changes nothing."""
        match what:
            case What.DONE:
                return self._done(age, int(after or 0))
            case What.SUBFOLDER:
                return FoundOver([Over(what, self._name, name, name) for name in self._subfolders(age)])
            case What.PRESERVED:
                return self._preserved(age, str(after or ""))
            case What.HISTORY:
                return self._history(age, int(after or 0))

    def remove(self, what: What, age: Aged, keys: Sequence[str | int], actor: AuditActor, *, days: bool) -> list[str | int]:
        """Remove those of `keys` that are over still; which those were. `days`: and the days of done/ that are empty then."""
        match what:
            case What.DONE:
                return [*self._remove_files(age, [int(key) for key in keys], days=days)]
            case What.SUBFOLDER:
                return [*self._remove_subfolders(age, {str(key) for key in keys})]
            case What.PRESERVED:
                return [*self._remove_copies(age, [str(key) for key in keys])]
            case What.HISTORY:
                return [*self._forget(age, {int(key) for key in keys}, actor)]

    # Files in done/ -----------------------------------------------------------------------------------------------------

    def _done(self, age: Aged, after: int) -> FoundOver:
        assert self._tree is not None
        began, found, doubtful = time.monotonic(), [], 0
        jobs = self._ledger.query.read_back_and_filed(self._name, age.before, after)
        for job in jobs:
            after = job.id
            if not age.is_older(job.id):
                doubtful += 1
            elif _lies_as_filed(self._tree, job):
                found.append(Over(What.DONE, self._name, job.id, job.filed_as or "", job.size))
            if time.monotonic() - began > _STEP:
                return FoundOver(found, after, doubtful)
        return FoundOver(found, after if jobs else None, doubtful)

    def _remove_files(self, age: Aged, wanted: Sequence[int], *, days: bool) -> list[int]:
        assert self._tree is not None
        jobs = [job for number in wanted if (job := self._ledger.query.job(number)) is not None and self._is_over(job, age)]
        because = f"keep.done is {age.text}"
        # Before anything is touched: what is gone has a step, whatever happens next. Nothing is waited for from the comparison of
        # a file to its removal.
        self._ledger.notes([(job.id, f"to be removed from {shown(job.filed_as or '')}: {because}", {}) for job in jobs])
        gone: list[Job] = []
        steps: list[tuple[int, str, dict[str, Any]]] = []
        for job in jobs:
            place = job.filed_as or ""
            try:
                lies = remove(self._tree, place, functools.partial(_is_as_filed, job))
            except OSError as error:
                steps.append((job.id, f"not removed: {error.strerror}", {}))
                continue
            if lies is None:
                gone.append(job)
                steps.append((job.id, f"removed from {shown(place)}: {because}", {"filed_as": None}))
                lay = shown(place)
                log.info(
                    "removed", what=What.DONE.value, **about(job), lay_in=lay, sha256=job.sha256, size=job.size, kept_for=age.text
                )
            else:
                where = "" if lies == place else f", and lies in {shown(lies)} now"
                steps.append((job.id, f"not removed: somebody has it open, or has changed it{where}", {"filed_as": lies}))
        directories = {names.split(job.filed_as or "")[0] for job in gone}
        with contextlib.suppress(OSError):
            self._tree.sync(*directories)
        self._ledger.notes(steps)
        for directory in directories if days else ():
            self._tree.remove_empty(directory)
        return [job.id for job in gone]

    def _is_over(self, job: Job, age: Aged) -> bool:
        filed = (job.folder, job.state, job.confirmed) == (self._name, "done", "readback") and job.filed_as and job.sha256
        return bool(filed) and job.ended_at is not None and job.ended_at <= age.before and age.is_older(job.id)

    # Copies of what REDCap held -----------------------------------------------------------------------------------------

    def _preserved(self, age: Aged, after: str) -> FoundOver:
        assert self._copies is not None
        began, found, doubtful = time.monotonic(), [], 0
        relying = self._relying(age)
        for name in self._copies.do(0, names_of_copies):
            copy = self._copies.do(0, _old_copy, name, age) if name > after else None
            if copy is None:
                continue
            if copy.sha256 in relying:
                doubtful += not relying[copy.sha256]
            elif self._copies.do(copy.size, copy.intact):
                found.append(Over(What.PRESERVED, self._name, name, name, copy.size))
            if time.monotonic() - began > _STEP:
                return FoundOver(found, name, doubtful)
        return FoundOver(found, None, doubtful)

    def _relying(self, age: Aged) -> dict[str, bool]:
        """The SHA-256 of the copies that a job relies on: one that is open or ended too lately (True), or (False) one of which
        only a wrong clock says that it did not."""
        found: dict[str, bool] = {}
        for job, digest, ended in self._ledger.query.rely_on_copies(self._name):
            late = ended is None or ended > age.before
            if late or not age.is_older(job):
                found[digest] = late or found.get(digest, False)
        return found

    def _remove_copies(self, age: Aged, wanted: Sequence[str]) -> Iterator[str]:
        assert self._copies is not None
        because = f"keep.preserved is {age.text}"
        for name in wanted:
            copy = self._copies.do(0, _old_copy, name, age)
            if copy is None:
                continue
            jobs = [job for job, digest, _ in self._ledger.query.rely_on_copies(self._name) if digest == copy.sha256]
            said = f"copy {shown(name)} of what REDCap held"
            self._ledger.notes([(job, f"the {said} is to be removed: {because}", {}) for job in jobs])
            if copy.sha256 in self._relying(age):
                continue
            if self._copies.do(copy.size, self._remove_copy, name, age):
                self._ledger.notes([(job, f"the {said} was removed: {because}", {}) for job in jobs])
                log.info(
                    "removed", what=What.PRESERVED.value, folder=self._name, job=copy.job, copy=shown(name), sha256=copy.sha256
                )
                yield name

    def _remove_copy(self, copies: PrivateTree, name: str, age: Aged) -> bool:
        """By the thread that alone works in the place: a copy is used only after saying so there."""
        assert self._tree is not None
        self._tree.be_ours()
        copy = _old_copy(copies, name, age)
        if copy is None:
            return False
        with contextlib.suppress(FileNotFoundError):
            if remove(copies, name, copy.is_it) is None:
                with copies.parent(copy.sidecar) as (directory, leaf):
                    os.unlink(leaf, dir_fd=directory)
                copies.sync(names.split(name)[0])
                return True
        return False

    # Subfolders ---------------------------------------------------------------------------------------------------------

    def _subfolders(self, age: Aged) -> list[str]:
        """Those that nobody needs, and in which nothing lies but others of them; the deepest first."""
        folder, tree = self._folder, self._tree
        if folder is None or tree is None or not folder.subfolders:
            return []
        lies_in: dict[str, set[str]] = {}
        changed: dict[str, float] = {}
        for entry in tree.scan():
            entry.enter = is_dropped(entry.name, folder)
            lies_in.setdefault(names.split(entry.name)[0], set()).add(entry.name)
            if entry.kind == "dir" and entry.enter and (status := entry.stat) is not None:
                changed[entry.name] = status.st_mtime
        over: list[str] = []
        for name in sorted(changed, key=lambda name: (-name.count("/"), name)):
            last = self._ledger.query.last_claim_beneath(self._name, name)
            if last is None or changed[name] > last + _CLOCKS or age.now - max(last, changed[name]) < age.kept_for:
                continue
            if lies_in.get(name, set()).issubset(over):
                over.append(name)
        return over

    def _remove_subfolders(self, age: Aged, wanted: set[str]) -> Iterator[str]:
        assert self._tree is not None
        for name in self._subfolders(age):
            parent, leaf = names.split(name)
            if name in wanted:
                self._tree.be_ours()
                with contextlib.suppress(OSError), self._tree.directory(parent) as fd:  # somebody has put something there
                    os.rmdir(leaf, dir_fd=fd)
                    what = What.SUBFOLDER.value
                    log.info("removed", what=what, folder=self._name, subfolder=shown(name), kept_for=age.text)
                    yield name

    # What the ledger knows ----------------------------------------------------------------------------------------------

    def _history(self, age: Aged, after: int) -> FoundOver:
        jobs = self._ledger.query.over(self._name, age.before, after)
        over = [Over(What.HISTORY, self._name, job) for job in jobs if age.is_older(job)]
        return FoundOver(over, jobs[-1] if jobs else None, len(jobs) - len(over))

    def _forget(self, age: Aged, wanted: set[int], actor: AuditActor) -> list[int]:
        over = [
            job for job in self._ledger.query.over(self._name, age.before, min(wanted) - 1) if job in wanted and age.is_older(job)
        ]
        number = self._ledger.prune(over, actor, self._name if self._folder is not None else None)
        log.info("removed", what=What.HISTORY.value, folder=self._name, jobs=number, kept_for=age.text)
        return over


def _lies_as_filed(tree: Tree, job: Job) -> bool:
    """Whether the very bytes lie there that REDCap has. Raises OSError: it cannot be told."""
    try:
        fd = tree.open(job.filed_as or "")
    except (FileNotFoundError, NotADirectoryError, NotRegular):
        return False
    try:
        return _is_as_filed(job, fd)
    finally:
        os.close(fd)


def _is_as_filed(job: Job, fd: int) -> bool:
    """Whether an open file has the bytes that REDCap has, and nobody has touched it since, nor may be about to."""
    before = os.fstat(fd)
    same = (before.st_size, before.st_mtime_ns) == (job.size, job.mtime_ns) and sha256(fd) == job.sha256
    after = os.fstat(fd)
    untouched = (after.st_mtime_ns, after.st_ctime_ns) == (before.st_mtime_ns, before.st_ctime_ns)
    return same and untouched and writer_free(fd) is not Lease.WRITER


def _old_copy(tree: Tree, name: str, age: Aged) -> Copy | None:
    """The copy of that name, if nobody has made use of it for so long. Raises OSError."""
    copy = copy_of(tree, name)
    try:
        return copy if copy is not None and copy.used(tree) <= age.before else None
    except (ValueError, FileNotFoundError):
        return None


#: Seconds that a step waits for one that another command has asked for.
_PATIENCE = 20.0


def prune_step(engine: Engine, asked: dict[str, Any], actor: AuditActor) -> dict[str, Any]:
    """By the dropcap that runs. `cannot` in the answer says why nothing was done in a folder, `elsewhere` that another host works
    there."""
    ledger, name = engine.ledger, asked.get("folder")
    if name is None:
        return of_all(ledger, asked, actor)
    one = engine.channels.get(name)
    if one is None:
        if name in engine.config.folders or name in engine.leases.at_work_elsewhere():
            return {"elsewhere": _host(engine, name)}
        return of_folder(Pruning(ledger, name, None, None, None), asked, actor)
    tree = one.intake.shared_tree
    if tree is None or not one.intake.directory.confirm():
        return {"cannot": one.intake.away or "it is not known whether the folder is ours just now; try again in a moment"}
    if not one.pruning.acquire(timeout=_PATIENCE):
        return {"cannot": "another `dropcap prune` is at work there, or its share does not answer"}
    try:
        return of_folder(Pruning(ledger, name, one.folder, tree, one.keep), asked, actor)
    finally:
        one.pruning.release()


def of_all(ledger: Ledger, asked: dict[str, Any], actor: AuditActor) -> dict[str, Any]:
    """What is asked of no folder: at the beginning, which there are, and how old what must be; before anything is removed, to
    enter who wants that; and at the end, in which folders all was done. Raises DatabaseError."""
    match asked["step"]:
        case "begin":
            now, forced = float(asked["now"]), bool(asked["forced"])
            ages = {what: aged(ledger, float(kept_for), now, trusting=forced) for what, kept_for in asked["keep"].items()}
            return {"folders": ledger.query.folders(), "ages": {what: asdict(age) for what, age in ages.items()}}
        case "act":
            ledger.act(actor, AuditAction.PRUNE, **asked["told"])
        case "end":
            for folder in asked["folders"]:
                ledger.set_meta(f"{PRUNED}{folder}", str(asked["now"]))
    return {}


def of_folder(pruning: Pruning, asked: dict[str, Any], actor: AuditActor) -> dict[str, Any]:
    """A step in one folder. Raises DatabaseError."""
    try:
        if asked["step"] == "put_back":
            pruning.put_back()
            return {}
        what, age = What(asked["what"]), Aged(**asked["age"])
        if asked["step"] == "remove":
            return {"gone": pruning.remove(what, age, asked["keys"], actor, days=bool(asked["days"]))}
        found = pruning.look(what, age, asked["after"])
        return {"over": [asdict(one) for one in found.over], "after": found.after, "doubtful": found.doubtful}
    except LeaseLost:
        return {"elsewhere": "another host"}
    except NoCopy as error:
        return {"cannot": f"{error.message}; {error.remedy}"}
    except OSError as error:
        return {"cannot": f"it cannot be read or written ({error.strerror or error}); let dropcap's user read and write there"}


def _host(engine: Engine, folder: str) -> str:
    hosts = engine.ledger.query.hosts()
    holder = None if hosts is None else hosts.holder(folder)
    return "" if hosts is None or holder is None else hosts.called(holder)
