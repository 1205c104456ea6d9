"""Looking up many files in one request."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace

import structlog

from dropcap.delivery.attribution import Belief
from dropcap.delivery.circuit import Health, of_several_folders
from dropcap.delivery.lookup import Question, Refusals, absent_field, asking, by_rule, is_of_the_question, look_up, refuses_all
from dropcap.delivery.order import Order
from dropcap.delivery.outcome import Conclusion
from dropcap.delivery.plan import Facts, contradiction, impossible, needs_lookup, unasked
from dropcap.delivery.project_client import SURE_FOR, ProjectLine
from dropcap.delivery.queue import Candidate, Known, LookedUp
from dropcap.delivery.workers import Slot
from dropcap.display import shown
from dropcap.ledger.database import TOLD
from dropcap.ledger.job import Held, Job, Later, Outcome, ReadBackFound, Refused, State
from dropcap.ledger.store import Ledger
from dropcap.reasons import Reason, Scope, explained
from dropcap.redcap.client import RedcapError
from dropcap.redcap.project import ProjectStructure
from dropcap.redcap.window import Stopped
from dropcap.routing.route import Route

log = structlog.get_logger()

#: What people are told where something went wrong that nobody foresaw.
ODD = "an error inside dropcap; the file is safe in in_progress/ and will be tried again"


class Asker:
    """Looks records up, in other threads than the deciding one: what it is given, it does not change.

    `answered` is told what each look-up has found out, `ended` of jobs whose turn is over, and whether they need no other one.
    """

    def __init__(
        self,
        ledger: Ledger,
        health: Health,
        conclusion: Conclusion,
        answered: Callable[[LookedUp], None],
        ended: Callable[[Sequence[Job], bool], None],
        order: Order,
        belief: Belief,
        break_off: threading.Event,
    ) -> None:
        self._ledger = ledger
        self._health = health
        self._conclusion = conclusion
        self._answered = answered
        self._ended = ended
        self._order = order
        self._belief = belief
        self._break_off = break_off
        self._refusals = Refusals()

    def ask(self, slot: Slot, line: ProjectLine, group: Sequence[Candidate]) -> None:
        """Look up the records of a group of files of one project; each gets its answer, or the ledger says more of it."""
        over: set[int] = set()
        told: dict[int, Known] = {}
        try:
            over = self._ask(line, group, told)
        except TOLD:
            pass  # they are read from the ledger anew
        except Exception as error:
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
        structure = None
        try:
            structure = line.structure(SURE_FOR, self._break_off)  # what was possible an hour ago may lead elsewhere now
            return self._answers(line, structure, group, told)
        except (RedcapError, Stopped) as error:
            if isinstance(error, RedcapError) and error.meaning.reason == Reason.RIGHTS:
                group = _go_unasked(group, told)
            if not group:
                return set()
            # Another thread's question may just have been refused as well, by which the structure counts as unknown.
            if self._is_of_the_question(line, error) and (structure is not None or line.known()):
                line.forget()  # a field or a right may not be what it was
                return self._ask_apart(line, by_rule(group), told)
            self._cannot_ask(line, group, error)
            return set()
        except TOLD:
            raise
        except Exception as error:
            log.error("internal_error", where="look-up", error=f"{type(error).__name__}: {error}", exc_info=True)
            for candidate in group:
                unknown = candidate.job.state is State.UNKNOWN
                self._conclusion.apply(candidate.job, Later(Reason.SERVER_ERROR, ODD, scope=Scope.FILE, sent=unknown), None)
            return set()

    def _ask_apart(self, line: ProjectLine, parts: Sequence[Sequence[Candidate]], told: dict[int, Known]) -> set[int]:
        """One question about all fields was refused: ask about the files of each rule, of what the project is now."""
        over: set[int] = set()
        refused = [one for part in parts for one in self._ask_part(line, part, told, over)]
        if not refused:
            return over
        fine = {asking(c) for part in parts for c in part if c.job.id in told}
        answers = len(refused) < len(parts) or bool(fine) or not refuses_all(line, parts[0][0], self._break_off)
        others: list[Candidate] = []
        for part, why in refused:
            if not (answers and isinstance(why, RedcapError) and self._is_of_the_question(line, why)):
                others += part
                continue
            later = self._refusals.refused(part, why.meaning, of_this_file=asking(part[0]) in fine)
            for candidate in part:
                self._conclusion.apply(candidate.job, replace(later, sent=candidate.job.state is State.UNKNOWN), None)
        if others:  # one trouble, told once
            self._cannot_ask(line, others, next(why for part, why in refused if part[0] is others[0]))
        return over

    def _is_of_the_question(self, line: ProjectLine, error: RedcapError | Stopped) -> bool:
        """Whether another question may be answered: REDCap refuses this one, or something before it dislikes it."""
        return is_of_the_question(error) or (isinstance(error, RedcapError) and self._belief.is_disliked(error.meaning, line))

    def _ask_part(
        self, line: ProjectLine, part: Sequence[Candidate], told: dict[int, Known], over: set[int]
    ) -> list[tuple[Sequence[Candidate], RedcapError | Stopped]]:
        """Ask about files of one rule; what of them REDCap refuses, and how.

        It may be one record that it refuses to be asked about: if it answers about one of any two, the others are looked for.
        """
        try:
            over |= self._answers(line, line.structure(SURE_FOR, self._break_off), part, told)
        except (RedcapError, Stopped) as error:
            if len(part) == 1 or not self._is_of_the_question(line, error):
                return [(part, error)]
            alone = random.sample(part, 2)
            refused = [one for candidate in alone for one in self._ask_part(line, [candidate], told, over)]
            if len(refused) == len(alone):
                return [(part, error)]
            rest = [candidate for candidate in part if candidate not in alone]
            halves = [half for half in (rest[: len(rest) // 2], rest[len(rest) // 2 :]) if half]
            return refused + [one for half in halves for one in self._ask_part(line, half, told, over)]
        return []

    def _answers(
        self, line: ProjectLine, structure: ProjectStructure, group: Sequence[Candidate], told: dict[int, Known]
    ) -> set[int]:
        """What REDCap tells about a group, of a project as it is now; raises RedcapError and Stopped."""
        now = time.monotonic()
        asked = [c for c in group if needs_lookup(c.route.target, c.route.settings)]
        questions = [Question(c.job.id, c.route.target, c.route.settings, c.job.instance) for c in asked]
        without_hope = {c.job.id: why for c in group if (why := hopeless(structure, c.route, c.job)) is not None}
        facts = {c.job.id: unasked(c.route.target) for c in group}
        facts |= look_up(line.client, structure, [q for q in questions if q.job not in without_hope], self._break_off)
        self._refusals.answered([c for c in asked if c.job.id not in without_hope])
        for candidate in group:
            why = without_hope.get(candidate.job.id)
            if why is not None:
                self._conclusion.apply(candidate.job, why, None)
            elif (learnt := self._learn(candidate, facts[candidate.job.id])) is not None:
                told[candidate.job.id] = Known(learnt, now)
        if without_hope:
            line.doubt()
        return {job for job, why in without_hope.items() if isinstance(why, Refused)}

    def _learn(self, candidate: Candidate, facts: Facts) -> Facts | None:
        """The facts to act upon; None if the ledger says more of the job by now."""
        target, job = candidate.route.target, candidate.job
        if target.record and not target.record_where and facts.record not in (None, target.record):
            return facts  # written otherwise in REDCap: such a file goes nowhere
        if target.record_where and target.record and facts.record is None:
            # The record that was found before has other values by now: whose they are is asked anew.
            self._ledger.note(job.id, "its record has other values now", {"record": "", "sent_over": 0})
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
                self._conclusion.overtaken(job)
        return None

    def _cannot_ask(self, line: ProjectLine, group: Sequence[Candidate], error: RedcapError | Stopped) -> None:
        outcome: Outcome
        if isinstance(error, Stopped):
            outcome = Later(Reason.STOPPED, error.said, scope=Scope.STOP)
        else:
            outcome = self._belief.of_a_question(error.meaning, line, sent=False, alone=len(group) == 1)
        if isinstance(outcome, Refused):  # of the question, not of the files: nothing is known about them
            message = f"REDCap refuses to export the records: {outcome.message}"
            outcome = Later(
                outcome.reason, message, "run `dropcap check`, which compares the rules with the project", Scope.PROJECT
            )
        if isinstance(outcome, Later) and of_several_folders(c.job for c in group):
            outcome = replace(outcome, in_general=explained(outcome.reason).within)
        for place, candidate in enumerate(group):
            mine = outcome
            if isinstance(outcome, Later) and candidate.job.state is State.UNKNOWN:
                mine = replace(outcome, sent=True)
            # One question has failed, not a hundred: only the first file is a sign of the server's state.
            self._conclusion.apply(candidate.job, mine, line if place == 0 else None)


def hopeless(structure: ProjectStructure, route: Route, job: Job) -> Refused | Held | None:
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


#: So many mismatches of one record in one folder within so many seconds are an honest day's; then a person has a look.
MOST, WITHIN = 3, 86400.0


class Mismatches:
    """Counts in the ledger, so that a restart does not begin anew. For the deciding thread: what is counted holds for the next
    file at once, also where a hundred were looked up together."""

    def __init__(self, ledger: Ledger, clock: Callable[[], float] = time.time) -> None:
        self._ledger = ledger
        self._clock = clock

    def too_many(self, folder: str, record: str) -> bool:
        """Whether nothing more is to be told of how the record agrees with names."""
        return self._ledger.query.mismatches(folder, record, self._clock(), WITHIN) >= MOST

    def count(self, folder: str, record: str) -> None:
        """One more name did not agree with the record."""
        self._ledger.mismatched(folder, record, WITHIN)
