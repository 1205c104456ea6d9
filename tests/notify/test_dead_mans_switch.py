"""The dead man's switch, against a real server: it is called while dropcap works, and no longer."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from redcap_sandbox import Fault
from tests.site import Site, eventually


class Monitor:
    """What watches: when it was called, and what it answers."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.status = 200
        monitor = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                monitor.calls.append(self.path)
                self.send_response(monitor.status)
                self.send_header("Location", "/elsewhere")
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:
                pass

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/ping/SECRET-PATH"


@pytest.fixture
def monitor() -> Iterator[Monitor]:
    made = Monitor()
    thread = threading.Thread(target=made.server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    yield made
    made.server.shutdown()
    thread.join(5)
    made.server.server_close()


def watched(place: Site, url: str) -> Path:
    file = place.root / "alive.url"
    file.write_text(f"{url}\n")
    file.chmod(0o600)
    place.config["notify"] = {"heartbeat": {"url_file": str(file), "every": "10s"}}
    place.write_config()
    return file


def test_it_is_called_while_something_is_paused_and_not_by_a_dead_one(place: Site, monitor: Monitor) -> None:
    watched(place, monitor.url)
    place.box.ill(Fault("maintenance"))
    place.put("101_V1_consent.pdf")
    daemon = place.start()
    daemon.wait_for("paused")
    eventually(lambda: len(monitor.calls) >= 2, patience=30)
    assert set(monitor.calls) == {"/ping/SECRET-PATH"}
    daemon.kill()
    made = len(monitor.calls)
    time.sleep(11)  # that nothing comes can only be waited for
    assert len(monitor.calls) == made


def test_what_fails_is_told_once_and_without_the_address(place: Site, monitor: Monitor) -> None:
    file = watched(place, monitor.url)
    monitor.status = 302
    daemon = place.start()
    assert daemon.wait_for("heartbeat_failed")[0]["message"] == "notify.heartbeat was answered with 302"
    eventually(lambda: len(monitor.calls) >= 2, patience=30)
    assert "/elsewhere" not in monitor.calls
    assert len(daemon.events("heartbeat_failed")) == 1
    file.write_text("http://127.0.0.1:1/SECRET-PATH")
    daemon.wait_for("heartbeat_failed", 2)
    place.config.pop("notify")
    place.write_config()
    assert place.dropcap("reload").returncode == 0
    assert daemon.stop() == 0
    assert "SECRET" not in "".join(daemon.raw)


def test_what_cannot_be_meant_is_told_by_check(place: Site, monitor: Monitor) -> None:
    file = watched(place, monitor.url)
    assert place.dropcap("check", "--offline").returncode == 0
    file.chmod(0o644)
    assert "everybody on this machine can get at the heartbeat address" in place.dropcap("check", "--offline").stdout
    place.config["notify"]["heartbeat"] = {"url_file": str(file), "every": "1s"}
    place.write_config()
    assert "every" in place.dropcap("check", "--offline").stdout
