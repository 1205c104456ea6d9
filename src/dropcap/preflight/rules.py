"""A folder's rules against the project they lead to. Pure: what is wrong is found before a file is dropped.

What a project makes impossible is judged as at work (`delivery.possible`); what to do is told to who writes the rules.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from difflib import get_close_matches

from dropcap.config.model import Folder, Project
from dropcap.delivery.needs import lookup_reasons, needs_field
from dropcap.delivery.order import takes_next
from dropcap.delivery.possible import (
    event_impossible,
    field_impossible,
    form_at,
    form_impossible,
    instance_impossible,
    lookup_impossible,
)
from dropcap.preflight.disagreement import Disagreement, Level, listed
from dropcap.preflight.renderings import outcomes
from dropcap.preflight.rights import general_rights, rights_findings
from dropcap.redcap.model import Rights
from dropcap.redcap.structure import ProjectStructure
from dropcap.routing.rule import Rule
from dropcap.routing.template import Template


def inspect(
    folder: Folder,
    structure: ProjectStructure,
    rights: Rights | None,
    project: Project | None = None,
) -> list[Disagreement]:
    """What is wrong with `folder`'s rules, the project's and the token's rights considered.

    `rights` is None if REDCap does not tell them. With `project`, its `project_id` and `blocked_extensions` are looked at.
    """
    findings: list[Disagreement] = []
    if project is not None and project.project_id not in (None, structure.project.project_id):
        findings.append(Disagreement("error", folder.name, "", "project_id", *mismatch(project, structure)))
    findings += general_rights(folder.name, rights)
    for rule in folder.rules:
        findings += _Inspection(folder, rule, structure, rights, project).run()
    return findings


def mismatch(project: Project, structure: ProjectStructure) -> tuple[str, str]:
    """Message and remedy for the token of another project."""
    info = structure.project
    return (
        f"the token belongs to project {info.project_id} ({info.title}), the configuration says {project.project_id}",
        "use the token of the right project, or correct project_id",
    )


def needed_fields(rule: Rule, structure: ProjectStructure) -> set[str]:
    """The fields that a record's export must show for files of a rule, as far as the rule tells them."""
    named = {*rule.must_match, *rule.record_where}
    if needs_field(rule.settings, takes_next(rule.instance)):
        named |= {outcome["field"] for outcome in outcomes(rule.pattern, {"field": rule.field}) or ()}
    return {name for name in named if structure.knows(name)}


def asked_fields(rule: Rule, structure: ProjectStructure) -> set[str]:
    """The fields that are asked about when the record of a rule's file is looked up; none if none is."""
    if not lookup_reasons(rule):
        return set()
    fields = {outcome["field"] for outcome in outcomes(rule.pattern, {"field": rule.field}) or ()}
    complete = {f"{structure.fields[name].form}_complete" for name in fields & structure.fields.keys()}
    named = fields | {*rule.must_match, *rule.record_where} | (complete if takes_next(rule.instance) else set())
    return {name for name in named if structure.knows(name)}


