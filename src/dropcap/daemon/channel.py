"""One drop folder at work."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from dropcap.config.model import Folder, Project
from dropcap.content.examiner import Examiner
from dropcap.daemon.page_view import Moving, Page
from dropcap.delivery.order import Order
from dropcap.delivery.queue import FolderQueue
from dropcap.filing.keep import Keep
from dropcap.filing.loop import FilingHooks
from dropcap.hosts.grip import Grip
from dropcap.intake.beat import Run
from dropcap.intake.entries import IntakeLedger
from dropcap.intake.hooks import IntakeHooks
from dropcap.intake.loop import Intake
from dropcap.ledger.job import Job
from dropcap.ledger.store import Ledger


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What all channels share. `claimed` is told of a folder's new jobs, `left` that a job's file was renamed or taken away by
    a person, `ended` of jobs whose turn is over; `mistake` says what is wrong with a folder's new configuration, `overdue` since
    when an expected file is missing, `busy` whether a turn of one of its files is under way, `released` whether a person wants a
    folder let go of."""

    run: Run
    ledger: Ledger
    order: Order
    examiner: Examiner
    contact: str
    moving: Moving
    mistake: Callable[[str], str | None]
    overdue: Callable[[str], float | None]
    claimed: Callable[[str, list[int]], None]
    left: Callable[[], None]
    ended: Callable[[Sequence[Job], bool], None]
    busy: Callable[[str], bool]
    released: Callable[[str], bool]


class Channel:
    """A drop folder's intake, its next jobs and their filing, and its page: built whole from the configuration.

    A changed folder gets a new channel; the old one is retired, and ends in its own time. Neither waits for the other's share:
    of two that work in the same directory, the threads of the second begin when those of the first have ended.
    """

    def __init__(
        self,
        folder: Folder,
        project: Callable[[], Project | None],
        around: Surroundings,
        keep: Keep,
        unsafe: Callable[[], str | None],
        grip: Grip,
        after: Channel | None = None,
    ) -> None:
        """`keep` takes copies of what REDCap holds; `unsafe` says why nothing may be taken, if so; `grip` is this host's lease of
        the folder; `after` is the channel that this one stands for."""
        self.folder = folder
        self.grip = grip
        self._after = after
        before = after if after is not None and after.folder.path == folder.path else None
        alike = partial(around.order.alike, folder.project)
        claims = IntakeLedger(around.ledger, folder.name, alike, lambda name: self.queue.address(name), self._refused)
        self.intake: Intake = Intake(
            folder,
            claims,
            around.run,
            IntakeHooks(self._claimed, around.left, self._noted, unsafe, lambda: around.released(folder.name), grip.holds),
            examiner=around.examiner,
            after=before.intake if before is not None else None,
        )
        self.queue: FolderQueue = FolderQueue(
            folder,
            around.ledger,
            lambda: self.intake.lent,
            lambda: self.intake.away is not None,
            around.contact,
            around.order,
            keep,
            FilingHooks(around.ended, self._filed, self.intake.wake, self._refresh, self._stopped, self._over),
            before.queue if before is not None else None,
            self.intake.confirm,
            grip.holds,
        )
        self.keep = keep
        self._busy = around.busy
        self.page = Page(
            around.ledger.query,
            self.intake,
            self.queue,
            around.contact,
            project,
            around.moving,
            around.mistake,
            around.overdue,
        )
        self._told = around.claimed
        self.pruning = threading.Lock()
        self.retired = False

    def start(self) -> None:
        """Begin to take and to file; the channel that this one stands for is retired. Raises NoThread: to be tried again."""
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
            self.intake.leave_once(None)  # the other one goes on there
            self.queue.filer.retire(successor.queue.filer)
        elif self.grip.lost:
            self.intake.leave_once(None)  # another host keeps the marker
        else:
            self.intake.leave_once(lambda: self.queue.filer.idle() and not self._busy(self.folder.name))

    def over(self) -> bool:
        """Of a channel that was retired without a successor: whether nothing is under way in it any more. Waits for nothing."""
        filer = self.queue.filer
        if self.intake.running or self._busy(self.folder.name):
            return False
        if filer.running:
            if self.grip.lost or filer.idle():
                filer.stop()
            return False
        if not self.grip.lost:
            self.intake.leave(0.0)
            if self.intake.kept:  # before another host keeps the marker, it says that this one does not any more
                return False
        self._over()  # nothing of it stays open here
        return True

    def hangs(self) -> bool:
        """Of a channel that is not over: whether it waits for its file system, and for no upload."""
        return not self._busy(self.folder.name)

    def _claimed(self, jobs: list[int]) -> None:
        self.page.changed()
        self._told(self.folder.name, jobs)

    def _refused(self, jobs: list[int]) -> None:
        """These were refused as they were taken: they are only to be filed."""
        self.queue.filer.take_up(jobs)

    def _noted(self) -> None:
        self.page.changed()

    def _filed(self, names: list[str]) -> None:
        self.page.changed()
        self.intake.freed(names)

    def _stopped(self) -> None:
        if not self.retired:
            self.page.stopped()

    def _over(self) -> None:
        self.page.let_go()
        self.queue.let_go()
        self.intake.let_go()

    def _refresh(self) -> float:
        return 60.0 if self.retired else self.page.refresh()  # nobody takes files here any more: the page grows old
