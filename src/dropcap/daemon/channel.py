"""One drop folder at work: intake, queue, filing and page."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Collection, Sequence
from dataclasses import replace
from datetime import datetime
from operator import itemgetter
from typing import Protocol

from dropcap import __version__
from dropcap.config.model import Config, Folder
from dropcap.content.examiner import Examiner
from dropcap.delivery.loop import Delivery
from dropcap.delivery.order import Order
from dropcap.delivery.queue import FolderQueue
from dropcap.delivery.workers import Uploading
from dropcap.display import shown
from dropcap.files.tree import Tree
from dropcap.filing.page import StatusPage
from dropcap.filing.preserve import Keep
from dropcap.filing.status_view import BeingSent, Line, Rest, StatusView, Still, WhyLeft
from dropcap.filing.why import Failure, failure_of, told_by_name
from dropcap.hosts.membership import LeaseHandle
from dropcap.intake.arrivals import NO_RIGHT, OPEN_FOR_WRITING, OPEN_ON_A_SHARE
from dropcap.intake.claim import NAMESAKE, ON_ITS_WAY, WAS_THERE
from dropcap.intake.content import CUT_OFF, DISK_WAS_FULL
from dropcap.intake.folder import LINK, NO_FILE
from dropcap.intake.loop import Intake
from dropcap.intake.opened import OTHER_FOLDER
from dropcap.intake.owner import Run
from dropcap.ledger.database import TOLD
from dropcap.ledger.job import Address, Job, Refused, State
from dropcap.ledger.store import Ledger
from dropcap.naming.doctor import examples
from dropcap.reasons import Reason, Scope
from dropcap.snapshot import GOES_ON

_SHOWN = 50
#: Failures that are kept as they were told, so that no name is looked at twice.
_KEPT = 500
#: Seconds between two looks at whether something changed, at least.
_SOONEST = 5.0
#: Seconds until a folder that is not there is looked for again: at the start it is there a moment later.
_ABSENT = 0.5
#: The same while the ledger does not answer.
_AGAIN = 1.0

_RESTS = {
    **dict.fromkeys((OPEN_FOR_WRITING, OPEN_ON_A_SHARE), Rest.OPEN),
    **dict.fromkeys((ON_ITS_WAY, WAS_THERE, NAMESAKE), Rest.NAMESAKE),
    DISK_WAS_FULL: Rest.DISK_WAS_FULL,
}
_LEFT = {LINK: WhyLeft.LINK, NO_FILE: WhyLeft.NO_FILE, OTHER_FOLDER: WhyLeft.OTHER_FOLDER}


class ChannelEngine(Protocol):
    """What all channels share: `daemon.engine.Engine`."""

    config: Config
    run: Run
    ledger: Ledger
    order: Order
    examiner: Examiner
    delivery: Delivery
    overdue: dict[str, float]
    released: set[str]

    def mistake(self, folder: str) -> str | None:
        """What is wrong with a folder's new configuration."""

    def in_development(self, project: str) -> bool:
        """Whether REDCap has told that a project is in development."""

    def unsafe(self, folder: Folder, keep: Keep) -> str | None:
        """Why nothing may be taken from a folder; may hang on its share."""


