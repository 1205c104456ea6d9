"""Exporting records, with filter logic."""

from __future__ import annotations

import operator
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from redcap_sandbox.call import ApiError, Call, Reply, rows_body
from redcap_sandbox.structure import Field, Row, RowKey, SandboxProject, checkbox_column

_TOKEN = re.compile(
    r"""\s*(?:
      (?P<field>(?:\[[A-Za-z0-9_]+\])?\[[A-Za-z0-9_]+(?:\([^()\[\]]*\))?\])
    | (?P<text>'[^']*'|"[^"]*")
    | (?P<number>-?\d+(?:\.\d+)?)
    | (?P<operator><=|>=|<>|!=|=|<|>)
    | (?P<word>and|or|not)\b
    | (?P<bracket>[()])
    )""",
    re.VERBOSE | re.IGNORECASE,
)
_FIELD = re.compile(r"(?:\[(?P<event>\w+)\])?\[(?P<name>\w+)(?:\((?P<code>[^()]*)\))?\]", re.ASCII)
_NUMBER = re.compile(r"-?\d+(?:\.\d+)?", re.ASCII)
MAX_DEPTH = 50


class Logic:
    """A filter, read and evaluated at once. Raises ApiError 400 for anything that it does not understand."""

    def __init__(self, text: str) -> None:
        self._tokens: list[tuple[str, str]] = []
        position = 0
        text = text.rstrip()
        while position < len(text):
            match = _TOKEN.match(text, position)
            if match is None or match.lastgroup is None:
                raise ApiError(400, "bad_logic", why=f"at character {position + 1}")
            self._tokens.append((match.lastgroup, match[match.lastgroup]))
            position = match.end()
        self.fields = frozenset(_reference(value)[:2] for kind, value in self._tokens if kind == "field")
        self.holds(None)

    def holds(self, row: RowSet | None) -> bool:
        """Whether it holds for a row; without one, only whether it can be read counts."""
        self._row, self._position, self._depth = row, 0, 0
        found = self._any()
        if self._position < len(self._tokens):
            raise ApiError(400, "bad_logic", why=f"unexpected {self._tokens[self._position][1]!r}")
        return found

    def _next(self, kind: str, *words: str) -> str | None:
        if self._position < len(self._tokens):
            found, value = self._tokens[self._position]
            if found == kind and (not words or value.lower() in words):
                self._position += 1
                return value
        return None

    def _any(self) -> bool:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise ApiError(400, "bad_logic", why="too many parentheses")
        found = self._all()
        while self._next("word", "or"):
            found = self._all() or found
        self._depth -= 1
        return found

    def _all(self) -> bool:
        found = self._one()
        while self._next("word", "and"):
            found = self._one() and found
        return found

    def _one(self) -> bool:
        negated = bool(self._next("word", "not"))
        if self._next("bracket", "("):
            found = self._any()
            if not self._next("bracket", ")"):
                raise ApiError(400, "bad_logic", why="a parenthesis is not closed")
        else:
            found = self._comparison()
        return found is not negated

    def _comparison(self) -> bool:
        left = self._operand()
        how = self._next("operator")
        if how is None:
            raise ApiError(400, "bad_logic", why="a comparison is missing")
        return compare(left, how, self._operand())

    def _operand(self) -> str:
        if reference := self._next("field"):
            return self._row.value(*_reference(reference)) if self._row else ""
        if text := self._next("text"):
            return text[1:-1]
        if number := self._next("number"):
            return number
        raise ApiError(400, "bad_logic", why="a field or a value is missing")


def _reference(text: str) -> tuple[str | None, str, str | None]:
    """Event (None: the row's own), field and checkbox code of `[event][field(code)]`."""
    match = _FIELD.fullmatch(text)
    if match is None:
        raise ApiError(400, "bad_logic", why=f"{text} is not a field")
    return match["event"], match["name"], match["code"]


