"""Rows of REDCap's JSON -> objects. REDCap gives numbers and flags now as numbers, now as text. Pure."""

from __future__ import annotations

from typing import Any

from dropcap.redcap.model import FULL_DATA, EventInfo, FieldInfo, Mapping, ProjectInfo, Repeating, Rights
from dropcap.secret import mentions_token, without_tokens

Row = dict[str, Any]

_LEVELS = ("0", "1", "2", "3")
_LONGEST_ID = 15
#: In place of a name that holds a token.
_NO_NAME = "hidden"


def project(row: Row) -> ProjectInfo | None:
    """None if the row is none of `content=project`."""
    number = _text(row, "project_id")
    if not (number.isascii() and number.isdigit() and len(number) <= _LONGEST_ID):
        return None
    return ProjectInfo(
        project_id=int(number),
        title=without_tokens(_text(row, "project_title")),
        longitudinal=_flag(row, "is_longitudinal"),
        repeating=_flag(row, "has_repeating_instruments_or_events"),
        in_production=_flag(row, "in_production"),
        missing_codes=frozenset(
            code for one in _text(row, "missing_data_codes").split("|") if (code := one.partition(",")[0].strip())
        ),
    )


def field(row: Row) -> FieldInfo:
    return FieldInfo(
        name=_name(row, "field_name"),
        form=_name(row, "form_name"),
        type=_text(row, "field_type"),
        validation=_text(row, "text_validation_type_or_show_slider_number"),
        label=without_tokens(_text(row, "field_label")),
        identifier=_text(row, "identifier").lower() in ("y", "1"),
    )


def event(row: Row) -> EventInfo:
    return EventInfo(_name(row, "unique_event_name"), without_tokens(_text(row, "event_name")))


def mapping(row: Row) -> Mapping:
    return Mapping(_name(row, "unique_event_name"), _name(row, "form"))


def repeating(row: Row) -> Repeating:
    return Repeating(_name(row, "event_name"), _name(row, "form_name"))


def rights(row: Row) -> Rights:
    by_form = row.get("forms_export")
    return Rights(
        username=without_tokens(_text(row, "username")),
        api_import=_flag(row, "api_import"),
        api_export=_flag(row, "api_export"),
        export=_level(_text(row, "data_export")),
        forms_export=_levels(by_form) if isinstance(by_form, dict) else {},
        export_told=_text(row, "data_export") in _LEVELS,
        group=_text(row, "data_access_group").strip(),
        read_only=_read_only(row.get("forms")),
    )


def _read_only(by_form: object) -> frozenset[str]:
    """Forms without the right to edit: 0 no access, 2 read only. Later versions have other numbers, which say nothing here."""
    if not isinstance(by_form, dict):
        return frozenset()
    return frozenset(str(form) for form, level in by_form.items() if str(level) in ("0", "2"))


def _text(row: Row, key: str) -> str:
    value = row.get(key)
    return "" if value is None else str(value)


def _name(row: Row, key: str) -> str:
    """A name that is compared, and shown beside others; none of REDCap's holds a token."""
    name = _text(row, key)
    return _NO_NAME if mentions_token(name) else name


def _flag(row: Row, key: str) -> bool:
    return _text(row, key).lower() in ("1", "true", "yes")


def _level(text: str) -> int:
    return int(text) if text in _LEVELS else FULL_DATA


def _levels(by_form: dict[str, Any]) -> dict[str, int]:
    return {form: int(str(level)) for form, level in by_form.items() if str(level) in _LEVELS}
