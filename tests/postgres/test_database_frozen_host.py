"""A host that is stopped in the middle of a writing transaction: the others wait for a few seconds, and go on."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import pytest

from tests.postgres.burst import troubled
from tests.postgres.cluster import Cluster
from tests.postgres.hosts import hosts
from tests.postgres.proxy import proxy
from tests.site import eventually

#: Sessions that have the turn and wait for their client.
HAS_THE_TURN = (
    "select count(*) from pg_locks join pg_stat_activity using (pid) where relation = 'turn'::regclass and granted"
    " and wait_event = 'ClientRead'"
)


@pytest.mark.slow
def test_a_host_that_is_frozen_with_the_turn_keeps_others_for_seconds_only(mine: Cluster, tmp_path: Path) -> None:
    plain = mine.create_database()
    name = plain.rpartition("/")[2]
    with proxy(mine.port) as way, hosts(tmp_path, plain, 2, lease="1m") as place:
        a = place.start("a", ledger=mine.dsn(name, port=way.port))
        b = place.start("b", ledger=plain)
        eventually(lambda: len(set(place.holders().values())) == 2)
        folders = {pid: folder for folder, pid in place.holders().items()}
        way.latency(150)
        began, dropped = time.monotonic(), 0

        def writes() -> bool:
            """It has the turn at this moment; if not, there is more for it to write each second."""
            nonlocal dropped
            if mine.admin(HAS_THE_TURN, database=name) == [(1,)]:
                return True
            if dropped <= time.monotonic() - began:
                place.put(folders[a.process.pid], f"{110 + dropped}_V1_consent.pdf")
                dropped += 1
            return False

        eventually(writes, 60)
        a.process.send_signal(signal.SIGSTOP)
        frozen = time.monotonic()
        try:
            place.put(folders[b.process.pid], "102_V1_consent.pdf")
            b.wait_for("done")
            assert time.monotonic() - frozen < 5 + 4
        finally:
            way.latency(0)
            a.process.send_signal(signal.SIGCONT)
        a.wait_for("done")
        assert len(b.events("ledger_unwritable")) == len(b.events("ledger_writable")) <= 1
        assert troubled(a, b, but=frozenset({"ledger_unwritable"})) == []
