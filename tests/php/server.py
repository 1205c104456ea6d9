"""REDCap's API as `router.php` speaks it, under a real PHP."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import http.client
import json
import os
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

from redcap_sandbox import Sandbox
from tests import needs
from tests.site import TOKEN, Site, eventually

ROUTER = Path(__file__).with_name("router.php")
BASELINE, MONTH_6 = "baseline_arm_1", "month_6_arm_1"


class RealPhp:
    """A PHP server with a project of its own in `state`. What it holds can be looked at, and changed, in its files."""

    token = TOKEN

    def __init__(self, state: Path, port: int) -> None:
        self.state = state
        self.port = port
        self.url = f"http://127.0.0.1:{port}/api/"

    def rows(self) -> list[dict[str, Any]]:
        return cast("list[dict[str, Any]]", json.loads((self.state / "records.json").read_text()))

    def set_value(self, record: str, field: str, value: str, event: str = BASELINE) -> None:
        """A value in the row of `record`, which is made if need be."""
        rows = self.rows()
        row = next((row for row in rows if (row["record"], row["event"], row["form"]) == (record, event, "")), None)
        if row is None:
            row = {"record": record, "event": event, "form": "", "instance": "", "values": {}}
            rows.append(row)
        row["values"] = {**row["values"], field: value}
        (self.state / "records.json").write_text(json.dumps(rows))

    def held(self) -> dict[tuple[str, str, str, Any], bytes]:
        """The names, as PHP gave them, of all files by record, event, field and instance."""
        files = self.project["file_fields"]
        return {
            (row["record"], row["event"], field, row["instance"]): base64.b64decode(value)
            for row in self.rows()
            for field, value in dict(row["values"]).items()
            if field in files and value
        }

    def content(self, record: str, field: str, event: str = BASELINE, form: str = "", instance: Any = "") -> bytes:
        """A file's bytes. Raises FileNotFoundError."""
        key = json.dumps([record, event, form, instance, field], separators=(",", ":"))
        return (self.state / "files" / hashlib.sha1(key.encode(), usedforsecurity=False).hexdigest()).read_bytes()

    @property
    def project(self) -> dict[str, Any]:
        return cast("dict[str, Any]", json.loads((self.state / "project.json").read_text()))

    def noisy(self, how: str = "") -> None:
        """From now on PHP warns of something in each reply."""
        (self.state / "noisy").write_text(how)

    def tells_no_length(self, how: str = "") -> None:
        """From now on no reply says where it ends, but by the end of the connection."""
        (self.state / "no_length").write_text(how)

    def post(self, path: str, body: bytes, content_type: str) -> tuple[int, bytes]:
        """A request's status and reply."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        with contextlib.closing(connection):
            connection.request("POST", path, body, {"Content-Type": content_type})
            reply = connection.getresponse()
            return reply.status, reply.read()


@contextlib.contextmanager
def real_php(state: Path, *, longitudinal: bool = True, **settings: str) -> Iterator[RealPhp]:
    """A running server; `settings` as in php.ini."""
    (state / "files").mkdir(parents=True)
    (state / "project.json").write_text(json.dumps(_project(longitudinal)))
    event = BASELINE if longitudinal else ""
    people = [
        {"record": str(n), "event": event, "form": "", "instance": "", "values": {"initials": f"A{chr(64 + n % 26)}"}}
        for n in range(101, 121)
    ]
    (state / "records.json").write_text(json.dumps(people))
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    defaults = {
        "output_buffering": "33554432",
        "display_errors": "0",
        "html_errors": "1",
        "upload_max_filesize": "64M",
        "post_max_size": "80M",
        "max_input_vars": "100000",
        "upload_tmp_dir": str(state),
    }
    options = [word for key, value in {**defaults, **settings}.items() for word in ("-d", f"{key}={value}")]
    with (state / "php.log").open("wb") as log:
        process = subprocess.Popen(
            [needs.program("php"), "-n", *options, "-S", f"127.0.0.1:{port}", str(ROUTER)],
            env={**os.environ, "STATE": str(state), "PHP_CLI_SERVER_WORKERS": "4"},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        eventually(lambda: process.poll() is not None or _listens(port))
        assert process.poll() is None, (state / "php.log").read_text()
        yield RealPhp(state, port)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # the workers too
        process.wait(10)


@contextlib.contextmanager
def php_site(root: Path, **settings: Any) -> Iterator[tuple[Site, RealPhp]]:
    """A drop folder that is delivered to a real PHP. `101_NAME` goes to record 101 as NAME, `101-NAME` under its whole name."""
    with real_php(root / "php", **settings) as php:
        place = Site(root, cast("Sandbox", php))
        place.folder["rules"] = [
            {
                "name": "lab",
                "pattern": "{record:digits}_lab_{x:any}",
                "event": BASELINE,
                "field": "lab_report",
                "instance": "next",
                "upload_as": "{x}",
            },
            {
                "name": "scan",
                "pattern": "{record:digits}_{x:any}",
                "event": BASELINE,
                "field": "consent_pdf",
                "upload_as": "{x}",
            },
            {"name": "own name", "pattern": "{record:digits}-*", "event": BASELINE, "field": "consent_pdf"},
        ]
        if not settings.get("longitudinal", True):
            for rule in place.folder["rules"]:
                del rule["event"]
        place.write_config()
        try:
            yield place, php
        finally:
            place.close()


def _listens(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False


def _project(longitudinal: bool) -> dict[str, Any]:
    fields = [
        ("record_id", "demographics", "text"),
        ("initials", "demographics", "text"),
        ("mrn", "demographics", "text"),
        ("consent_pdf", "consent", "file"),
        ("lab_report", "laboratory", "file"),
    ]
    events = [(BASELINE, "Baseline"), (MONTH_6, "Month 6")]
    forms = ("demographics", "consent", "laboratory")
    return {
        "token": TOKEN,
        "info": {
            "project_id": 7,
            "project_title": "Ünder PHP",
            "is_longitudinal": int(longitudinal),
            "has_repeating_instruments_or_events": 1,
            "in_production": 0,
        },
        "metadata": [
            {"field_name": name, "form_name": form, "field_type": kind, "field_label": name, "identifier": ""}
            for name, form, kind in fields
        ],
        "file_fields": [name for name, _, kind in fields if kind == "file"],
        "event": [{"unique_event_name": name, "event_name": label, "arm_num": 1} for name, label in events if longitudinal],
        "formEventMapping": [
            {"arm_num": 1, "unique_event_name": name, "form": form} for name, _ in events for form in forms if longitudinal
        ],
        "repeatingFormsEvents": [
            {"event_name": name, "form_name": "laboratory", "custom_form_label": ""}
            for name in ((BASELINE, MONTH_6) if longitudinal else ("",))
        ],
        "user": [{"username": "dropcap", "api_import": 1, "api_export": 1, "data_export": 1, "forms_export": {}}],
    }
