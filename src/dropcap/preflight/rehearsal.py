"""What REDCap would make of the files that would be taken, one after the other. Nothing is created or sent."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from dropcap.delivery.creation import not_in_its_group
from dropcap.delivery.line import ProjectLine
from dropcap.delivery.lookup import Question, look_up
from dropcap.delivery.plan import Create, Facts, Send, plan
from dropcap.delivery.possible import impossible
from dropcap.ledger.outcome import Held, Refused, WaitForRecord
from dropcap.preflight.survey import Lying, Prospect
from dropcap.reasons import Reason
from dropcap.redcap.structure import ProjectStructure
from dropcap.routing.target import NEXT, ExistingFile, MissingRecord, Target

#: Files whose records are looked up together.
GROUP = 500


def rehearse(line: ProjectLine, structure: ProjectStructure, lying: Sequence[Lying]) -> Iterator[Prospect]:
    """What REDCap says to the files of one project, in their order.

    Raises:
        RedcapError: it did not answer as it should; the files that were not yielded were not asked about.
    """
    creates = any(one.route.settings.missing_record is MissingRecord.CREATE for one in lying)
    booked = _Booked(structure, line.group() if creates else "")
    for start in range(0, len(lying), GROUP):
        group = lying[start : start + GROUP]
        refused = [_hopeless(line, structure, one) for one in group]
        questions = [
            Question(number, one.route.target, one.route.settings) for number, one in enumerate(group) if refused[number] is None
        ]
        facts = look_up(line.client, structure, questions) if questions else {}
        for number, one in enumerate(group):
            hopeless = refused[number]
            if hopeless is not None:
                yield _refusal(one.prospect, hopeless)
            else:
                yield booked.outcome(one, facts[number])


def _hopeless(line: ProjectLine, structure: ProjectStructure, one: Lying) -> Refused | None:
    target = one.route.target
    return line.refuses(one.prospect.size, target.upload_as) or impossible(structure, target)


class _Booked:
    """What the files before would have changed: places filled, instances taken, records created."""

    def __init__(self, structure: ProjectStructure, group: str) -> None:
        """`group` is the data access group of the token's user, as far as it is told."""
        self._group = group
        self._structure = structure
        self._filled: dict[tuple[Any, ...], str] = {}
        self._instances: dict[tuple[Any, ...], int] = {}
        self._created: dict[str, int] = {}
        self._new: set[str] = set()

    def outcome(self, one: Lying, facts: Facts) -> Prospect:
        prospect, target, settings = one.prospect, one.route.target, one.route.settings
        if target.record in self._new and facts.record is None:
            facts = _created(target)
        step = plan(target, replace(settings, suggest_records=True), facts)  # who asks here may see them
        if isinstance(step, Refused):
            return _refusal(replace(prospect, record=facts.record or prospect.record), step)
        if isinstance(step, WaitForRecord):
            remedy = "create the record in REDCap; dropcap looks again by itself for 7 days"
            return replace(prospect, outcome="waits", message=step.message, remedy=remedy)
        if isinstance(step, Create) and self._group:
            step = not_in_its_group(step.record, self._group)
        if isinstance(step, Held):
            return replace(prospect, outcome=step.reason, message=step.message, remedy=step.remedy)
        if isinstance(step, Create):
            return self._creates(one)
        assert isinstance(step, Send)  # nothing else comes of a file that was never sent
        return self._sends(one, step)

    def _creates(self, one: Lying) -> Prospect:
        prospect, limit = one.prospect, one.route.settings.create_limit
        if self._created.get(prospect.folder, 0) >= limit:
            message = f"its record would be created, and create_limit allows {limit} a day"
            return replace(
                prospect, outcome=Reason.CREATE_LIMIT, message=message, remedy="check that so many new records are right"
            )
        step = plan(one.route.target, one.route.settings, _created(one.route.target))
        if not isinstance(step, Send):
            assert isinstance(step, Refused)  # a new record has no values that must_match could find
            return _refusal(prospect, step)
        self._created[prospect.folder] = self._created.get(prospect.folder, 0) + 1
        self._new.add(prospect.record)
        landed = self._sends(one, step)
        return replace(landed, outcome="creates_record", message=f"its record would be created, then: {landed.message}")

    def _sends(self, one: Lying, step: Send) -> Prospect:
        prospect, settings = one.prospect, one.route.settings
        instance = step.instance
        if one.route.target.instance == NEXT:
            group = (step.record, step.event, self._structure.fields[step.field].form)
            instance = self._instances[group] = max(instance or 1, self._instances.get(group, 0) + 1)
        place = (step.record, step.event, step.field, instance)
        prospect = replace(prospect, record=step.record, instance=str(instance or ""))
        before = self._filled.get(place)
        if before is None and not step.shows:
            self._filled[place] = prospect.name
            return replace(prospect, outcome="stored", message="would land in an empty field")
        holds = f"{before} of this list would be there already" if before else "the field holds a file already"
        if settings.existing_file is ExistingFile.REFUSE:
            message = f"{holds}: refused unless it is the same (existing_file: refuse)"
            return replace(prospect, outcome=Reason.FILE_EXISTS, message=message, remedy="remove one of the two")
        self._filled[place] = prospect.name
        kept = "a copy is kept, then replaced" if settings.existing_file is ExistingFile.PRESERVE else "replaced"
        return replace(prospect, outcome="replaces", message=f"{holds}: {kept}, unless it is the same")


def _created(target: Target) -> Facts:
    """The facts of a record that was just created with nothing but its id."""
    return Facts(target.record, next_instance=1, differing=tuple(target.must_match))


def _refusal(prospect: Prospect, refused: Refused) -> Prospect:
    return replace(prospect, outcome=refused.reason, message=refused.message, remedy=refused.remedy)


def missing_records(prospects: Sequence[Prospect]) -> Mapping[str, int]:
    """The records that REDCap does not have, and how many files each of them keeps from landing."""
    counts: dict[str, int] = {}
    for one in prospects:
        if one.outcome in (Reason.NO_RECORD, "waits") and one.record:
            counts[one.record] = counts.get(one.record, 0) + 1
    return counts
