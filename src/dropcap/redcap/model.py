"""What REDCap's API is asked for, and what it answers, as objects."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class FileTarget:
    """One file field of one record: `event` only in longitudinal projects, `instance` only where it repeats."""

    record: str
    field: str
    event: str | None = None
    instance: int | None = None


@dataclass(frozen=True, slots=True)
class Sent:
    """An accepted import: the SHA-256 (hex) and size in bytes of what went out, and how many seconds it took.

    `proven` is False if the reply named neither a length nor chunks (PHP's own server, HTTP/1.0): it may have been cut off
    before an error that it was to tell.
    """

    sha256: str
    size: int
    seconds: float
    proven: bool = True


@dataclass(frozen=True, slots=True)
class Exported:
    """A file as REDCap gave it out.

    `proven_whole` is False if the reply named neither a length nor chunks, so that a cut could not be noticed.
    """

    name: str
    size: int
    sha256: str
    proven_whole: bool = True


@dataclass(frozen=True, slots=True)
class ProjectInfo:
    """The project that the token belongs to."""

    project_id: int
    title: str
    longitudinal: bool = False
    repeating: bool = False
    in_production: bool = False
    missing_codes: frozenset[str] = frozenset()  # what stands in any field whose value is marked as missing


@dataclass(frozen=True, slots=True)
class FieldInfo:
    """One field of the data dictionary."""

    name: str
    form: str
    type: str
    validation: str = ""
    label: str = ""
    identifier: bool = False


@dataclass(frozen=True, slots=True)
class EventInfo:
    """One event of a longitudinal project; `name` is the unique one, as in `month_6_arm_1`."""

    name: str
    label: str = ""


@dataclass(frozen=True, slots=True)
class Mapping:
    """`form` is designated for `event`."""

    event: str
    form: str


@dataclass(frozen=True, slots=True)
class Repeating:
    """What repeats: a form (in `event`, if the project is longitudinal), or, with an empty `form`, a whole event."""

    event: str
    form: str


#: The column, no field of the project, that tells a record's data access group by its unique name. REDCap shows it to those who
#: are in no group themselves, where the project has any.
GROUP_COLUMN = "redcap_data_access_group"

#: Data export rights as REDCap numbers them.
NO_ACCESS, FULL_DATA, DE_IDENTIFIED, NO_IDENTIFIERS = 0, 1, 2, 3


@dataclass(frozen=True, slots=True)
class Rights:
    """What the token's user may do. Export levels: 0 nothing, 1 full data, 2 de-identified, 3 no identifiers.

    `export_told`: REDCap has named `export`, which else is only assumed. `group` is the data access group that confines the
    user, empty for none. `read_only` names forms that the user may not edit, as far as REDCap tells.
    """

    username: str
    api_import: bool
    api_export: bool
    export: int = FULL_DATA
    forms_export: dict[str, int] = field(default_factory=dict)
    export_told: bool = True
    group: str = ""
    read_only: frozenset[str] = frozenset()

    def export_of(self, form: str) -> int:
        """The export level for `form`: its own if REDCap names one, else the project's."""
        return self.forms_export.get(form, self.export)

    def has_full_data(self, form: str) -> bool:
        """Whether REDCap has said that everything of `form` may be exported."""
        return self.export_of(form) == FULL_DATA and (self.export_told or form in self.forms_export)
