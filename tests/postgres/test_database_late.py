"""A host that was lost while it was sending: its import may still arrive, late, over what was stored there since."""

from __future__ import annotations

from pathlib import Path

import pytest

from redcap_sandbox import RowKey
from redcap_sandbox.fault import Fault
from tests.postgres.hosts import hosts
from tests.site import eventually

BASELINE = RowKey("baseline_arm_1")


@pytest.mark.slow
def test_places_that_were_taken_over_in_sending_are_looked_at_once_more(database: str, tmp_path: Path) -> None:
    with hosts(tmp_path, database, 1) as place:
        place.config["projects"]["trial"] |= {"timeout": "2s", "deadline": "8s"}
        a = place.start("a")
        a.wait_for("folder_taken")
        place.box.ill(Fault("delay", seconds=5.0, match={"content": "file", "action": "import"}))
        for number in (101, 102):
            place.put("d1", f"{number}_V1_consent.pdf", f"%PDF {number}".encode())
        a.wait_for("sending", 2)
        a.kill()
        place.box.well()
        b = place.start("b")
        (taken,) = b.wait_for("folder_taken", patience=30)
        assert taken["unknown"] == 2
        b.wait_for("done", 2, patience=30)
        # As if another import had stood still on its way until now.
        place.box.project.store.put_bytes("101", BASELINE, "consent_pdf", "101_V1_consent.pdf", b"%PDF late")
        assert b.stop() == 0
        b = place.start("b")
        (told,) = b.wait_for("overwritten", patience=30)
        assert told["file"] == "101_V1_consent.pdf"
        assert told["found"] == "other"
        assert told["remedy"]
        with place.query() as query:
            eventually(lambda: query.late_sends(1e12) == [])
            assert [event.note for event in query.history(told["job"])][-1] == "looked at once more: REDCap has another file"
        assert len(b.events("overwritten")) == 1, "102 is as it was stored"
