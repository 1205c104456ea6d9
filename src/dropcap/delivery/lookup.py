"""What REDCap is asked before files are sent: records, instances, values, of many files in one request."""

from __future__ import annotations

import random
import threading
import time
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from typing import Any

import structlog

from dropcap.delivery.attribution import Attribution
from dropcap.delivery.circuit import backoff
from dropcap.delivery.order import Order
from dropcap.delivery.plan import Facts, agree, contradiction, impossible, needs_lookup, unasked
from dropcap.delivery.project_client import SURE_FOR, ProjectClient
from dropcap.delivery.queue import ODD, Candidate, Known, OutcomeHandler, Queues
from dropcap.delivery.workers import Slot
from dropcap.display import shown
from dropcap.ledger.database import TOLD
from dropcap.ledger.job import Held, Job, Later, Outcome, ReadBackFound, Refused, State, spelled_alike
from dropcap.ledger.store import Ledger
from dropcap.reasons import Reason, Scope, explained
from dropcap.redcap.client import ProjectStructure, Redcap, RedcapError, TooMuch
from dropcap.redcap.reply import Meaning, Verdict
from dropcap.redcap.window import Stopped
from dropcap.routing.route import Route
from dropcap.routing.rule import NEXT, RuleSettings, Target
from dropcap.secret import mentions_token

log = structlog.get_logger()

#: Records asked about in one request, and conditions in one filter.
GROUP = 100
#: A structure that was told within so many seconds is not doubted because of a refusal.
_JUST_NOW = 5.0
#: So many records that REDCap is known to have are asked about with those that it does not show.
PROBES = 3
#: No record is called so: asked about where it is to be known only whether REDCap answers.
NOBODY = "dropcap asks"

Row = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Question:
    """One file whose record is to be looked up."""

    job: int
    target: Target
    settings: RuleSettings
    fixed_instance: int | None = None


@dataclass(frozen=True, slots=True)
class _Project:
    """One project, to be asked about its records. Raises `RedcapError` and, if `stop` is set, `Stopped`."""

    client: Redcap
    structure: ProjectStructure
    stop: threading.Event | None

    def ask(self, **asked: Any) -> list[dict[str, str]]:
        """The rows of `Redcap.records`. A record's name is kept and shown as it is, so one that holds a token is none."""
        rows = self.client.records(**asked, stop=self.stop)
        if any(mentions_token(row.get(self.structure.record_id_field, "")) for row in rows):
            message = "REDCap, or a proxy before it, answers with a record whose name holds an API token"
            remedy = "tell REDCap's administrator, who can see where it comes from; then renew the token"
            raise RedcapError(Meaning(Verdict.REFUSED, Reason.REFUSED, message, remedy))
        return rows


def look_up(
    client: Redcap,
    structure: ProjectStructure,
    questions: Sequence[Question],
    stop: threading.Event | None = None,
    known: Sequence[str] = (),
) -> dict[int, Facts]:
    """The facts for each question, in as few requests as the questions allow: one for up to 100 files, where all is well.

    Under load REDCap can leave rows out (reported for real servers). Where it shows none of the records, it is asked for those
    that it is `known` to have, too: if it does not show them either, the facts are doubted.

    Raises:
        RedcapError: REDCap did not answer as it should.
        Stopped: `stop` was set.
    """
    project = _Project(client, structure, stop)
    found, several = _by_values(project, [q for q in questions if q.target.record_where and not q.target.record])
    names = {q.job: q.target.record or found.get(q.job) for q in questions}
    rows = _rows(project, questions, sorted({name for name in names.values() if name}))
    facts, missing = _told(structure, questions, names, several, rows)
    probes = () if rows or several else known
    unfound = [q for q in questions if probes and q.job in facts]  # by their values
    if missing or unfound:
        there = _almost(project, missing, probes)
        if probes and not there:
            return {question.job: Facts(None, doubted=True) for question in questions}
        if again := sorted(there & {q.target.record for q in missing}):
            # REDCap has told of none and of some of them: an answer was wrong, or they were created in between.
            rows = _rows(project, missing, again)
            late, missing = _told(structure, missing, names, several, rows)
            # One that is there, and of whose fields no row tells anything: what they hold is not known.
            hidden = [question for question in missing if question.target.record in again]
            late |= {question.job: _facts(question, question.target.record, (), structure) for question in hidden}
            missing = [question for question in missing if question.job not in late]
            facts |= late
        facts |= _similar(project, missing, there)
    return facts


