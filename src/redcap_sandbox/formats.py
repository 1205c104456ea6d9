"""Replies and imported data as json, csv and xml, in REDCap's shapes."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from xml.etree.ElementTree import ParseError

from defusedxml import ElementTree
from defusedxml.common import DefusedXmlException

from redcap_sandbox.wording import ApiError

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
    return str(count).encode() if kind == "csv" else f"{_XML_HEAD}<hash><count>{count}</count></hash>".encode()


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
    if kind == "json":
        return _json_rows(data)
    if kind == "csv":
        return _csv_rows(data)
    return _xml_rows(data)


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
