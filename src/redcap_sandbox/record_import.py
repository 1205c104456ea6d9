"""content=record, import and delete."""

from __future__ import annotations

from redcap_sandbox.call import ApiError, Call, Reply, count_body, ids_body, instance_of, parse_rows
from redcap_sandbox.structure import Field, RowKey

_KEYS = frozenset({"redcap_event_name", "redcap_repeat_instrument", "redcap_repeat_instance", "redcap_data_access_group"})


def import_records(call: Call) -> Reply:
    """All rows or none. Raises ApiError for what REDCap refuses."""
    call.need_import()
    if call.text("type").lower() not in ("", "flat"):
        raise ApiError(501, "not_implemented")
    rows = parse_rows(call.required("data"), call.format)
    columns = {column: field for field in call.project.fields.values() for column in field.columns}
    unknown = {name for row in rows for name in row} - set(columns) - _KEYS
    if unknown:
        raise ApiError(400, "unknown_fields", fields=", ".join(sorted(unknown)))
    with call.project.store.lock:
        renamed = _names(call, rows)
        places = [_check(call, row, renamed, columns) for row in rows]
        overwrite = call.text("overwriteBehavior") == "overwrite"
        for row, (record, key) in zip(rows, places, strict=True):
            _write(call, row, record, key, columns, overwrite)
    return _answer(call, renamed)


def _names(call: Call, rows: list[dict[str, str]]) -> dict[str, str]:
    """Record name as it came -> as it is stored, in the order of the rows."""
    id_field, store = call.project.record_id, call.project.store
    names = dict.fromkeys(row.get(id_field, "").strip() for row in rows)
    if not call.project.autonumber or call.text("forceAutoNumber").lower() not in ("true", "1"):
        return {name: name for name in names}
    first = int(store.next_name())
    return {name: str(first + offset) for offset, name in enumerate(names)}


def _check(call: Call, row: dict[str, str], renamed: dict[str, str], columns: dict[str, Field]) -> tuple[str, RowKey]:
    """Where the row goes. Raises ApiError if it may not."""
    project, store = call.project, call.project.store
    record = renamed[row.get(project.record_id, "").strip()]
    if not record or len(record) > project.max_record_name:
        raise ApiError(400, "bad_record_name", record=record)
    if record not in store.records and not call.rights.record_create:
        raise ApiError(403, "no_create")
    if record in store.records and not call.visible(record):
        raise ApiError(400, "other_dag", record=record)
    key = _key(call, row)
    for name, value in row.items():
        field = columns.get(name)
        if field is None or not value or name == project.record_id:
            continue
        if field.is_file:
            raise ApiError(400, "file_value", field=name)
        if field.form not in project.designations[key.event]:
            raise ApiError(400, "not_designated", field=name, event=key.event)
        if (project.repeats(key.event, field.form) or "") != key.instrument:
            raise ApiError(400, "bad_instance", instance=row.get("redcap_repeat_instance", ""))
        call.need_unlocked(record, key, field.form)
        codes = {"0": "", "1": ""} if field.type == "checkbox" else field.codes
        if codes and value not in codes:
            raise ApiError(400, "bad_choice", value=value, field=name)
    group = row.get("redcap_data_access_group", "")
    if group and group not in project.dags:
        raise ApiError(400, "bad_values", name="redcap_data_access_group", values=f"'{group}'")
    return record, key


def _key(call: Call, row: dict[str, str]) -> RowKey:
    project = call.project
    event = row.get("redcap_event_name", "")
    if not project.longitudinal or not event:
        event = project.events[0].unique_name
    elif event not in project.event_names:
        raise ApiError(400, "no_event", event=event)
    instrument, instance = row.get("redcap_repeat_instrument", ""), row.get("redcap_repeat_instance", "").strip()
    forms = project.repeating.get(event)
    if instrument and (forms is None or instrument not in forms):
        raise ApiError(400, "bad_values", name="redcap_repeat_instrument", values=f"'{instrument}'")
    if not instrument and forms != ():
        return RowKey(event)
    if instance == "new":
        record = row.get(project.record_id, "").strip()
        taken = (k.instance for k in project.store.records.get(record, {}) if k[:2] == (event, instrument))
        return RowKey(event, instrument, max(taken, default=0) + 1)
    return RowKey(event, instrument, instance_of(instance))


def _write(call: Call, row: dict[str, str], record: str, key: RowKey, columns: dict[str, Field], overwrite: bool) -> None:
    project, store = call.project, call.project.store
    is_new = record not in store.records
    store.make_row(record, key)
    for name, value in row.items():
        if name in columns and not columns[name].is_file and (value or overwrite):
            store.set_value(record, key, name, record if name == project.record_id else value)
    group = row.get("redcap_data_access_group", "")
    if call.rights.dag is not None:
        group = call.rights.dag if is_new else ""
    if group:
        store.dags[record] = group
    call.note("Create record" if is_new else "Update record", record, ", ".join(n for n in row if n in columns))


def _answer(call: Call, renamed: dict[str, str]) -> Reply:
    kind, content = call.return_format, call.text("returnContent") or "count"
    if content == "nothing":
        return Reply()
    if content == "ids":
        return call.reply(ids_body(renamed.values(), kind), kind)
    if content == "auto_ids" and call.project.autonumber and call.text("forceAutoNumber").lower() in ("true", "1"):
        return call.reply(ids_body([f"{stored},{came}" for came, stored in renamed.items()], kind), kind)
    return call.reply(count_body(len(renamed), kind), kind)


def delete_records(call: Call) -> Reply:
    """Whole records, or what a form has of them (REDCap 12). Raises ApiError for what REDCap refuses."""
    if not call.rights.record_delete:
        raise ApiError(403, "no_delete")
    call.need_import()
    form, event, instance = (call.text(part) for part in ("instrument", "event", "repeat_instance"))
    if (event or instance) and not form:
        raise ApiError(501, "not_implemented")
    store = call.project.store
    records = call.array("records")
    with store.lock:
        if missing := [record for record in records if not call.visible(record)]:
            raise ApiError(400, "records_missing", records=", ".join(missing))
        for record in records:
            if form:
                store.delete_form(
                    record, form, event, instance, [one for one in call.project.fields.values() if one.form == form]
                )
            else:
                store.delete(record)
            call.note("Delete record", record, "")
    return call.reply(str(len(records)).encode(), call.return_format)
