"""What comes of an attempt: the job's next state, the log, and the state of servers."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import structlog

from dropcap.delivery.circuit import backoff
from dropcap.delivery.plan import OVERTAKEN, record_wait, waited_long_enough
from dropcap.delivery.project_client import ProjectLine
from dropcap.delivery.queue import Queues
from dropcap.filing.ending import Ending
from dropcap.ledger.job import (
    Change,
    Gone,
    Held,
    Job,
    Later,
    LimitReached,
    LookAgain,
    Outcome,
    RecordCreated,
    Refused,
    Rewritten,
    State,
    Stored,
    WaitForRecord,
    about,
)
from dropcap.ledger.store import Ledger
from dropcap.reasons import Reason, Scope

log = structlog.get_logger()

#: Refusals after which the project is looked at anew: its fields, events or rights may have changed.
_LOOK_AT_PROJECT = frozenset(
    {Reason.NO_FIELD, Reason.NOT_A_FILE_FIELD, Reason.SIGNATURE_FIELD, Reason.NO_EVENT, Reason.NOT_DESIGNATED, Reason.RIGHTS}
)

#: Refusals of a file that may be due to a change of the project, also in words that nobody knows.
MAY_HAVE_CHANGED = _LOOK_AT_PROJECT | {Reason.REFUSED, Reason.NOT_REPEATING, Reason.NEEDS_INSTANCE}

#: What people are told where something went wrong that nobody foresaw.
ODD = "an error inside dropcap; the file is safe in in_progress/ and will be tried again"
#: When a file that is not in in_progress/ is tried again, should intake not have ended its job (seconds).
GONE_LOOK = 10.0
#: When it is looked whether another file to the same place has arrived by now (seconds).
ANOTHER_LOOK = 10.0


class Conclusion:
    """Applies outcomes. May be called from any thread."""

    def __init__(self, ledger: Ledger, queues: Queues) -> None:
        self._ledger = ledger
        self._queues = queues
        self._breakers = queues.breakers

    def apply(self, job: Job, outcome: Outcome, line: ProjectLine | None) -> None:
        """Enter what came of a job's turn."""
        if line is not None:
            self._tell_health(job, outcome, line)
        match outcome:
            case Stored() | Refused():
                if isinstance(outcome, Refused) and line is not None and outcome.reason in _LOOK_AT_PROJECT:
                    line.forget()
                ended = replace(job, instance=outcome.instance) if isinstance(outcome, Stored) else job
                self._queues.of(job.folder).filer.put(Ending(ended, outcome))
            case Held():
                self.hold(job, outcome)
            case Later():
                self._later(job, outcome, line)
            case LookAgain():
                self._look_again(job, outcome, line)
            case WaitForRecord():
                self._wait_for_record(job, outcome)
            case RecordCreated():
                why = {"reason": Reason.NO_RECORD, "message": "its record was created", "remedy": ""}
                self._change(job, job.state, Reason.NO_RECORD, why | {"due": 0.0, "created": outcome.record})
            case LimitReached():
                self._wait_for_tomorrow(job, outcome.limit)
            case Gone():
                self._gone(job)
            case Rewritten():
                self._rewritten(job, outcome)

    def _gone(self, job: Job) -> None:
        """The file is not where it was: intake finds out whether a person has renamed it or taken it away."""
        state = State.UNKNOWN if job.state is State.UNKNOWN else State.WAITING
        self._change(job, state, "not in in_progress/ under its name", {"due": time.time() + GONE_LOOK})
        self._queues.of(job.folder).site.missing()

    def hold(self, job: Job, held: Held) -> None:
        """The file waits for a person."""
        self._change(job, State.HELD, held.reason, _why(held))
        log.warning("held", **about(job), **_why(held))

    def overtaken(self, job: Job) -> None:
        """A newer file has gone to its place: it waits for a person, and says how that came if it is known."""
        told = job.reason == Reason.NEWER_WENT and job.message and job.remedy
        self.hold(job, Held(Reason.NEWER_WENT, job.message or "", job.remedy or "") if told else OVERTAKEN)

    def _tell_health(self, job: Job, outcome: Outcome, line: ProjectLine) -> None:
        now = time.monotonic()
        match outcome:
            case Refused(alike=words) if words:  # an answer, but none that tells that the project takes anything
                self._breakers.give_back(job.id)
                self._ledger.blame(self._breakers.succeeded(Scope.SERVER, line.server, job.id))
            case Stored() | Refused() | WaitForRecord():
                self._ledger.blame(self._breakers.succeeded(Scope.PROJECT, line.project.name, job.id))
                self._ledger.blame(self._breakers.succeeded(Scope.SERVER, line.server, job.id))
            case Later(scope=Scope.SERVER):
                self._breakers.give_back(job.id)
                self._ledger.blame(self._breakers.failed(Scope.SERVER, line.server, job.id, outcome, now, job.folder))
                if not outcome.certain:
                    self._breakers.doubt(line.project.name, line.server, job.id, outcome, now)
            case Later(scope=Scope.PROJECT) if self._queues.lines.get(line.project.name) is not line:
                self._breakers.give_back(job.id)  # a reload has put another token or address since: that one is asked
            case Later(scope=Scope.PROJECT):
                # A project that refuses us is a server that answers.
                self._breakers.succeeded(Scope.SERVER, line.server, job.id)
                self._breakers.failed(Scope.PROJECT, line.project.name, job.id, outcome, now, job.folder)
                if outcome.reason in _LOOK_AT_PROJECT:
                    line.forget()
            case _:
                self._breakers.give_back(job.id)
        if isinstance(outcome, Later) and outcome.ask_server_in is not None:
            self._breakers.probe_at(line.server, now + outcome.ask_server_in)

    def _later(self, job: Job, later: Later, line: ProjectLine | None) -> None:
        state = State.UNKNOWN if later.sent else State.WAITING
        own_faults = job.faults + 1
        if later.scope == Scope.STOP or (later.scope != Scope.FILE and later.certain and not job.faults):
            wait = 0.0  # its server's or project's pause decides when
        elif later.reason in (Reason.NO_SPACE, Reason.NO_COPY):
            # Each try is written to the ledger, whose disk may be the one that is full.
            wait = backoff(max(own_faults, job.attempts), 5.0, 300.0)
        elif later.scope == Scope.FOLDER or later.reason == Reason.UNREADABLE:
            wait = backoff(own_faults, 5.0, 60.0)
        else:
            wait = later.seconds if later.seconds is not None else backoff(own_faults)
        columns = _why(later) | {"due": time.time() + wait if wait else 0.0}
        if later.own_fault:
            columns["faults"] = own_faults
        if later.sha256:
            columns["sha256"] = later.sha256
        if later.release_instance:
            columns["instance"] = None  # nothing was stored there: chosen anew, in case somebody else takes it meanwhile
        self._change(job, state, later.reason, columns)
        if later.scope != Scope.STOP:
            # Of a hundred files that one question was for, the first one tells of the server's trouble.
            first = line is not None or later.scope not in (Scope.SERVER, Scope.PROJECT)
            (log.warning if first else log.debug)(
                "retrying",
                **about(job),
                reason=later.reason,
                message=later.message,
                scope=later.scope,
                in_seconds=round(wait, 1),
                attempt=job.attempts,
                outcome="unknown" if later.sent else "not stored",
            )

    def _look_again(self, job: Job, again: LookAgain, line: ProjectLine | None) -> None:
        if line is not None and again.reason in _LOOK_AT_PROJECT:
            line.forget()
        columns: dict[str, Any] = {"due": 0.0} | ({"instance": None} if again.release_instance else {})
        self._change(job, State.UNKNOWN if again.sent else State.WAITING, "its record is looked up anew", columns)
        log.debug("retrying", **about(job), reason=again.reason, message=again.message, in_seconds=0.0, attempt=job.attempts)

    def _wait_for_record(self, job: Job, waiting: WaitForRecord) -> None:
        if waited_long_enough(job.lookups, time.time() - job.claimed_at):
            message = f"{waiting.message}, and has had none for seven days"
            remedy = "create the record in REDCap or correct the name, then try again"
            self._queues.of(job.folder).filer.put(Ending(job, Refused(Reason.NO_RECORD, message, remedy)))
            return
        lookups = job.lookups + 1
        wait = record_wait(lookups)
        remedy = "create the record in REDCap; dropcap looks again by itself"
        why = {"reason": Reason.NO_RECORD, "message": waiting.message, "remedy": remedy}
        columns = why | {"due": time.time() + wait, "lookups": lookups, "created": None}
        self._change(job, job.state, Reason.NO_RECORD, columns)
        log.info("retrying", **about(job), reason=Reason.NO_RECORD, message=waiting.message, in_seconds=wait, attempt=lookups)

    def wait_for_another(self, job: Job) -> None:
        """Another file to the same place is on its way: this one is looked at again a little later."""
        self._change(job, job.state, "another file to the same place goes first", {"due": time.time() + ANOTHER_LOOK})

    def _wait_for_tomorrow(self, job: Job, limit: int) -> None:
        """The day's records are created; the file's turn comes after midnight."""
        tomorrow = (datetime.now().astimezone() + timedelta(days=1)).replace(hour=0, minute=0, second=5)
        message = f"this folder has asked for {limit} new records today, and create_limit allows no more"
        remedy = "check that so many new records are right; create the record in REDCap, or wait until tomorrow"
        why = {"reason": Reason.CREATE_LIMIT, "message": message, "remedy": remedy}
        self._change(job, job.state, Reason.CREATE_LIMIT, why | {"due": tomorrow.timestamp()})
        log.warning("retrying", **about(job), **why, in_seconds=round(tomorrow.timestamp() - time.time()), attempt=job.attempts)

    def _rewritten(self, job: Job, rewritten: Rewritten) -> None:
        wait = self._queues.of(job.folder).folder.settle_quiet
        message = "the file was written to while it was on its way" + (" and being sent" if rewritten.sent else "")
        why = {
            "reason": Reason.CHANGED_WHILE_SENT,
            "message": message,
            "remedy": "nothing needs to be done: it is sent again once quiet",
        }
        columns = why | {"size": rewritten.size, "mtime_ns": rewritten.mtime_ns, "due": time.time() + wait}
        if rewritten.sha256:
            columns["sha256"] = rewritten.sha256
        self._change(job, State.UNKNOWN if rewritten.sent else State.WAITING, Reason.CHANGED_WHILE_SENT, columns)
        log.info(
            "retrying", **about(job), reason=Reason.CHANGED_WHILE_SENT, message=message, in_seconds=wait, attempt=job.attempts
        )

    def _change(self, job: Job, state: State, note: str, columns: Mapping[str, Any]) -> None:
        self._ledger.change([Change(job.id, state, note, columns)])


def _why(what: Held | Later) -> dict[str, Any]:
    told = what.in_general if isinstance(what, Later) else ""
    return {"reason": what.reason, "message": told or what.message, "remedy": what.remedy}
