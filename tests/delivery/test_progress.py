"""How far uploads have come, and until when the request limit holds them up, as a running dropcap tells it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from dropcap.delivery import workers
from dropcap.delivery.workers import Progress
from tests.delivery.test_attribution import job as some_job


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