def _told(
    structure: ProjectStructure,
    questions: Sequence[Question],
    names: Mapping[int, str | None],
    several: Mapping[int, int],
    rows: Mapping[str, Sequence[Row]],
) -> tuple[dict[int, Facts], list[Question]]:
    """The facts that the records' rows tell, and the questions whose record is not among them."""
    facts: dict[int, Facts] = {}
    missing: list[Question] = []
    for question in questions:
        name = names[question.job]
        if question.job in several:
            facts[question.job] = Facts(None, several=several[question.job])
        elif name is None:
            facts[question.job] = Facts(None)
        elif name in rows:
            facts[question.job] = _facts(question, name, rows[name], structure)
        else:
            other = next((spelled for spelled in rows if spelled.casefold() == name.casefold()), None)
            if other is not None:
                facts[question.job] = Facts(other)
            else:
                missing.append(question)
    return facts, missing


def absent_field(structure: ProjectStructure, target: Target) -> str | None:
    """A field that the target names and the project does not have: REDCap would refuse the whole question for it."""
    return next((name for name in (target.field, *target.must_match, *target.record_where) if not structure.knows(name)), None)


def shown_in_field(rows: Iterable[Row], structure: ProjectStructure, target: Target, instance: int | None) -> str:
    """What the record's export shows in the target's field: empty if there is no file."""
    for row in rows:
        shown = row.get(target.field, "") if _at(row, structure, target, instance) else ""
        if shown and shown not in structure.project.missing_codes:
            return shown
    return ""


def _rows(project: _Project, questions: Sequence[Question], names: Sequence[str]) -> dict[str, list[Row]]:
    fields = {project.structure.record_id_field}
    for question in questions:
        fields.add(question.target.field)
        fields.update(question.target.must_match)
        fields.update(question.target.record_where)
        if question.target.instance == NEXT:
            # An instance counts as there if its form was ever saved, file or no file.
            fields.add(f"{_form(project.structure, question.target.field)}_complete")
    rows: dict[str, list[Row]] = defaultdict(list)
    for start in range(0, len(names), GROUP):
        for row in _of_records(project, list(names[start : start + GROUP]), sorted(fields)):
            rows[row.get(project.structure.record_id_field, "")].append(row)
    return rows


def _of_records(project: _Project, names: list[str], fields: list[str]) -> list[Row]:
    """The rows of these records; in parts, where so many have too much to tell at once."""
    try:
        return list(project.ask(records=names, fields=fields))
    except TooMuch:
        if len(names) == 1:
            raise
        half = len(names) // 2
        return [row for part in (names[:half], names[half:]) for row in _of_records(project, part, fields)]


def _facts(question: Question, name: str, rows: Sequence[Row], structure: ProjectStructure) -> Facts:
    target = question.target
    values: dict[str, set[str]] = defaultdict(set)
    for row in rows:
        for field in (*target.must_match, *target.record_where):
            values[field].add(row.get(field, ""))
    # An event or instance that was never touched has no row; a field that no row of the record has is one that we may not see.
    named = (target.field, *target.must_match, *target.record_where)
    untold = tuple(field for field in named if not any(field in row for row in rows))
    if not set(target.record_where) & set(untold) and agree(target.record_where, values):
        return Facts(None)  # the record that was found earlier has other values by now
    following: int | None = None
    filled: tuple[tuple[int, str], ...] = ()
    instance = target.instance if isinstance(target.instance, int) else question.fixed_instance
    if target.instance == NEXT:
        there = {_instance(row): row for row in rows if _repeats_here(row, structure, target)}
        following = max(there, default=0) + 1
        filled = tuple((number, row.get(target.field, "")) for number, row in there.items() if _may_hold(row, structure, target))
        instance = instance or following
    return Facts(
        record=name,
        shows=shown_in_field(rows, structure, target, instance),
        next_instance=following,
        filled=filled,
        repeats=target.instance is None
        and not structure.told_repeating
        and any(_repeats_here(row, structure, target) and row.get(target.field) for row in rows),
        differing=agree(target.must_match, values),
        untold=untold,
    )


