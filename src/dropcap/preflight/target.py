"""Whether a project can take a file at a target at all, as far as its structure tells. Pure."""

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
    if not structure.is_designated(target.event, form):
        return Refused("not_designated", f"the form {form} is not designated for the event {target.event}", _RULE)
    return None


def _instance(structure: ProjectStructure, target: Target) -> Refused | None:
    repeats = structure.repeats(target.event if structure.longitudinal else None, structure.fields[target.field].form)
    if target.instance is not None and not repeats:
        return Refused("not_repeating", f"the form of {target.field} does not repeat, and the rule names an instance", _RULE)
    if target.instance is None and repeats:
        message = f"the form of {target.field} repeats there, and the rule names no instance: instance 1 would be overwritten"
        return Refused("needs_instance", message, f"give the rule an `instance`, such as {NEXT}")
    return None


def contradiction(structure: ProjectStructure, rule: Rule) -> Refused | None:
    """Why no file of a rule can be stored, whatever its name; None if some may be, or if only the name tells."""
    if rule.field.names:
        return None
    name = rule.field.render({})
    found = field_impossible(structure, name)
    if found is None and rule.event is not None and not rule.event.names:
        found = _event_impossible(structure, Target(name, event=rule.event.render({})))
    return found
