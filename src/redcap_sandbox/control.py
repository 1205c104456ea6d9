"""The control pages, beneath /_sandbox/: what the sandbox holds and was asked, and how it is. They meet no fault."""

from __future__ import annotations

import json
from collections.abc import Mapping
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
#: The pages to look at, and those to post to.
LOOKS = ("holdings", "versions", "requests", "content", "faults", "settings", "wording")
ACTIONS = ("ill", "well", "unban", "forget", "set", "grant", "revoke", "value", "delete", "lock", "unlock")


def control(stand_in: StandIn, exchange: Exchange) -> Reply:
    """Answer a control page: JSON, 400 with an `error` for what cannot be done, 404 for what is not there."""
    body = bytearray()
    while len(body) <= LARGEST and (chunk := exchange.body.read(64 * 1024)):
        body += chunk
    page = exchange.path.removeprefix("/_sandbox/")
    if exchange.method == "GET" and page == "content":
        return _content(stand_in, dict(parse_qsl(exchange.query)))
    if exchange.method == "GET" and page in LOOKS:
        return _json(_look(stand_in, page))
    if exchange.method != "POST" or page not in ACTIONS:
        return _json({"error": f"there is no control page {page!r}", "GET": LOOKS, "POST": ACTIONS}, 404)
    try:
        told = json.loads(bytes(body) or b"{}")
        if not isinstance(told, dict):
            raise ValueError("the body is no JSON object")
        _do(stand_in, page, told)
    except (ValueError, TypeError, RecursionError) as error:
        return _json({"error": str(error)}, 400)
    except KeyError as error:
        return _json({"error": f"{error.args[0]} is not there, or not told"}, 400)
    return _json({})


def _json(value: object, status: int = 200) -> Reply:
    return Reply(status, json.dumps(value).encode(), "application/json")


def _content(stand_in: StandIn, query: Mapping[str, str]) -> Reply:
    try:
        instance = int(query["instance"]) if query.get("instance") else None
        content = stand_in.content(query["record"], query["field"], query.get("event"), instance)
    except (KeyError, ValueError) as error:
        return _json({"error": f"there is no such file: {error}"}, 404)
    return Reply(200, content, "application/octet-stream")


def _look(stand_in: StandIn, page: str) -> object:
    match page:
        case "holdings":
            return [asdict(holding) for holding in stand_in.holdings()]
        case "versions":  # what fields held before, where keeps_versions is on; oldest first
            return _versions(stand_in)
        case "requests":
            return [asdict(request) for request in stand_in.requests]
        case "faults":
            on = [{"kind": fault.kind, "match": dict(fault.match), **fault.params} for fault in stand_in.illness.faults]
            return {"on": on, "kinds": KINDS, "match": sorted(MATCHED)}
        case "settings":
            now = settings(stand_in)
            return {name: {"value": now[name], "meaning": setting.meaning} for name, setting in SETTINGS.items()}
    return {key: {"text": wording.text, "invented": wording.invented} for key, wording in WORDING.items()}


def _versions(stand_in: StandIn) -> list[dict[str, Any]]:
    store = stand_in.project.store
    with store.lock:
        return [
            {"record": record, "event": key.event, "instance": key.instance or None, "field": field}
            | {"name": stored.name, "size": stored.size, "sha256": stored.sha256}
            for (record, key, field), versions in store.versions.items()
            for stored in versions
        ]


def _do(stand_in: StandIn, page: str, told: dict[str, Any]) -> None:
    """Raises ValueError, TypeError, KeyError."""
    store = stand_in.project.store
    match page:
        case "ill":
            stand_in.ill(Fault.from_json(told))
        case "well":
            stand_in.well()
        case "unban":
            stand_in.unban()
        case "forget":
            stand_in.forget()
        case "set":
            change(stand_in, told)
        case "grant":
            token = _text(told, "token")
            wanted = {name: value for name, value in told.items() if name != "token"}
            stand_in.grant(token, rights(wanted, stand_in.tokens.get(token)))
        case "revoke":
            stand_in.revoke(_text(told, "token"))
        case "value":
            field = stand_in.project.field_of(_text(told, "field"))
            if field.is_file:
                raise ValueError(f"{field.name} is a file field; files go in over the API")
            store.set_value(_text(told, "record"), _row(stand_in, told, field.form), field.name, _text(told, "value"))
        case "delete":
            record = _text(told, "record")
            if record not in store.records:
                raise ValueError(f"there is no record {record!r}")
            store.delete(record)
        case "lock":
            store.locked.add((_text(told, "record"), _row(stand_in, told, told["form"]), told["form"]))
        case "unlock":
            store.locked.discard((_text(told, "record"), _row(stand_in, told, told["form"]), told["form"]))


def _text(told: Mapping[str, Any], name: str) -> str:
    """What is told under a name, as text; a number may stand for it. Raises ValueError, KeyError."""
    value = told[name]
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise ValueError(f"{name} is {json.dumps(value)}; use a text")
    return str(value)


def _row(stand_in: StandIn, told: Mapping[str, Any], form: str) -> RowKey:
    """The row that `event` (default: the first) and `instance` (default: 1 where it repeats) name."""
    project = stand_in.project
    event = told.get("event") or project.events[0].unique_name
    if event not in project.event_names or form not in project.designations[event]:
        raise ValueError(f"the form {form!r} is not at the event {event!r}, or one of them is not there")
    repeats = project.repeats(event, form)
    return RowKey(event) if repeats is None else RowKey(event, repeats, int(told.get("instance") or 1))
