"""The API: which method a call asks for, and the methods that tell about the project."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from redcap_sandbox.call import ApiError, Call, Reply, error_body, object_body, return_format, rows_body
from redcap_sandbox.files import file_call
from redcap_sandbox.multipart import Post
from redcap_sandbox.record_export import export_records
from redcap_sandbox.record_import import delete_records, import_records
from redcap_sandbox.structure import METADATA_COLUMNS, Rights, SandboxProject, checkbox_column


def answer(call: Call) -> Reply:
    """The reply to a call, refusals included."""
    try:
        if call.project.offline:
            raise ApiError(400, "offline")
        content = call.text("content")
        method = METHODS.get(content)
        if method is None:
            raise ApiError(400, "bad_content") if content else ApiError(501, "not_implemented")
        if content in _GIVEN and (call.text("action") not in ("", "export") or call.text("data")):
            raise ApiError(501, "not_implemented")
        return method(call)
    except ApiError as error:
        return refusal(error, error_format(call.project, call.post))


def error_format(project: SandboxProject, post: Post) -> str:
    """The format of errors: the one that was asked for, or this server's own."""
    return return_format(post) if project.errors == "asked" else project.errors


def refusal(error: ApiError, kind: str) -> Reply:
    content_type = {"json": "application/json", "csv": "text/csv", "xml": "text/xml"}[kind]
    return Reply(error.status, error_body(str(error), kind), f"{content_type}; charset=utf-8")


def _rows(call: Call, rows: Sequence[Mapping[str, Any]], columns: Sequence[str], root: str) -> Reply:
    call.need_export()
    return call.reply(rows_body([_flags(call, row) for row in rows], call.format, columns, root))


def _flags(call: Call, row: Mapping[str, Any]) -> Mapping[str, Any]:
    """Numbers as text, where the server tells them so."""
    if not call.project.flags_as_text:
        return row
    return {
        name: _flags(call, value) if isinstance(value, Mapping) else str(value) if isinstance(value, int) else value
        for name, value in row.items()
    }


def _record(call: Call) -> Reply:
    action = call.text("action")
    if action == "delete":
        return delete_records(call)
    if action == "import" or (not action and "data" in call.post.fields):
        return import_records(call)
    if action in ("", "export"):
        return export_records(call)
    raise ApiError(501, "not_implemented")


def _version(call: Call) -> Reply:
    return Reply(body=call.project.version.encode(), content_type="text/html; charset=utf-8")


def _project(call: Call) -> Reply:
    call.need_export()
    project = call.project
    blank = "purpose_other project_notes custom_record_label secondary_unique_field project_irb_number project_grant_number"
    blank += " project_pi_firstname project_pi_lastname project_pi_email missing_data_codes external_modules"
    never = "surveys_enabled scheduling_enabled randomization_enabled ddp_enabled bypass_branching_erase_field_prompt"
    info: dict[str, Any] = {
        "project_id": project.project_id,
        "project_title": project.title,
        "creation_time": "2026-01-05 09:00:00",
        "production_time": "2026-02-02 09:00:00" if project.in_production else "",
        "in_production": int(project.in_production),
        "project_language": "English",
        "purpose": 2,
        "is_longitudinal": int(project.longitudinal),
        "has_repeating_instruments_or_events": int(bool(project.repeating)),
        "record_autonumbering_enabled": int(project.autonumber),
        "display_today_now_button": 1,
        **dict.fromkeys(blank.split(), ""),
        **dict.fromkeys(never.split(), 0),
    }
    return call.reply(object_body(_flags(call, info), call.format))


def _metadata(call: Call) -> Reply:
    names, forms = call.array("fields"), call.array("forms")
    rows = [
        field.metadata()
        for field in call.project.dictionary()
        if not (names or forms) or field.name in names or field.form in forms
    ]
    return _rows(call, rows, METADATA_COLUMNS, "records")


def _event(call: Call) -> Reply:
    if not call.project.longitudinal:
        raise ApiError(400, "no_events")
    arms = call.array("arms")
    rows = [
        {
            "event_name": event.label,
            "arm_num": event.arm,
            "unique_event_name": event.unique_name,
            "custom_event_label": "",
            "event_id": number,
            "day_offset": offset,
            "offset_min": 0,
            "offset_max": 0,
        }
        for offset, (number, event) in enumerate(enumerate(call.project.events, call.project.project_id * 100), 1)
        if not arms or str(event.arm) in arms
    ]
    return _rows(call, rows, list(rows[0]) if rows else ["event_name", "arm_num", "unique_event_name"], "events")


def _arm(call: Call) -> Reply:
    if not call.project.longitudinal:
        raise ApiError(400, "no_arms")
    arms = {event.arm: event.arm_name or f"Arm {event.arm}" for event in call.project.events}
    return _rows(call, [{"arm_num": n, "name": name} for n, name in arms.items()], ["arm_num", "name"], "arms")