def _at(row: Row, structure: ProjectStructure, target: Target, instance: int | None) -> bool:
    if structure.longitudinal and target.event and row.get("redcap_event_name", "") != target.event:
        return False
    if instance is None:
        return _instance(row) <= 1
    form = row.get("redcap_repeat_instrument", "")
    return _instance(row) == instance and form in ("", _form(structure, target.field))


def _repeats_here(row: Row, structure: ProjectStructure, target: Target) -> bool:
    if not row.get("redcap_repeat_instance"):
        return False
    if structure.longitudinal and target.event and row.get("redcap_event_name", "") != target.event:
        return False
    return row.get("redcap_repeat_instrument", "") in ("", _form(structure, target.field))


def _may_hold(row: Row, structure: ProjectStructure, target: Target) -> bool:
    """Whether there is a file in the row, as far as REDCap tells of the field at all."""
    shown = row.get(target.field)
    return shown is None or (shown != "" and shown not in structure.project.missing_codes)


def _form(structure: ProjectStructure, field: str) -> str:
    known = structure.fields.get(field)
    return known.form if known else ""


def _instance(row: Row) -> int:
    text = str(row.get("redcap_repeat_instance") or "1")
    return int(text) if text.isdecimal() else 1


def _by_values(project: _Project, questions: Sequence[Question]) -> tuple[dict[int, str], dict[int, int]]:
    """The records in which fields have certain values, and for which files there are several."""
    found = _with_values(project, questions)
    # A file fails for want of a record: one empty answer, which may be wrong, is not enough for that.
    found |= _with_values(project, [question for question in questions if not found[question.job]])
    one = {job: records[0] for job, records in found.items() if len(records) == 1}
    return one, {job: len(records) for job, records in found.items() if len(records) > 1}


