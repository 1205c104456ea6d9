"""A rule: a pattern of file names with templates for the target."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from dataclasses import field as default

from dropcap.routing.pattern import Pattern
from dropcap.routing.table import Table
from dropcap.routing.target import RuleSettings
from dropcap.routing.template import Template


@dataclass(frozen=True, slots=True)
class Rule:
    """One entry of a folder's `rules`. Templates that a rule does not use are None."""

    name: str
    pattern: Pattern
    field: Template
    record: Template | None = None
    event: Template | None = None
    instance: Template | None = None
    record_where: dict[str, Template] = default(default_factory=dict)
    must_match: dict[str, Template] = default(default_factory=dict)
    upload_as: Template | None = None
    settings: RuleSettings = default(default_factory=RuleSettings)
    settings_from: Mapping[str, str] = default(default_factory=dict, compare=False)  # setting -> where it stands, for people
    example: str = ""  # a name that it takes, as people are shown it
    line: int = default(default=0, compare=False)  # where it stands in its file

    @property
    def tables(self) -> dict[str, Table]:
        """The tables that it uses, by name."""
        templates = [self.record, self.event, self.field, self.instance, self.upload_as]
        every = [self.pattern, *templates, *self.record_where.values(), *self.must_match.values()]
        return {name: table for one in every if one is not None for name, table in one.tables.items()}
