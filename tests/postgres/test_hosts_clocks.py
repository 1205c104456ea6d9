# ruff: noqa: E402 - the library may be missing
"""Hosts whose clocks are an hour apart."""

from __future__ import annotations

from pathlib import Path

from tests import needs

needs.library("psycopg")

from redcap_sandbox import Fault
from tests.postgres.hosts import TAKEN_OVER, hosts


def test_a_clock_that_is_an_hour_ahead_delays_nothing(tmp_path: Path, database: str) -> None:
    faked = {"LD_PRELOAD": needs.faketime(), "FAKETIME": "+1h", "FAKETIME_DONT_FAKE_MONOTONIC": "1"}
    with hosts(tmp_path, database, folders=2) as h:
        a = h.start("a")
        b = h.host("b").start(ready=False, **faked)
        b.wait_for("ready")
        h.spread(a, b)
        (mine,), (theirs,) = h.held_by(a), h.held_by(b)
        h.put(mine, "101_V1_consent.pdf")
        h.put(theirs, "102_V1_consent.pdf")
        a.wait_for("done", record="101")
        b.wait_for("done", record="102")

        # What waits for its next try by the one clock has it by the other one, once that host has the folder.
        h.box.ill(Fault("status", match={"record": "103", "action": "import"}, times=2, code=500))
        h.put(theirs, "103_V1_consent.pdf")
        b.wait_for("retrying", record="103")
        assert b.stop() == 0
        a.wait_for("folder_watched", folder=theirs, patience=TAKEN_OVER)
        a.wait_for("done", record="103", patience=30)

        assert a.events("internal_error") == b.events("internal_error") == []
        assert a.events("lease_lost") == b.events("lease_lost") == []
