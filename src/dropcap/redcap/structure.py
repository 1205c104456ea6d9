"""A project's structure: its fields, forms, events, and what repeats."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Self

from dropcap.redcap.client import Redcap
from dropcap.redcap.model import EventInfo, FieldInfo, Mapping, ProjectInfo, Repeating


@dataclass(frozen=True, slots=True)
class ProjectStructure:
    """What the data dictionary and the event set-up say. Events are unique event names."""

    project: ProjectInfo
    fields: dict[str, FieldInfo]
    record_id_field: str
    events: tuple[str, ...] = ()
    designated: frozenset[tuple[str, str]] = field(default=frozenset())  # (event, form)
    repeating_forms: frozenset[tuple[str, str]] = field(default=frozenset())  # (event or "", form)
    repeating_events: frozenset[str] = field(default=frozenset())

    @classmethod
    def from_api(cls, client: Redcap) -> Self:
        """Ask REDCap: two requests, up to three more where there are events or repeats. Raises `RedcapError`."""
        project = client.project()
        fields = client.metadata()
        events = client.events() if project.longitudinal else []
        mappings = client.mappings() if project.longitudinal else []
        repeating = client.repeating() if project.repeating else []
        return cls.of(project, fields, events, mappings, repeating)

    @classmethod
    def of(
        cls,
        project: ProjectInfo,
        fields: list[FieldInfo],
        events: list[EventInfo],
        mappings: list[Mapping],
        repeating: list[Repeating],
    ) -> Self:
        """The structure from the API's lists."""
        return cls(
            project=project,
            fields={one.name: one for one in fields},
            record_id_field=fields[0].name if fields else "record_id",
            events=tuple(event.name for event in events),
            designated=frozenset((mapping.event, mapping.form) for mapping in mappings),
            repeating_forms=frozenset((one.event, one.form) for one in repeating if one.form),
            repeating_events=frozenset(one.event for one in repeating if not one.form),
        )

    @property
    def longitudinal(self) -> bool:
        return self.project.longitudinal

    def file_fields(self) -> list[str]:
        """The fields that files can be imported into."""
        return [one.name for one in self.fields.values() if one.type == "file" and one.validation != "signature"]

    def states(self) -> set[str]:
        """The fields that REDCap adds to each form: is it complete?"""
        return {f"{one.form}_complete" for one in self.fields.values()}

    def is_designated(self, event: str, form: str) -> bool:
        """Whether `form` is collected at `event`."""
        return (event, form) in self.designated

    def form_repeats(self, event: str | None, form: str) -> bool:
        """Whether `form` repeats by itself at `event` (None in a classic project)."""
        return (event or "", form) in self.repeating_forms

    def event_repeats(self, event: str | None) -> bool:
        """Whether `event` repeats as a whole."""
        return event is not None and event in self.repeating_events

    def repeats(self, event: str | None, form: str) -> bool:
        """Whether a field of `form` at `event` has repeat instances."""
        return self.form_repeats(event, form) or self.event_repeats(event)