@dataclass(frozen=True, slots=True)
class RowSet:
    """A record's row as a filter sees it."""

    rows: Mapping[RowKey, Row]
    key: RowKey

    def value(self, event: str | None, name: str, code: str | None) -> str:
        """What stands in a field, of another event if one is named."""
        row = self.rows.get(RowKey(event) if event and event != self.key.event else self.key)
        column = checkbox_column(name, code) if code is not None else name
        if row is not None and name in row.files:
            return str(row.files[name].doc_id)
        value = row.values.get(column, "") if row else ""
        if not value and self.key.instance and (event is None or event == self.key.event):
            base = self.rows.get(RowKey(self.key.event))  # a repeating row sees the fields beside it that do not repeat
            value = base.values.get(column, "") if base else ""
        return value


_COMPARISONS = {
    "=": operator.eq,
    "!=": operator.ne,
    "<>": operator.ne,
    "<": operator.lt,
    ">": operator.gt,
    "<=": operator.le,
    ">=": operator.ge,
}


def compare(left: str, how: str, right: str) -> bool:
    """`left how right`, as numbers if both are numbers."""
    if _NUMBER.fullmatch(left) and _NUMBER.fullmatch(right):
        return bool(_COMPARISONS[how](float(left), float(right)))
    return bool(_COMPARISONS[how](left, right))


def export_records(call: Call) -> Reply:
    """Raises ApiError for what REDCap refuses."""
    call.need_export()
    if call.rights.export == "0":
        raise ApiError(403, "no_export")
    kind = call.text("type").lower() or "flat"
    if kind not in ("flat", "eav"):
        raise ApiError(501, "not_implemented")
    fields = _fields(call)
    with call.project.store.lock:
        rows = list(_rows(call, fields, kind == "eav"))
        if kind == "eav":
            rows = [triple for row in rows for triple in _triples(call, row, fields)]
    if call.project.ids_as_numbers and call.format == "json":
        rows = [{name: _number(value) for name, value in row.items()} for row in rows]
    call.note("Data export", "", ", ".join(field.name for field in fields))
    return call.reply(rows_body(rows, call.format, _eav_columns(call) if kind == "eav" else _columns(call, fields)))


def _number(value: Any) -> Any:
    return int(value) if isinstance(value, str) and re.fullmatch(r"-?[0-9]{1,15}", value, re.ASCII) else value


def _eav_columns(call: Call) -> list[str]:
    repeat = ["redcap_repeat_instrument", "redcap_repeat_instance"] if call.project.repeating else []
    return ["record", *(["redcap_event_name"] if call.project.longitudinal else []), *repeat, "field_name", "value"]


def _triples(call: Call, row: dict[str, Any], fields: list[Field]) -> Iterator[dict[str, Any]]:
    """A row of the flat export as the rows of the other kind: one for each value that there is."""
    leading = {name: row[name] for name in _eav_columns(call) if name in row}
    for field in fields:
        for column in field.columns:
            value = row[column]
            if field.type == "checkbox":
                value = next(code for code in field.codes if checkbox_column(field.name, code) == column) if value == "1" else ""
            if value:
                yield {"record": row[call.project.record_id], **leading, "field_name": field.name, "value": value}


def _fields(call: Call) -> list[Field]:
    """The fields to show, in the order of the project: those asked for, and those of the forms asked for."""
    project, names, forms = call.project, call.array("fields"), call.array("forms")
    _check("fields", names, project.fields)
    _check("forms", forms, project.forms)
    chosen = [
        field
        for field in project.ordered()
        if not (names or forms) or field.name in names or field.form in forms or field.form.replace("_", " ") in forms
    ]
    if project.hidden_fields == "blank":
        return chosen
    return [field for field in chosen if _may_see(call, field)]


def _may_see(call: Call, field: Field) -> bool:
    if field.name == call.project.record_id:
        return True
    identifying = call.rights.export in ("2", "3") and field.identifier
    return not identifying and call.rights.form(field.form) != "0"


def _check(parameter: str, values: list[str], known: Any) -> None:
    if unknown := [value for value in values if value not in known]:
        listed = ", ".join(f"'{value}'" for value in unknown)
        raise ApiError(400, "bad_values", name=parameter, values=listed)


def _columns(call: Call, fields: list[Field]) -> list[str]:
    """The event is named only where the record's id is asked for, as in REDCap."""
    project = call.project
    leading = []
    if project.longitudinal and any(field.name == project.record_id for field in fields):
        leading.append("redcap_event_name")
    if project.repeating:
        leading += ["redcap_repeat_instrument", "redcap_repeat_instance"]
    if project.dags and call.rights.dag is None and call.text("exportDataAccessGroups").lower() in ("true", "1"):
        leading.append("redcap_data_access_group")
    columns = [column for field in fields for column in field.columns]
    if columns[:1] == [project.record_id]:
        return [columns[0], *leading, *columns[1:]]
    return leading + columns