@dataclass(frozen=True, slots=True)
class _Inspection:
    folder: Folder
    rule: Rule
    structure: ProjectStructure
    rights: Rights | None
    project: Project | None

    def run(self) -> list[Disagreement]:
        found = [*self._targets(), *self._lookups(), *self._extensions()]
        if self.rights is not None:
            found += rights_findings(self.folder.name, self.rule, self.structure, self.rights)
        return list(dict.fromkeys(found))

    def _finding(self, key: str, message: str, remedy: str, level: Level = "error") -> Disagreement:
        return Disagreement(level, self.folder.name, self.rule.name, key, message, remedy)

    def _outcomes(self, *keys: str) -> list[dict[str, str]] | None:
        every = {"field": self.rule.field, "event": self.rule.event}
        return outcomes(self.rule.pattern, {key: one for key in keys if (one := every[key]) is not None})

    # -- where a file goes -------------------------------------------------------------------------------------------

    def _targets(self) -> Iterator[Disagreement]:
        if self.rule.event is None:
            yield from self._event(None)
        elif not self.structure.longitudinal:
            yield self._finding("event", "the project has no events", "take `event` out of the rule")
        together = self._outcomes("field", "event")
        if together is not None:
            for outcome in together:
                yield from self._target(outcome["field"], outcome.get("event"))
            return
        # They depend on words that only a file's name has: judge each alone, as far as it can be.
        for outcome in self._outcomes("field") or []:
            yield from self._field(outcome["field"])
        for outcome in (self._outcomes("event") if self.structure.longitudinal else None) or []:
            if "event" in outcome:
                yield from self._event(outcome["event"])

    def _target(self, name: str, event: str | None) -> Iterator[Disagreement]:
        yield from self._field(name)
        if self.structure.longitudinal and event is None:
            return  # told of the rule
        yield from self._event(event)
        if name not in self.structure.fields or event_impossible(self.structure, event) is not None:
            return
        why = form_impossible(self.structure, name, event)
        if why is not None:
            form = self.structure.fields[name].form
            there = listed(e for e in self.structure.events if self.structure.is_designated(e, form))
            remedy = f"designate it in REDCap, or correct `event`: the form is collected at {there}"
            yield self._finding("event", why.message, remedy)
            return
        yield from self._instance(name, event)

    def _field(self, name: str) -> Iterator[Disagreement]:
        why = field_impossible(self.structure, name)
        if why is None:
            return
        file_fields = self.structure.file_fields()
        if name in self.structure.fields:
            remedy = "name a file upload field: " + listed(file_fields)
        else:
            remedy = _did_you_mean(name, file_fields, self.structure.fields)
        yield self._finding("field", why.message, remedy)

    def _event(self, event: str | None) -> Iterator[Disagreement]:
        why = event_impossible(self.structure, event)
        if why is None:
            return
        events = self.structure.events
        remedy = f"give the rule an `event`: {listed(events)}" if event is None else _did_you_mean(event, events, ())
        yield self._finding("event", why.message, remedy)

    def _instance(self, name: str, event: str | None) -> Iterator[Disagreement]:
        if not self.structure.told_repeating:
            yield self._finding(
                "instance",
                f"REDCap does not tell this token's user whether {form_at(self.structure, name, event)} repeats",
                "check it in REDCap (Project Setup): an `instance` is needed where it repeats, and refused where it does not",
                "unsure",
            )
            return
        why = instance_impossible(self.structure, name, event, names_instance=self.rule.instance is not None)
        if why is not None:
            yield self._finding("instance", why.message, why.remedy)

    # -- what is asked first, and what is refused ----------------------------------------------------------------------

    def _lookups(self) -> Iterator[Disagreement]:
        for key in ("record_where", "must_match"):
            templates: dict[str, Template] = getattr(self.rule, key)
            for name in templates:
                why = lookup_impossible(self.structure, name)
                info = self.structure.fields.get(name)
                if why is not None:
                    yield self._finding(key, why.message, _did_you_mean(name, self.structure.fields, ()))
                elif info is not None and info.type in ("file", "descriptive", "checkbox"):
                    message = f"{name} is a {info.type} field, whose value cannot be compared"
                    yield self._finding(key, message, "name a text, choice or date field")

    def _extensions(self) -> Iterator[Disagreement]:
        blocked = self.project.blocked_extensions if self.project is not None else frozenset()
        names = {"pattern": self.rule.pattern.text}
        if self.rule.upload_as is not None:
            names["upload_as"] = self.rule.upload_as.text
        for key, text in names.items():
            ending = re.search(r"\.([A-Za-z0-9]+)$", text)
            if ending and ending.group(1).lower() in blocked:
                yield self._finding(
                    key,
                    f"REDCap refuses .{ending.group(1).lower()} files",
                    "have the file converted, or take the extension out of `blocked_extensions` if your REDCap accepts it",
                )


def _did_you_mean(name: str, likely: Iterable[str], others: Iterable[str]) -> str:
    for names in (list(likely), list(others)):
        near = get_close_matches(name.lower(), names, n=1, cutoff=0.7)
        if near:
            return f"did you mean {near[0]}?"
    return "the project has " + listed(likely)
