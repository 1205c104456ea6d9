"""One folder's due jobs in memory, what is under way, and how long an absent folder is waited for."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Container, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Generic, TypeAlias, TypeVar

from dropcap.config.model import Folder
from dropcap.delivery.order import Order
from dropcap.delivery.plan import Facts
from dropcap.display import shown
from dropcap.files.tree import Tree
from dropcap.filing.loop import Filer, FilingHooks
from dropcap.filing.place import Filing
from dropcap.filing.preserve import Keep
from dropcap.ledger.job import Address, Job, State
from dropcap.ledger.query import Query
from dropcap.ledger.store import Ledger
from dropcap.ledger.transitions import NOBODY, Absent
from dropcap.reasons import Reason
from dropcap.routing.route import NoRoute, Route, route
from dropcap.routing.rule import NEXT

Item = TypeVar("Item")

#: Seconds that a batch is meant to last, and those after which it gives back what it has not begun.
LASTS, OVERDUE = 0.1, 0.3
#: Files in a batch at most: so many have an unknown outcome after a crash, for each thread, and are read back.
MOST = 32


class Pace:
    """How long the small files of a folder take. May be used by several threads: a lost update does no harm."""

    def __init__(self) -> None:
        self._seconds = LASTS  # the first go alone

    def took(self, seconds: float) -> None:
        """A file took so long, from its opening to REDCap's answer."""
        self._seconds += (seconds - self._seconds) / 4

    def length(self) -> int:
        """How many files are worth a batch."""
        return max(1, min(MOST, int(LASTS / max(self._seconds, 1e-4))))


@dataclass(slots=True)
class _Batch(Generic[Item]):
    folder: str
    length: int
    items: list[Item]


class Batches(Generic[Item]):
    """Files shared out to free threads: each gets one first, then each that may take more does, evenly."""

    def __init__(self, threads: int) -> None:
        self._threads = threads
        self._batches: list[_Batch[Item]] = []

    def full(self) -> bool:
        """Whether no file can go any more."""
        return len(self._batches) >= self._threads and all(len(batch.items) >= batch.length for batch in self._batches)

    def room(self, folder: str, alone: bool) -> bool:
        """Whether another file of the folder can go; `alone`: not behind others."""
        return len(self._batches) < self._threads or (not alone and self._shortest(folder) is not None)

    def add(self, folder: str, length: int, item: Item) -> None:
        """Give the file to a thread; there must be room. `length` is how many may go with it."""
        batch = self._shortest(folder) if len(self._batches) >= self._threads else None
        if batch is None:
            self._batches.append(_Batch(folder, length, [item]))
        else:
            batch.items.append(item)

    def all(self) -> list[list[Item]]:
        """What each thread is to do."""
        return [batch.items for batch in self._batches]

    def _shortest(self, folder: str) -> _Batch[Item] | None:
        open_batches = [batch for batch in self._batches if batch.folder == folder and len(batch.items) < batch.length]
        return min(open_batches, key=lambda batch: len(batch.items), default=None)


Confirm: TypeAlias = Callable[[], Callable[[], bool] | None]

#: Jobs a folder keeps in memory, per size class; the rest waits in the ledger.
IN_MEMORY = 200
LOW = 50
#: Names of which it is kept where they go, from their claim on.
_ROUTED = 4 * IN_MEMORY


@dataclass(frozen=True, slots=True)
class Known:
    """What a look-up has told of a job's record, and when it began (monotonic seconds)."""

    facts: Facts
    at: float


@dataclass(frozen=True, slots=True)
class Candidate:
    """A job whose turn can come. It never changes: when more is known of it, another one takes its place in the lane."""

    job: Job
    route: Route
    known: Known | None = None
    asking: bool = False  # a look-up is under way


@dataclass(frozen=True, slots=True)
class LookedUp:
    """What came of the look-up for a candidate; `known` is None if nothing did, or if the ledger says more of it by now."""

    candidate: Candidate
    known: Known | None


@dataclass(slots=True)
class Lane:
    """The next jobs of one size class, in order."""

    small: bool
    jobs: dict[int, Candidate] = field(default_factory=dict)
    more: bool = True  # the ledger may hold more that are due; any thread may say so


@dataclass(slots=True)
class Unfit:
    """Jobs that cannot be candidates as they are: those that have no way, and those that have another one than they had. `left`
    were candidates, and are not any more.
    """

    lost: list[tuple[Job, NoRoute]] = field(default_factory=list)
    moved: list[Job] = field(default_factory=list)
    left: list[int] = field(default_factory=list)