def _with_values(project: _Project, questions: Sequence[Question]) -> dict[int, list[str]]:
    """For each question the records that have the values."""
    conditions = sorted({pair for q in questions for pair in q.target.record_where.items()})
    fields = sorted({project.structure.record_id_field, *(name for name, _ in conditions)})
    values: dict[str, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    for start in range(0, len(conditions), GROUP):
        logic = either(conditions[start : start + GROUP])
        for row in project.ask(fields=fields, filter_logic=logic):
            for name in fields:
                if row.get(name):
                    values[row[project.structure.record_id_field]][name].add(row[name])
    return {
        question.job: [
            record
            for record, has in values.items()
            if all(value in has[name] for name, value in question.target.record_where.items())
        ]
        for question in questions
    }


def either(conditions: Iterable[tuple[str, str]]) -> str:
    """The filter for records in which at least one of these fields has its value."""
    return " or ".join(f"[{name}] = {_quoted(value)}" for name, value in conditions)


def _quoted(value: str) -> str:
    # REDCap's logic has no escape: a value with both kinds of quotes can equal nothing, and must not end the condition.
    if "'" not in value:
        return f"'{value}'"
    return '"' + value.replace('"', "") + '"'


def _almost(project: _Project, questions: Sequence[Question], probes: Sequence[str]) -> set[str]:
    """Which of the `probes` there are, and of the records that are written like the missing ones, or almost: other case, other
    leading zeros."""
    key = project.structure.record_id_field
    names = {name for q in questions if q.target.record for name in (q.target.record, *_variants(q.target.record))}
    asked = sorted(names.union(probes))
    there: set[str] = set()
    for start in range(0, len(asked), GROUP):
        there.update(row.get(key, "") for row in project.ask(records=asked[start : start + GROUP], fields=[key]))
    return there


def _similar(project: _Project, questions: Sequence[Question], there: Collection[str]) -> dict[int, Facts]:
    """Missing records, with those that are written almost alike: of those that are `there`, or on request of all."""
    facts: dict[int, Facts] = {}
    every: list[str] | None = None
    for question in questions:
        record = question.target.record
        close = tuple(sorted(name for name in there if spelled_alike(name, record) and name != record)) if record else ()
        if not close and record and question.settings.suggest_records:
            if every is None:
                every = _every(project)
            close = tuple(get_close_matches(record, every, n=3, cutoff=0.75))
        facts[question.job] = Facts(None, similar=close)
    return facts


def _every(project: _Project) -> list[str]:
    """All records, or none where there are too many to be listed."""
    key = project.structure.record_id_field
    try:
        return sorted({row.get(key, "") for row in project.ask(fields=[key])})
    except TooMuch:
        return []


def _variants(record: str) -> set[str]:
    short = record.lstrip("0") or "0"
    zeros = {short.zfill(width) for width in range(1, 9)} if short.isdecimal() else {short}
    return {name for base in zeros | {record} for name in (base, base.lower(), base.upper())} - {record}


#: What is asked for whom: a folder, a rule of it, and the fields that its file needs.
Asking = tuple[str, ...]


class Refusals:
    """When a rule's question is asked again, and what need not be asked again with it. May be called from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waits: dict[Asking, tuple[int, float]] = {}  # how often it was refused in a row, and until when it waits
        self._doubted: dict[str, float] = {}  # projects, and when their structure was doubted for a refusal (monotonic)
        self._silent: dict[str, float] = {}  # projects, and when REDCap refused all questions about them (monotonic)

    def doubts(self, project: str) -> bool:
        """Whether a refusal makes the project's structure doubtful: one in a while does, those that follow tell nothing new."""
        with self._lock:
            doubts = time.monotonic() - self._doubted.get(project, -SURE_FOR) >= SURE_FOR
            if doubts:
                self._doubted[project] = time.monotonic()
            return doubts

    def all_refused(self, project: str) -> None:
        """REDCap refuses whatever it is asked about the project's records."""
        with self._lock:
            self._silent[project] = time.monotonic()

    def refuses_all(self, project: str) -> bool:
        """Whether REDCap has lately, and has answered nothing since."""
        with self._lock:
            return time.monotonic() - self._silent.get(project, -SURE_FOR) < SURE_FOR

    def refused(self, group: Sequence[Candidate], meaning: Meaning, *, of_this_file: bool) -> Later:
        """What becomes of files of one rule whose question was refused: all of them wait equally long.

        `of_this_file`: about others of the rule REDCap answers; one that is refused again and again is held in the end.
        """
        rule = asking(group[0])
        if of_this_file:
            message = f"REDCap refuses to be asked about this file's record: {meaning.message}"
            return Later(meaning.reason, message, meaning.remedy, Scope.FILE, own_fault=True)
        with self._lock:
            now = time.monotonic()
            tries, until = self._waits.get(rule, (0, 0.0))
            if now >= until:
                tries, until = tries + 1, now + backoff(tries + 1)
                self._waits[rule] = tries, until
        message = f"REDCap refuses what rule `{shown(rule[1])}` asks of the record: {meaning.message}"
        remedy = "run `dropcap check`, which asks the same; dropcap asks again by itself"
        return Later(meaning.reason, message, remedy, Scope.FILE, seconds=until - now)

    def answered(self, group: Sequence[Candidate]) -> None:
        """REDCap has answered what the rules of these files ask."""
        with self._lock:
            if group:
                self._silent.pop(group[0].job.project, None)
            for candidate in group if self._waits else ():
                self._waits.pop(asking(candidate), None)


def asking(candidate: Candidate) -> Asking:
    """The question about a file's record. A rule asks one, or one for each field that it leads to."""
    target = candidate.route.target
    fields = (target.field, *sorted({*target.must_match, *target.record_where}))
    return candidate.job.folder, candidate.route.rule.name, *fields


def by_rule(group: Sequence[Candidate]) -> list[list[Candidate]]:
    """The group in parts, each of files of one rule that ask about the same fields."""
    parts: dict[Asking, list[Candidate]] = defaultdict(list)
    for candidate in group:
        parts[asking(candidate)].append(candidate)
    return list(parts.values())


def refuses_all(client: ProjectClient, candidate: Candidate, stop: threading.Event) -> bool:
    """Whether REDCap refuses even to say that any record is there: then it is no rule's trouble, but the project's."""
    record = candidate.route.target.record or candidate.job.record
    for name in dict.fromkeys((record or NOBODY, NOBODY)):
        try:
            client.redcap.records(records=[name], fields=[client.structure(stop=stop).record_id_field], stop=stop)
        except RedcapError:
            continue
        except Stopped:
            return True
        return False
    return True


def is_of_the_question(error: RedcapError) -> bool:
    """Whether REDCap may answer another rule's question."""
    return error.meaning.verdict is Verdict.REFUSED or error.meaning.of_rights


class LookUps:
    """Looks records up, in other threads than the deciding one: what it is given, it does not change."""

    def __init__(
        self, ledger: Ledger, queues: Queues, order: Order, outcome_handler: OutcomeHandler, attribution: Attribution
    ) -> None:
        self._ledger = ledger
        self._queues = queues
        self._order = order
        self._outcome_handler = outcome_handler
        self._attribution = attribution
        self._break_off = queues.break_off
        self._refusals = Refusals()

    def ask(self, slot: Slot, client: ProjectClient, group: Sequence[Candidate]) -> None:
        """Look up the records of a group of files of one project; each gets its answer, or the ledger says more of it."""
        over: set[int] = set()
        told: dict[int, Known] = {}
        try:
            over = self._ask(client, group, told)
        except TOLD:
            pass  # they are read from the ledger anew
        except Exception as error:
            log.error("internal_error", where="look-up", error=f"{type(error).__name__}: {error}")
        finally:
            for candidate in group:
                known = told.get(candidate.job.id)
                self._queues.of(candidate.job.folder).looked_up(candidate, known)
                if known is None:  # whatever it waits for now, it does not keep a trial from the others
                    self._queues.breakers.give_back(candidate.job.id)
            self._queues.ended([c.job for c in group if c.job.id not in over])

    def _ask(self, client: ProjectClient, group: Sequence[Candidate], told: dict[int, Known]) -> set[int]:
        """Enters in `told` what is found out of each job. The jobs that are refused, and whose end the filer will tell."""
        structure = None
        try:
            structure = client.structure(SURE_FOR, self._break_off)  # what was possible an hour ago may lead elsewhere now
            return self._answers(client, structure, group, told)
        except (RedcapError, Stopped) as error:
            if isinstance(error, RedcapError) and error.meaning.of_rights:
                group = _go_unasked(group, told)
            if not group:
                return set()
            # Another thread's question may just have been refused as well, by which the structure counts as unknown.
            known = structure is not None or client.known()
            if known and not self._refusals.refuses_all(client.project.name) and self._is_of_the_question(client, error):
                if not client.known(_JUST_NOW) and self._refusals.doubts(client.project.name):
                    client.forget()  # a field or a right may not be what it was
                return self._ask_apart(client, by_rule(group), told)
            self._cannot_ask(client, group, error)
            return set()
        except TOLD:
            raise
        except Exception as error:
            log.error("internal_error", where="look-up", error=f"{type(error).__name__}: {error}", exc_info=True)
            for candidate in group:
                unknown = candidate.job.state is State.UNKNOWN
                self._outcome_handler.apply(candidate.job, Later(Reason.SERVER_ERROR, ODD, scope=Scope.FILE, sent=unknown), None)
            return set()

    def _ask_apart(self, client: ProjectClient, parts: Sequence[Sequence[Candidate]], told: dict[int, Known]) -> set[int]:
        """One question about all fields was refused: ask about the files of each rule, of what the project is now."""
        over: set[int] = set()
        refused = [one for part in parts for one in self._ask_part(client, part, told, over)]
        if not refused:
            return over
        fine = {asking(c) for part in parts for c in part if c.job.id in told}
        answers = len(refused) < len(parts) or bool(fine) or not refuses_all(client, parts[0][0], self._break_off)
        if not answers:
            self._refusals.all_refused(client.project.name)
        others: list[Candidate] = []
        for part, why in refused:
            if not (answers and isinstance(why, RedcapError) and self._is_of_the_question(client, why)):
                others += part
                continue
            later = self._refusals.refused(part, why.meaning, of_this_file=asking(part[0]) in fine)
            for candidate in part:
                self._outcome_handler.apply(candidate.job, replace(later, sent=candidate.job.state is State.UNKNOWN), None)
        if others:  # one trouble, told once
            self._cannot_ask(client, others, next(why for part, why in refused if part[0] is others[0]))
        return over

    def _is_of_the_question(self, client: ProjectClient, error: RedcapError | Stopped) -> bool:
        """Whether another question may be answered: REDCap refuses this one, or something before it dislikes it."""
        if not isinstance(error, RedcapError):
            return False
        return is_of_the_question(error) or self._attribution.is_disliked(error.meaning, client)

    def _ask_part(
        self, client: ProjectClient, part: Sequence[Candidate], told: dict[int, Known], over: set[int]
    ) -> list[tuple[Sequence[Candidate], RedcapError | Stopped]]:
        """Ask about files of one rule; what of them REDCap refuses, and how.

        It may be one record that it refuses to be asked about: if it answers about one of any two, the others are looked for.
        """
        try:
            over |= self._answers(client, client.structure(SURE_FOR, self._break_off), part, told)
        except (RedcapError, Stopped) as error:
            if len(part) == 1 or not self._is_of_the_question(client, error):
                return [(part, error)]
            alone = random.sample(part, 2)
            refused = [one for candidate in alone for one in self._ask_part(client, [candidate], told, over)]
            if len(refused) == len(alone):
                return [(part, error)]
            rest = [candidate for candidate in part if candidate not in alone]
            halves = [half for half in (rest[: len(rest) // 2], rest[len(rest) // 2 :]) if half]
            return refused + [one for half in halves for one in self._ask_part(client, half, told, over)]
        return []

    def _answers(
        self, client: ProjectClient, structure: ProjectStructure, group: Sequence[Candidate], told: dict[int, Known]
    ) -> set[int]:
        """What REDCap tells about a group, of a project as it is now; raises RedcapError and Stopped."""
        now = time.monotonic()
        asked = [c for c in group if needs_lookup(c.route.target, c.route.settings)]
        questions = [Question(c.job.id, c.route.target, c.route.settings, c.job.instance) for c in asked]
        without_hope = {c.job.id: why for c in group if (why := hopeless(structure, c.route, c.job)) is not None}
        facts = {c.job.id: unasked(c.route.target) for c in group}
        hopeful = [q for q in questions if q.job not in without_hope]
        if hopeful:
            known = client.known_records or self._ledger.query.stored_lately(client.project.name, PROBES)
            found = look_up(client.redcap, structure, hopeful, self._break_off, known)
            there = [of.record for of in found.values() if of.record]
            client.known_records = list(dict.fromkeys((*there, *known)))[:PROBES]
            facts |= found
        self._refusals.answered([c for c in asked if c.job.id not in without_hope])
        for candidate in group:
            why = without_hope.get(candidate.job.id)
            if why is not None:
                self._outcome_handler.apply(candidate.job, why, None)
            elif (learnt := self._learn(candidate, facts[candidate.job.id])) is not None:
                told[candidate.job.id] = Known(learnt, now)
        if without_hope:
            client.doubt()
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
                self._outcome_handler.wait_for_another(job)
            case ReadBackFound.NEWER_WENT:
                self._outcome_handler.overtaken(job)
        return None

    def _cannot_ask(self, client: ProjectClient, group: Sequence[Candidate], error: RedcapError | Stopped) -> None:
        outcome: Outcome
        if isinstance(error, Stopped):
            outcome = Later(Reason.STOPPED, error.said, scope=Scope.STOP)
        else:
            outcome = self._attribution.of_a_question(error.meaning, client, sent=False, alone=len(group) == 1)
        if isinstance(outcome, Refused):  # of the question, not of the files: nothing is known about them
            message = f"REDCap refuses to export the records: {outcome.message}"
            outcome = Later(
                outcome.reason, message, "run `dropcap check`, which compares the rules with the project", Scope.PROJECT
            )
        if isinstance(outcome, Later) and len({c.job.folder for c in group}) > 1:  # one's words may tell of another's files
            outcome = replace(outcome, in_general=explained(outcome.reason).within)
        for place, candidate in enumerate(group):
            mine = outcome
            if isinstance(outcome, Later) and candidate.job.state is State.UNKNOWN:
                mine = replace(outcome, sent=True)
            # One question has failed, not a hundred: only the first file is a sign of the server's state.
            self._outcome_handler.apply(candidate.job, mine, client if place == 0 else None)


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