class Page:
    """Keeps one folder's `_STATUS.html`. `changed` is called from any thread, the rest from the folder's filing thread."""

    def __init__(self, engine: ChannelEngine, intake: Intake, queue: FolderQueue, contact: str) -> None:
        self._engine = engine
        self._query = engine.ledger.query
        self._intake = intake
        self._queue = queue
        self._contact = contact
        self._examples = examples(queue.folder.rules, queue.name)
        self._page: tuple[Tree, StatusPage] | None = None
        self._failures: dict[int, Failure] = {}
        self._told_still: list[object] = []
        self._told: StatusView | None = None
        self._changed = threading.Event()
        self._changed.set()
        self._last = 0.0

    def changed(self) -> None:
        """Something happened in the folder."""
        self._changed.set()

    def let_go(self) -> None:
        """The folder is away, or another writes its page: nothing of it is held open here. For the thread that refreshes it."""
        self._page = None

    def refresh(self) -> float:
        """Write the page if it is time to; seconds until the next look."""
        now, page = time.monotonic(), self._placed()
        if page is None:
            return _ABSENT
        still = [bool(self._engine.ledger.trouble.unwritable), *((one.reason, one.since) for one in self._still())]
        if still != self._told_still or self._engine.delivery.progress.uploads(self._queue.name):
            self._told_still = still
            self._changed.set()
        if not self._changed.is_set() and page[1].due(now) > now:
            return min(_SOONEST, page[1].due(now) - now)
        if now - self._last < _SOONEST:
            return _SOONEST - (now - self._last)
        self._changed.clear()
        self._last = now
        try:
            self._told = self._view(page[0])
        except TOLD:  # what is known from before, and that the ledger does not answer
            if self._told is None:
                raise
            self._offer(page[1], replace(self._told, generated=datetime.now().astimezone(), sending=[], unrecorded=True))
            self._changed.set()
            return _AGAIN
        self._offer(page[1], self._told)
        return _SOONEST

    def _offer(self, page: StatusPage, view: StatusView) -> None:
        if self._queue.site.holds():  # to gather it may have taken long
            page.offer(view)

    def stopped(self) -> None:
        """Write the last page: dropcap ends."""
        page = self._placed()
        if page is not None:
            with contextlib.suppress(*TOLD):
                page[1].offer(self._view(page[0], stopped=True))

    def _placed(self) -> tuple[Tree, StatusPage] | None:
        borrowed = self._queue.filer.borrowed() if self._queue.site.holds() else None
        if borrowed is None:
            self.let_go()
        elif self._page is None or self._page[0] is not borrowed[0]:
            self._page = (borrowed[0], StatusPage(borrowed[0], self._queue.folder))
        return self._page

    def _view(self, tree: Tree, *, stopped: bool = False) -> StatusView:
        name, query, intake = self._queue.name, self._query, self._intake
        now = datetime.now().astimezone()
        midnight = datetime.combine(now.date(), datetime.min.time()).timestamp()  # also on the day that the clocks change
        counts = query.counts().get(name, {})
        unsettled, notes = intake.unsettled, intake.notes
        uploads = self._engine.delivery.progress.uploads(name)
        sent = {upload.job for upload in uploads}
        behind = {newer.id: held for newer, held in query.behind_held(name, _SHOWN)}
        # Those that are being sent are the first: of the others as many as are shown are left.
        jobs = [job for job in query.in_state(GOES_ON, name, _SHOWN + len(uploads)) if job.id not in sent]
        not_taken = intake.not_taken
        return StatusView(
            folder=name,
            generated=now,
            contact=self._contact,
            language=self._queue.folder.language,
            refresh=self._queue.folder.page_refresh,
            stopped=stopped,
            test=self._engine.in_development(self._queue.folder.project),
            examples=self._examples,
            still=self._still(),
            full=intake.full,
            unrecorded=bool(self._engine.ledger.trouble.unwritable),
            old_rules=self._engine.mistake(name) is not None,
            missing_since=_time(since) if (since := self._engine.overdue.get(name)) is not None else None,
            sending=[_sending(upload, query.job(upload.job), now) for upload in uploads],
            arriving=[
                Line(shown(file), _time(since), rest=_rest(notes.get(file, "")))
                for file, since in sorted(unsettled.items(), key=itemgetter(1))[:_SHOWN]
            ],
            arriving_count=len(unsettled) + intake.behind,
            waiting=[self._waiting(job, behind.get(job.id)) for job in jobs[:_SHOWN]],
            waiting_count=max(0, sum(counts.get(state.value, 0) for state in GOES_ON) - len(uploads)),
            held=[_held(job) for job in query.in_state((State.HELD,), name, _SHOWN)],
            held_count=counts.get("held", 0),
            failed=[self._failure(job, tree) for job in query.failed(name, _SHOWN)],
            failed_count=counts.get("failed", 0),
            not_taken=sorted((shown(file), _left(why)) for file, why in not_taken.items())[:_SHOWN],
            not_taken_count=len(not_taken),
            strays=[shown(file) for file in intake.strays.first],
            stray_count=intake.strays.count,
            lay_here=[shown(file) for file in intake.left.first],
            lay_here_count=intake.left.count,
            done_today=query.ended_since(name, midnight, State.DONE),
            done_last=[self._done(job) for job in query.last_done(name, midnight)],
            version=__version__,
        )

    def _still(self) -> list[Still]:
        """Why nothing moves, in general: what REDCap has said may be about another folder's file."""
        project, told = self._engine.config.projects.get(self._queue.folder.project), []
        for pause in self._engine.delivery.breakers.pauses():
            of_server = (
                pause.scope == Scope.SERVER and project is not None and project.stands_still_with(pause.name, pause.until_resume)
            )
            if of_server or (pause.scope, pause.name) in (
                (Scope.PROJECT, self._queue.folder.project),
                (Scope.FOLDER, self._queue.name),
            ):
                told.append(Still(pause.reason, _time(pause.since), by_itself=not pause.until_resume))
        limited = self._engine.delivery.limited(self._queue.folder.project)
        told += [Still(Reason.RATE_LIMITED, until=_time(room)) for room in limited.values()]
        return told

    def _failure(self, job: Job, tree: Tree) -> Failure:
        known = self._failures.get(job.id)
        if known is None:
            if len(self._failures) >= _KEPT:
                self._failures.clear()
            when = _time(job.ended_at or job.changed_at)
            refused = Refused(Reason.of(job.reason, Reason.REFUSED), job.message or "", job.remedy or "")
            known = failure_of(job, refused, when, self._queue.folder, self._query, tree, job.filed_as or job.name)
            self._failures[job.id] = known
        return known

    def _done(self, job: Job) -> Line:
        return Line(shown(job.name), _time(job.ended_at or job.claimed_at), to=self._told_by_name(job))

    def _told_by_name(self, job: Job) -> str:
        """The place in REDCap as far as the file's name tells it: a record that was found by its values is not shown here."""
        told = told_by_name(self._queue.folder, job.name)
        return "" if told is None else " · ".join(part for part in (told.record, told.event or "", told.field) if part)

    def _waiting(self, job: Job, held: Job | None) -> Line:
        return Line(shown(job.name), _time(job.claimed_at), job.reason or "", behind=self._behind(job, held))

    def _behind(self, job: Job, held: Job | None) -> str:
        """The held file that `job` waits for, if their names tell that they go to the same record: else that they do is REDCap's.

        Another folder's files are shown to nobody here.
        """
        if held is None:
            return ""
        if held.folder != job.folder:
            return "…"
        one, other = (told_by_name(self._queue.folder, name) for name in (job.name, held.name))
        if one is None or other is None or (one.record, one.record_where) != (other.record, other.record_where):
            return ""
        return shown(held.name) if one.record or one.record_where else ""


