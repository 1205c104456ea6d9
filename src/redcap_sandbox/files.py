"""content=file: import, export and delete the file of one field."""

from __future__ import annotations

import re

from redcap_sandbox.call import ApiError, Call, Reply, instance_of
from redcap_sandbox.multipart import UploadError
from redcap_sandbox.structure import Field, RowKey

_UNSAFE = re.compile(r"[^A-Za-z0-9._ -]")


def file_call(call: Call) -> Reply:
    """Raises ApiError for what REDCap refuses."""
    action = {"export": _export, "import": _import, "delete": _delete}.get(call.text("action"))
    if action is None:
        raise ApiError(501, "not_implemented")
    with call.project.store.lock:  # nobody deletes the record between the look at it and the change
        return action(call)


def _place(call: Call) -> tuple[str, RowKey, Field]:
    """Record, row and field that the call speaks of."""
    record, name = call.required("record").strip(), call.required("field")
    field = call.project.fields.get(name)
    if field is None or not field.is_file:
        raise ApiError(400, "not_a_file_field", field=name)
    if call.rights.form(field.form) == "0":
        raise ApiError(403, "form_rights", form=field.form)
    event = _event(call, field)
    repeats = call.project.repeats(event, field.form)  # without an instance the first; of no effect where nothing repeats
    key = RowKey(event) if repeats is None else RowKey(event, repeats, instance_of(call.text("repeat_instance").strip()))
    if not call.visible(record):
        raise ApiError(400, "no_record", record=record)
    return record, key, field


def _event(call: Call, field: Field) -> str:
    project = call.project
    if not project.longitudinal:
        return project.events[0].unique_name
    event = call.required("event")
    if event not in project.event_names:
        raise ApiError(400, "no_event", event=event)
    if field.form not in project.designations[event]:
        raise ApiError(400, "not_designated", field=field.name, event=event)
    return event


def _import(call: Call) -> Reply:
    call.need_import()
    project = call.project
    record, key, field = _place(call)
    call.need_unlocked(record, key, field.form)
    if field.is_signature:
        raise ApiError(400, "signature", field=field.name)
    if call.rights.form(field.form) == "2":
        raise ApiError(403, "form_rights", form=field.form)
    posted = call.post.files.get("file")
    if posted is None or posted.error:
        raise ApiError(400, "no_upload", code=int(posted.error if posted else UploadError.NO_FILE))
    if not posted.upload.size and project.empty_files == "refuse":
        raise ApiError(400, "empty_file")
    name = posted.name
    extension = name.rpartition(".")[2].lower()
    if extension in project.blocked_extensions:
        raise ApiError(400, "blocked_extension", extension=extension)
    if project.sanitize_names:
        name = _UNSAFE.sub("_", name)
    stored = project.store.put_file(record, key, field.name, name, posted.upload)
    del call.post.files["file"]  # the store has it now
    call.note("Update record", record, f"{field.name} = '{stored.doc_id}'")
    return call.imported()


def _export(call: Call) -> Reply:
    call.need_export()
    record, key, field = _place(call)
    if call.rights.export == "0" or (call.rights.export in ("2", "3") and field.identifier):
        raise ApiError(403, "deidentified", field=field.name)
    stored = call.project.store.file(record, key, field.name)
    if stored is None:
        raise ApiError(400, "no_file")
    charset = ";charset=UTF-8" if stored.mime.startswith("text/") else ""
    name = stored.name.replace('"', "'").replace("\r", " ").replace("\n", " ")
    call.note("Download uploaded document", record, field.name)
    reply = Reply(content_type=f'{stored.mime}; name="{name}"{charset}')
    if isinstance(stored.content, bytes):
        reply.body = stored.content
    else:
        reply.stream, reply.size = stored.open(), stored.size
    return reply


def _delete(call: Call) -> Reply:
    call.need_import()
    record, key, field = _place(call)
    if call.rights.form(field.form) == "2":
        raise ApiError(403, "form_rights", form=field.form)
    call.need_unlocked(record, key, field.form)
    if not call.project.store.remove_file(record, key, field.name):
        raise ApiError(400, "nothing_to_delete")
    call.note("Delete uploaded document", record, field.name)
    return Reply()
