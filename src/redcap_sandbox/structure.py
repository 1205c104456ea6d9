"""A project's structure and what it holds."""

from __future__ import annotations

import hashlib
import io
import itertools
import mimetypes
import tempfile
import threading
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, NamedTuple

#: Content up to this many bytes stays in memory when no directory was asked for.
IN_MEMORY = 64 * 1024


class RowKey(NamedTuple):
    """One row of a record. `instrument` is empty unless an instrument repeats; `instance` is 0 where nothing repeats."""

    event: str
    instrument: str = ""
    instance: int = 0


@dataclass(frozen=True, slots=True)
class StoredFile:
    """One file in a file field."""

    doc_id: int
    name: str
    mime: str
    size: int
    sha256: str
    content: bytes | Path

    def open(self) -> IO[bytes]:
        return io.BytesIO(self.content) if isinstance(self.content, bytes) else self.content.open("rb")

    def read(self) -> bytes:
        return self.content if isinstance(self.content, bytes) else self.content.read_bytes()


@dataclass(frozen=True, slots=True)
class Holding:
    """What a file field holds, for those who look from outside."""

    record: str
    event: str
    field: str
    instance: int | None
    name: str
    size: int
    sha256: str


@dataclass(slots=True)
class Row:
    values: dict[str, str] = field(default_factory=dict)
    files: dict[str, StoredFile] = field(default_factory=dict)


def _forget(stored: StoredFile | None) -> None:
    """Remove content that nothing refers to any more: a long run would fill the disk. Whoever reads it has it open."""
    if stored is not None and isinstance(stored.content, Path):
        stored.content.unlink(missing_ok=True)


class Upload:
    """Content on its way in: in memory while small, else in a file of `directory`; hashed as it comes."""

    def __init__(self, directory: Path | None, keep_on_disk: bool = False) -> None:
        self._directory = directory
        self._limit = 0 if keep_on_disk else IN_MEMORY
        self._memory = bytearray()
        self._file: IO[bytes] | None = None
        self._path: Path | None = None
        self._hash = hashlib.sha256()
        self.size = 0

    def write(self, chunk: bytes | memoryview) -> None:
        self._hash.update(chunk)
        self.size += len(chunk)
        if self._file is None and self.size <= self._limit:
            self._memory += chunk
            return
        if self._file is None:
            self._file = tempfile.NamedTemporaryFile(dir=self._directory, prefix="edoc_", delete=False)  # noqa: SIM115
            self._path = Path(self._file.name)
            self._file.write(self._memory)
            self._memory.clear()
        self._file.write(chunk)

    def content(self) -> bytes | Path:
        """What came, for good. Nothing may be written afterwards."""
        if self._file is not None:
            self._file.close()
        return self._path if self._path is not None else bytes(self._memory)

    @property
    def sha256(self) -> str:
        return self._hash.hexdigest()

    def discard(self) -> None:
        if self._file is not None:
            self._file.close()
        if self._path is not None:
            self._path.unlink(missing_ok=True)
        self._path, self._file = None, None
        self._memory.clear()