class FolderQueue:
    """One folder's next jobs, and the filing of those that are over; only the deciding thread touches the lanes."""

    def __init__(
        self,
        folder: Folder,
        ledger: Ledger,
        tree: Callable[[], Tree | None],
        away: Callable[[], bool],
        contact: str,
        order: Order,
        keep: Keep,
        hooks: FilingHooks,
        after: FolderQueue | None = None,
        confirm: Confirm = lambda: lambda: True,
        holds: Callable[[], bool] = lambda: True,
    ) -> None:
        """`tree` gives the directory that intake works in now, None while there is none; `away` says whether that is since the
        folder is away. `keep` takes copies of what REDCap holds. `after` worked in the same directory before and is to end.
        `confirm` reads in the folder whether it is still ours: None if not, else what tells so later; `holds` whether no other
        host may work in it at this moment."""
        self.folder = folder
        self.holds = holds
        self.filer: Filer = Filer(folder.name, ledger, self.lent, self.address, hooks, after.filer if after else None)
        self.pace = Pace()
        self.order = order
        self.confirm = confirm
        self._tree = tree
        self._away = away
        self._contact = contact
        self._keep = keep
        self._filing: tuple[Tree, Filing] | None = None
        self._lock = threading.Lock()
        self.lanes = (Lane(small=True), Lane(small=False))
        self._readdressed: set[int] = set()
        self._routed: dict[str, Route | NoRoute] = {}  # of names that were claimed, until their jobs are in line
        self.renamed: set[int] = set()  # jobs that intake has entered or given another name since the last refill
        self.next_due: float | None = None  # when the next job that is not due yet will be (seconds since the epoch)
        self.paused = False
        self.may_be_passed = False  # it was seen to be absent, and not to be back yet
        self.stuck = 0  # turns that hang in this folder's file system

    @property
    def name(self) -> str:
        """The folder's name in the configuration."""
        return self.folder.name

    def open(self) -> bool:
        """Whether its files may be worked on: it is there, answers, is not paused, and none of them may just be passed."""
        return not (self.paused or self.stuck or self.may_be_passed) and self.lent() is not None

    def absent(self) -> bool:
        """Whether its files cannot be worked on, though nobody has paused it: it is away, or does not answer."""
        return not self.paused and (bool(self.stuck) or self._away())

    def lent(self) -> tuple[Tree, Filing] | None:
        """The folder itself and its filing, or None while it is away. Touches no file system."""
        tree = self._tree()
        with self._lock:
            if self._filing is not None and self._filing[0] is not tree:
                self._filing = None  # the descriptor is closed with the last turn that still uses it
            if tree is not None and self._filing is None:
                self._filing = (tree, Filing(self.folder, tree, self._contact, self._keep))
            return self._filing

    def let_go(self) -> None:
        """Another one works in its place: the directory is closed once no turn uses it any more."""
        with self._lock:
            self._tree, self._filing = lambda: None, None
        self._keep.let_go()

    def refill(self, query: Query, now: float, small_file: int, in_flight: Container[int], absent: Absent = NOBODY) -> Unfit:
        """Take more due jobs from the ledger; those that cannot be taken as they are entered there are returned."""
        unfit = Unfit()
        with self._lock:
            renamed, self.renamed = self.renamed, set()
        if any(lane.more for lane in self.lanes):
            self.next_due = query.next_due(self.name, now)
        for lane in self.lanes:
            for job_id in renamed & lane.jobs.keys():
                del lane.jobs[job_id]
                unfit.left.append(job_id)
            if not lane.more or len(lane.jobs) >= LOW:
                continue
            limit = IN_MEMORY + len(lane.jobs)
            lane.more = False  # before the question: what comes in after it sets this again, and must not be forgotten
            due = query.due(self.name, now, limit, small_file, small=lane.small, absent=absent)
            if len(due) == limit:
                lane.more = True
            for job in due:
                if job.id in lane.jobs or job.id in in_flight:
                    continue
                found = self._way_of(job)
                if isinstance(found, Route):
                    lane.jobs[job.id] = Candidate(job, found)
                elif found is not None:
                    unfit.lost.append((job, found))
                else:
                    unfit.moved.append(job)
        self._readdressed.update(job.id for job in unfit.moved)
        return unfit

    def _way_of(self, job: Job) -> Route | NoRoute | None:
        """Where a job goes; None if the rules have changed since it was entered, while it was being sent."""
        found = self._routed.pop(job.name, None) or route(self.folder.rules, self.name, job.name)
        if isinstance(found, NoRoute):
            return found
        target, now = found.target, self.order.address_of(self.folder, found)
        where = (now.project, now.event, now.field, now.takes_next) == (job.project, job.event, job.field, job.takes_next)
        there = (bool(target.record_where) or now.record == job.record) and (now.takes_next or now.instance == job.instance)
        same = where and there
        if job.state is State.UNKNOWN and (elsewhere := self.order.elsewhere(job)):
            message = f"it was sent to {elsewhere}, and `{shown(job.project)}` leads to another project now"
            return NoRoute(Reason.PROJECT_MISMATCH, message, "", found.rule)
        if job.state is State.UNKNOWN and not same and job.record and job.key:
            return self._where_it_was_sent(job, found)
        if (
            (job.state is State.WAITING or not job.key)
            and not (same and now.rule == job.rule)
            and job.id not in self._readdressed
        ):
            return None
        if target.record_where and job.record:  # looked up before
            return replace(found, target=replace(target, record=job.record))
        return found

    def _where_it_was_sent(self, job: Job, found: Route) -> Route | NoRoute:
        """The rules have changed since: it is read back where it may have arrived, and ends there."""
        if job.project != self.folder.project:
            message = f"it was sent to project `{shown(job.project)}`, and its folder goes to `{shown(self.folder.project)}` now"
            return NoRoute(Reason.NO_RULE, message, "", found.rule)
        instance = NEXT if job.takes_next else job.instance
        target = replace(found.target, record=job.record, event=job.event, field=job.field, instance=instance, record_where={})
        return replace(found, target=target)

    def asking(self, candidate: Candidate) -> Candidate:
        """A look-up for it begins; the candidate that takes its place."""
        asked = replace(candidate, known=None, asking=True)
        self._put(candidate, asked)
        return asked

    def answered(self, answer: LookedUp) -> bool:
        """The look-up is over. One whose candidate is not in line any more (a reload, a rename) tells nothing: False."""
        candidate = answer.candidate
        told = None if answer.known is None else replace(candidate, known=answer.known, asking=False)
        return self._put(candidate, told)

    def _put(self, candidate: Candidate, instead: Candidate | None) -> bool:
        """Another one takes a candidate's place, or none: it is read from the ledger anew. False if it is not in line."""
        for lane in self.lanes:
            if lane.jobs.get(candidate.job.id) is candidate:
                if instead is None:
                    del lane.jobs[candidate.job.id]
                    lane.more = True  # it may have been passed over as being here, since whoever looked it up said so
                else:
                    lane.jobs[candidate.job.id] = instead
                return True
        return False

    def look_again(self, jobs: Iterable[int] = ()) -> None:
        """There may be more due jobs in the ledger, and `jobs` may have other names than before."""
        with self._lock:
            self.renamed.update(jobs)
        for lane in self.lanes:
            lane.more = True

    def forget(self) -> None:
        """Drop what is in memory and start again from the ledger."""
        self._readdressed.clear()
        for lane in self.lanes:
            lane.jobs.clear()
            lane.more = True

    def address(self, name: str) -> Address:
        """The address under which a file of that name is claimed. What the rules say of it stands until its job is in line."""
        found = route(self.folder.rules, self.name, name)
        if len(self._routed) >= _ROUTED:  # of files that never come in line: those that intake refuses
            self._routed.clear()
        self._routed[name] = found
        return self.order.address_of(self.folder, found)