def _sending(upload: Uploading, job: Job | None, now: datetime) -> BeingSent:
    left = upload.seconds_left(now.timestamp())
    ends = _time(now.timestamp() + left) if left is not None else None
    since = _time(job.claimed_at) if job is not None else now
    return BeingSent(shown(upload.file), since, upload.size, upload.sent, ends)


def _rest(note: str) -> Rest:
    if note.startswith(CUT_OFF):
        return Rest.CUT_OFF
    return _RESTS.get(note, Rest.QUIET)


def _left(why: str) -> WhyLeft:
    if why.startswith(NO_RIGHT):
        return WhyLeft.NO_RIGHT
    return _LEFT.get(why, WhyLeft.TROUBLE)


def _time(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds).astimezone()


def _held(job: Job) -> Line:
    return Line(shown(job.name), _time(job.claimed_at), reason=job.reason or "")


class Channel:
    """A drop folder's intake, its next jobs and their filing, and its page: built whole from the configuration.

    A changed folder gets a new channel; the old one is retired, and ends in its own time. Neither waits for the other's share:
    of two that work in the same directory, the threads of the second begin when those of the first have ended.
    """

    def __init__(
        self, engine: ChannelEngine, folder: Folder, contact: str, keep: Keep, handle: LeaseHandle, after: Channel | None = None
    ) -> None:
        """`keep` takes copies of what REDCap holds; `handle` is this host's lease of the folder; `after` is the channel that this
        one stands for."""
        self.folder = folder
        self.ledger = engine.ledger
        self.run = engine.run
        self.examiner: Examiner | None = engine.examiner
        self.lease_handle = handle
        self.keep = keep
        self._engine = engine
        self._after = after
        before = after if after is not None and after.folder.path == folder.path else None
        self.intake: Intake = Intake(self, after=before.intake if before is not None else None)
        before_queue = before.queue if before is not None else None
        self.queue: FolderQueue = FolderQueue(self, engine.ledger, engine.order, keep, contact, before_queue)
        self.page = Page(engine, self.intake, self.queue, contact)
        self.pruning = threading.Lock()
        self.retired = False

    def start(self) -> None:
        """Begin to take and to file; the channel that this one stands for is retired."""
        if self._after is not None:
            self._after.retire(self)
            self._after = None
        self.queue.filer.start()
        self.intake.start()

    def retire(self, successor: Channel | None = None) -> None:
        """Take nothing more; what is under way is filed by `successor`, or still here if there is none. Waits for nothing."""
        self.retired = True
        self.intake.stop(0.0)
        if successor is not None:
            self.intake.directory.leave_once_over(False)  # the other one goes on there
            self.queue.filer.retire(successor.queue.filer)
        elif self.lease_handle.lost:
            self.intake.directory.leave_once_over(False)  # another host keeps the marker
        else:
            self.intake.directory.leave_once_over(True)

    def ends(self) -> bool:
        """Of a channel that was retired without a successor: whether nothing is under way in it any more. Waits for nothing."""
        filer = self.queue.filer
        if self.intake.running or self._engine.delivery.busy(self.folder.name):
            return False
        if filer.running:
            if self.lease_handle.lost or filer.idle():
                filer.stop()
            return False
        if not self.lease_handle.lost:
            self.intake.leave(0.0)
            if self.intake.directory.kept:  # before another host keeps the marker, it says that this one does not any more
                return False
        self.over()  # nothing of it stays open here
        return True

    def hangs(self) -> bool:
        """Of a channel that is not over: whether it waits for its file system, and for no upload."""
        return not self._engine.delivery.busy(self.folder.name)

    # What intake asks and tells (`IntakeContext`) --------------------------------------------------------------------

    def projects(self) -> Collection[str]:
        """The entries that lead where the folder's does."""
        return self._engine.order.alike(self.folder.project)

    def claimed(self, jobs: list[int]) -> None:
        """Jobs were entered in the ledger, or renamed there."""
        self.page.changed()
        self._engine.delivery.queues.wake(self.folder.name, jobs)

    def refused(self, jobs: list[int]) -> None:
        """These were refused as they were taken: they are only to be filed."""
        self.queue.filer.take_up(jobs)

    def place_left(self) -> None:
        """A person has renamed or taken away a job's file: those behind it can be next."""
        self._engine.delivery.queues.wake()

    def unsafe(self) -> str | None:
        """Why nothing may be taken; may hang on the folder's share."""
        return self._engine.unsafe(self.folder, self.keep)

    def released(self) -> bool:
        """Whether a person wants the folder let go of."""
        return self.folder.name in self._engine.released

    def idle(self) -> bool:
        """Whether none of its files is being sent or filed."""
        return self.queue.filer.idle() and not self._engine.delivery.busy(self.folder.name)

    # What delivery and filing ask of the folder, and tell it (`DropFolder`) --------------------------------------------

    def tree(self) -> Tree | None:
        """The directory that intake works in now."""
        return self.intake.shared_tree

    def away(self) -> bool:
        """Whether there is none since the folder is away."""
        return self.intake.away is not None

    def confirm(self) -> bool:
        """Read in the folder whether it is still ours, which may hang."""
        return self.intake.directory.confirm()

    def holds(self) -> bool:
        """Whether no other host may work there at this moment."""
        return self.lease_handle.holds()

    def address(self, name: str) -> Address:
        """Where a file of that name goes."""
        return self._engine.order.address(self.folder, name)

    def ended(self, jobs: Sequence[Job], stored: bool) -> None:
        """These jobs' turns are over."""
        self._engine.delivery.queues.ended(jobs, stored)

    def changed(self) -> None:
        """The page may say something else."""
        self.page.changed()

    def filed(self, names: list[str]) -> None:
        """These names have left in_progress/."""
        self.page.changed()
        self.intake.freed(names)

    def missing(self) -> None:
        """in_progress/ is not as it should be."""
        self.intake.wake()

    def refresh(self) -> float:
        """Keep the page; seconds until the next look."""
        if not self.retired:
            return self.page.refresh()
        self.page.let_go()  # nobody takes files here any more: the page grows old
        return 60.0

    def stopped(self) -> None:
        """Write the last page."""
        if not self.retired:
            self.page.stopped()

    def over(self) -> None:
        """Nothing more is filed here: nothing of it stays open."""
        self.page.let_go()
        self.queue.filer.let_go()
        self.intake.directory.end()