def _rows(call: Call, fields: list[Field], eav: bool) -> Iterator[dict[str, Any]]:
    """The rows of the flat export; for the other kind with every record's id and with document ids for files."""
    project = call.project
    records, events = call.array("records"), call.array("events")
    _check("events", events, project.event_names)
    logic = _logic(project, call.text("filterLogic"))
    labels = call.text("rawOrLabel") == "label"
    events_order = {event: position for position, event in enumerate(project.event_names)}
    forms_order = {"": -1} | {form: position for position, form in enumerate(project.forms)}
    columns = _columns(call, fields) + (["redcap_event_name"] if eav else [])
    for record in records or sorted(project.store.records, key=_natural):
        if not call.visible(record):
            continue
        rows = project.store.records[record]
        for key in sorted(rows, key=lambda key: (events_order[key.event], forms_order[key.instrument], key.instance)):
            if events and key.event not in events:
                continue
            if not _has_data(project, key, rows[key], fields):
                continue
            if logic is not None and not logic.holds(RowSet(rows, key)):
                continue
            shown = _shown(call, record, key, rows[key], fields, columns, labels)
            if eav:
                ids = {name: str(stored.doc_id) for name, stored in rows[key].files.items() if shown.get(name)}
                shown |= ids | {project.record_id: record}
            yield shown


def _natural(record: str) -> tuple[bool, int, str]:
    numeric = record.isascii() and record.isdigit()
    return (not numeric, int(record) if numeric else 0, record)


def _logic(project: SandboxProject, text: str) -> Logic | None:
    if not text.strip():
        return None
    logic = Logic(text)
    for event, name in logic.fields:
        if name not in project.fields or (event is not None and event not in project.event_names):
            raise ApiError(400, "bad_logic", why=f"[{event or name}] is not in the project")
    return logic


def _has_data(project: SandboxProject, key: RowKey, row: Row, fields: list[Field]) -> bool:
    """Whether the row is shown: it holds something in a chosen field, or it is a plain row and the record's id was chosen."""
    for field in fields:
        if field.name == project.record_id:
            if not key.instrument:
                return True
        elif field.name in row.files or any(column in row.values for column in field.columns):
            return True
    return False


def _shown(
    call: Call, record: str, key: RowKey, row: Row, fields: list[Field], columns: list[str], labels: bool
) -> dict[str, Any]:
    project = call.project
    event = next(event for event in project.events if event.unique_name == key.event)
    values: dict[str, Any] = {
        "redcap_event_name": event.label if labels else key.event,
        "redcap_repeat_instrument": key.instrument,
        "redcap_repeat_instance": key.instance or "",
        "redcap_data_access_group": project.store.dags.get(record, ""),
    }
    for field in fields:
        seen = _may_see(call, field)
        values.update(_values(project, record, key, row, field, labels) if seen else dict.fromkeys(field.columns, ""))
    return {column: values[column] for column in columns}


def _values(project: SandboxProject, record: str, key: RowKey, row: Row, field: Field, labels: bool) -> dict[str, str]:
    if field.name == project.record_id:
        return {field.name: record}
    on_row = field.form in project.designations[key.event] and (project.repeats(key.event, field.form) or "") == key.instrument
    if not on_row:
        return dict.fromkeys(field.columns, "")
    if field.is_file:
        stored = row.files.get(field.name)
        if stored is None:
            return {field.name: ""}
        shown = {"document": "[document]", "name": stored.name, "doc_id": str(stored.doc_id)}
        return {field.name: shown[project.file_values]}
    if field.type == "checkbox":
        pairs = [(checkbox_column(field.name, code), label) for code, label in field.codes.items()]
        if labels:
            return {column: label if row.values.get(column) == "1" else "" for column, label in pairs}
        return {column: row.values.get(column, "0") for column, _ in pairs}
    value = row.values.get(field.name, "0" if project.is_status(field.name) else "")
    return {field.name: field.codes.get(value, value) if labels else value}
