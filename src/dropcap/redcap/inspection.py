"""A folder's rules against the project they lead to. Pure: what is wrong is found before a file is dropped."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Literal

from dropcap.config.model import Folder, Project
from dropcap.redcap.model import DE_IDENTIFIED, FULL_DATA, NO_ACCESS, FieldInfo, Rights
from dropcap.redcap.outcomes import outcomes
from dropcap.redcap.structure import ProjectStructure
from dropcap.routing.rule import Rule
from dropcap.routing.target import NEXT, Confirm, ExistingFile, MissingRecord
from dropcap.routing.template import Template

Level = Literal["error", "warning", "unsure"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing about a rule. `error`: no file of the rule, or of one of its words, can be stored. `warning`: probably
    not what is meant. `unsure`: REDCap does not tell. `rule` is empty for what concerns the whole folder.
    """

    level: Level
    folder: str
    rule: str
    key: str
    message: str
    remedy: str


def inspect(
    folder: Folder,
    structure: ProjectStructure,
    rights: Rights | None,
    project: Project | None = None,
    tables: Mapping[str, Mapping[str, str]] | None = None,
) -> list[Finding]:
    """What is wrong with `folder`'s rules, the project's and the token's rights considered.

    `rights` is None if REDCap does not tell them. With `project`, its `project_id` and `blocked_extensions` are looked at.
    With the configuration's `tables`, so is every word that a template can look up in them.
    """
    findings: list[Finding] = []
    if project is not None and project.project_id not in (None, structure.project.project_id):
        findings.append(
            Finding(
                "error",
                folder.name,
                "",
                "project_id",
                f"the token belongs to project {structure.project.project_id} ({structure.project.title!r}), "
                f"not to {project.project_id}",
                "use the right project's token, or correct `project_id`",
            )
        )
    if rights is None:
        findings.append(
            Finding(
                "unsure",
                folder.name,
                "",
                "rights",
                "REDCap does not tell the rights of the token's user",
                "look in REDCap (User Rights): API import, API export, and data export `Full Data Set` are needed",
            )
        )
    for rule in folder.rules:
        findings += _Inspection(folder, rule, structure, rights, project, tables or {}).run()
    return findings


def needed_fields(rule: Rule, structure: ProjectStructure, tables: Mapping[str, Mapping[str, str]]) -> set[str]:
    """The fields that a record's export must show for files of a rule, as far as the rule tells them."""
    named = {*rule.must_match, *rule.record_where}
    settings, instance = rule.settings, rule.instance
    replaces = settings.existing_file is ExistingFile.REPLACE and not (instance is not None and instance.text == NEXT)
    if not replaces or settings.confirm is Confirm.LISTED:
        named |= {outcome["field"] for outcome in outcomes(rule.pattern, {"field": rule.field}, tables) or ()}
    return {name for name in named if structure.knows(name)}


