"""Projects from a data dictionary (REDCap's CSV of 18 columns), and records from a flat CSV."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from redcap_sandbox.store import RowKey
from redcap_sandbox.structure import METADATA_COLUMNS, Event, Field, SandboxProject, fields_by_name

#: The headings of REDCap's CSV, in the order of METADATA_COLUMNS.
HEADINGS = (
    "Variable / Field Name",
    "Form Name",
    "Section Header",
    "Field Type",
    "Field Label",
    "Choices, Calculations, OR Slider Labels",
    "Field Note",
    "Text Validation Type OR Show Slider Number",
    "Text Validation Min",
    "Text Validation Max",
    "Identifier?",
    "Branching Logic (Show field only if...)",
    "Required Field?",
    "Custom Alignment",
    "Question Number (surveys only)",
    "Matrix Group Name",
    "Matrix Ranking?",
    "Field Annotation",
)
#: What REDCap offers between columns, and spreadsheets write.
_DELIMITERS = ",;\t|^"
_COLUMN = {heading.lower(): column for heading, column in zip(HEADINGS, METADATA_COLUMNS, strict=True)}


def from_dictionary(
    path: str | Path,
    *,
    events: Sequence[Event | str] = (),
    designations: Mapping[str, Sequence[str]] | None = None,
    repeating: Mapping[str, Sequence[str]] | None = None,
    title: str = "",
    records: str | Path | None = None,
) -> SandboxProject:
    """A project from a data dictionary, with or without a byte order mark, with commas, semicolons or tabs between columns.

    `events` make it longitudinal; an event without an entry in `designations` has all forms. `repeating` maps events
    to forms (none: the whole event). `records` is a flat CSV.
    Raises ValueError if a file does not have the needed columns, OSError if it cannot be read.
    """
    path = Path(path)
    rows = [(line, _by_column(row)) for line, row in _rows(path)]
    fields = fields_by_name(_field(row, f"{path.name}:{line}") for line, row in rows)
    forms = tuple(dict.fromkeys(field.form for field in fields.values()))
    made = tuple(Event(event) if isinstance(event, str) else event for event in events)
    designated = {name: tuple(chosen) for name, chosen in (designations or {}).items()}
    for event in made:
        designated.setdefault(event.unique_name, forms)
    project = SandboxProject(
        title=title or path.stem,
        fields=fields,
        events=made,
        designations=designated,
        repeating={name: tuple(chosen) for name, chosen in (repeating or {}).items()},
    )
    if records is not None:
        load_records(project, records)
    return project


def _rows(path: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """The rows with the number of the line that each ends in. Blank lines, and those of delimiters alone, are left out."""
    try:
        text = path.read_text(encoding="utf-8-sig")
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=_delimiter(text))
        lines = ((reader.line_num, line) for line in reader if any(cell.strip() for cell in line))
        _, header = next(lines, (0, []))
        if header and header[0].lower().startswith("sep="):  # what spreadsheets write for themselves
            _, header = next(lines, (0, []))
        for number, line in lines:
            yield number, {heading.strip(): cell for heading, cell in zip(header, line, strict=False)}
    except csv.Error as error:
        raise ValueError(f"{path.name} is not a CSV file that can be read ({error}); export it from REDCap again") from None
    except UnicodeDecodeError:
        raise ValueError(f"{path.name} is not in UTF-8; export it from REDCap again, or save it as CSV UTF-8") from None


def _delimiter(text: str) -> str:
    """What stands between the columns: what the heading has most of."""
    heading = next((line for line in text.splitlines() if line.strip() and not line.lower().startswith("sep=")), "")
    return max(_DELIMITERS, key=heading.count)


def _by_column(row: Mapping[str, str]) -> dict[str, str]:
    """The row under the API's column names, whichever of the two kinds of heading the file has."""
    return {_COLUMN.get(heading.lower(), heading): value for heading, value in row.items()}


def _field(row: Mapping[str, str], where: str) -> Field:
    name, form = row.get("field_name", "").strip(), row.get("form_name", "").strip()
    if not name or not form:
        raise ValueError(f"{where}: the field's name or form is missing; export the data dictionary from REDCap again")
    return Field(
        name=name,
        form=form,
        type=row.get("field_type", "").strip() or "text",
        label=row.get("field_label", ""),
        choices=row.get("select_choices_or_calculations", ""),
        validation=row.get("text_validation_type_or_show_slider_number", "").strip(),
        identifier=row.get("identifier", "").strip().lower() == "y",
        required=row.get("required_field", "").strip().lower() == "y",
        other={column: row.get(column, "") for column in METADATA_COLUMNS},
    )


def load_records(project: SandboxProject, path: str | Path) -> int:
    """Put the rows of a flat CSV (as a record export gives it) into the project; returns how many records there were.

    File fields, and columns that the project does not have, are left out. Raises ValueError for an event, an instance
    or a record name that the project cannot have.
    """
    path = Path(path)
    columns = {column for field in project.fields.values() if not field.is_file for column in field.columns}
    seen: set[str] = set()
    for number, row in _rows(path):
        where = f"{path.name}:{number}"
        record = row.get(project.record_id, "").strip()
        event = row.get("redcap_event_name") or project.events[0].unique_name
        if not record or event not in project.event_names:
            raise ValueError(f"{where}: no {project.record_id}, or no event named {event!r}; use a raw export of this project")
        instance = _instance(row.get("redcap_repeat_instance") or "0", where)
        key = RowKey(event, row.get("redcap_repeat_instrument", ""), instance)
        project.store.make_row(record, key)
        for name, value in row.items():
            if name in columns and value:
                project.store.set_value(record, key, name, value)
        if group := row.get("redcap_data_access_group"):
            project.store.dags[record] = group
            project.dags = tuple(dict.fromkeys((*project.dags, group)))
        seen.add(record)
    return len(seen)


def _instance(text: str, where: str) -> int:
    if not re.fullmatch(r"[0-9]{1,5}", text.strip(), re.ASCII):
        raise ValueError(f"{where}: redcap_repeat_instance is {text!r}; use a raw export of this project")
    return int(text)
