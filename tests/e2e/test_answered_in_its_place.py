"""Somebody before REDCap answers an import that REDCap has carried out: the file takes no second instance."""

from __future__ import annotations

import pytest

from redcap_sandbox import Fault
from tests.site import Site

IMPORT = {"content": "file", "action": "import"}


@pytest.mark.parametrize(
    ("code", "body"),
    [
        (403, "<html>Request blocked</html>"),
        (403, "<html>Your IP address has been banned</html>"),
        (404, "<html>Not found</html>"),
        (302, ""),
        (425, '{"error": "Invalid record"}'),
        (429, ""),
    ],
)
def test_it_makes_no_second_instance(place: Site, code: int, body: str) -> None:
    place.box.ill(Fault("status", code=code, body=body, stored=True, times=1, match=IMPORT))
    place.put("102_V1_lab_1.pdf", b"one sample")
    assert place.once("--wait", "30s").returncode in (0, 3)
    assert [(h.record, h.instance) for h in place.box.holdings()] == [("102", 1)]
    (job,) = place.jobs()
    assert job.state == "done" or job.instance == 1, "what was chosen stays chosen"