#: Seconds for which files to the same place wait for one whose folder is absent.
WAITED_FOR = 3600.0


class Absence:
    """Looks which folders are absent: those that are away or do not answer, and those that are not in the configuration now,
    which may be a slip. A folder that is paused by hand is not: its files are waited for. Nor is one in which another
    host works, that alone has it in its configuration.
    """

    def __init__(self, elsewhere: Callable[[], Collection[str]] = tuple) -> None:
        """`elsewhere` tells in which folders other hosts work now."""
        self._elsewhere = elsewhere
        self._since: dict[str, float] = {}
        self._unknown: frozenset[str] = frozenset()  # not in the configuration, though they have files on their way
        self.absent = NOBODY

    def configured(self, folders: Iterable[str], with_files: Iterable[str]) -> None:
        """`folders` are those of the configuration, `with_files` those that have files on their way."""
        self._unknown = frozenset(with_files).difference(folders)

    def look(self, folders: Mapping[str, FolderQueue], paused: Collection[str], now: float) -> bool:
        """See how it is `now` (monotonic seconds); whether that lets files go that had to wait. `paused` are by hand.

        What a folder keeps in memory is read anew once it is seen to be back, and waits until then: it may have been passed.
        """
        unknown = self._unknown.difference(paused, self._elsewhere()) if self._unknown else self._unknown
        away = {name for name, folder in folders.items() if folder.absent()} | unknown
        for name, folder in folders.items():
            folder.may_be_passed = name in away
        for name in self._since.keys() - away:
            del self._since[name]
            if (back := folders.get(name)) is not None:
                back.forget()
        for name in away:
            self._since.setdefault(name, now)
        long = {name for name, since in self._since.items() if now - since > WAITED_FOR}
        before, self.absent = self.absent, Absent(frozenset(long), frozenset(away))
        return bool((self.absent.long - before.long) or (self.absent.now - before.now))


class InFlight:
    """Jobs that the deciding thread has given a turn, and that are not taken from the ledger again before it is over.

    It alone adds; whoever ends a turn discards. Safe for threads.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._jobs: set[int] = set()

    def add(self, job: int) -> None:
        """Its turn begins."""
        with self._lock:
            self._jobs.add(job)

    def discard(self, jobs: Collection[int]) -> None:
        """Their turns are over."""
        with self._lock:
            self._jobs.difference_update(jobs)

    def __contains__(self, job: object) -> bool:
        with self._lock:
            return job in self._jobs

    def __len__(self) -> int:
        with self._lock:
            return len(self._jobs)