class Store:
    """Records with their rows. Every public method takes the lock, which callers may hold over several."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.records: dict[str, dict[RowKey, Row]] = {}
        self.dags: dict[str, str] = {}
        self.locked: set[tuple[str, RowKey, str]] = set()  # (record, row, form)
        self.keeps_versions = False
        self.versions: dict[tuple[str, RowKey, str], list[StoredFile]] = {}  # what a file field held before, oldest first
        self._doc_ids = itertools.count(1)

    def row(self, record: str, key: RowKey) -> Row | None:
        with self.lock:
            return self.records.get(record, {}).get(key)

    def make_row(self, record: str, key: RowKey) -> Row:
        with self.lock:
            return self.records.setdefault(record, {}).setdefault(key, Row())

    def set_value(self, record: str, key: RowKey, name: str, value: str) -> None:
        """Set one value; an empty one removes it, as REDCap stores no empty values."""
        with self.lock:
            row = self.make_row(record, key)
            if value:
                row.values[name] = value
            else:
                row.values.pop(name, None)

    def put_file(self, record: str, key: RowKey, name: str, filename: str, upload: Upload) -> StoredFile:
        """Put a file into a field, in place of the one that may be there."""
        return self._put(record, key, name, filename, upload.content(), upload.size, upload.sha256)

    def put_bytes(self, record: str, key: RowKey, name: str, filename: str, content: bytes) -> StoredFile:
        """As `put_file`, for content that is at hand; it stays in memory."""
        return self._put(record, key, name, filename, content, len(content), hashlib.sha256(content).hexdigest())

    def _put(
        self, record: str, key: RowKey, name: str, filename: str, content: bytes | Path, size: int, sha256: str
    ) -> StoredFile:
        mime = mimetypes.guess_type(filename)[0] or "application/octet-stream"
        with self.lock:
            stored = StoredFile(next(self._doc_ids), filename, mime, size, sha256, content)
            files = self.make_row(record, key).files
            replaced, files[name] = files.get(name), stored
            self._put_away(record, key, name, replaced)
        return stored

    def _put_away(self, record: str, key: RowKey, name: str, stored: StoredFile | None) -> None:
        if stored is not None and self.keeps_versions:
            self.versions.setdefault((record, key, name), []).append(stored)
        else:
            _forget(stored)

    def file(self, record: str, key: RowKey, name: str) -> StoredFile | None:
        with self.lock:
            row = self.row(record, key)
            return row.files.get(name) if row else None

    def remove_file(self, record: str, key: RowKey, name: str) -> bool:
        with self.lock:
            row = self.row(record, key)
            removed = row.files.pop(name, None) if row else None
            self._put_away(record, key, name, removed)
            return removed is not None

    def delete(self, record: str) -> None:
        with self.lock:
            for row in self.records.pop(record, {}).values():
                for stored in row.files.values():
                    _forget(stored)
            self.dags.pop(record, None)

    def delete_form(self, record: str, form: str, event: str, instance: str, fields: Sequence[Field]) -> None:
        """Remove what a form has, at all events and instances unless they are named. A row without anything goes, but not a
        record's last one."""
        names = {f"{form}_complete", *(column for one in fields for column in one.columns)}
        with self.lock:
            rows = self.records[record]
            for key, row in list(rows.items()):
                if (
                    key.instrument not in ("", form)
                    or (event and key.event != event)
                    or (instance and str(key.instance) != instance)
                ):
                    continue
                row.values = {name: value for name, value in row.values.items() if name not in names}
                for one in fields:
                    _forget(row.files.pop(one.name, None))
                if not row.values and not row.files and len(rows) > 1:
                    del rows[key]

    def next_name(self) -> str:
        """The record name after the highest numeric one."""
        with self.lock:
            return str(max((int(name) for name in self.records if name.isascii() and name.isdigit()), default=0) + 1)

    def holdings(self) -> Iterator[Holding]:
        with self.lock:
            found = [
                Holding(record, key.event, name, key.instance or None, stored.name, stored.size, stored.sha256)
                for record, rows in self.records.items()
                for key, row in rows.items()
                for name, stored in row.files.items()
            ]
        return iter(sorted(found, key=lambda h: (h.record, h.event, h.field, h.instance or 0)))


#: The columns of a data dictionary, as the metadata export names them.
METADATA_COLUMNS = (
    "field_name",
    "form_name",
    "section_header",
    "field_type",
    "field_label",
    "select_choices_or_calculations",
    "field_note",
    "text_validation_type_or_show_slider_number",
    "text_validation_min",
    "text_validation_max",
    "identifier",
    "branching_logic",
    "required_field",
    "custom_alignment",
    "question_number",
    "matrix_group_name",
    "matrix_ranking",
    "field_annotation",
)

#: The event of a project that has none of its own.
CLASSIC_EVENT = "event_1_arm_1"


@dataclass(frozen=True, slots=True)
class Field:
    """One line of the data dictionary."""

    name: str
    form: str
    type: str = "text"  # text notes radio dropdown checkbox yesno truefalse calc file descriptive slider sql
    label: str = ""
    choices: str = ""
    validation: str = ""
    identifier: bool = False
    required: bool = False
    other: Mapping[str, str] = field(default_factory=dict)  # further METADATA_COLUMNS

    @property
    def is_file(self) -> bool:
        return self.type == "file"

    @property
    def is_signature(self) -> bool:
        return self.is_file and self.validation == "signature"

    @property
    def codes(self) -> dict[str, str]:
        """The choices of a multiple-choice field, code -> label; empty for other fields."""
        if self.type == "yesno":
            return {"1": "Yes", "0": "No"}
        if self.type == "truefalse":
            return {"1": "True", "0": "False"}
        if self.type not in ("radio", "dropdown", "checkbox"):
            return {}
        pairs = (choice.split(",", 1) for choice in self.choices.split("|") if choice.strip())
        return {pair[0].strip(): pair[-1].strip() for pair in pairs}

    @property
    def columns(self) -> tuple[str, ...]:
        """The names under which a record export shows this field (a checkbox has one for each choice)."""
        if self.type == "checkbox":
            return tuple(checkbox_column(self.name, code) for code in self.codes)
        return () if self.type == "descriptive" else (self.name,)

    def metadata(self) -> dict[str, str]:
        """The field as a row of the metadata export."""
        row = {column: self.other.get(column, "") for column in METADATA_COLUMNS}
        row.update(
            field_name=self.name,
            form_name=self.form,
            field_type=self.type,
            field_label=self.label,
            select_choices_or_calculations=self.choices,
            text_validation_type_or_show_slider_number=self.validation,
            identifier="y" if self.identifier else "",
            required_field="y" if self.required else "",
        )
        return row


def checkbox_column(name: str, code: str) -> str:
    """The export name of one choice of a checkbox: minus signs become underscores."""
    return f"{name}___{code.lower().replace('-', '_')}"


@dataclass(frozen=True, slots=True)
class Event:
    """One event of one arm."""

    unique_name: str
    name: str = ""
    arm: int = 1
    arm_name: str = ""

    @property
    def label(self) -> str:
        return self.name or self.unique_name.rsplit("_arm_", 1)[0].replace("_", " ").capitalize()


