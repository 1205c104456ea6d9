"""Exports what may have arrived, and looks again at places where a lost host's import may arrive late."""

from __future__ import annotations

import contextlib
import threading
import time
from dataclasses import dataclass

import structlog

from dropcap.delivery.circuit import backoff
from dropcap.delivery.order import Order
from dropcap.delivery.project_client import ProjectClient
from dropcap.delivery.queue import Queues
from dropcap.display import shown
from dropcap.ledger.database import TOLD, LeaseLost
from dropcap.ledger.job import OPEN, Job, about
from dropcap.ledger.query import KNOWN_FOR
from dropcap.ledger.store import Ledger
from dropcap.reasons import Reason, Scope
from dropcap.redcap.client import FileTarget, NoFile, RedcapError
from dropcap.redcap.window import Stopped
from dropcap.threads import start

log = structlog.get_logger()

#: Seconds from one look for places that are due to the next.
SECOND_LOOK = 5.0
#: How soon a place is looked at again while REDCap does not answer, or something is on its way there (seconds).
SECOND_LOOK_LATER = 60.0
#: For how long that is tried (seconds).
_TRIED = 7 * 86400.0


#: How often it is looked whether there is one to read back (seconds).
LOOK = 1.0
#: How soon one is looked at again while its project takes nothing, or its file is on its way to the same place again (seconds).
LATER = 5.0


@dataclass(frozen=True, slots=True)
class ReadBackWords:
    """What REDCap has: `found` is yes, no, other or unknown."""

    found: str
    message: str
    remedy: str | None = None


