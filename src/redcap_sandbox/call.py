"""A call of the API and its reply: formats, and the words of errors."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import IO, Any
from xml.etree.ElementTree import ParseError

from defusedxml import ElementTree
from defusedxml.common import DefusedXmlException

from redcap_sandbox.multipart import Post
from redcap_sandbox.structure import Rights, RowKey, SandboxProject


@dataclass(frozen=True, slots=True)
class Wording:
    text: str
    invented: bool = False


WORDING: dict[str, Wording] = {
    "imported": Wording("File uploaded successfully"),
    "no_permission": Wording("You do not have permissions to use the API"),
    "no_import": Wording("You do not have API Import/Update privileges"),
    "no_export": Wording("You do not have API Export privileges", invented=True),
    "no_delete": Wording("You do not have Delete Record privileges"),
    "no_create": Wording("You do not have privileges to create records", invented=True),
    "not_implemented": Wording("The requested method is not implemented."),
    "bad_format": Wording("The format {value!r} is not known; use json, csv or xml", invented=True),
    "no_events": Wording("You cannot export events for classic projects"),
    "no_arms": Wording("You cannot export arms for classic projects"),
    "no_mapping": Wording("You cannot export form/event mappings for classic projects"),
    "no_repeating": Wording(
        "You cannot export repeating instruments and events because the project does not contain any repeating "
        "instruments and events"
    ),
    "not_a_file_field": Wording("The field '{field}' does not exist or is not a 'file' field"),
    "no_file": Wording("There is no file to download for this record"),
    "nothing_to_delete": Wording("There is no file to delete for this record"),
    "bad_content": Wording('The value of the parameter "content" is not valid'),
    "insufficient": Wording(
        "Insufficient user privileges: You must have 'API Export' privileges and '{right}' privileges in the project."
    ),
    "not_an_array": Wording('The "{name}" parameter has been provided with a value, but the value is not an array.'),
    "empty_file": Wording("The file is empty", invented=True),
    # Seen at imports of records; what a file is told there is not public.
    "locked": Wording("This field is located on a form that is locked. You must first unlock this form for this record."),
    "no_record": Wording('The record "{record}" does not exist'),
    "signature": Wording("The field '{field}' is a signature field; files cannot be imported into it", invented=True),
    "missing_parameter": Wording("The parameter '{name}' is missing", invented=True),
    "no_event": Wording("The event '{event}' does not exist in this project", invented=True),
    "not_designated": Wording("The field '{field}' is on no form of the event '{event}'", invented=True),
    "bad_instance": Wording("The repeat instance '{instance}' is not valid for this field", invented=True),
    "no_upload": Wording("No valid file was uploaded (upload error {code})", invented=True),
    "blocked_extension": Wording("Files of the type '{extension}' cannot be uploaded", invented=True),
    "deidentified": Wording("Your export rights do not cover the field '{field}'", invented=True),
    "form_rights": Wording("You have no rights to the form '{form}'", invented=True),
    "offline": Wording("The project is offline", invented=True),
    "archived": Wording("The project is archived and read-only", invented=True),
    "bad_values": Wording('The following values in the parameter "{name}" are not valid: {values}'),
    "bad_logic": Wording("The filter logic cannot be evaluated: {why}", invented=True),
    "unknown_fields": Wording("The following fields were not found in the project as real data fields: {fields}"),
    "bad_data": Wording("The data being imported was formatted incorrectly: {why}", invented=True),
    "file_value": Wording("The field '{field}' is a file field and cannot be imported as a record", invented=True),
    "bad_choice": Wording("The value '{value}' is not a valid choice of the field '{field}'", invented=True),
    "bad_record_name": Wording("The record name '{record}' is not valid", invented=True),
    "other_dag": Wording("The record '{record}' belongs to another data access group", invented=True),
    "records_missing": Wording(
        "One or more of the records provided cannot be deleted because they do not exist in the project. "
        "The following records do not exist: {records}"
    ),
    "banned": Wording("Your IP address ({address}) has been banned because of too many requests", invented=True),
    "several_tabs": Wording(
        "An unknown error has occurred. This may happen if you have opened multiple browser tabs", invented=True
    ),
    "database_down": Wording(
        "The hostname (db.example.org) / username (redcap) / password (hidden) combination could not connect to the "
        "database server",
        invented=True,
    ),
    "crashed": Wording("REDCap crashed due to an unexpected PHP fatal error!"),
    "php_warning": Wording(
        "<br />\n<b>Warning</b>:  Undefined array key in <b>/var/www/redcap/api/index.php</b> on line <b>1</b><br />\n",
        invented=True,
    ),
    "post_too_large": Wording(
        "<br />\n<b>Warning</b>:  POST Content-Length of {length} bytes exceeds the limit of {limit} bytes "
        "in <b>Unknown</b> on line <b>0</b><br />\n"
    ),
    "log_in": Wording("Please log in with your user name and password", invented=True),
    "maintenance": Wording("REDCap is undergoing maintenance", invented=True),
    "internal": Wording("An unknown error occurred", invented=True),
    "elsewhere": Wording("404 Not Found", invented=True),
    "too_many": Wording("Too many requests", invented=True),
    "too_large": Wording("Request entity too large", invented=True),
}


class ApiError(Exception):
    """A request that REDCap refuses: its HTTP status and the key of the wording."""

    def __init__(self, status: int, key: str, **values: object) -> None:
        self.status = status
        self.key = key
        super().__init__(WORDING[key].text.format(**values))


FORMATS = ("json", "csv", "xml")
CONTENT_TYPES = {
    "json": "application/json; charset=utf-8",
    "csv": "text/csv; charset=utf-8",
    "xml": "text/xml; charset=utf-8",
}
_XML_HEAD = '<?xml version="1.0" encoding="UTF-8" ?>'
_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")

Rows = Sequence[Mapping[str, Any]]


def error_body(message: str, kind: str) -> bytes:
    if kind == "json":
        return json.dumps({"error": message}).encode()
    if kind == "csv":
        return f"ERROR: {message}".encode()
    return f"{_XML_HEAD}<hash><error>{_cdata(message)}</error></hash>".encode()


def rows_body(rows: Rows, kind: str, columns: Sequence[str], root: str = "records") -> bytes:
    """Rows with these columns; nested values (a user's forms) become `name:value` lists in csv."""
    if kind == "json":
        return json.dumps([dict(row) for row in rows]).encode()
    if kind == "csv":
        out = io.StringIO()
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows([_flat(row.get(column, "")) for column in columns] for row in rows)
        return out.getvalue().encode()
    items = "".join("<item>" + _elements(row) + "</item>" for row in rows)
    return f"{_XML_HEAD}<{root}>{items}</{root}>".encode()


def object_body(value: Mapping[str, Any], kind: str, root: str = "items") -> bytes:
    """One object, as content=project answers."""
    if kind == "json":
        return json.dumps(dict(value)).encode()
    if kind == "csv":
        return rows_body([value], "csv", list(value))
    return f"{_XML_HEAD}<{root}>{_elements(value)}</{root}>".encode()


def count_body(count: int, kind: str) -> bytes:
    """How many records an import touched."""
    if kind == "json":
        return json.dumps({"count": count}).encode()
    return str(count).encode() if kind == "csv" else f"<count>{count}</count>".encode()


def ids_body(ids: Iterable[str], kind: str) -> bytes:
    """The records that an import touched."""
    if kind == "json":
        return json.dumps(list(ids)).encode()
    if kind == "csv":
        return "\n".join(["id", *ids]).encode()
    return f"{_XML_HEAD}<ids>{''.join(f'<id>{_cdata(name)}</id>' for name in ids)}</ids>".encode()


def _flat(value: object) -> object:
    if isinstance(value, Mapping):
        return ",".join(f"{key}:{item}" for key, item in value.items())
    return value


def _elements(row: Mapping[str, Any]) -> str:
    parts = []
    for key, value in row.items():
        inner = _elements(value) if isinstance(value, Mapping) else _cdata(str(value)) if value != "" else ""
        parts.append(f"<{key}>{inner}</{key}>")
    return "".join(parts)


def _cdata(text: str) -> str:
    text = _NOT_XML.sub("\ufffd", text)
    return "<![CDATA[" + text.replace("]]>", "]]]]><![CDATA[>") + "]]>"


def parse_rows(data: str, kind: str) -> list[dict[str, str]]:
    """Imported rows. Raises ApiError 400 if they cannot be read."""
    return {"json": _json_rows, "csv": _csv_rows, "xml": _xml_rows}[kind](data)


def _json_rows(data: str) -> list[dict[str, str]]:
    try:
        rows = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise ApiError(400, "bad_data", why=f"not JSON ({error})") from error
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise ApiError(400, "bad_data", why="the JSON is not an array of objects")
    return [{name: "" if value is None else str(value) for name, value in row.items()} for row in rows]


def _csv_rows(data: str) -> list[dict[str, str]]:
    reader = csv.reader(io.StringIO(data.removeprefix("\ufeff")))
    try:
        lines = [line for line in reader if line]
    except csv.Error as error:
        raise ApiError(400, "bad_data", why=f"not CSV ({error})") from error
    if not lines:
        return []
    header = [name.strip() for name in lines[0]]
    if any(len(line) != len(header) for line in lines[1:]):
        raise ApiError(400, "bad_data", why="a line has more or fewer columns than the first")
    return [dict(zip(header, line, strict=True)) for line in lines[1:]]


def _xml_rows(data: str) -> list[dict[str, str]]:
    try:
        root = ElementTree.fromstring(data.encode())
    except (ParseError, DefusedXmlException, ValueError) as error:
        raise ApiError(400, "bad_data", why=f"not XML ({error})") from error
    return [{element.tag: element.text or "" for element in item} for item in root.iter("item")]


@dataclass(slots=True)
class Reply:
    """An HTTP reply. `stream` stands in for `body` where that is large; `size` is then its length in bytes."""

    status: int = 200
    body: bytes = b""
    content_type: str = "text/html; charset=utf-8"
    headers: list[tuple[str, str]] = field(default_factory=list)
    stream: IO[bytes] | None = None
    size: int = 0

    @property
    def length(self) -> int:
        return self.size if self.stream is not None else len(self.body)


#: How a server answers an import of a file: without a word, as clients see it, or as REDCap's page documents it.
SUCCESSES = ("empty", "json")


@dataclass(slots=True)
class Call:
    """What the parts of the API work on."""

    project: SandboxProject
    rights: Rights
    post: Post
    success: str = "empty"  # one of SUCCESSES

    def text(self, name: str) -> str:
        return self.post.text(name)

    def note(self, action: str, record: str, details: str) -> None:
        """Enter what was done in the project's log."""
        stamp, user = datetime.now(UTC).strftime("%Y-%m-%d %H:%M"), self.rights.username
        told = {"timestamp": stamp, "username": user, "action": f"{action} {record}", "details": details, "record": record}
        self.project.log.append(told)

    def required(self, name: str) -> str:
        value = self.text(name)
        if not value:
            raise ApiError(400, "missing_parameter", name=name)
        return value

    @property
    def format(self) -> str:
        """The format of what is exported or imported; REDCap's default is xml."""
        value = self.text("format").lower() or "xml"
        if value not in FORMATS:
            raise ApiError(400, "bad_format", value=value)
        return value

    @property
    def return_format(self) -> str:
        return return_format(self.post)

    def imported(self) -> Reply:
        """The answer to a file that is stored."""
        if self.success == "empty":
            return Reply()
        said = WORDING["imported"].text
        if self.return_format != "json":
            return Reply(body=said.encode())
        return Reply(body=json.dumps({"success": True, "message": said}, indent=2).encode(), content_type=CONTENT_TYPES["json"])

    def reply(self, body: bytes, kind: str | None = None) -> Reply:
        return Reply(body=body, content_type=CONTENT_TYPES[kind or self.format])

    def need_export(self) -> None:
        if not self.rights.api_export:
            raise ApiError(403, "no_export")

    def need_import(self) -> None:
        if not self.rights.api_import:
            raise ApiError(403, "no_import")
        if self.project.archived:
            raise ApiError(400, "archived")

    def need_right(self, held: bool, right: str) -> None:
        """For methods that ask for another right beside API Export, as its name is in the user rights page."""
        if not (held and self.rights.api_export):
            raise ApiError(400, "insufficient", right=right)

    def need_unlocked(self, record: str, key: RowKey, form: str) -> None:
        if (record, key, form) in self.project.store.locked:
            raise ApiError(400, "locked")

    def array(self, name: str) -> list[str]:
        """A list that was sent as `name[0]=…`; or as one text, where the server still takes that."""
        if self.project.strict_arrays and self.text(name):
            raise ApiError(400, "not_an_array", name=name)
        return self.post.array(name)

    def visible(self, record: str) -> bool:
        """Whether the record exists and lies in the caller's data access group."""
        store = self.project.store
        return record in store.records and self.rights.dag in (None, store.dags.get(record))


def instance_of(text: str) -> int:
    """The instance that a text names, 1 if none. Raises ApiError 400."""
    text = text or "1"
    if not (text.isascii() and text.isdigit() and 1 <= int(text) <= 32767):
        raise ApiError(400, "bad_instance", instance=text)
    return int(text)


def return_format(post: Post) -> str:
    """The format of messages: returnFormat, else format, else xml."""
    for name in ("returnFormat", "format"):
        value = post.text(name).lower()
        if value in FORMATS:
            return value
    return "xml"
