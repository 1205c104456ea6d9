"""What the working threads do: one file's attempt, a look-up for many, a record to create, a probe."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import structlog

from dropcap.delivery.belief import Belief
from dropcap.delivery.conclude import MAY_HAVE_CHANGED, Conclusion
from dropcap.delivery.creation import Creation, not_in_its_group
from dropcap.delivery.health import Health
from dropcap.delivery.judge import judge
from dropcap.delivery.line import SURE_FOR, ProjectLine
from dropcap.delivery.lookup import Question, absent_field, look_up
from dropcap.delivery.neighbours import in_general, of_several_folders
from dropcap.delivery.order import Order
from dropcap.delivery.plan import Create, Facts, Send, needs_lookup, unasked
from dropcap.delivery.possible import contradiction, impossible
from dropcap.delivery.questions import Refusals, asking, by_rule, is_of_the_question, refuses_all
from dropcap.delivery.queue import Candidate, Confirm, Known, LookedUp
from dropcap.delivery.runs import OVERDUE, Pace
from dropcap.delivery.send import NOT_OURS, Attempt, Upload
from dropcap.delivery.vacancy import Vacancies
from dropcap.delivery.workers import Slot
from dropcap.display import shown
from dropcap.files.tree import Tree
from dropcap.filing.place import Filing
from dropcap.ledger.job import Job, ReadBackFound, State
from dropcap.ledger.log_keys import about
from dropcap.ledger.outcome import Held, Later, LimitReached, Outcome, RecordCreated, Refused, Result, Stored, WaitForRecord
from dropcap.ledger.store import Ledger
from dropcap.ledger.transition import Change
from dropcap.reasons import Reason, Scope
from dropcap.redcap.client import RedcapError
from dropcap.redcap.reply import Verdict
from dropcap.redcap.structure import ProjectStructure
from dropcap.redcap.window import Stopped
from dropcap.routing.route import Route

log = structlog.get_logger()

_ODD = "an error inside dropcap; the file is safe in in_progress/ and will be tried again"
_NEWER_WENT = Held(
    Reason.NEWER_WENT,
    "a file that was dropped later has gone to the same place in REDCap already, and this one would replace it",
    "if this one is to go there all the same: dropcap retry JOB (the other one is preserved); else take it out of in_progress/",
)


@dataclass(frozen=True, slots=True)
class Sending:
    """A file that is entered as being sent."""

    job: Job
    route: Route
    step: Send
    known: Known


class Work:
    """The effects behind each decision, in other threads than the deciding one: what it gives them, they do not change.

    `answered` is told what each look-up has found out, `ended` of jobs whose turn is over, and whether they need no other one.
    """

    def __init__(
        self,
        ledger: Ledger,
        health: Health,
        conclusion: Conclusion,
        break_off: threading.Event,
        answered: Callable[[LookedUp], None],
        ended: Callable[[Sequence[Job], bool], None],
        order: Order,
        belief: Belief,
    ) -> None:
        self._ledger = ledger
        self._health = health
        self._conclusion = conclusion
        self._break_off = break_off
        self._answered = answered
        self._ended = ended
        self._order = order
        self._belief = belief
        self._creation = Creation(ledger)
        self._refusals = Refusals()
        self._vacancies = Vacancies(ledger)

    def send(
        self,
        slot: Slot,
        run: Sequence[Sending],
        line: ProjectLine,
        place: tuple[Tree, Filing],
        goes_on: Callable[[Job], bool],
        confirm: Confirm,
        pace: Pace,
    ) -> None:
        """Give files their turns, one after the other, as long as `goes_on` says so and the run is not overdue; none, if the
        folder turns out not to be ours any more (`confirm`)."""
        ours = slot.in_file(confirm)
        if ours is None:
            self._give_back(run)
            self._ended([one.job for one in run], False)
            return
        with place[0].batch():
            stored = self._sent(slot, run, line, place, goes_on, ours, pace)
        self._ended([one.job for one in run if one.job.id in stored], True)
        if len(stored) < len(run):
            self._ended([one.job for one in run if one.job.id not in stored], False)

    def _sent(
        self,
        slot: Slot,
        run: Sequence[Sending],
        line: ProjectLine,
        place: tuple[Tree, Filing],
        goes_on: Callable[[Job], bool],
        ours: Callable[[], bool],
        pace: Pace,
    ) -> set[int]:
        """Send the files of a run; the jobs of those that are stored."""
        began = started = time.monotonic()
        stored: set[int] = set()
        for number, one in enumerate(run):
            if number and (started - began > OVERDUE or not goes_on(one.job)):
                self._give_back(run[number:])
                break
            log.info("sending", **about(one.job), attempt=one.job.attempts, size=one.job.size)
            found = one.route
            upload_as = found.target.upload_as
            upload = Upload(
                one.job, found.target, found.settings, one.step, line, *place, upload_as, one.known.facts, one.known.at, ours
            )
            attempt = Attempt(upload, self._ledger.note, self._break_off, slot, self._vacancies, self._belief)
            outcome = self._guarded(one.job, line, partial(_attempted, attempt, one, line, self._belief), sent=True)
            if isinstance(outcome, Stored):
                stored.add(one.job.id)
                if outcome.result is not Result.ALREADY_THERE:
                    self._belief.stored(one.job, line)
            ended = time.monotonic()
            if not slot.large:
                pace.took(ended - started)
            started = ended
        return stored

    def _give_back(self, rest: Sequence[Sending]) -> None:
        """These were not begun: as if they had not been chosen."""
        for one in rest:
            self._health.give_back(one.job.id)
        back = []
        for one in rest:
            columns: dict[str, object] = {"attempts": one.job.attempts - 1}
            if one.step.chosen:  # one chosen earlier may have been sent to
                columns["instance"] = None  # somebody else may take it meanwhile
            back.append(Change(one.job.id, one.job.state, "not begun", columns))
        try:
            self._ledger.change(back)
        except Exception as error:
            # They count as sent for now, and are read back at the next start.
            log.error("internal_error", where="ledger", error=f"{type(error).__name__}: {error}")

    def ask(self, slot: Slot, line: ProjectLine, group: Sequence[Candidate]) -> None:
        """Look up the records of a group of files of one project; each gets its answer, or the ledger says more of it."""
        over: set[int] = set()
        told: dict[int, Known] = {}
        try:
            over = self._ask(line, group, told)
        except Exception as error:
            # The ledger could not be written: they are read from it anew.
            log.error("internal_error", where="look-up", error=f"{type(error).__name__}: {error}")
        finally:
            for candidate in group:
                known = told.get(candidate.job.id)
                self._answered(LookedUp(candidate, known))
                if known is None:  # whatever it waits for now, it does not keep a trial from the others
                    self._health.give_back(candidate.job.id)
            self._ended([c.job for c in group if c.job.id not in over], False)

    def _ask(self, line: ProjectLine, group: Sequence[Candidate], told: dict[int, Known]) -> set[int]:
        """Enters in `told` what is found out of each job. The jobs that are refused, and whose end the filer will tell."""
        try:
            return self._answers(line, group, told)
        except (RedcapError, Stopped) as error:
            if isinstance(error, RedcapError) and error.meaning.reason == Reason.RIGHTS:
                group = _go_unasked(group, told)
            if not group:
                return set()
            if is_of_the_question(error) and line.known():
                line.forget()  # a field or a right may not be what it was
                return self._ask_apart(line, by_rule(group), told)
            self._cannot_ask(line, group, error)
            return set()
        except Exception as error:
            log.error("internal_error", where="look-up", error=f"{type(error).__name__}: {error}", exc_info=True)
            for candidate in group:
                unknown = candidate.job.state is State.UNKNOWN
                self._conclusion.apply(candidate.job, Later(Reason.SERVER_ERROR, _ODD, scope=Scope.FILE, sent=unknown), None)
            return set()

    def _ask_apart(self, line: ProjectLine, parts: Sequence[Sequence[Candidate]], told: dict[int, Known]) -> set[int]:
        """One question about all fields was refused: ask about the files of each rule, of what the project is now."""
        over: set[int] = set()
        refused = [one for part in parts for one in self._ask_part(line, part, told, over)]
        if not refused:
            return over
        fine = {asking(c) for part in parts for c in part if c.job.id in told}
        answers = len(refused) < len(parts) or bool(fine) or not refuses_all(line, parts[0][0])
        others: list[Candidate] = []
        for part, why in refused:
            if not (answers and isinstance(why, RedcapError) and is_of_the_question(why)):
                others += part
                continue
            later = self._refusals.refused(part, why.meaning, of_this_file=asking(part[0]) in fine)
            for candidate in part:
                self._conclusion.apply(candidate.job, replace(later, sent=candidate.job.state is State.UNKNOWN), None)
        if others:  # one trouble, told once
            self._cannot_ask(line, others, next(why for part, why in refused if part[0] is others[0]))
        return over

    def _ask_part(
        self, line: ProjectLine, part: Sequence[Candidate], told: dict[int, Known], over: set[int]
    ) -> list[tuple[Sequence[Candidate], RedcapError | Stopped]]:
        """Ask about files of one rule; what of them REDCap refuses, and how.

        It may be one record that it refuses to be asked about: if it answers about one of any two, the others are looked for.
        """
        try:
            over |= self._answers(line, part, told)
        except (RedcapError, Stopped) as error:
            if len(part) == 1 or not is_of_the_question(error):
                return [(part, error)]
            alone = random.sample(part, 2)
            refused = [one for candidate in alone for one in self._ask_part(line, [candidate], told, over)]
            if len(refused) == len(alone):
                return [(part, error)]
            rest = [candidate for candidate in part if candidate not in alone]
            halves = [half for half in (rest[: len(rest) // 2], rest[len(rest) // 2 :]) if half]
            return refused + [one for half in halves for one in self._ask_part(line, half, told, over)]
        return []

    def _answers(self, line: ProjectLine, group: Sequence[Candidate], told: dict[int, Known]) -> set[int]:
        """What REDCap tells about a group; raises RedcapError and Stopped."""
        now = time.monotonic()
        asked = [c for c in group if needs_lookup(c.route.target, c.route.settings)]
        questions = [Question(c.job.id, c.route.target, c.route.settings, c.job.instance) for c in asked]
        structure = line.structure(SURE_FOR)  # what was possible an hour ago may lead to another place now
        hopeless = {c.job.id: why for c in group if (why := _hopeless(structure, c.route, c.job)) is not None}
        facts = {c.job.id: unasked(c.route.target) for c in group}
        facts |= look_up(line.client, structure, [q for q in questions if q.job not in hopeless])
        self._refusals.answered([c for c in asked if c.job.id not in hopeless])
        for candidate in group:
            why = hopeless.get(candidate.job.id)
            if why is not None:
                self._conclusion.apply(candidate.job, why, None)
            elif (learnt := self._learn(candidate, facts[candidate.job.id])) is not None:
                told[candidate.job.id] = Known(learnt, now)
        if hopeless:
            line.doubt()
        return {job for job, why in hopeless.items() if isinstance(why, Refused)}

    def _learn(self, candidate: Candidate, facts: Facts) -> Facts | None:
        """The facts to act upon; None if the ledger says more of the job by now."""
        target, job = candidate.route.target, candidate.job
        if target.record and not target.record_where and facts.record not in (None, target.record):
            return facts  # written otherwise in REDCap: such a file goes nowhere
        if target.record_where and target.record and facts.record is None:
            # The record that was found before has other values by now: whose they are is asked anew.
            self._ledger.note(job.id, "its record has other values now", {"record": ""})
            return None
        key = None if facts.record is None else self._order.key(job.project, target, facts.record)
        if facts.record is None or key is None or key == job.key:
            if key is not None and facts.next_instance is not None:
                # Not one that another file's rule names, which is only not there yet.
                above = self._ledger.query.highest_instance(key) + 1
                facts = replace(facts, next_instance=max(facts.next_instance, above))
            return facts
        # Only now is it known which record of which project this file belongs to: it takes its place in the order of that
        # record's files. What was told may be outdated when its turn comes.
        match self._ledger.found(job, facts.record, key):
            case ReadBackFound.ANOTHER_GOES:
                self._conclusion.wait_for_another(job)
            case ReadBackFound.NEWER_WENT:
                self._conclusion.hold(job, _NEWER_WENT)
        return None

    def _cannot_ask(self, line: ProjectLine, group: Sequence[Candidate], error: RedcapError | Stopped) -> None:
        outcome: Outcome = Later(Reason.STOPPED, "dropcap was stopped", scope=Scope.STOP)
        if isinstance(error, RedcapError):
            outcome = self._belief.of_a_question(error.meaning, line, sent=False, alone=len(group) == 1)
        if isinstance(outcome, Refused):  # of the question, not of the files: nothing is known about them
            message = f"REDCap refuses to export the records: {outcome.message}"
            outcome = Later(
                outcome.reason, message, "run `dropcap check`, which compares the rules with the project", Scope.PROJECT
            )
        if isinstance(outcome, Later) and of_several_folders(c.job for c in group):
            outcome = replace(outcome, in_general=in_general(outcome.reason))
        for place, candidate in enumerate(group):
            mine = outcome
            if isinstance(outcome, Later) and candidate.job.state is State.UNKNOWN:
                mine = replace(outcome, sent=True)
            # One question has failed, not a hundred: only the first file is a sign of the server's state.
            self._conclusion.apply(candidate.job, mine, line if place == 0 else None)

    def create(self, slot: Slot, line: ProjectLine, candidate: Candidate, step: Create, confirm: Confirm) -> None:
        """Create a missing record, within the day's limit; the file is looked up again afterwards. None, if the folder turns out
        not to be ours any more (`confirm`)."""
        job, settings = candidate.job, candidate.route.settings
        unknown = job.state is State.UNKNOWN
        record = shown(step.record)

        def run() -> Outcome:
            if job.created == step.record:
                # REDCap has just said yes. To ask again at once would spend the day's limit on one record.
                return WaitForRecord(f"REDCap says it has created record `{record}`, but does not show it to dropcap")
            if slot.in_file(confirm) is None:
                return Later(Reason.AWAY, NOT_OURS, scope=Scope.STOP, sent=unknown)
            with self._creation.one_at_a_time(job.project, step.record) as first:
                if not first:  # another file of the same record has just asked
                    return Later(Reason.NO_RECORD, "its record was being created", scope=Scope.STOP, sent=unknown)
                return create()

        def create() -> Outcome:
            try:
                if group := line.group():
                    return not_in_its_group(step.record, group)
            except RedcapError as error:
                return judge(error.meaning, sent=unknown)
            if not self._creation.within_limit(job, step.record, settings.create_limit):
                return LimitReached(settings.create_limit)
            try:
                structure = line.structure()
                first = _first_event(structure.events, step.event) if structure.longitudinal else None
                line.client.create_record(step.record, structure.record_id_field, first)
            except RedcapError as error:
                return self._belief.of_a_question(error.meaning, line, sent=unknown, alone=True)
            log.info("record_created", **about(job))
            return RecordCreated(step.record)

        outcome = self._guarded(job, line, run, sent=unknown)
        if not isinstance(outcome, Refused):  # of which the filer tells
            self._ended([job], False)

    def probe(self, server: str, line: ProjectLine) -> None:
        """Ask a server whether it is well."""
        now = time.monotonic()
        try:
            line.client.version(self._break_off)
            well = True
            trouble = None
            self._belief.probed(line, None)
        except Stopped:
            well, trouble = False, None
            self._health.not_probed(server)
        except RedcapError as error:
            self._belief.probed(line, error.meaning)
            outcome = judge(error.meaning, sent=False)
            # A server that refuses a token is a server that answers.
            well = error.meaning.verdict in (Verdict.PROJECT, Verdict.REFUSED)
            trouble = outcome if isinstance(outcome, Later) else None
        except Exception as error:
            log.error("internal_error", where="probe", error=f"{type(error).__name__}: {error}", exc_info=True)
            well, trouble = False, Later(Reason.UNREACHABLE, _ODD, scope=Scope.SERVER)
        log.debug("probe", server=server, well=well)
        if well:
            self._ledger.blame(self._health.well(Scope.SERVER, server, None))
        elif trouble is not None:
            self._health.ill(Scope.SERVER, server, None, trouble, now)
        self._ended([], False)

    def _guarded(self, job: Job, line: ProjectLine, run: Callable[[], Outcome], *, sent: bool) -> Outcome:
        # Whatever goes wrong inside, the job must not stay `sending` for ever.
        try:
            outcome = run()
        except Exception as error:
            log.error("internal_error", **about(job), error=f"{type(error).__name__}: {error}", exc_info=True)
            outcome = Later(Reason.SERVER_ERROR, _ODD, scope=Scope.SERVER, sent=sent)
        try:
            self._conclusion.apply(job, outcome, line)
        except Exception as error:
            # The ledger could not be written (a full disk, say): the job is read back at the next start or retry.
            log.error("internal_error", **about(job), where="ledger", error=f"{type(error).__name__}: {error}")
        return outcome


def _attempted(attempt: Attempt, one: Sending, line: ProjectLine, belief: Belief) -> Outcome:
    """What came of an attempt. Where REDCap refused the file, the project may have changed under way, whatever words it has for
    that: the rule's other files need not follow this one to failed/.
    """
    began, known = time.monotonic(), line.known()
    outcome = attempt.run()
    if not isinstance(outcome, Refused) or outcome.reason not in MAY_HAVE_CHANGED:
        return outcome
    try:
        return _hopeless(line.structure(time.monotonic() - began), one.route, one.job) or outcome
    except Stopped:
        return outcome
    except RedcapError as error:
        if not known:  # this token was never told anything
            return outcome
        why = belief.of_a_question(error.meaning, line, sent=False, alone=True)
        if isinstance(why, Later):
            return why
        message = f"REDCap refuses this file, and does not tell of the project any more: {outcome.message}"
        remedy = "ask the project's owner whether it was taken offline or deleted; `dropcap check` asks it anew"
        return Later(outcome.reason, message, remedy, Scope.PROJECT, certain=True)


def _hopeless(structure: ProjectStructure, route: Route, job: Job) -> Refused | Held | None:
    """Why no file can be stored where this one is to go. If its rule can store none at all, the files wait for a better rule."""
    why = impossible(structure, route.target)
    if why is None and (absent := absent_field(structure, route.target)) is not None:
        remedy = "correct the rule, or add the field to the project; `dropcap check` compares all rules"
        why = Refused(Reason.NO_FIELD, f"the project has no field `{shown(absent)}`", remedy)
    if why is None or (job.state is State.UNKNOWN and why.reason != Reason.NO_FIELD):
        return None  # what may have arrived is looked for there
    if contradiction(structure, route.rule) is None:
        return why
    remedy = "correct the rule, or the project in REDCap; then reload dropcap. The file waits"
    return Held(why.reason, f"rule `{shown(route.rule.name)}` can store no file: {why.message}", remedy)


def _go_unasked(group: Sequence[Candidate], told: dict[int, Known]) -> list[Candidate]:
    """This token is told nothing of its project: files that only needed to know which one it is go without; the others."""
    others = []
    for candidate in group:
        if needs_lookup(candidate.route.target, candidate.route.settings):
            others.append(candidate)
        else:
            told[candidate.job.id] = Known(unasked(candidate.route.target), time.monotonic())
    return others


def _first_event(events: Sequence[str], event: str | None) -> str | None:
    """The first event of the same arm; unique event names end in `_arm_N`."""
    arm = (event or "").rpartition("_arm_")[2]
    return next((name for name in events if not event or name.rpartition("_arm_")[2] == arm), events[0] if events else None)
