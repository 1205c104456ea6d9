"""The control pages, beneath /_sandbox/: what the sandbox holds and was asked, and how it is. They meet no fault."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any
from urllib.parse import parse_qsl

from redcap_sandbox.call import WORDING, Reply
from redcap_sandbox.exchange import Exchange
from redcap_sandbox.fault import KINDS, MATCHED, Fault
from redcap_sandbox.stand_in import SETTINGS, StandIn, change, rights, settings
from redcap_sandbox.structure import RowKey

#: A body of these pages is JSON of a few lines.
LARGEST = 16 * 1024**2

Told = Mapping[str, Any]


def control(stand_in: StandIn, exchange: Exchange) -> Reply:
    """Answer a control page: JSON, 400 with an `error` for what cannot be done, 404 for what is not there."""
    body = bytearray()
    while len(body) <= LARGEST and (chunk := exchange.body.read(64 * 1024)):
        body += chunk
    page = exchange.path.removeprefix("/_sandbox/")
    if exchange.method == "GET":
        look = LOOKS.get(page)
        return look(stand_in, dict(parse_qsl(exchange.query))) if look else _missing(page)
    do = DEEDS.get(page)
    if exchange.method != "POST" or do is None:
        return _missing(page)
    try:
        told = json.loads(bytes(body) or b"{}")
        if not isinstance(told, dict):
            raise ValueError("the body is no JSON object")
        do(stand_in, told)
    except (ValueError, TypeError, RecursionError) as error:
        return _json({"error": str(error)}, 400)
    except KeyError as error:
        return _json({"error": f"{error.args[0]} is not there, or not told"}, 400)
    return _json({})


def _json(value: object, status: int = 200) -> Reply:
    return Reply(status, json.dumps(value).encode(), "application/json")


def _missing(page: str) -> Reply:
    return _json({"error": f"there is no control page {page!r}", "GET": list(LOOKS), "POST": list(DEEDS)}, 404)


# Looks -------------------------------------------------------------------------------------------------------------


def _holdings(stand_in: StandIn, query: Told) -> Reply:
    return _json([asdict(holding) for holding in stand_in.holdings()])


def _versions(stand_in: StandIn, query: Told) -> Reply:
    """What fields held before, where keeps_versions is on; oldest first."""
    store = stand_in.project.store
    with store.lock:
        rows = [
            {"record": record, "event": key.event, "instance": key.instance or None, "field": field, **_about(stored)}
            for (record, key, field), versions in store.versions.items()
            for stored in versions
        ]
    return _json(rows)


def _about(stored: Any) -> dict[str, Any]:
    return {"name": stored.name, "size": stored.size, "sha256": stored.sha256}


def _requests(stand_in: StandIn, query: Told) -> Reply:
    return _json([asdict(request) for request in stand_in.requests])


def _content(stand_in: StandIn, query: Told) -> Reply:
    try:
        instance = int(query["instance"]) if query.get("instance") else None
        content = stand_in.content(query["record"], query["field"], query.get("event"), instance)
    except (KeyError, ValueError) as error:
        return _json({"error": f"there is no such file: {error}"}, 404)
    return Reply(200, content, "application/octet-stream")


def _faults(stand_in: StandIn, query: Told) -> Reply:
    on = [{"kind": fault.kind, "match": dict(fault.match), **fault.params} for fault in stand_in.illness.faults]
    return _json({"on": on, "kinds": KINDS, "match": sorted(MATCHED)})


def _settings(stand_in: StandIn, query: Told) -> Reply:
    now = settings(stand_in)
    return _json({name: {"value": now[name], "meaning": setting.meaning} for name, setting in SETTINGS.items()})


def _wording(stand_in: StandIn, query: Told) -> Reply:
    return _json({key: {"text": wording.text, "invented": wording.invented} for key, wording in WORDING.items()})


# Deeds -------------------------------------------------------------------------------------------------------------


def _text(told: Told, name: str) -> str:
    """What is told under a name, as text; a number may stand for it. Raises ValueError, KeyError."""
    value = told[name]
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise ValueError(f"{name} is {json.dumps(value)}; use a text")
    return str(value)


def _ill(stand_in: StandIn, told: Told) -> None:
    stand_in.ill(Fault.from_json(dict(told)))


def _well(stand_in: StandIn, told: Told) -> None:
    stand_in.well()


def _unban(stand_in: StandIn, told: Told) -> None:
    stand_in.unban()


def _forget(stand_in: StandIn, told: Told) -> None:
    stand_in.forget()


def _set(stand_in: StandIn, told: Told) -> None:
    change(stand_in, told)


def _grant(stand_in: StandIn, told: Told) -> None:
    wanted = dict(told)
    token = _text(wanted, "token")
    del wanted["token"]
    stand_in.grant(token, rights(wanted, stand_in.tokens.get(token)))


def _revoke(stand_in: StandIn, told: Told) -> None:
    stand_in.revoke(_text(told, "token"))


def _value(stand_in: StandIn, told: Told) -> None:
    field = stand_in.project.field_of(_text(told, "field"))
    if field.is_file:
        raise ValueError(f"{field.name} is a file field; files go in over the API")
    store = stand_in.project.store
    store.set_value(_text(told, "record"), _row(stand_in, told, field.form), field.name, _text(told, "value"))


def _delete(stand_in: StandIn, told: Told) -> None:
    record = _text(told, "record")
    if record not in stand_in.project.store.records:
        raise ValueError(f"there is no record {record!r}")
    stand_in.project.store.delete(record)


def _lock(stand_in: StandIn, told: Told) -> None:
    stand_in.project.store.locked.add((_text(told, "record"), _row(stand_in, told, told["form"]), told["form"]))


def _unlock(stand_in: StandIn, told: Told) -> None:
    stand_in.project.store.locked.discard((_text(told, "record"), _row(stand_in, told, told["form"]), told["form"]))


def _row(stand_in: StandIn, told: Told, form: str) -> RowKey:
    """The row that `event` (default: the first) and `instance` (default: 1 where it repeats) name."""
    project = stand_in.project
    event = told.get("event") or project.events[0].unique_name
    if event not in project.event_names or form not in project.designations[event]:
        raise ValueError(f"the form {form!r} is not at the event {event!r}, or one of them is not there")
    repeats = project.repeats(event, form)
    return RowKey(event) if repeats is None else RowKey(event, repeats, int(told.get("instance") or 1))


LOOKS: dict[str, Callable[[StandIn, Told], Reply]] = {
    "holdings": _holdings,
    "versions": _versions,
    "requests": _requests,
    "content": _content,
    "faults": _faults,
    "settings": _settings,
    "wording": _wording,
}
DEEDS: dict[str, Callable[[StandIn, Told], None]] = {
    "ill": _ill,
    "well": _well,
    "unban": _unban,
    "forget": _forget,
    "set": _set,
    "grant": _grant,
    "revoke": _revoke,
    "value": _value,
    "delete": _delete,
    "lock": _lock,
    "unlock": _unlock,
}
