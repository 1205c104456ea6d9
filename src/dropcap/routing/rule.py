"""A rule: a pattern of file names, the target that it leads to, and its settings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from dataclasses import field as default
from enum import StrEnum

from dropcap.routing.pattern import Pattern, Table
from dropcap.routing.template import Template


class ExistingFile(StrEnum):
    """What to do when the field already holds another file."""

    PRESERVE = "preserve"
    REPLACE = "replace"
    REFUSE = "refuse"


class Confirm(StrEnum):
    """What must be seen before a file is called done."""

    READBACK = "readback"
    LISTED = "listed"
    NONE = "none"


class MissingRecord(StrEnum):
    """What to do when REDCap has no such record."""

    REFUSE = "refuse"
    WAIT = "wait"
    CREATE = "create"


class ContentCheck(StrEnum):
    """Whether a file that looks cut off is taken."""

    AUTO = "auto"
    OFF = "off"


#: `instance: next`: the number after the highest that the record has.
NEXT = "next"


@dataclass(frozen=True, slots=True)
class RuleSettings:
    """The settings that a rule, its folder or `defaults` give (design, part 4)."""

    existing_file: ExistingFile = ExistingFile.PRESERVE
    confirm: Confirm = Confirm.READBACK
    missing_record: MissingRecord = MissingRecord.REFUSE
    create_limit: int = 20
    suggest_records: bool = False
    content_check: ContentCheck = ContentCheck.AUTO
    case_sensitive: bool = False


@dataclass(frozen=True, slots=True)
class Target:
    """One field of one record, as far as the file's name tells.

    `record` is empty while `record_where` (field -> value) has not been looked up.
    `instance` is a number, `next`, or None where nothing repeats.
    """

    field: str
    record: str = ""
    event: str | None = None
    instance: int | str | None = None
    record_where: dict[str, str] = default(default_factory=dict)
    must_match: dict[str, str] = default(default_factory=dict)
    upload_as: str = ""
    record_is_typed: bool = False


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
