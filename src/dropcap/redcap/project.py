"""A project's structure: its fields, forms, events, and what repeats."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Self

from dropcap.reasons import Reason
from dropcap.redcap.client import GROUP_COLUMN, EventInfo, FieldInfo, Mapping, ProjectInfo, Redcap, RedcapError, Repeating
from dropcap.redcap.reply import Verdict


@dataclass(frozen=True, slots=True)
class ProjectStructure:
    """What the data dictionary and the event set-up say. Events are unique event names.

    `told_designated` and `told_repeating` are False where REDCap did not tell (a right is missing): nothing is concluded then.
    """

    project: ProjectInfo
    fields: dict[str, FieldInfo]
    record_id_field: str
    events: tuple[str, ...] = ()
    designated: frozenset[tuple[str, str]] = field(default=frozenset())  # (event, form)
    repeating_forms: frozenset[tuple[str, str]] = field(default=frozenset())  # (event or "", form)
    repeating_events: frozenset[str] = field(default=frozenset())
    told_designated: bool = True
    told_repeating: bool = True

    @classmethod
    def from_api(cls, client: Redcap, stop: threading.Event | None = None, project: ProjectInfo | None = None) -> Self:
        """Ask REDCap: two requests, up to three more where there are events or repeats. Raises `RedcapError` and, if `stop` is
        set, `Stopped`. `project` is what it has told of it just now.

        What repeats is told to those with Design rights only, and may be unknown.
        """
        project = project or client.project(stop)
        fields = client.metadata(stop)
        events = client.events(stop) if project.longitudinal else []
        mappings: list[Mapping] | None = None
        with _unless_refused():
            mappings = client.mappings(stop) if project.longitudinal else []
        repeating: list[Repeating] | None = None
        with _unless_refused():
            repeating = client.repeating(stop) if project.repeating else []
        return cls.of(project, fields, events, mappings, repeating)

    @classmethod
    def of(
        cls,
        project: ProjectInfo,
        fields: list[FieldInfo],
        events: list[EventInfo],
        mappings: list[Mapping] | None,
        repeating: list[Repeating] | None,
    ) -> Self:
        """The structure from the API's lists; None for one that REDCap does not tell."""
        return cls(
            project=project,
            fields={one.name: one for one in fields},
            record_id_field=fields[0].name if fields else "record_id",
            events=tuple(event.name for event in events),
            designated=frozenset((mapping.event, mapping.form) for mapping in mappings or ()),
            repeating_forms=frozenset((one.event, one.form) for one in repeating or () if one.form),
            repeating_events=frozenset(one.event for one in repeating or () if not one.form),
            told_designated=bool(mappings) or not project.longitudinal,
            told_repeating=bool(repeating) or not project.repeating,
        )

    @property
    def longitudinal(self) -> bool:
        return self.project.longitudinal

    def file_fields(self) -> list[str]:
        """The fields that files can be imported into."""
        return [one.name for one in self.fields.values() if one.type == "file" and one.validation != "signature"]

    def knows(self, name: str) -> bool:
        """Whether a record's export can be asked for the values of that name: a field's, or the record's group."""
        return name in self.fields or name in self.states() or name == GROUP_COLUMN

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


@contextmanager
def _unless_refused() -> Iterator[None]:
    """Go on if this token is not told something. Raises `RedcapError` for every other trouble."""
    try:
        yield
    except RedcapError as error:
        if error.meaning.verdict is not Verdict.REFUSED and error.meaning.reason != Reason.RIGHTS:
            raise
