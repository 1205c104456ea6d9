"""What a worker does in its turn: look up, create, upload."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime

import structlog

from dropcap.delivery.attribution import Attribution, outcome_for
from dropcap.delivery.lookup import hopeless
from dropcap.delivery.plan import RECORD_WAIT_ENDS, Create
from dropcap.delivery.project_client import EmptyFieldDetection, ProjectClient
from dropcap.delivery.queue import MAY_HAVE_CHANGED, ODD, Candidate, OutcomeHandler, Queues
from dropcap.delivery.upload import NOT_OURS, Attempt, Batch, Listing, Sending, Shared, ToBeListed
from dropcap.delivery.workers import CancelToken, Hosts, Slot
from dropcap.display import shown
from dropcap.ledger.database import TOLD, LeaseLost
from dropcap.ledger.job import (
    Change,
    Held,
    Job,
    Later,
    LimitReached,
    Outcome,
    RecordCreated,
    Refused,
    Reserved,
    Result,
    State,
    Stored,
    WaitForRecord,
    about,
)
from dropcap.ledger.store import Ledger
from dropcap.reasons import Reason, Scope
from dropcap.redcap.client import RedcapError, TooMuch
from dropcap.redcap.reply import Verdict
from dropcap.redcap.window import Stopped

log = structlog.get_logger()

#: Seconds for which nobody else creates a record of almost the same name: longer than a look-up that began before stays known,
#: and than an import takes whose reply was lost. Each host counts them from when it has seen that name first, or asked for anew,
#: since hosts' clocks need not agree.
_RESERVED = 900.0
#: Seconds after which a file looks whether the record was created under the other name.
_LOOK = 5.0


class Creation:
    """What the threads that create records agree upon."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._changed = threading.Condition()
        self._under_way: set[tuple[str, str]] = set()  # project and record
        self._counted: set[tuple[str, str]] = set()  # folder and record
        self._seen: dict[tuple[str, Reserved], float] = {}  # names in whose way another one is, by project, and since when

    @contextmanager
    def one_at_a_time(self, project: str, record: str) -> Iterator[bool]:
        """Keep others from creating the same record; False if somebody did so while this one waited."""
        key = (project, record)
        with self._changed:
            first = key not in self._under_way
            self._changed.wait_for(lambda: key not in self._under_way)
            self._under_way.add(key)
        try:
            yield first
        finally:
            with self._changed:
                self._under_way.discard(key)
                self._changed.notify_all()

    def elsewhere(self, job: Job, project: str, record: str) -> Later | None:
        """None once `record` is reserved in one of REDCap's projects; else what its file waits for.

        Two files that look a record up at once, in two folders or on two hosts, find neither `0900` nor `900`: only one of these
        may come to be.
        """
        now = time.monotonic()
        with self._changed:
            over = {one for (of, one), since in self._seen.items() if of == project and now - since > _RESERVED}
        other = self._ledger.reserve(project, record, over)
        with self._changed:
            if other is not None:
                self._seen.setdefault((project, other), now)
            self._seen = {key: since for key, since in self._seen.items() if key[1] not in over}
        if other is None:
            return None
        message = f"another file has just asked for a record whose name is written almost like `{shown(record)}`"
        return Later(Reason.NO_RECORD, message, sent=job.state is State.UNKNOWN, seconds=_LOOK)

    def within_limit(self, job: Job, record: str, limit: int) -> bool:
        """Whether the folder may create this record today; neither a try that failed nor another file of the record takes
        from the limit again."""
        key = (job.folder, record)
        with self._changed:
            counted = key in self._counted
        if counted or job.create_asked == record:
            return True
        if not self._ledger.count_created(job.folder, datetime.now().astimezone().date().isoformat(), limit):
            return False
        self._ledger.note(job.id, f"asks REDCap to create record {shown(record)}", {"record": record, "create_asked": record})
        with self._changed:
            self._counted.add(key)
        return True


