"""A second look at places that a host was sending to when it was lost: its import may have arrived late, over a newer file.

What it had half sent was read back soon after the take-over, and whatever went there since was confirmed. But a request may stand
still for as long as its project's `deadline` allows, on a host that hangs or on the way, and REDCap knows no fence. So once that
time is over, what REDCap holds there is compared with what the ledger says was stored there last.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import structlog

from dropcap.delivery.line import ProjectLine
from dropcap.delivery.order import Order
from dropcap.display import shown
from dropcap.ledger.job import Job
from dropcap.ledger.log_keys import about
from dropcap.ledger.store import Ledger
from dropcap.redcap.client import NoFile, RedcapError
from dropcap.redcap.model import FileTarget
from dropcap.redcap.window import Stopped

log = structlog.get_logger()

#: Seconds from one look for places that are due to the next.
LOOK = 5.0
#: How soon a place is looked at again while REDCap does not answer, or something is on its way there (seconds).
LATER = 60.0
#: For how long that is tried (seconds).
_TRIED = 7 * 86400.0


class SecondLook:
    """Looks at places that are due. For one thread."""

    def __init__(self, ledger: Ledger, order: Order, elsewhere: Callable[[str], bool], stop: threading.Event) -> None:
        """`elsewhere` says of a folder whether its jobs are another host's to look at."""
        self._ledger = ledger
        self._order = order
        self._elsewhere = elsewhere
        self._stop = stop
        self._next = 0.0
        self._since: dict[int, float] = {}

    def work(self, line_of: Callable[[str], ProjectLine | None]) -> None:
        """Look at what is due; `line_of` tells the way to a project that may be asked now. Raises DatabaseError."""
        if not self._ledger.shared or time.monotonic() < self._next:
            return
        self._next = time.monotonic() + LOOK
        for number in self._ledger.query.late_sends(time.time()):
            job = self._ledger.query.job(number)
            if self._stop.is_set() or (job is not None and self._elsewhere(job.folder)):
                continue
            if job is None or not (job.record and job.field):
                self._ledger.late_send_over(number, job.folder if job else None)
            elif (line := line_of(job.project)) is None or not self._looked(job, line):
                self._put_off(job)

    def _put_off(self, job: Job) -> None:
        if time.monotonic() - self._since.setdefault(job.id, time.monotonic()) > _TRIED:
            self._ledger.late_send_over(job.id, job.folder)
        else:
            self._ledger.late_send_later(job.id, job.folder, LATER)

    def _looked(self, job: Job, line: ProjectLine) -> bool:
        """Whether it could be told what lies at the job's place."""
        if self._ledger.query.is_on_its_way(job):
            return False
        last = self._ledger.query.stored_there(job)
        if last is not None and last.sha256 and not self._order.elsewhere(last):
            try:
                line.identify(self._stop)
                there = line.client.export_file(FileTarget(job.record, job.field, job.event, job.instance), None, self._stop)
                found = there.sha256
            except NoFile:
                found = ""
            except (RedcapError, Stopped):
                return False
            if found != last.sha256:
                self._tell(job, last, found)
        self._since.pop(job.id, None)
        self._ledger.late_send_over(job.id, job.folder)
        return True

    def _tell(self, job: Job, last: Job, found: str) -> None:
        what = "another file" if found else "no file any more"
        its = found and found in (job.sent_sha256, job.sha256)
        which = f": that of {shown(job.name)}" if its and job.id != last.id else ""
        message = (
            f"REDCap has {what}{which} where this one was stored, and a host was lost while it was sending {shown(job.name)}"
            " there (its import may have arrived late, or somebody has changed it in REDCap)"
        )
        remedy = "look at the field in REDCap; if this file belongs there, drop it again: a copy lies in done/"
        self._ledger.note(last.id, "looked at once more: REDCap has another file", {"message": message, "remedy": remedy})
        log.warning("overwritten", **about(last), found="other" if found else "no", message=message, remedy=remedy)
