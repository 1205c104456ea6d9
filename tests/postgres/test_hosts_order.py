# ruff: noqa: E402 - the library may be missing
"""Files of folders in which different hosts work, on their way to the same places: as if one host worked in all."""

from __future__ import annotations

import time
from pathlib import Path

from tests import needs
from tests.site import eventually

needs.library("psycopg")

from redcap_sandbox import Fault
from tests.postgres.hosts import hosts


def test_the_order_of_a_place_and_its_next_instances_hold_across_hosts(tmp_path: Path, database: str) -> None:
    with hosts(tmp_path, database, folders=2) as h:
        for folder in h.config["folders"].values():
            folder |= {"missing_record": "create", "create_limit": 2}
        a, b = h.start("a"), h.start("b")
        h.spread(a, b)
        (mine,), (theirs,) = h.held_by(a), h.held_by(b)

        # The older one takes its time; the newer one of the other host waits for it, and not for long after.
        h.box.ill(Fault("delay", match={"record": "101", "action": "import"}, times=1, seconds=2.0))
        h.put(mine, "101_V1_consent.pdf", b"%PDF older")
        a.wait_for("sending", record="101")
        h.put(theirs, "101_V1_consent.pdf", b"%PDF newer")
        a.wait_for("done", record="101")
        began = time.monotonic()
        b.wait_for("done", record="101")
        assert time.monotonic() - began < 5.0
        assert h.box.content("101", "consent_pdf") == b"%PDF newer"

        # Many to the next instances of one record and form, from both.
        files = h.put_all({folder: [f"102_V1_lab{number}{folder}.pdf" for number in range(8)] for folder in (mine, theirs)})
        eventually(lambda: len(h.done()) == 2 + len(files), 30)
        h.all_once(files)
        assert sorted(one.instance for one in h.box.holdings() if one.record == "102") == list(range(1, 17))

        # A record that is missing for both is there once, whoever asked; a folder's limit of the day is that of all hosts.
        h.put(mine, "X1_V1_consent.pdf")
        h.put(theirs, "X1_V2_consent.pdf")
        a.wait_for("done", record="X1")
        b.wait_for("done", record="X1")
        h.put(mine, "X2_V1_consent.pdf")
        a.wait_for("done", record="X2")
        assert a.stop() == 0
        b.wait_for("folder_watched", folder=mine)
        # X1 was created for whichever came first, so one more may be left of the two.
        h.put(mine, "X3_V1_consent.pdf")
        eventually(lambda: b.events("done", record="X3") or b.events("retrying", record="X3", reason="create_limit"))
        h.put(mine, "X4_V1_consent.pdf")
        b.wait_for("retrying", record="X4", reason="create_limit")
        assert a.events("internal_error") == b.events("internal_error") == []