class ReadBack:
    """Reads back withdrawn jobs one after the other and enters what was found in the ledger; looks once more at places where a
    lost host's import may arrive late."""

    def __init__(self, ledger: Ledger, order: Order, queues: Queues) -> None:
        self._ledger = ledger
        self._order = order
        self._queues = queues
        self._stop = threading.Event()
        self._tries: dict[int, int] = {}
        self._next_look = 0.0
        self._looked_since: dict[int, float] = {}
        self._thread = threading.Thread(target=self._run, name="read back", daemon=True)

    def start(self) -> None:
        """Begin. Once only."""
        start(self._thread)

    def stop(self, within: float) -> None:
        """Break off what is under way and wait at most so many seconds."""
        self._stop.set()
        if self._thread.ident is not None:
            self._thread.join(within)

    def alive(self) -> bool:
        """Whether it looks still."""
        return self._thread.is_alive()

    def idle(self) -> bool:
        """Whether none is due."""
        return all(self._queues.is_elsewhere(job.folder) for job in self._ledger.query.to_read_back(time.time()))

    def _run(self) -> None:
        while not self._stop.wait(LOOK):
            try:
                for job in self._ledger.query.to_read_back(time.time()):
                    if self._stop.is_set():
                        break
                    if not self._queues.is_elsewhere(job.folder):
                        with contextlib.suppress(LeaseLost):  # the host that has the folder now does it
                            self._one(job)
                self._look_again()
            except TOLD:
                self._stop.wait(LOOK)
            except Exception as error:
                log.error("internal_error", where="read back", error=f"{type(error).__name__}: {error}")
                self._stop.wait(LATER)

    def _one(self, job: Job) -> None:
        client = self._well(job.project)
        if client is None or self._is_under_way_again(job):
            self._ledger.read_back_later(job.id, LATER)
            return
        try:
            told = self._look(job, client)
        except Stopped:
            return
        except RedcapError as error:
            if error.meaning.reason == Reason.RIGHTS or time.time() - (job.ended_at or 0.0) > KNOWN_FOR:
                message = f"it cannot be found out whether it arrived at {_words(job)}: {error.meaning.message}"
                self._tell(job, ReadBackWords("unknown", message, "look for it there in REDCap"))
                return
            tries = self._tries[job.id] = self._tries.get(job.id, 0) + 1
            self._ledger.read_back_later(job.id, backoff(tries))
            log.info("retrying", **about(job), reason=error.meaning.reason, message=error.meaning.message, outcome="unknown")
            return
        self._tell(job, told)

    def _tell(self, job: Job, told: ReadBackWords) -> None:
        self._tries.pop(job.id, None)
        if self._ledger.tell_read_back(job, told.found, told.message, told.remedy):
            keys = {"found": told.found, "message": told.message}
            if told.remedy is None:
                log.info("read_back", **about(job), **keys)
            else:
                log.warning("read_back", **about(job), **keys, remedy=told.remedy)

    def _well(self, project: str) -> ProjectClient | None:
        client = self._queues.clients.get(project)
        return None if client is None or self._paused(client) else client

    def _paused(self, client: ProjectClient) -> bool:
        """Whether its server is, or its project until somebody resumes it. Any other pause of a project ends when a file is
        tried, of which there may be none: it does not keep from asking.
        """
        return any(
            (pause.scope == Scope.SERVER and client.project.stands_still_with(pause.name, pause.until_resume))
            or ((pause.scope, pause.name) == (Scope.PROJECT, client.project.name) and pause.until_resume)
            for pause in self._queues.breakers.pauses()
        )

    def _is_under_way_again(self, job: Job) -> bool:
        """Whether the file's new job goes to the same place: what lies there is not settled before that is over."""
        heir = self._ledger.query.heir(job.id)
        return heir is not None and heir.state in OPEN and _place(heir) == _place(job)

    def _look(self, job: Job, client: ProjectClient) -> ReadBackWords:
        heir = self._ledger.query.heir(job.id)
        where = _words(job)
        same = heir is not None and _place(heir) == _place(job)
        again = f"; it was moved back as {shown(heir.name)} (job {heir.id})" if heir is not None else ""
        if not job.record or not job.field:
            return ReadBackWords("no", f"no place is known to which it was sent{again}")
        client.identify(self._stop)
        if elsewhere := self._order.elsewhere(job):
            message = f"it was sent to {elsewhere}, and `{shown(job.project)}` leads to another project now{again}"
            return ReadBackWords("unknown", message, f"look there in REDCap whether it is at {where}")
        try:
            there = client.redcap.export_file(FileTarget(job.record, job.field, job.event, job.instance), None, self._stop)
        except NoFile:
            return ReadBackWords("no", f"REDCap has no file at {where}: it did not arrive there{again}")
        except RedcapError as error:
            if error.meaning.reason == Reason.NO_RECORD:
                return ReadBackWords("no", f"REDCap has no record {shown(job.record)}: it did not arrive there{again}")
            raise
        if there.sha256 != job.sent_sha256:
            return ReadBackWords("other", f"REDCap has another file at {where}: this one is not there{again}")
        remedy = None if same else f"if {where} is not where it belongs, remove the file there in REDCap"
        return ReadBackWords("yes", f"REDCap has it at {where}{again}", remedy)

    # Places where a lost host's import may arrive late --------------------------------------------------------------

    def _look_again(self) -> None:
        """Look at the places that are due. Raises DatabaseError."""
        if not self._ledger.shared or time.monotonic() < self._next_look:
            return
        self._next_look = time.monotonic() + SECOND_LOOK
        for number in self._ledger.query.late_sends(time.time()):
            job = self._ledger.query.job(number)
            if self._stop.is_set() or (job is not None and self._queues.is_elsewhere(job.folder)):
                continue
            if job is None or not (job.record and job.field):
                self._ledger.late_send_over(number, job.folder if job else None)
            elif (client := self._well(job.project)) is None or not self._looked(job, client):
                self._put_off(job)

    def _put_off(self, job: Job) -> None:
        if time.monotonic() - self._looked_since.setdefault(job.id, time.monotonic()) > _TRIED:
            self._ledger.late_send_over(job.id, job.folder)
        else:
            self._ledger.late_send_later(job.id, job.folder, SECOND_LOOK_LATER)

    def _looked(self, job: Job, client: ProjectClient) -> bool:
        """Whether it could be told what lies at the job's place."""
        if self._ledger.query.is_on_its_way(job):
            return False
        last = self._ledger.query.stored_there(job)
        if last is not None and last.sha256 and not self._order.elsewhere(last):
            try:
                client.identify(self._stop)
                there = client.redcap.export_file(FileTarget(job.record, job.field, job.event, job.instance), None, self._stop)
                found = there.sha256
            except NoFile:
                found = ""
            except (RedcapError, Stopped):
                return False
            if found != last.sha256:
                self._tell_overwritten(job, last, found)
        self._looked_since.pop(job.id, None)
        self._ledger.late_send_over(job.id, job.folder)
        return True

    def _tell_overwritten(self, job: Job, last: Job, found: str) -> None:
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


def _place(job: Job) -> tuple[str, str, str | None, str, int | None]:
    return job.project, job.record, job.event, job.field, job.instance


def _words(job: Job) -> str:
    parts = [f"record {shown(job.record)}", *([f"event {shown(job.event)}"] if job.event else []), f"field {job.field}"]
    return ", ".join([*parts, *([f"instance {job.instance}"] if job.instance is not None else [])])
