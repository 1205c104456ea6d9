# ruff: noqa: E402 - libraries may be missing
"""An act that does not end (a share that hangs) holds up nobody, and only so many are begun."""

from __future__ import annotations

import socket
import threading
from pathlib import Path
from typing import Any

import pytest

from tests import needs
from tests.dashboard.conftest import SECRET

for library in ("starlette", "uvicorn", "jinja2", "prometheus_client"):
    needs.library(library)

import requests

from dropcap.config.model import Config, Dashboard, SecretPlace
from dropcap.dashboard import server as app
from dropcap.dashboard.server import DashboardServer
from dropcap.ledger.chain import AuditActor, AuditChannel
from dropcap.ledger.reports import Figures
from dropcap.ledger.store import Ledger
from dropcap.snapshot import Snapshot
from tests.snapshot import pause, snapshot


def test_it_is_told_and_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app, "_ACT_LASTS", 0.05)
    Ledger(tmp_path / "ledger.db").close()
    hang, asked = threading.Event(), []

    class Hangs:
        figures = Figures(tmp_path / "ledger.db")
        config = Config(tmp_path, tmp_path)

        def snapshot(self, oldest: float) -> Snapshot:
            return snapshot(pauses=(pause(),))

        def metrics(self) -> bytes:
            return b""

        def answer(self, wanted: dict[str, Any], actor: AuditActor) -> dict[str, Any]:
            asked.append(actor.name)
            hang.wait(10)
            return {"done": True}

        def alive(self) -> bool:
            return True

    daemon = Hangs()
    (tmp_path / "secret").write_text(SECRET)
    (tmp_path / "secret").chmod(0o600)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    server = DashboardServer(Dashboard("127.0.0.1", port, SecretPlace("secret file", str(tmp_path / "secret"), None)), daemon)
    server.start()
    url, client = f"http://127.0.0.1:{port}", requests.Session()
    client.headers["Sec-Fetch-Site"] = "same-origin"
    assert (
        client.get(f"{url}/link?code={server.sessions.link(AuditActor(1000, None, AuditChannel.SOCKET, 'ada'))}").status_code
        == 200
    )
    form = {"scope": "server", "name": "redcap:443"}
    assert "It takes longer, and goes on." in client.post(url + "/resume", form).text
    told = [client.post(url + "/resume", form).text for _ in range(9)]
    assert "too much is under way that does not end" in told[-1]
    assert asked == ["ada"] * 8
    assert client.get(url + "/healthz").text == "ok\n"
    hang.set()
    server.stop()
    daemon.figures.close()
