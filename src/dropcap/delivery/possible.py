"""Whether a project can take a file at a target at all, as far as REDCap has told its structure. Pure.

The one judge of it: delivery asks it about the target of each file, `dropcap check` about all to which a rule can lead.
"""

from __future__ import annotations

from dropcap.ledger.outcome import Refused
from dropcap.reasons import Reason
from dropcap.redcap.structure import ProjectStructure
from dropcap.routing.rule import Rule
from dropcap.routing.target import NEXT, Target

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