def _mapping(call: Call) -> Reply:
    project, arms = call.project, call.array("arms")
    if not project.longitudinal:
        raise ApiError(400, "no_mapping")
    rows = [
        {"arm_num": event.arm, "unique_event_name": event.unique_name, "form": form}
        for event in project.events
        if not arms or str(event.arm) in arms
        for form in project.designations[event.unique_name]
    ]
    return _rows(call, rows, ["arm_num", "unique_event_name", "form"], "items")


def _repeating(call: Call) -> Reply:
    call.need_right(call.rights.design, "Project Design and Setup")
    project = call.project
    if not project.repeating:
        raise ApiError(400, "no_repeating")
    rows = []
    for event, forms in project.repeating.items():
        for form in forms or ("",):
            row = {"form_name": form, "custom_form_label": ""}
            rows.append({"event_name": event, **row} if project.longitudinal else row)
    return _rows(call, rows, list(rows[0]), "items")


def _instrument(call: Call) -> Reply:
    project = call.project
    rows = [
        {"instrument_name": form, "instrument_label": project.form_labels.get(form, form.replace("_", " ").title())}
        for form in project.forms
    ]
    return _rows(call, rows, ["instrument_name", "instrument_label"], "instruments")


def _field_names(call: Call) -> Reply:
    wanted = call.text("field")
    if wanted and wanted not in call.project.fields:
        raise ApiError(400, "bad_values", name="field", values=f"'{wanted}'")
    rows = []
    for field in call.project.ordered():
        if wanted not in ("", field.name) or field.is_file:  # file fields are not in this export
            continue
        choices = field.codes if field.type == "checkbox" else {"": ""}
        for code in choices if field.columns else ():
            shown = checkbox_column(field.name, code) if code else field.name
            rows.append({"original_field_name": field.name, "choice_value": code, "export_field_name": shown})
    return _rows(call, rows, ["original_field_name", "choice_value", "export_field_name"], "fields")


def _user(call: Call) -> Reply:
    call.need_right(call.rights.user_rights, "User Rights")
    rows = [_rights_row(call, call.rights)]
    return _rows(call, rows, list(rows[0]), "users")


def _rights_row(call: Call, rights: Rights) -> dict[str, Any]:
    project = call.project
    rest = "alerts reports stats_and_charts manage_survey_participants calendar"
    tools = "data_import_tool data_comparison_tool email_logging file_repository"
    quality = "data_quality_create data_quality_execute"
    never = "mobile_app mobile_app_download_data"
    locks = "record_rename lock_records_all_forms lock_records lock_records_customization"
    return {
        "username": rights.username,
        "email": f"{rights.username}@example.org",
        "firstname": "Sandbox",
        "lastname": "User",
        "expiration": "",
        "data_access_group": rights.dag or "",
        "data_access_group_id": project.dags.index(rights.dag) + 1 if rights.dag in project.dags else "",
        **{name: int(getattr(rights, name)) for name in ("design", "user_rights", "data_access_groups", "logging")},
        **dict.fromkeys(f"{rest} {tools} {quality}".split(), 0),
        "api_export": int(rights.api_export),
        "api_import": int(rights.api_import),
        **dict.fromkeys(f"{never} {locks}".split(), 0),
        "record_create": int(rights.record_create),
        "record_delete": int(rights.record_delete),
        "forms": {form: int(rights.form(form)) for form in project.forms},
        "forms_export": {form: int(rights.export) for form in project.forms},
    }


def _dag(call: Call) -> Reply:
    call.need_right(call.rights.data_access_groups, "Data Access Groups")
    rows = [
        {"data_access_group_name": name, "unique_group_name": name, "data_access_group_id": number}
        for number, name in enumerate(call.project.dags, 1)
    ]
    return _rows(call, rows, ["data_access_group_name", "unique_group_name", "data_access_group_id"], "dags")


def _next_record(call: Call) -> Reply:
    call.need_export()
    return Reply(body=call.project.store.next_name().encode(), content_type="text/html; charset=utf-8")


def _log(call: Call) -> Reply:
    call.need_right(call.rights.logging, "Logging")
    record = call.text("record")
    rows = [row for row in reversed(call.project.log) if not record or row["record"] == record]
    return _rows(call, rows, ["timestamp", "username", "action", "details", "record"], "items")


METHODS: dict[str, Callable[[Call], Reply]] = {
    "arm": _arm,
    "dag": _dag,
    "event": _event,
    "exportFieldNames": _field_names,
    "file": file_call,
    "formEventMapping": _mapping,
    "generateNextRecordName": _next_record,
    "instrument": _instrument,
    "log": _log,
    "metadata": _metadata,
    "project": _project,
    "record": _record,
    "repeatingFormsEvents": _repeating,
    "user": _user,
    "version": _version,
}
#: What is given, not made, over the sandbox's API.
_GIVEN = METHODS.keys() - {"exportFieldNames", "file", "generateNextRecordName", "log", "project", "record", "version"}
