"""A folder's rules against the project that they lead to. Pure: what is wrong is found before a file is dropped."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from difflib import get_close_matches
from itertools import product

from dropcap.config.model import Folder, Project
from dropcap.delivery.order import takes_next
from dropcap.delivery.plan import (
    Asks,
    event_impossible,
    export_reasons,
    field_impossible,
    form_at,
    form_impossible,
    instance_impossible,
    lookup_impossible,
    lookup_reasons,
    needs_field,
)
from dropcap.preflight.remark import Level, Remark, place_of
from dropcap.redcap.client import DE_IDENTIFIED, FULL_DATA, GROUP_COLUMN, NO_ACCESS, FieldInfo, ProjectStructure, Rights
from dropcap.routing.pattern import DEFAULT, Capture, Element, Group, Pattern
from dropcap.routing.rule import MissingRecord, Rule, Template, TemplateError


def listed(names: Iterable[str]) -> str:
    """The first of many names, and how many more there are."""
    every = list(names)
    if not every:
        return "none"
    more = len(every) - 10
    return ", ".join(every[:10]) + (f" and {more} more" if more > 0 else "")


#: More combinations of words than this are not tried one by one.
MOST = 2000
#: A word that no table has: what it gives is the table's default.
_OTHER = "\ufdd0"

#: A slot of a template as it is written (design, part 4), or an escaped character, which is none.
_SLOT = re.compile(r"\\.|\{([^{}]*)\}", re.DOTALL)


def outcomes(pattern: Pattern, templates: dict[str, Template]) -> list[dict[str, str]] | None:
    """Every combination that `templates` (key -> template) can render to together; None if that cannot be told.

    Captures are followed through typed alternations and tables, so that a field and an event that depend on the same
    word are only combined as they can occur.
    """
    names = sorted(frozenset[str]().union(*(template.names for template in templates.values())))
    words = {name: _words(name, pattern, templates.values()) for name in names}
    lists = [sorted(choice) for choice in words.values() if choice is not None]
    combinations = 1
    for choice in lists:
        combinations *= len(choice)
    if len(lists) < len(names) or combinations > MOST:
        return None
    found: list[dict[str, str]] = []
    for values in product(*lists):
        captures = dict(zip(names, values, strict=True))
        try:
            rendered = {key: template.render(captures) for key, template in templates.items()}
        except TemplateError:
            continue  # such a file is refused, and told so
        if rendered not in found:
            found.append(rendered)
    return found


def _words(name: str, pattern: Pattern, templates: Iterable[Template]) -> set[str] | None:
    typed = _typed_words(name, [unit.element for unit in pattern.units])
    if typed is not None:
        return typed
    found: set[str] = set()
    for template in templates:
        for filters in _slots(name, template):
            table = next((template.tables[word] for word in filters if word in template.tables), None)
            if table is None:
                return None
            found |= {_OTHER if word == DEFAULT else word for word in table}
    return found or None


def _typed_words(name: str, elements: Iterable[Element], optional: bool = False) -> set[str] | None:
    for element in elements:
        if isinstance(element, Group):
            inner = _typed_words(name, element.parts, True)
            if inner is not None:
                return inner
        elif isinstance(element, Capture) and element.name == name and element.kind == "words":
            return {*element.words, ""} if optional else set(element.words)
    return None


def _slots(name: str, template: Template) -> Iterator[list[str]]:
    """The filters of each place where `template` uses `name`."""
    for inner in _SLOT.findall(template.text):
        word, *filters = (part.strip() for part in inner.split("|"))
        if word == name:
            yield filters


def instead_of(asks: Iterable[Asks]) -> str:
    """The settings under which a rule does without the right to export."""
    settable = {
        Asks.READ_BACK: "`confirm: none`",
        Asks.LISTED: "`confirm: none`",
        Asks.EXISTING_FILE: "`existing_file: replace`",
    }
    return " and ".join(dict.fromkeys(settable.get(ask, f"no `{ask}`") for ask in asks))


def inspect(
    folder: Folder,
    structure: ProjectStructure,
    rights: Rights | None,
    project: Project | None = None,
) -> list[Remark]:
    """What is wrong with `folder`'s rules, the project's and the token's rights considered.

    An error: no file of the rule, or of one of its words, can be stored; a warning: probably not what is meant; unsure: REDCap
    does not tell. What concerns the whole folder names no rule. `rights` is None if REDCap does not tell them. With `project`,
    its `project_id` and `blocked_extensions` are looked at.
    """
    findings: list[Remark] = []
    if project is not None and project.project_id not in (None, structure.project.project_id):
        findings.append(Remark("error", place_of(folder, key="project_id"), *mismatch(project, structure)))
    if rights is None:
        message = "REDCap does not tell which rights the token's user has"
        remedy = "check them in REDCap (User Rights): API import, API export, and data export `Full Data Set` are needed"
        findings.append(Remark("unsure", place_of(folder, key="rights"), message, remedy))
    elif rights.group:
        message = f"the token's user is in the data access group {rights.group}: records of other groups do not exist for it"
        remedy = "if files of other groups are dropped, take the user out of the group (User Rights)"
        findings.append(Remark("warning", place_of(folder, key="rights"), message, remedy))
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

    def run(self) -> list[Remark]:
        found = [*self._targets(), *self._lookups(), *self._extensions()]
        if self.rights is not None:
            found += self._rights(self.rights)
        return list(dict.fromkeys(found))

    def _finding(self, key: str, message: str, remedy: str, level: Level = "error") -> Remark:
        return Remark(level, place_of(self.folder, self.rule, key), message, remedy)

    def _outcomes(self, *keys: str) -> list[dict[str, str]] | None:
        every = {"field": self.rule.field, "event": self.rule.event}
        return outcomes(self.rule.pattern, {key: one for key in keys if (one := every[key]) is not None})

    # -- where a file goes -------------------------------------------------------------------------------------------

    def _targets(self) -> Iterator[Remark]:
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

    def _target(self, name: str, event: str | None) -> Iterator[Remark]:
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

    def _field(self, name: str) -> Iterator[Remark]:
        why = field_impossible(self.structure, name)
        if why is None:
            return
        file_fields = self.structure.file_fields()
        if name in self.structure.fields:
            remedy = "name a file upload field: " + listed(file_fields)
        else:
            remedy = _did_you_mean(name, file_fields, self.structure.fields)
        yield self._finding("field", why.message, remedy)

    def _event(self, event: str | None) -> Iterator[Remark]:
        why = event_impossible(self.structure, event)
        if why is None:
            return
        events = self.structure.events
        remedy = f"give the rule an `event`: {listed(events)}" if event is None else _did_you_mean(event, events, ())
        yield self._finding("event", why.message, remedy)

    def _instance(self, name: str, event: str | None) -> Iterator[Remark]:
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

    def _lookups(self) -> Iterator[Remark]:
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

    def _extensions(self) -> Iterator[Remark]:
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

    # -- what the rights of the token's user keep it from ----------------------------------------------------------------

    def _rights(self, rights: Rights) -> Iterator[Remark]:
        who = f"the token's user {rights.username}" if rights.username else "the token's user"
        if not rights.api_import:
            yield self._finding("rights", f"{who} has no API import right", "give it in REDCap (User Rights)")
        yield from self._group(rights)
        yield from self._forms(rights, who)
        asks = export_reasons(self.rule)
        if not asks:
            return
        if not rights.api_export:
            yield self._finding(
                "rights",
                f"{who} has no API export right, which {listed(asks)} needs",
                "give it in REDCap (User Rights), or set " + instead_of(asks),
            )
            return
        for outcome in self._outcomes("field") or []:
            info = self.structure.fields.get(outcome["field"])
            if info is not None:
                yield from self._export_level(info, rights, who)

    def _group(self, rights: Rights) -> Iterator[Remark]:
        """What the token's own data access group keeps from working."""
        group = rights.group
        if not group:
            return
        out = "take the token's user out of the group (User Rights), or "
        if GROUP_COLUMN in self.rule.must_match:
            message = f"REDCap does not tell groups to somebody who is in one ({group}): all files of this rule are held"
            yield self._finding("must_match", message, out + f"take {GROUP_COLUMN} out of must_match")
        missing = self.rule.settings.missing_record
        if missing is MissingRecord.CREATE:
            message = f"no records are created for somebody in a data access group ({group}): another group may have them"
            yield self._finding("missing_record", message, out + "use `missing_record: refuse` or `wait`")
        elif missing is MissingRecord.WAIT:
            message = f"records of other groups than {group} never appear: files for them fail after 7 days"
            yield self._finding("missing_record", message, out + "drop no such files", "warning")

    def _forms(self, rights: Rights, who: str) -> Iterator[Remark]:
        for outcome in self._outcomes("field") or []:
            info = self.structure.fields.get(outcome["field"])
            if info is None or info.form not in rights.hidden | rights.read_only:
                continue
            may = "has no access to" if info.form in rights.hidden else "may only read"
            yield self._finding(
                "rights", f"{who} {may} the form {info.form}", "give `View & Edit` for the form in REDCap (User Rights)"
            )

    def _export_level(self, info: FieldInfo, rights: Rights, who: str) -> Iterator[Remark]:
        level = rights.export_of(info.form)
        reads = [ask for ask in export_reasons(self.rule) if ask in (Asks.READ_BACK, Asks.LISTED, Asks.EXISTING_FILE)]
        if level == FULL_DATA or not reads:
            return
        if level == NO_ACCESS:
            yield self._finding(
                "rights",
                f"{who} may export nothing of the form {info.form}, which {listed(reads)} needs",
                "give `Full Data Set` in REDCap (User Rights), or set " + instead_of(reads),
            )
        elif info.identifier:
            yield self._finding(
                "rights",
                f"{info.name} is tagged as an identifier, and {who} may export no identifiers: it cannot be read back",
                "give `Full Data Set` in REDCap (User Rights), or set " + instead_of(reads),
            )
        elif level == DE_IDENTIFIED:
            yield self._finding(
                "rights",
                f"{who} may export de-identified data only; REDCap does not tell whether files can be read back then",
                "give `Full Data Set` in REDCap (User Rights), or try it with one file",
                "unsure",
            )


def _did_you_mean(name: str, likely: Iterable[str], others: Iterable[str]) -> str:
    for names in (list(likely), list(others)):
        near = get_close_matches(name.lower(), names, n=1, cutoff=0.7)
        if near:
            return f"did you mean {near[0]}?"
    return "the project has " + listed(likely)
