"""Another stand-in for REDCap's API, on Python's own HTTP server. It shares nothing with `redcap_sandbox` and words all its
errors in German or nonsense: what dropcap promises must not depend on the sandbox's ways.
"""

from __future__ import annotations

import contextlib
import email.parser
import email.policy
import json
import re
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, cast
from urllib.parse import parse_qs, urlsplit

from redcap_sandbox import Sandbox
from tests.site import Site

TOKEN = "FEDCBA98765432100123456789ABCDEF"
#: Where a file lies: record, event (empty if there are none), instance (0 where nothing repeats) and field.
Place = tuple[str, str, int, str]
#: Status, content type and body of a reply.
Said = tuple[int, str, bytes]
Asked = dict[str, str]


def in_json(words: str, status: int = 400) -> Said:
    """An error of REDCap's as JSON."""
    return status, "application/json; charset=utf-8", json.dumps({"error": words}, ensure_ascii=False).encode()


def in_xml(words: str, status: int = 400) -> Said:
    """An error of REDCap's as XML."""
    body = f'<?xml version="1.0" encoding="UTF-8" ?><hash><error><![CDATA[{words}]]></error></hash>'
    return status, "text/xml; charset=utf-8", body.encode()


def in_csv(words: str, status: int = 400) -> Said:
    """An error of REDCap's as CSV."""
    return status, "text/csv; charset=utf-8", f"ERROR: {words}".encode()


