"""The one next step of a job, from its target, settings and facts. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence, Set
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import TypeAlias

from dropcap.delivery.order import takes_next
from dropcap.display import shown
from dropcap.ledger.job import Held, Job, Later, Refused, WaitForRecord
from dropcap.reasons import Reason
from dropcap.redcap.client import GROUP_COLUMN, ProjectStructure
from dropcap.routing.rule import NEXT, Confirm, ExistingFile, MissingRecord, Rule, RuleSettings, Target


class Asks(StrEnum):
    """What of a rule makes dropcap ask REDCap, as it is written there."""

    READ_BACK = f"confirm: {Confirm.READBACK}"
    LISTED = f"confirm: {Confirm.LISTED}"
    EXISTING_FILE = "existing_file"
    RECORD_WHERE = "record_where"
    MUST_MATCH = "must_match"
    NEXT_INSTANCE = f"instance: {NEXT}"
    MISSING_RECORD = "missing_record"


def needs_lookup(target: Target, settings: RuleSettings) -> bool:
    """Whether REDCap must be asked about the record before anything is sent."""
    return any(_asks(settings, bool(target.record_where), bool(target.must_match), target.instance == NEXT))


def lookup_reasons(rule: Rule) -> list[Asks]:
    """What of a rule makes dropcap look up the records of its files."""
    return list(_asks(rule.settings, bool(rule.record_where), bool(rule.must_match), takes_next(rule.instance)))


def export_reasons(rule: Rule) -> list[Asks]:
    """What of a rule needs the right to export: reading back, and all that looks records up."""
    reads_back = [Asks.READ_BACK] if rule.settings.confirm is Confirm.READBACK else []
    return reads_back + lookup_reasons(rule)


def _asks(settings: RuleSettings, by_value: bool, must_match: bool, chooses: bool) -> Iterator[Asks]:
    """The keys for which a record is looked up. `by_value`: it is not named itself; `chooses`: nor is the instance."""
    if settings.confirm is Confirm.LISTED:
        yield Asks.LISTED
    if settings.existing_file is not ExistingFile.REPLACE:
        yield Asks.EXISTING_FILE
    if by_value:
        yield Asks.RECORD_WHERE
    if must_match:
        yield Asks.MUST_MATCH
    if chooses:
        yield Asks.NEXT_INSTANCE
    if settings.missing_record is not MissingRecord.REFUSE:
        yield Asks.MISSING_RECORD


def looks_at_field(settings: RuleSettings, chooses: bool) -> bool:
    """Whether what the field holds is exported right before a file is sent. `chooses`: `instance: next`."""
    return settings.existing_file is not ExistingFile.REPLACE or chooses


def needs_field(settings: RuleSettings, chooses: bool) -> bool:
    """Whether a look-up must show the field itself; `chooses` as in `looks_at_field`."""
    return looks_at_field(settings, chooses) or settings.confirm is Confirm.LISTED


#: Sends that may go wrong while the server is well before a file is held.
MOST_FAULTS = 8

#: `missing_record: wait`: seconds until the record is looked up again, the last one repeating, and for how long in all.
RECORD_WAITS = (60.0, 300.0, 900.0, 3600.0)
RECORD_WAIT_ENDS = 7 * 86400.0
#: For how long the record is looked up again while REDCap shows none of those that it is known to have (seconds).
DOUBT_ENDS = 86400.0

_EIGHT_DIGITS = re.compile("[0-9]{8}")


@dataclass(frozen=True, slots=True)
class Facts:
    """What one look-up of a record told.

    `record` is REDCap's own spelling, or None if there is no such record. `shows` is what its export shows in the field, empty
    if there is no file: `[document]`, the file's name or the number of its document, as REDCap's version has it;
    `next_instance` is the number after the highest; of `filled`, the instances that have a file, each with what the export shows
    of it. `differing` names the must_match fields that do not agree, `untold` the fields that REDCap left out of every row, as it
    does where a right is missing. `doubted`: REDCap was asked at the same time for records that it is known to have, and showed
    none of these either.
    """

    record: str | None
    similar: tuple[str, ...] = ()
    several: int = 0
    shows: str = ""
    next_instance: int | None = None
    filled: tuple[tuple[int, str], ...] = ()
    differing: tuple[str, ...] = ()
    untold: tuple[str, ...] = ()
    repeats: bool = False  # the rule names no instance, the project does not tell what repeats, and a row shows that this does
    known: bool = True  # False if nothing needed to be looked up
    doubted: bool = False


#: No look-up was needed: the target is taken at its word.
def unasked(target: Target) -> Facts:
    """The facts of a target whose settings need no look-up."""
    return Facts(record=target.record, known=False)


@dataclass(frozen=True, slots=True)
class Send:
    """Import the file there; `look`: export what is there first, and deal with it.

    `chosen`: the instance was chosen now, and nothing was ever sent there. `shows` is what the record's export showed in the
    field before.
    """

    record: str
    event: str | None
    field: str
    instance: int | None
    look: bool
    chosen: bool = False
    shows: str = ""


@dataclass(frozen=True, slots=True)
class Create:
    """Create the record, then look again."""

    record: str
    event: str | None


#: The same for a file that agrees as for one that does not.
_TOO_MANY_MISMATCHES = Held(
    Reason.TOO_MANY_MISMATCHES,
    "the names of three files for this record did not agree with it within a day: further ones wait, whether they agree or not",
    "dropcap's operator compares the names with the record in REDCap; then `dropcap retry --held`, which counts anew",
)
OVERTAKEN = Held(
    Reason.NEWER_WENT,
    "a file that was dropped later has gone to the same place in REDCap already, and this one would replace it",
    "if this one is to go there all the same: dropcap retry JOB (the other one is preserved); else take it out of in_progress/",
)

Step: TypeAlias = Send | Create | Refused | Held | Later | WaitForRecord


def plan(
    target: Target,
    settings: RuleSettings,
    facts: Facts,
    fixed_instance: int | None = None,
    sent_before: bool = False,
    guessed: bool = False,
) -> Step:
    """The next step for a file.

    Args:
        fixed_instance: the instance that an earlier attempt fixed for `instance: next`.
        sent_before: an earlier send of this file may have arrived.
        guessed: so many names have lately not agreed with the record that nothing more is told of it.
    """
    asked = _wanted(target)
    if facts.several:
        return Refused(
            Reason.SEVERAL_RECORDS,
            f"{facts.several} records in REDCap have {asked}, so it is not clear which one the file belongs to",
            "correct the records in REDCap, or name the record itself in the file's name",
        )
    if facts.record is None:
        return _missing(target, settings, facts, asked)
    if target.record and facts.record != target.record:
        return _written_otherwise(target, settings, (facts.record,))
    needed = _needed(target, settings) - ({target.field} if sent_before else set())  # what arrived is read back by itself
    if untold := set(facts.untold) & needed:
        return _not_told(facts.record, untold)
    if guessed and target.must_match and not sent_before:
        return _TOO_MANY_MISMATCHES
    if facts.differing:
        return _differs(facts.record, facts.differing)
    if facts.repeats and not sent_before:
        return _without_instance(target.field, facts.record)
    if target.instance != NEXT:
        instance = target.instance if isinstance(target.instance, int) else None
        look = settings.existing_file is not ExistingFile.REPLACE or bool(facts.shows)
        return Send(facts.record, target.event, target.field, instance, look, shows=facts.shows)
    if fixed_instance is not None:  # kept only if an earlier send may have arrived there
        return Send(facts.record, target.event, target.field, fixed_instance, look=True, shows=facts.shows)
    return Send(facts.record, target.event, target.field, facts.next_instance, look=True, chosen=True)


def _differs(record: str, fields: Sequence[str]) -> Refused:
    return Refused(
        Reason.MISMATCH,
        f"record `{shown(record)}` does not agree with the file's name in: {', '.join(fields)}",
        "check that the file belongs to this record; then rename it, or correct the record in REDCap",
    )


def _without_instance(field: str, record: str) -> Refused:
    return Refused(
        Reason.NEEDS_INSTANCE,
        f"the form of `{field}` repeats for record `{shown(record)}`, and the rule names no instance: "
        "every file would overwrite instance 1",
        f"give the rule an `instance`: `{NEXT}`, a number or a template",
    )


def _not_told(record: str, untold: Set[str]) -> Held:
    """REDCap leaves out what must be known of a record."""
    if GROUP_COLUMN in untold:
        return Held(
            Reason.RIGHTS,
            f"REDCap does not tell this token the data access group of record `{shown(record)}`",
            "REDCap tells groups only to users who are in none, of projects that have some: take the token's user out of its "
            f"group (User Rights), or `{GROUP_COLUMN}` out of must_match; then `dropcap retry`",
        )
    return Held(
        Reason.RIGHTS,
        f"REDCap leaves {', '.join(f'`{name}`' for name in sorted(untold))} out of the export of record `{shown(record)}`: "
        "the token's user may not see it",
        "give the token's user `Full Data Set` and access to the form (User Rights), then `dropcap retry`",
    )


def _needed(target: Target, settings: RuleSettings) -> set[str]:
    """The fields whose values must be known before anything is sent."""
    own = {target.field} if needs_field(settings, target.instance == NEXT) else set()
    return {*own, *target.must_match, *target.record_where}


def _missing(target: Target, settings: RuleSettings, facts: Facts, asked: str) -> Step:
    if facts.similar:
        return _written_otherwise(target, settings, facts.similar)
    message = f"REDCap has no record with {asked}" if target.record_where else f"REDCap has no record {asked}"
    waits = settings.missing_record is MissingRecord.WAIT
    if facts.doubted:
        message = (
            f"REDCap shows none of the records that it is known to have, nor {'one with ' * bool(target.record_where)}{asked}"
        )
        return WaitForRecord(message, RECORD_WAIT_ENDS if waits else DOUBT_ENDS, doubted=True)
    if waits:
        return WaitForRecord(message, RECORD_WAIT_ENDS)
    if settings.missing_record is MissingRecord.CREATE and not target.record_where:
        if target.record_is_typed:
            return Create(target.record, target.event)
        return Refused(
            Reason.NO_RECORD, message, "missing_record: create needs a typed capture for the record, like {record:digits}"
        )
    return Refused(Reason.NO_RECORD, message, "create the record in REDCap or correct the name, then try again")


def _written_otherwise(target: Target, settings: RuleSettings, there: Sequence[str]) -> Refused:
    """Those who drop files may not be allowed to know which records there are."""
    has = ", ".join(f"`{shown(name)}`" for name in there)
    if not settings.suggest_records:
        has = "one whose name is written almost the same (capitals or leading zeros differ)"
    return Refused(
        Reason.RECORD_DIFFERS,
        f"REDCap has no record `{shown(target.record)}`, but it has {has}",
        "rename the file so that the record is written as in REDCap",
    )


def _wanted(target: Target) -> str:
    if target.record_where:
        return " and ".join(f"{name} = `{shown(value)}`" for name, value in target.record_where.items())
    return f"`{shown(target.record)}`"


def newly_listed(before: str, after: str, upload_as: str) -> bool:
    """Whether a field that showed `before` and shows `after` now can be taken to list the file that was just imported.

    REDCap shows `[document]` for any file, or, depending on its version, the file's name or the number of its document.
    """
    if not after:
        return False
    return after != before or after == "[document]" or after == upload_as


def agree(wanted: Mapping[str, str], values: Mapping[str, set[str]]) -> tuple[str, ...]:
    """The fields in which a record does not agree: nothing entered, or anything but the wanted value."""
    return tuple(name for name, value in wanted.items() if not _all_equal(value.strip(), values.get(name, set())))


def _all_equal(wanted: str, found: Set[str]) -> bool:
    there = {value.strip() for value in found} - {""}
    return there == {wanted} or (there == {_day(wanted)} and wanted != "")


def _day(value: str) -> str:
    """A day of the calendar written together, as REDCap writes it: `20261124` is 2026-11-24."""
    with suppress(ValueError):
        return datetime.strptime(value, "%Y%m%d").date().isoformat() if _EIGHT_DIGITS.fullmatch(value) else value  # noqa: DTZ007
    return value


def too_many_faults(job: Job) -> Held | None:
    """A file that makes a well server ill, again and again, is put aside."""
    if job.faults < MOST_FAULTS:
        return None
    return Held(
        Reason.of(job.reason, Reason.SERVER_ERROR),
        f"{MOST_FAULTS} tries went wrong while the server was well; the last: {job.message or 'unknown'}",
        "look at the file and at the record in REDCap; then `dropcap retry`, or take the file out of in_progress/",
    )


def waited_long_enough(lookups: int, claimed_ago: float, ends: float = RECORD_WAIT_ENDS) -> bool:
    """Whether a wait of `ends` seconds for a record is over, after `lookups` look-ups in vain and by the clock.

    A clock that is set ahead ends no wait, and look-ups at a reload end none either.
    """
    waits = sum(RECORD_WAITS) + (lookups - len(RECORD_WAITS)) * RECORD_WAITS[-1]
    return claimed_ago > ends and waits > ends


def record_wait(lookups: int) -> float:
    """Seconds until a missing record is looked up again after `lookups` look-ups in vain."""
    return RECORD_WAITS[min(max(lookups, 1), len(RECORD_WAITS)) - 1]


_RULE = "correct the rule; `dropcap check` compares all rules"


def impossible(structure: ProjectStructure, target: Target) -> Refused | None:
    """Why no file can be stored there, None if one can."""
    return (
        field_impossible(structure, target.field)
        or event_impossible(structure, target.event)
        or form_impossible(structure, target.field, target.event)
        or instance_impossible(structure, target.field, target.event, names_instance=target.instance is not None)
        or _question_impossible(structure, (*target.must_match, *target.record_where))
    )


def field_impossible(structure: ProjectStructure, name: str) -> Refused | None:
    """Why no file can be stored in that field."""
    info = structure.fields.get(name)
    if info is None:
        return _no_field(name)
    if info.type != "file":
        return Refused(Reason.NOT_A_FILE_FIELD, f"{name} is not a file upload field (its type is {info.type})", _RULE)
    if info.validation == "signature":
        return Refused(Reason.SIGNATURE_FIELD, f"{name} is a signature field, which takes no files", _RULE)
    return None


def event_impossible(structure: ProjectStructure, event: str | None) -> Refused | None:
    """Why no file can be stored at that event. Where there are none, it does not matter."""
    if not structure.longitudinal:
        return None
    if event is None:
        return Refused(Reason.NO_EVENT, "the project is longitudinal, and the rule names no event", _RULE)
    if event not in structure.events:
        return Refused(Reason.NO_EVENT, f"the project has no event {event}", _RULE)
    return None


def form_impossible(structure: ProjectStructure, name: str, event: str | None) -> Refused | None:
    """Why no file can be stored in a field at an event, both of which are there."""
    if not structure.longitudinal or not structure.told_designated or event is None:
        return None
    form = structure.fields[name].form
    if structure.is_designated(event, form):
        return None
    message = f"the form {form} (with the field {name}) is not designated for the event {event}"
    return Refused(Reason.NOT_DESIGNATED, message, _RULE)


def instance_impossible(structure: ProjectStructure, name: str, event: str | None, *, names_instance: bool) -> Refused | None:
    """Why no file can be stored in a field at an event, both of which are there, with or without an instance."""
    if not structure.told_repeating:
        return None
    repeats = structure.repeats(event if structure.longitudinal else None, structure.fields[name].form)
    if names_instance and not repeats:
        message = f"{form_at(structure, name, event)} does not repeat, and the rule names an instance"
        return Refused(Reason.NOT_REPEATING, message, "take `instance` out of the rule")
    if repeats and not names_instance:
        where = form_at(structure, name, event)
        message = f"{where} repeats, and the rule names no instance: every file would overwrite instance 1"
        return Refused(Reason.NEEDS_INSTANCE, message, f"give the rule an `instance`: `{NEXT}`, a number or a template")
    return None


def lookup_impossible(structure: ProjectStructure, name: str) -> Refused | None:
    """Why no record can be asked for its value in that field: REDCap would refuse the whole question for it."""
    return None if structure.knows(name) else _no_field(name)


def contradiction(structure: ProjectStructure, rule: Rule) -> Refused | None:
    """Why no file of a rule can be stored, whatever its name; None if some may be, or if only the name tells."""
    absent = _question_impossible(structure, (*rule.must_match, *rule.record_where))
    if absent is not None:
        return absent
    if rule.field.names:
        return None
    name = rule.field.render({})
    instance = None if rule.instance is None else NEXT
    if rule.event is not None and not rule.event.names:
        return impossible(structure, Target(name, event=rule.event.render({}), instance=instance))
    if rule.event is None or not structure.longitudinal:
        return impossible(structure, Target(name, instance=instance))
    # The file's name says the event: there is none at which the field takes a file.
    every = [impossible(structure, Target(name, event=event, instance=instance)) for event in structure.events]
    return every[0] if every and all(every) else None


def form_at(structure: ProjectStructure, name: str, event: str | None) -> str:
    """The form of a field, at an event if the project has any, in words."""
    at = f" at the event {event}" if structure.longitudinal and event else ""
    return f"the form {structure.fields[name].form}{at}"


def _question_impossible(structure: ProjectStructure, names: tuple[str, ...]) -> Refused | None:
    return next((why for name in names if (why := lookup_impossible(structure, name)) is not None), None)


def _no_field(name: str) -> Refused:
    return Refused(Reason.NO_FIELD, f"the project has no field {name}", _RULE)