def not_in_its_group(record: str, group: str) -> Held:
    """Why a record is not created that REDCap does not show to somebody who is in a data access group."""
    message = (
        f"REDCap shows no record `{shown(record)}` to the token's user, who is in the data access group `{shown(group)}`: "
        "another group may have it"
    )
    remedy = "look for the record in REDCap; create it there, or take the token's user out of the group, then `dropcap retry`"
    return Held(Reason.RIGHTS, message, remedy)


class Work:
    """The effects behind each decision, in other threads than the deciding one: what it gives them, they do not change."""

    def __init__(
        self, ledger: Ledger, queues: Queues, outcome_handler: OutcomeHandler, attribution: Attribution, hosts: Hosts
    ) -> None:
        self._ledger = ledger
        self._queues = queues
        self._outcome_handler = outcome_handler
        self._breakers = queues.breakers
        self.attribution = attribution
        self.hosts = hosts
        self._creation = Creation(ledger)
        self._shared = Shared(ledger, hosts, attribution, EmptyFieldDetection(ledger))
        self.progress = self._shared.progress

    def send(self, slot: Slot, batch: Batch) -> None:
        """Give files their turns, one after the other, until the batch is overdue; none, if the folder is not ours any more. What
        is under way is broken off once it may be another host's."""
        stored: set[int] = set()
        with slot.in_file():
            ours = batch.folder.site.confirm()
        if ours:
            with batch.tree.batch():
                self._send(slot, batch, stored)
        else:
            self._give_back(batch.sendings)
        self._queues.ended([one.job for one in batch.sendings if one.job.id in stored], stored=True)
        if len(stored) < len(batch.sendings):
            self._queues.ended([one.job for one in batch.sendings if one.job.id not in stored])

    def _send(self, slot: Slot, batch: Batch, stored: set[int]) -> None:
        """Send the files of a batch; `stored` gets the jobs of those that are."""
        began = started = time.monotonic()
        stop = CancelToken(self._queues.break_off, batch.folder.site)
        to_be_listed: list[tuple[Sending, Attempt, ToBeListed]] = []
        outcome: Outcome | ToBeListed | None
        for number, one in enumerate(batch.sendings):
            if number and (started - began > batch.folder.overdue() or not self._goes_on(batch, one.job)):
                self._give_back(batch.sendings[number:])
                break
            log.info("sending", **about(one.job), attempt=one.job.attempts, size=one.job.size)
            attempt = Attempt(one, batch, slot, stop, self._shared)
            try:
                with self.progress.of(one.job):
                    outcome = self._attempted(attempt, one, batch.client)
            except Exception as error:
                outcome = self._of_error(one.job, error, sent=True)
            if isinstance(outcome, ToBeListed):
                to_be_listed.append((one, attempt, outcome))
            else:
                self._end(one, outcome, batch.client, stored)
            ended = time.monotonic()
            if not slot.large:
                batch.folder.took(ended - started)
            started = ended
        if to_be_listed:
            self._list(to_be_listed, batch.client, stop, stored)

    def _end(self, one: Sending, outcome: Outcome | None, client: ProjectClient, stored: set[int]) -> None:
        self._handle(one.job, outcome, client)
        if isinstance(outcome, Stored):
            stored.add(one.job.id)
            if outcome.result is not Result.ALREADY_THERE:
                self.attribution.stored(one.job, client)

    def _list(
        self,
        sent: Sequence[tuple[Sending, Attempt, ToBeListed]],
        client: ProjectClient,
        stop: threading.Event,
        stored: set[int],
    ) -> None:
        """Ask once whether REDCap lists what it has accepted before; in parts, where so many have too much to tell at once."""
        listing = Listing.of([one.place for _, _, one in sent], client, stop)
        if isinstance(listing.error, TooMuch) and len(sent) > 1:
            half = len(sent) // 2
            for part in (sent[:half], sent[half:]):
                self._list(part, client, stop, stored)
            return
        for one, attempt, accepted in sent:
            outcome: Outcome | None
            try:
                outcome = attempt.listed(accepted, listing)
            except Exception as error:
                outcome = self._of_error(one.job, error, sent=True)
            self._end(one, outcome, client, stored)

    def _goes_on(self, batch: Batch, job: Job) -> bool:
        """Whether a batch still may go on with this file."""
        may = not self._queues.stopping and self._queues.open(batch.folder)
        return may and self._breakers.may_go(batch.client.project, job, time.monotonic())

    def _attempted(self, attempt: Attempt, one: Sending, client: ProjectClient) -> Outcome | ToBeListed:
        """What came of an attempt. Where REDCap refused the file, the project may have changed under way, whatever words it has
        for that: the rule's other files need not follow this one to failed/.
        """
        began, known = time.monotonic(), client.known()
        outcome = attempt.run()
        if isinstance(outcome, ToBeListed):
            return outcome
        if not isinstance(outcome, Refused) or outcome.reason not in MAY_HAVE_CHANGED:
            return self._one_of_many(one.job, client, outcome)
        try:
            outcome = hopeless(client.structure(time.monotonic() - began, attempt.stop), one.route, one.job) or outcome
        except Stopped:
            pass
        except RedcapError as error:
            why = self.attribution.of_a_question(error.meaning, client, sent=False, alone=True) if known else None
            if isinstance(why, Later):
                return why
            if known:  # else this token was never told anything
                message = f"REDCap refuses this file, and does not tell of the project any more: {outcome.message}"
                remedy = "ask the project's owner whether it was taken offline or deleted; `dropcap check` asks it anew"
                return Later(outcome.reason, message, remedy, Scope.PROJECT, certain=True)
        return self._one_of_many(one.job, client, outcome)

    def _one_of_many(self, job: Job, client: ProjectClient, outcome: Outcome) -> Outcome:
        """The same, unless REDCap refuses one file after the other alike."""
        if not isinstance(outcome, Refused):
            return outcome
        paused = self._breakers.why(Scope.PROJECT, client.project.name) == Reason.REFUSED
        return self.attribution.refused(job, outcome, paused=paused)

    def _give_back(self, rest: Sequence[Sending]) -> None:
        """These were not begun: as if they had not been chosen."""
        for one in rest:
            self._breakers.give_back(one.job.id)
        back = []
        for one in rest:
            columns: dict[str, object] = {"attempts": one.job.attempts - 1}
            if one.step.chosen:  # one chosen earlier may have been sent to
                columns["instance"] = None  # somebody else may take it meanwhile
            back.append(Change(one.job.id, one.job.state, "not begun", columns))
        try:
            self._ledger.change(back)
        except TOLD:
            pass
        except Exception as error:
            # They count as sent for now, and are read back at the next start.
            log.error("internal_error", where="ledger", error=f"{type(error).__name__}: {error}")

    def create(self, slot: Slot, client: ProjectClient, candidate: Candidate, step: Create) -> None:
        """Create a missing record, within the day's limit; the file is looked up again afterwards. None, if the folder turns out
        not to be ours any more."""
        job = candidate.job
        unknown = job.state is State.UNKNOWN
        outcome: Outcome | None
        try:
            outcome = self._created(slot, client, candidate, step)
        except Stopped as stopped:
            outcome = Later(Reason.STOPPED, stopped.said, scope=Scope.STOP, sent=unknown)
        except Exception as error:
            outcome = self._of_error(job, error, sent=unknown)
        self._handle(job, outcome, client)
        if not isinstance(outcome, Refused):  # of which the filer tells
            self._queues.ended([job])

    def _created(self, slot: Slot, client: ProjectClient, candidate: Candidate, step: Create) -> Outcome:
        """Raises Stopped."""
        job = candidate.job
        unknown = job.state is State.UNKNOWN
        if job.created == step.record:
            # REDCap has just said yes. To ask again at once would spend the day's limit on one record.
            message = f"REDCap says it has created record `{shown(step.record)}`, but does not show it to dropcap"
            return WaitForRecord(message, RECORD_WAIT_ENDS)
        with slot.in_file():
            ours = self._queues.of(job.folder).site.confirm()
        if not ours:
            return Later(Reason.AWAY, NOT_OURS, scope=Scope.STOP, sent=unknown)
        with self._creation.one_at_a_time(job.project, step.record) as first:
            if not first:  # another file of the same record has just asked
                return Later(Reason.NO_RECORD, "its record was being created", scope=Scope.STOP, sent=unknown)
            return self._ask_for_record(client, job, step, candidate.route.settings.create_limit)

    def _ask_for_record(self, client: ProjectClient, job: Job, step: Create, limit: int) -> Outcome:
        """What comes of asking REDCap to create a record. Raises Stopped."""
        unknown = job.state is State.UNKNOWN
        try:
            if group := client.group(self._queues.break_off):
                return not_in_its_group(step.record, group)
        except RedcapError as error:
            return outcome_for(error.meaning, sent=unknown)
        project = ""
        try:
            structure = client.structure(stop=self._queues.break_off)
            project = f"{client.project.api}#{structure.project.project_id}"
            if (other := self._creation.elsewhere(job, project, step.record)) is not None:
                return other
            if not self._creation.within_limit(job, step.record, limit):
                return LimitReached(limit)
            first = _first_event(structure.events, step.event) if structure.longitudinal else None
            client.redcap.create_record(step.record, structure.record_id_field, first, self._queues.break_off)
        except RedcapError as error:
            outcome = self.attribution.of_a_question(error.meaning, client, sent=unknown, alone=True)
            if isinstance(outcome, Refused) and project:
                self._ledger.unreserve(project, step.record)
            return self._one_of_many(job, client, outcome)
        self.attribution.created(job.project)
        log.info("record_created", **about(job))
        return RecordCreated(step.record)

    def probe(self, server: str, client: ProjectClient) -> None:
        """Ask a server whether it is well."""
        now = time.monotonic()
        try:
            client.redcap.version(self._queues.break_off)
            well = True
            trouble = None
            self.attribution.probed(client, None)
        except Stopped:
            well, trouble = False, None
            self._breakers.not_probed(server)
        except RedcapError as error:
            self.attribution.probed(client, error.meaning)
            outcome = outcome_for(error.meaning, sent=False)
            # A server that refuses a token is a server that answers.
            well = error.meaning.verdict in (Verdict.PROJECT, Verdict.REFUSED)
            trouble = outcome if isinstance(outcome, Later) else None
        except Exception as error:
            log.error("internal_error", where="probe", error=f"{type(error).__name__}: {error}", exc_info=True)
            well, trouble = False, Later(Reason.UNREACHABLE, ODD, scope=Scope.SERVER)
        log.debug("probe", server=server, well=well)
        if well:
            self._ledger.blame(self._breakers.succeeded(Scope.SERVER, server, None))
        elif trouble is not None:
            self._breakers.failed(Scope.SERVER, server, None, trouble, now)
        self._queues.ended([])

    def _of_error(self, job: Job, error: Exception, *, sent: bool) -> Later | None:
        """Whatever goes wrong inside, the job must not stay `sending` for ever. None: it is another host's by now."""
        if isinstance(error, LeaseLost):
            return None
        if isinstance(error, TOLD):
            return Later(Reason.AWAY, NOT_OURS, scope=Scope.STOP, sent=sent)
        log.error("internal_error", **about(job), error=f"{type(error).__name__}: {error}", exc_info=error)
        return Later(Reason.SERVER_ERROR, ODD, scope=Scope.SERVER, sent=sent)

    def _handle(self, job: Job, outcome: Outcome | None, client: ProjectClient) -> None:
        if outcome is None:
            return
        try:
            self._outcome_handler.apply(job, outcome, client)
        except TOLD:
            pass  # the host that has the folder now reads REDCap back, or this one does at its next start
        except Exception as error:
            # The ledger could not be written (a full disk, say): the job is read back at the next start or retry.
            log.error("internal_error", **about(job), where="ledger", error=f"{type(error).__name__}: {error}")


def _first_event(events: Sequence[str], event: str | None) -> str | None:
    """The first event of the same arm; unique event names end in `_arm_N`."""
    arm = (event or "").rpartition("_arm_")[2]
    return next((name for name in events if not event or name.rpartition("_arm_")[2] == arm), events[0] if events else None)
