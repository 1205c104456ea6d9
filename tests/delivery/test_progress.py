"""How far uploads have come, and until when the request limit holds them up, as a running dropcap tells it."""

from __future__ import annotations

import re
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dropcap.daemon import control
from dropcap.delivery import workers
from dropcap.delivery.workers import Progress
from dropcap.redcap.window import WINDOW
from redcap_sandbox import Fault
from tests.delivery.test_attribution import job as some_job
from tests.site import Site, eventually, site

LARGE = 24 * 1024 * 1024


def view(place: Site) -> dict[str, Any]:
    return control.ask(place.state, {"do": "status"}) or {}


def test_the_bytes_that_have_gone_are_counted_while_they_go(tmp_path: Path) -> None:
    with site(tmp_path) as place:
        daemon = place.start()
        place.box.ill(Fault("slow_read", bytes_per_second=400_000, match={"action": "import"}))
        place.put("101_V1_consent.pdf", b"%PDF" + bytes(LARGE))
        daemon.wait_for("sending")
        (upload,) = eventually(lambda: [one for one in view(place)["uploads"] if one["sent"]])
        assert (upload["job"], upload["folder"], upload["file"]) == (1, "consents", "101_V1_consent.pdf")
        assert 0 < upload["sent"] < upload["size"] == LARGE + 4
        assert time.time() - 20 < upload["began"] <= time.time()
        assert eventually(lambda: [one for one in view(place)["uploads"] if one["sent"] > upload["sent"]])
        page = place.drop / "_STATUS.html"
        assert eventually(lambda: page.exists() and re.search(r"<progress value=.*of 24 MB\.", page.read_text()))


def test_the_request_limit_says_when_it_goes_on(tmp_path: Path) -> None:
    with site(tmp_path) as place:
        place.project["requests_per_minute"] = 1
        place.write_config()
        place.put("101_V1_consent.pdf")
        place.start()
        ((host, room),) = eventually(lambda: view(place)["limited"]).items()
        assert host == place.box.url.split("/")[2]
        assert 0 < room - time.time() <= WINDOW


def test_a_request_that_is_made_again_begins_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(workers.time, "time", lambda: now[0])
    progress = Progress()
    job = some_job(1, size=1000)
    with progress.of(job):
        (upload,) = progress.uploads()
        assert (upload.sent, upload.began, upload.seconds_left(101.0)) == (0, None, None)
        progress.sent(1, 500)
        now[0] = 110.0
        progress.sent(1, 750)
        (upload,) = progress.uploads(job.folder)
        assert (upload.sent, upload.began, upload.seconds_left(115.0)) == (750, 100.0, 5.0)
        assert replace(upload, sent=1000).seconds_left(115.0) is None, "what the request limit or REDCap takes now, nobody knows"
        progress.sent(1, 250)
        (upload,) = progress.uploads()
        assert (upload.sent, upload.began) == (250, 110.0)
        assert progress.uploads("another") == []
    assert progress.uploads() == []