@dataclass
class Other:
    """One project, what it holds, and what was asked of it. Change anything while it runs; `lock` keeps requests away.

    `before` sees each request first, and may answer it; `row` may change or drop (None) a row of a record's export.
    """

    fields: list[tuple[str, str, str]] = field(
        default_factory=lambda: [
            ("fall", "aufnahme", "text"),
            ("kuerzel", "aufnahme", "text"),
            ("brief", "arztbrief", "file"),
            ("befund", "befunde", "file"),
            ("bild", "bilder", "file"),
        ]
    )
    identifiers: set[str] = field(default_factory=set)
    events: list[str] = field(default_factory=lambda: ["aufnahme_arm_1", "tag_30_arm_1"])
    #: What repeats: (event, form), with an empty form where the event does.
    repeats: set[tuple[str, str]] = field(default_factory=lambda: {("aufnahme_arm_1", "befunde"), ("tag_30_arm_1", "")})
    records: dict[str, dict[str, str]] = field(default_factory=lambda: {f"P-{n}": {"kuerzel": f"K{n}"} for n in range(1, 61)})
    files: dict[Place, tuple[str, bytes]] = field(default_factory=dict)
    ever: list[tuple[Place, bytes]] = field(default_factory=list)  # each import, in order
    tokens: dict[str, int] = field(default_factory=lambda: {TOKEN: 4711})
    importers: set[str] = field(default_factory=set)  # tokens that may import only
    no_file: Callable[[Asked], Said] = lambda _: in_json("Hier wurde nichts abgelegt")
    before: Callable[[Asked], Said | None] = lambda _: None
    after: Callable[[Asked], Said | None] = lambda _: None  # instead of the answer to an import that was stored
    row: Callable[[dict[str, Any]], dict[str, Any] | None] = dict
    designs: bool = True
    missing_codes: str = ""
    shows: Callable[[str], Any] = lambda _: "[document]"
    asked: list[tuple[float, Asked]] = field(default_factory=list)
    lock: threading.RLock = field(default_factory=threading.RLock)
    port: int = 0
    token: str = TOKEN

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/api/"

    def count(self, content: str, action: str | None = None) -> int:
        """How often something was asked."""
        with self.lock:
            return sum(a.get("content") == content and action in (None, a.get("action")) for _, a in self.asked)

    def put(self, place: Place, content: bytes, name: str = "fremd.pdf") -> None:
        """Somebody uploads a file by hand."""
        with self.lock:
            self.files[place] = (name, content)

    def held(self, *place: Any) -> bytes | None:
        with self.lock:
            found = self.files.get(cast("Place", place))
            return found[1] if found else None

    # ------------------------------------------------------------------------------------------------------------------

    def answer(self, asked: Asked, upload: tuple[str, bytes] | None) -> Said:
        """The reply to one request."""
        said = self.before(asked)
        if said is not None:
            return said
        with self.lock:
            self.asked.append((time.monotonic(), asked))
            content = asked.get("content")
            if asked.get("token") not in self.tokens:
                return in_json("Ungültig: invalid token", 403)
            if content == "version":
                return 200, "text/html", b"15.0.9"
            importing = asked.get("action") == "import"
            if asked["token"] in self.importers and not (content == "file" and importing):
                return in_json("You do not have API Export privileges", 403)
            if content == "file":
                return self._file(asked, upload)
            if content == "record":
                return self._records(asked)
            return self._structure(asked)

    def _structure(self, asked: Asked) -> Said:
        content = asked["content"]
        forms = list(dict.fromkeys(form for _, form, _ in self.fields))
        given: Any = None
        if content == "project":
            given = {
                "project_id": str(self.tokens[asked["token"]]),
                "project_title": "Übung",
                "is_longitudinal": str(int(bool(self.events))),
                "has_repeating_instruments_or_events": str(int(bool(self.repeats))),
                "in_production": "1",
                "missing_data_codes": self.missing_codes,
            }
        elif content == "metadata":
            given = [
                {"field_name": n, "form_name": f, "field_type": t, "identifier": "y" if n in self.identifiers else ""}
                for n, f, t in self.fields
            ]
        elif content == "event" and self.events:
            given = [{"unique_event_name": e, "event_name": e, "arm_num": 1} for e in self.events]
        elif content == "formEventMapping" and self.events:
            given = [{"arm_num": 1, "unique_event_name": e, "form": f} for e in self.events for f in forms]
        elif content == "repeatingFormsEvents" and self.repeats and self.designs:
            given = [{"event_name": e, "form_name": f, "custom_form_label": ""} for e, f in sorted(self.repeats)]
        if given is None:
            return in_json(f"{content}: hier nicht")
        return 200, "application/json", json.dumps(given).encode()

    def _form(self, name: str) -> str:
        return next((form for n, form, _ in self.fields if n == name), "")

    def _place(self, asked: Asked) -> Place:
        event = asked.get("event", "") if self.events else ""
        repeats = {(event, self._form(asked["field"])), (event, "")} & self.repeats
        instance = int(asked.get("repeat_instance") or 1) if repeats else 0  # ignored where nothing repeats
        return asked["record"], event, instance, asked["field"]

    def _file(self, asked: Asked, upload: tuple[str, bytes] | None) -> Said:
        if ("file", asked["field"]) not in {(kind, name) for name, _, kind in self.fields}:
            return in_json(f"Das Feld '{asked['field']}' gibt es nicht")
        if asked["record"] not in self.records:
            return in_json(f"Fall '{asked['record']}' unbekannt")
        if self.events and asked.get("event") not in self.events:
            return in_json("Welcher Zeitpunkt?")
        place = self._place(asked)
        if asked["action"] == "import":
            assert upload is not None
            self.files[place] = upload
            self.ever.append((place, upload[1]))
            return self.after(asked) or (200, "text/html; charset=UTF-8", b"")
        if place not in self.files:
            return self.no_file(asked)
        if asked["action"] == "delete":
            del self.files[place]
            return 200, "text/html; charset=UTF-8", b""
        name, content = self.files[place]
        return 200, f'application/octet-stream; name="{name}"', content

    def _records(self, asked: Asked) -> Said:
        wanted = [value for key, value in asked.items() if key.startswith("records[")] or list(self.records)
        names = [value for key, value in asked.items() if key.startswith("fields[")]
        condition = re.findall(r"\[(\w+)\] = '([^']*)'", asked.get("filterLogic", ""))
        known = {n for n, _, _ in self.fields} | {f"{f}_complete" for _, f, _ in self.fields}
        if set(names) - known:
            return in_json(f"Unbekannt: {sorted(set(names) - known)}")
        rows = []
        for record in wanted:
            if record not in self.records:
                continue
            if condition and not any(self.records[record].get(n) == v for n, v in condition):
                continue
            rows += [row for row in map(self.row, self._rows(record, names)) if row is not None]
        return 200, "application/json", json.dumps(rows, ensure_ascii=False).encode()

    def _rows(self, record: str, names: list[str]) -> list[dict[str, Any]]:
        rows: dict[tuple[str, str, int], dict[str, Any]] = {}

        def at(event: str, form: str, instance: int) -> dict[str, Any]:
            if (event, form, instance) not in rows:
                row: dict[str, Any] = dict.fromkeys(names, "")
                if self.fields[0][0] in names:
                    row[self.fields[0][0]] = record
                if self.events:
                    row["redcap_event_name"] = event
                if self.repeats:
                    row |= {"redcap_repeat_instrument": form, "redcap_repeat_instance": instance or ""}
                rows[event, form, instance] = row
            return rows[event, form, instance]

        first = at(self.events[0] if self.events else "", "", 0)
        first |= {name: value for name, value in self.records[record].items() if name in names}
        for (of, event, instance, name), (called, _) in sorted(self.files.items()):
            if of == record:
                form = self._form(name) if (event, self._form(name)) in self.repeats else ""
                row = at(event, form, instance)
                if name in names:
                    row[name] = self.shows(called)
                if f"{self._form(name)}_complete" in names:
                    row[f"{self._form(name)}_complete"] = "0"
        return list(rows.values())


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    other: Other

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        kind = self.headers.get("Content-Type", "")
        upload = None
        if kind.startswith("multipart/"):
            head = f"Content-Type: {kind}\r\n\r\n".encode()
            message = email.parser.BytesParser(policy=email.policy.HTTP).parsebytes(head + body)
            asked = {}
            for part in message.iter_parts():  # type: ignore[attr-defined]
                name, content = part.get_param("name", header="content-disposition"), part.get_payload(decode=True)
                if part.get_filename() is not None:
                    upload = (part.get_filename(), content)
                else:
                    asked[name] = content.decode()
        else:
            asked = {key: values[-1] for key, values in parse_qs(body.decode(), keep_blank_values=True).items()}
        status, content_type, said = self.other.answer(asked, upload)
        if status == 0:  # the connection breaks off
            self.close_connection = True
            return
        length = "no-length" not in content_type
        self.send_response(status)
        self.send_header("Content-Type", content_type.replace("no-length", ""))
        if length:
            self.send_header("Content-Length", str(len(said)))
        else:
            self.close_connection = True
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(said)

    def log_message(self, format: str, *args: Any) -> None:
        pass


@contextlib.contextmanager
def other_site(root: Path, **settings: Any) -> Iterator[tuple[Site, Other]]:
    """A drop folder that is delivered to it; `settings` are `Other`'s."""
    other = Other(**settings)
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"other": other}))
    server.daemon_threads = True
    other.port = server.server_port
    assert urlsplit(other.url).port
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    place = Site(root, cast("Sandbox", other))
    place.folder["rules"] = [
        {"name": "brief", "pattern": "{record:word}__brief*.pdf", "field": "brief"},
        {"name": "next", "pattern": "{record:word}__befund_{n:digits}.pdf", "field": "befund", "instance": "next"},
    ]
    if other.events:
        for rule in place.folder["rules"]:
            rule["event"] = other.events[0]
    place.write_config()
    try:
        yield place, other
    finally:
        place.close()
        server.shutdown()
        thread.join(5)
        server.server_close()