@dataclass(frozen=True, slots=True)
class _Inspection:
    folder: Folder
    rule: Rule
    structure: ProjectStructure
    rights: Rights | None
    project: Project | None
    tables: Mapping[str, Mapping[str, str]]

    def run(self) -> list[Finding]:
        found = [*self._targets(), *self._lookups(), *self._extensions()]
        if self.rights is not None:
            found += self._rights(self.rights)
        return list(dict.fromkeys(found))

    def _finding(self, key: str, message: str, remedy: str, level: Level = "error") -> Finding:
        return Finding(level, self.folder.name, self.rule.name, key, message, remedy)

    def _outcomes(self, *keys: str) -> list[dict[str, str]] | None:
        every = {"field": self.rule.field, "event": self.rule.event}
        return outcomes(self.rule.pattern, {key: one for key in keys if (one := every[key]) is not None}, self.tables)

    # -- where a file goes -------------------------------------------------------------------------------------------

    def _targets(self) -> Iterator[Finding]:
        if self.structure.longitudinal and self.rule.event is None:
            yield self._finding(
                "event",
                "the project is longitudinal, and the rule names no event",
                "give the rule an `event`: " + _listed(self.structure.events),
            )
        if not self.structure.longitudinal and self.rule.event is not None:
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

    def _target(self, name: str, event: str | None) -> Iterator[Finding]:
        yield from self._field(name)
        info = self.structure.fields.get(name)
        if self.structure.longitudinal:
            if event is None:
                return
            yield from self._event(event)
            if info is None or event not in self.structure.events:
                return
            if self.structure.told_designated and not self.structure.is_designated(event, info.form):
                yield self._finding(
                    "event",
                    f"the form {info.form} (with the field {name}) is not designated for the event {event}",
                    "designate it in REDCap, or correct `event`: the form is collected at "
                    + _listed(e for e in self.structure.events if self.structure.is_designated(e, info.form)),
                )
                return
        if info is not None:
            yield from self._instance(info, event if self.structure.longitudinal else None)

    def _field(self, name: str) -> Iterator[Finding]:
        info = self.structure.fields.get(name)
        if info is None:
            yield self._finding(
                "field",
                f"the project has no field {name}",
                _did_you_mean(name, self.structure.file_fields(), self.structure.fields),
            )
        elif info.type != "file":
            yield self._finding(
                "field",
                f"{name} is no file upload field (its type is {info.type})",
                "name a file upload field: " + _listed(self.structure.file_fields()),
            )
        elif info.validation == "signature":
            yield self._finding(
                "field",
                f"{name} is a signature field, which takes no files",
                "name a file upload field: " + _listed(self.structure.file_fields()),
            )

    def _event(self, event: str) -> Iterator[Finding]:
        if event not in self.structure.events:
            yield self._finding("event", f"the project has no event {event}", _did_you_mean(event, self.structure.events, ()))

    def _instance(self, info: FieldInfo, event: str | None) -> Iterator[Finding]:
        place = f"the form {info.form}" + (f" at the event {event}" if event else "")
        if not self.structure.told_repeating:
            yield self._finding(
                "instance",
                f"REDCap does not tell this token whether {place} repeats",
                "look in REDCap (Project Setup); an `instance` is needed where it repeats, and refused where it does not",
                "unsure",
            )
            return
        repeats = self.structure.repeats(event, info.form)
        if repeats and self.rule.instance is None:
            yield self._finding(
                "instance",
                f"{place} repeats, and the rule names no instance: every file would overwrite instance 1",
                f"give the rule an `instance`: `{NEXT}`, a number or a template",
            )
        if not repeats and self.rule.instance is not None:
            yield self._finding("instance", f"{place} does not repeat", "take `instance` out of the rule")

    # -- what is asked first, and what is refused ----------------------------------------------------------------------

    def _lookups(self) -> Iterator[Finding]:
        for key in ("record_where", "must_match"):
            templates: dict[str, Template] = getattr(self.rule, key)
            for name in templates:
                if name in self.structure.states():
                    continue
                if name not in self.structure.fields:
                    yield self._finding(key, f"the project has no field {name}", _did_you_mean(name, self.structure.fields, ()))
                elif self.structure.fields[name].type in ("file", "descriptive", "checkbox"):
                    yield self._finding(
                        key,
                        f"{name} is a {self.structure.fields[name].type} field, whose value cannot be compared",
                        "name a text, choice or date field",
                    )

    def _extensions(self) -> Iterator[Finding]:
        blocked = self.project.blocked_extensions if self.project is not None else frozenset()
        names = {"pattern": self.rule.pattern.text}
        if self.rule.upload_as is not None:
            names["upload_as"] = self.rule.upload_as.text
        for key, text in names.items():
            ending = re.search(r"\.([A-Za-z0-9]+)$", text)
            if ending and ending.group(1).lower() in blocked:
                yield self._finding(
                    key,
                    f"REDCap takes no .{ending.group(1).lower()} files",
                    "let the file be converted, or take the extension out of `blocked_extensions` if your REDCap takes it",
                )

    # -- rights ----------------------------------------------------------------------------------------------------------

    def _rights(self, rights: Rights) -> Iterator[Finding]:
        who = f"the token's user {rights.username}" if rights.username else "the token's user"
        if not rights.api_import:
            yield self._finding("rights", f"{who} has no API import right", "give it in REDCap (User Rights)")
        asks = self._reasons_to_export()
        if not asks:
            return
        if not rights.api_export:
            yield self._finding(
                "rights",
                f"{who} has no API export right, which {_listed(asks)} needs",
                "give it in REDCap (User Rights), or set " + self._without_export(asks),
            )
            return
        for outcome in self._outcomes("field") or []:
            info = self.structure.fields.get(outcome["field"])
            if info is not None:
                yield from self._export_level(rights, info, who)

    def _export_level(self, rights: Rights, info: FieldInfo, who: str) -> Iterator[Finding]:
        level = rights.export_of(info.form)
        reads = [ask for ask in self._reasons_to_export() if ask in ("confirm: readback", "confirm: listed", "existing_file")]
        if level == FULL_DATA or not reads:
            return
        if level == NO_ACCESS:
            yield self._finding(
                "rights",
                f"{who} may export nothing of the form {info.form}, which {_listed(reads)} needs",
                "give `Full Data Set` in REDCap (User Rights), or set " + self._without_export(reads),
            )
        elif info.identifier:
            yield self._finding(
                "rights",
                f"{info.name} is tagged as an identifier, and {who} may export no identifiers: it cannot be read back",
                "give `Full Data Set` in REDCap (User Rights), or set " + self._without_export(reads),
            )
        elif level == DE_IDENTIFIED:
            yield self._finding(
                "rights",
                f"{who} may export de-identified data only; whether files can be read back then, REDCap does not tell",
                "give `Full Data Set` in REDCap (User Rights), or try it with one file",
                "unsure",
            )

    def _reasons_to_export(self) -> list[str]:
        settings = self.rule.settings
        asks = {
            f"confirm: {settings.confirm}": settings.confirm is not Confirm.NONE,
            "existing_file": settings.existing_file is not ExistingFile.REPLACE,
            "record_where": bool(self.rule.record_where),
            "must_match": bool(self.rule.must_match),
            f"instance: {NEXT}": self.rule.instance is not None and self.rule.instance.text == NEXT,
            "missing_record": settings.missing_record is not MissingRecord.REFUSE,
        }
        return [ask for ask, wanted in asks.items() if wanted]

    @staticmethod
    def _without_export(asks: list[str]) -> str:
        settable = {"existing_file": "`existing_file: replace`"}
        ways = ["`confirm: none`" if ask.startswith("confirm") else settable.get(ask, f"no `{ask}`") for ask in asks]
        return " and ".join(ways)


def _did_you_mean(name: str, likely: Iterable[str], others: Iterable[str]) -> str:
    for names in (list(likely), list(others)):
        near = get_close_matches(name.lower(), names, n=1, cutoff=0.7)
        if near:
            return f"did you mean {near[0]}?"
    return "the project has " + _listed(likely)


def _listed(names: Iterable[str]) -> str:
    every = list(names)
    if not every:
        return "none"
    more = len(every) - 10
    return ", ".join(every[:10]) + (f" and {more} more" if more > 0 else "")
