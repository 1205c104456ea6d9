"""What a folder's status page says, gathered from the ledger and from intake."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from datetime import datetime

from dropcap import __version__
from dropcap.delivery.neighbours import in_general
from dropcap.delivery.queue import FolderQueue
from dropcap.display import shown
from dropcap.files.tree import Tree
from dropcap.filing.page import Line, StatusPage, StatusView
from dropcap.intake.loop import Intake
from dropcap.ledger.job import Job, Pause, State
from dropcap.ledger.query import Query
from dropcap.reasons import Scope

_WAITING = (State.WAITING, State.SENDING, State.UNKNOWN, State.STORED, State.REFUSED)
_SHOWN = 100
#: Seconds between two looks at whether something changed, at least.
_SOONEST = 5.0
#: Seconds until a folder that is not there is looked for again: at the start it is there a moment later.
_ABSENT = 0.5


class Page:
    """Keeps one folder's `_STATUS.html`. `refresh` is called from the folder's filing thread, `changed` from any."""

    def __init__(
        self,
        query: Query,
        intake: Intake,
        queue: FolderQueue,
        contact: str,
        pauses: Callable[[], list[Pause]],
        mistake: Callable[[str], str | None],
        overdue: Callable[[str], float | None],
    ) -> None:
        self._query = query
        self._intake = intake
        self._queue = queue
        self._contact = contact
        self._pauses = pauses
        self._mistake = mistake
        self._overdue = overdue
        self._page: tuple[Tree, StatusPage] | None = None
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
        now, lent = time.monotonic(), self._queue.lent()
        if lent is None:
            self.let_go()
            return _ABSENT
        if not self._changed.is_set() and self._page is not None and self._page[1].due(now) > now:
            return min(_SOONEST, self._page[1].due(now) - now)
        if now - self._last < _SOONEST:
            return _SOONEST - (now - self._last)
        if self._page is None or self._page[0] is not lent[0]:
            self._page = (lent[0], StatusPage(lent[0], self._queue.folder))
        self._changed.clear()
        self._last = now
        self._page[1].offer(self._view())
        return _SOONEST

    def _view(self) -> StatusView:
        name = self._queue.name
        now = datetime.now().astimezone()
        midnight = datetime.combine(now.date(), datetime.min.time()).timestamp()  # also on the day that the clocks change
        counts = self._query.counts().get(name, {})
        unsettled = self._intake.unsettled
        notes = self._intake.notes
        left, strays = self._intake.left, self._intake.strays
        waiting = [
            Line(shown(file), _time(since), notes.get(file, ""))
            for file, since in sorted(unsettled.items(), key=lambda item: item[1])[:_SHOWN]
        ]
        behind = {newer.id: held for newer, held in self._query.behind_held(name, _SHOWN)}
        waiting += [_waiting(job, behind.get(job.id)) for job in self._query.in_state(_WAITING, name, _SHOWN - len(waiting))]
        return StatusView(
            folder=name,
            generated=now,
            contact=self._contact,
            waiting=waiting,
            held=[_line(job) for job in self._query.in_state((State.HELD,), name, _SHOWN)],
            failed=[_line(job) for job in self._query.failed(name, _SHOWN)],
            done_today=self._query.ended_since(name, midnight, State.DONE),
            done_last=[_line(job) for job in self._query.last_done(name, midnight)],
            not_taken=sorted((shown(file), why) for file, why in self._intake.not_taken.items())[:_SHOWN],
            left=[shown(file) for file in left.first],
            left_count=left.count,
            left_note=f"{left.message}. What to do: {left.remedy}." if left.count else "",
            strays=[shown(file) for file in strays.first],
            stray_count=strays.count,
            stray_note=f"{strays.message}. What to do: {strays.remedy}." if strays.count else "",
            pauses=self._told(),
            version=__version__,
            waiting_count=len(unsettled) + self._intake.behind + sum(counts.get(state.value, 0) for state in _WAITING),
            held_count=counts.get("held", 0),
            failed_count=counts.get("failed", 0),
        )

    def _told(self) -> list[str]:
        its = ((Scope.PROJECT, self._queue.folder.project), (Scope.FOLDER, self._queue.name))
        told = [
            f"{pause.scope} {pause.name}: {_of_its_own(pause)}. {pause.remedy}"
            for pause in self._pauses()
            if pause.scope == Scope.SERVER or (pause.scope, pause.name) in its
        ]
        if (mistake := self._mistake(self._queue.name)) is not None:
            told.append(mistake)
        if (since := self._overdue(self._queue.name)) is not None:
            told.append(f"A file was expected here by {_time(since):%Y-%m-%d %H:%M}, and none was dropped.")
        if self._intake.full:
            told.append("This share has less room than min_free: nothing is taken until there is more.")
        return told


def _of_its_own(pause: Pause) -> str:
    """Why, without what REDCap has said of some file: it may be another folder's."""
    return pause.message if pause.scope == Scope.FOLDER else in_general(pause.reason)


def _time(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds).astimezone()


def _waiting(job: Job, held: Job | None) -> Line:
    if held is not None:
        # Another folder's files are shown to nobody here.
        other = shown(held.name) if held.folder == job.folder else "a file of another folder"
        return Line(
            shown(job.name), _time(job.claimed_at), f"goes to the same place as {other}, which is held: it waits for that one"
        )
    if job.reason:
        return Line(shown(job.name), _time(job.claimed_at), job.message or job.reason)
    note = "is being sent" if job.state is State.SENDING else "waits for its turn"
    return Line(shown(job.name), _time(job.claimed_at), note)


def _line(job: Job) -> Line:
    return Line(
        name=shown(job.name),
        since=_time(job.ended_at or job.claimed_at),
        note=shown(job.filed_as or ""),
        reason=job.reason or job.result or "",
        message=job.message or "",
        remedy=job.remedy or "",
    )
