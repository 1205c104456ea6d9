"""Whether a project can take a file at a target at all, as far as REDCap has told its structure. Pure."""

from __future__ import annotations

from dropcap.delivery.outcome import Refused
from dropcap.redcap.structure import ProjectStructure
from dropcap.routing.rule import Rule
from dropcap.routing.target import NEXT, Target

_RULE = "correct the rule; `dropcap check` compares all rules"


def impossible(structure: ProjectStructure, target: Target) -> Refused | None:
    """Why no file can be stored there, None if one can."""
    return field_impossible(structure, target.field) or _event_impossible(structure, target) or _instance(structure, target)


def field_impossible(structure: ProjectStructure, name: str) -> Refused | None:
    """Why no file can be stored in that field."""
    info = structure.fields.get(name)
    if info is None:
        return Refused("no_field", f"the project has no field {name}", _RULE)
    if info.type != "file":
        return Refused("not_a_file_field", f"{name} is no file upload field (its type is {info.type})", _RULE)
    if info.validation == "signature":
        return Refused("signature_field", f"{name} is a signature field, which takes no files", _RULE)
    return None


def _event_impossible(structure: ProjectStructure, target: Target) -> Refused | None:
    if not structure.longitudinal:
        return None
    if target.event is None:
        return Refused("no_event", "the project is longitudinal, and the rule names no event", _RULE)
    if target.event not in structure.events:
        return Refused("no_event", f"the project has no event {target.event}", _RULE)
    form = structure.fields[target.field].form
    if structure.told_designated and not structure.is_designated(target.event, form):
        return Refused("not_designated", f"the form {form} is not designated for the event {target.event}", _RULE)
    return None


def _instance(structure: ProjectStructure, target: Target) -> Refused | None:
    if not structure.told_repeating:
        return None
    repeats = structure.repeats(target.event if structure.longitudinal else None, structure.fields[target.field].form)
    if target.instance is not None and not repeats:
        return Refused("not_repeating", f"the form of {target.field} does not repeat, and the rule names an instance", _RULE)
    if target.instance is None and repeats:
        message = f"the form of {target.field} repeats there, and the rule names no instance: instance 1 would be overwritten"
        return Refused("needs_instance", message, f"give the rule an `instance`, such as {NEXT}")
    return None


def contradiction(structure: ProjectStructure, rule: Rule) -> Refused | None:
    """Why no file of a rule can be stored, whatever its name; None if some may be, or if only the name tells."""
    for absent in (name for name in (*rule.must_match, *rule.record_where) if not structure.knows(name)):
        return Refused("no_field", f"the project has no field {absent}", _RULE)
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