@dataclass(frozen=True, slots=True)
class Rights:
    """What the owner of a token may do."""

    username: str = "sandbox_user"
    api_export: bool = True
    api_import: bool = True
    export: str = "1"  # "0" none, "1" all, "2" de-identified, "3" without identifiers
    record_create: bool = True
    record_delete: bool = True
    design: bool = True
    user_rights: bool = True
    logging: bool = True
    data_access_groups: bool = True
    dag: str | None = None  # the unique name of the data access group that the user is confined to
    forms: Mapping[str, str] = field(default_factory=dict)  # form -> "0" none, "1" edit, "2" read; default "1"

    def form(self, name: str) -> str:
        return self.forms.get(name, "1")


@dataclass
class SandboxProject:
    """One project: its structure, its data and the server settings that concern it.

    `designations` maps an event's unique name to its forms. `repeating` maps an event to the forms that repeat in it;
    an empty tuple means that the event repeats as a whole. Sizes are bytes.
    """

    title: str
    fields: dict[str, Field]
    events: tuple[Event, ...] = ()
    designations: dict[str, tuple[str, ...]] = field(default_factory=dict)
    repeating: dict[str, tuple[str, ...]] = field(default_factory=dict)
    dags: tuple[str, ...] = ()
    form_labels: dict[str, str] = field(default_factory=dict)
    project_id: int = 1
    version: str = "14.5.5"
    in_production: bool = False
    offline: bool = False
    archived: bool = False
    deleted: bool = False
    autonumber: bool = True
    file_values: str = "document"  # what a record export shows for a file: document | name | doc_id
    hidden_fields: str = "absent"  # what a record export makes of fields that the token may not see: absent | blank
    sanitize_names: bool = False
    blocked_extensions: frozenset[str] = frozenset()
    max_record_name: int = 100
    empty_files: str = "accept"  # accept | refuse
    ids_as_numbers: bool = False  # whole numbers in a JSON export of records are numbers: 007 comes as 7
    flags_as_text: bool = False  # what project, user and the like tell as 0 and 1 comes as text
    errors: str = "asked"  # in which format they come: asked | json | csv | xml
    strict_arrays: bool = False  # lists that are sent as one text are refused, as servers since 2023 do
    store: Store = field(default_factory=Store)
    log: deque[dict[str, str]] = field(default_factory=lambda: deque(maxlen=10_000))

    def __post_init__(self) -> None:
        if not self.events:
            self.events = (Event(CLASSIC_EVENT, "Event 1", 1, "Arm 1"),)
            self.longitudinal = False
        else:
            self.longitudinal = len(self.events) > 1 or self.events[0].unique_name != CLASSIC_EVENT
        for event in self.events:
            self.designations.setdefault(event.unique_name, () if self.longitudinal else self.forms)
        for form in self.forms:
            status = f"{form}_complete"
            if status not in self.fields:
                self.fields[status] = Field(status, form, "dropdown", "Complete?", COMPLETE_CHOICES)

    @property
    def record_id(self) -> str:
        """The name of the field that holds the record's id: the first of the dictionary."""
        return next(iter(self.fields))

    @property
    def forms(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(field.form for field in self.fields.values()))

    @property
    def event_names(self) -> tuple[str, ...]:
        return tuple(event.unique_name for event in self.events)

    def dictionary(self) -> list[Field]:
        """The fields without the form status fields, which REDCap adds by itself and leaves out of the metadata."""
        return [f for f in self.fields.values() if not self.is_status(f.name)]

    def is_status(self, name: str) -> bool:
        return name.endswith("_complete") and name == f"{self.fields[name].form}_complete"

    def ordered(self) -> list[Field]:
        """All fields form by form, each form ended by its status field, as an export shows them."""
        return [f for form in self.forms for f in self.fields_of(form)]

    def field_of(self, column: str) -> Field:
        """The field that an export shows under this name. Raises KeyError."""
        for found in self.fields.values():
            if column in found.columns:
                return found
        raise KeyError(f"the field {column!r}")

    def fields_of(self, form: str) -> list[Field]:
        plain = [f for f in self.fields.values() if f.form == form and not self.is_status(f.name)]
        return [*plain, self.fields[f"{form}_complete"]]

    def repeats(self, event: str, form: str) -> str | None:
        """How `form` repeats in `event`: None not at all, "" with the whole event, else its own name."""
        if event not in self.repeating:
            return None
        forms = self.repeating[event]
        return "" if not forms else form if form in forms else None


COMPLETE_CHOICES = "0, Incomplete | 1, Unverified | 2, Complete"


def fields_by_name(fields: Iterable[Field]) -> dict[str, Field]:
    """The fields in order, by name. Raises ValueError if a name occurs twice or there are none."""
    result: dict[str, Field] = {}
    for item in fields:
        if item.name in result:
            raise ValueError(f"the field {item.name!r} is defined twice; keep one of the two")
        result[item.name] = item
    if not result:
        raise ValueError("the dictionary has no fields; export it from REDCap again")
    return result
