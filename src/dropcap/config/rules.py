"""The `rules` of a folder, and the settings that rules, folders and `defaults` share."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from dropcap.config.document import Node, Section
from dropcap.config.values import boolean, choice, plain, quote, whole
from dropcap.routing.pattern import Pattern, PatternError, Table, compile_pattern, compile_regex, normal
from dropcap.routing.route import HIGHEST_INSTANCE, NoRoute, is_typed, route
from dropcap.routing.rule import (
    NEXT,
    Confirm,
    ContentCheck,
    ExistingFile,
    MissingRecord,
    Rule,
    RuleSettings,
    Template,
    compile_template,
)

SETTINGS: dict[str, Callable[[str], Any]] = {
    "existing_file": choice(ExistingFile),
    "confirm": choice(Confirm),
    "missing_record": choice(MissingRecord),
    "create_limit": whole(1, 100_000),
    "suggest_records": boolean,
    "content_check": choice(ContentCheck),
    "case_sensitive": boolean,
}
_TEMPLATES = ("record", "event", "field", "instance", "upload_as")
#: No field, though must_match may name it: the unique name of the record's data access group.
_GROUP = "redcap_data_access_group"
_KEYS = ("name", "pattern", "regex", "example", *_TEMPLATES, "record_where", "must_match", *SETTINGS)
_FIELD = re.compile(r"[a-z][a-z0-9_]*", re.ASCII)
_SEEMS_CAPTURED = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)|\(\?P?<(\w+)>", re.ASCII)

Tables = Mapping[str, Table]


class Settings:
    """Rule settings and where each of them comes from, as they are handed down: defaults, folder, rule."""

    def __init__(self, values: RuleSettings | None = None, origins: Mapping[str, str] | None = None) -> None:
        self.values = values or RuleSettings()
        self.origins = dict(origins or {})

    def refined(self, section: Section, origin: str) -> Settings:
        """These settings with those of `section` over them."""
        own = section.take(SETTINGS)
        return Settings(replace(self.values, **own), {**self.origins, **dict.fromkeys(own, origin)})


def read_rules(node: Node, tables: Tables, settings: Settings) -> tuple[Rule, ...]:
    """The rules of a folder; what is wrong with one is reported, and the rule left out."""
    rules: list[Rule] = []
    lines: dict[str, int] = {}
    for number, entry in enumerate(node.items(), 1):
        section = entry.section()
        rule = _RuleReader(section, tables, settings.refined(section, "rule")).rule(f"rule {number}")
        if rule is None:
            continue
        if rule.name in lines:
            entry.problem(f"another rule is called {quote(rule.name)} as well (line {lines[rule.name]})", "give it another name")
        lines.setdefault(rule.name, entry.line)
        rules.append(rule)
        if rule.example:
            _check_example(rule, rules, section.entries["example"])
    return tuple(rules)


def _check_example(rule: Rule, rules: Sequence[Rule], node: Node) -> None:
    """What people are shown as a right name is one: `rules` are this rule and those before it."""
    found = route(rules, "", rule.example)
    if isinstance(found, NoRoute) and found.rule is None:
        node.problem(f"{quote(rule.example)} is no name that this rule takes", "write one that its pattern matches")
    elif isinstance(found, NoRoute):
        node.problem(f"{quote(rule.example)} matches, but {found.message}", "write a name that goes somewhere")
    elif found.rule is not rule:
        node.problem(f"{quote(rule.example)} is taken by the rule {quote(found.rule.name)} before", "write another name")


class _RuleReader:
    def __init__(self, section: Section, tables: Tables, settings: Settings) -> None:
        self._section = section
        self._tables = tables
        self._settings = settings
        self._unread = False  # the pattern cannot be read: what it captures is only guessed

    def rule(self, default_name: str) -> Rule | None:
        section, before = self._section, len(self._section.node.problems)
        section.only(_KEYS)
        pattern = self._pattern()
        if pattern is None:
            return None
        record_where = self._conditions("record_where", pattern)
        templates = {key: self._template(key, pattern) for key in _TEMPLATES}
        if record_where:
            if "record" in section:
                section.entries["record"].problem("a rule has either record or record_where", "take one of them out")
            templates["record"] = None
        elif templates["record"] is None:
            self._missing("record", 'name the record, such as record: "{record}", or use record_where')
        field = templates.pop("field")
        if field is None:
            self._missing("field", "name the File Upload field that the file goes to")
        self._check_instance(templates["instance"])
        self._check_field(field)
        self._check_creation(templates["record"], pattern)
        must_match = self._conditions("must_match", pattern)
        name = section.read("name", plain, default_name)
        example = section.read("example", plain, "")
        if field is None or len(section.node.problems) > before:
            return None
        return Rule(
            name=name,
            pattern=pattern,
            field=field,
            record_where=record_where,
            must_match=must_match,
            settings=self._settings.values,
            settings_from=self._settings.origins,
            example=normal(example),
            line=section.node.line,
            **templates,
        )

    def _pattern(self) -> Pattern | None:
        section = self._section
        pattern, regex = section.get("pattern"), section.get("regex")
        node = pattern or regex
        if node is None or (pattern and regex):
            if section.entries or not section.node.problems:
                section.node.problem(
                    "a rule has either a pattern or a regex", 'write one, such as pattern: "{record:digits}_consent.pdf"'
                )
            return None
        text = node.text()
        if text is None:
            return None
        sensitive = self._settings.values.case_sensitive
        try:
            return compile_pattern(text, self._tables, sensitive) if pattern else compile_regex(text, sensitive)
        except PatternError as error:
            _report(node, error)
            self._unread = True
            return _stand_in(text)

    def _template(self, key: str, pattern: Pattern) -> Template | None:
        """The template of `key`; for record, event and field it is the capture of that name, if nothing else is said."""
        node = self._section.get(key)
        if node is not None:
            return self._compiled(node, pattern)
        if key in ("record", "event", "field") and key in pattern.captures:
            return compile_template(f"{{{key}}}", self._tables, pattern.captures)
        return None

    def _compiled(self, node: Node, pattern: Pattern) -> Template | None:
        text = node.value(plain)
        if text is None:
            return None
        try:
            return compile_template(text, self._tables, pattern.captures, self._settings.values.case_sensitive)
        except PatternError as error:
            _report(node, error)
            return None

    def _conditions(self, key: str, pattern: Pattern) -> dict[str, Template]:
        """Fields and the templates of the values that they must have."""
        node = self._section.get(key)
        found: dict[str, Template] = {}
        if node is None:
            return found
        section = node.section()
        if not section.entries:
            node.problem("names no field", f'write {key}: {{field: "{{capture}}"}}, or take it out')
        for field, entry in section:
            if not _FIELD.fullmatch(field):
                entry.problem(f"{quote(field)} is not the name of a REDCap field", "those have a-z, 0-9 and `_`")
            if key == "record_where" and field == _GROUP:
                entry.problem("a data access group finds no single record", f"write it in must_match: {{{_GROUP}: ...}}")
            template = self._compiled(entry, pattern)
            if template is not None:
                found[field] = template
        return found

    def _missing(self, key: str, remedy: str) -> None:
        if key not in self._section and not self._unread:
            self._section.node.problem(f"names no {key}, and the pattern captures none", remedy)

    def _check_instance(self, instance: Template | None) -> None:
        if instance is None or instance.names or instance.text == NEXT:
            return
        text = instance.text
        if not (text.isascii() and text.isdigit() and len(text) < 6 and 1 <= int(text) <= HIGHEST_INSTANCE):
            self._section.entries["instance"].problem(
                f"{quote(text)} is not possible", f"write a number from 1 to {HIGHEST_INSTANCE}, a template, or next"
            )

    def _check_field(self, field: Template | None) -> None:
        if field is not None and not field.names and not _FIELD.fullmatch(field.text):
            self._section.entries["field"].problem(
                f"{quote(field.text)} is not the name of a REDCap field", "those have a-z, 0-9 and `_`"
            )

    def _check_creation(self, record: Template | None, pattern: Pattern) -> None:
        if self._settings.values.missing_record is not MissingRecord.CREATE:
            return
        node = self._section.get("missing_record") or self._section.node
        if "record_where" in self._section:
            node.problem("record_where finds records and cannot create them", "use missing_record: refuse or wait")
        elif "must_match" in self._section:
            node.problem(
                "a record that was just created is empty, so that must_match would refuse every file for it",
                "use missing_record: refuse or wait, or take must_match out",
            )
        elif record is not None and not is_typed(record, pattern.typed):
            node.problem(
                "records are only created from a typed capture, so that no mistyped name becomes one",
                "give the capture a type, such as {record:digits(4)}, or use missing_record: refuse or wait",
            )


def _stand_in(text: str) -> Pattern:
    """A pattern that cannot be read, with the captures that it seems to have: the rest of its rule is looked at all the same."""
    names = tuple(dict.fromkeys(one or other for one, other in _SEEMS_CAPTURED.findall(text)))
    return Pattern(text, names, frozenset(names))


def _report(node: Node, error: PatternError) -> None:
    node.problem(f"{error.message} (at character {error.position + 1} of {quote(node.raw.value)})", error.remedy)
