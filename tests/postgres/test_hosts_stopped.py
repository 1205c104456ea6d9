# ruff: noqa: E402 - the library may be missing
"""A host that is frozen for longer than its lease: others work in its folders, and it notices before it does anything."""

from __future__ import annotations

import hashlib
import signal
import time
from pathlib import Path

from tests import needs
from tests.site import Daemon, eventually

needs.library("psycopg")

from redcap_sandbox import Fault
from tests.postgres.hosts import TAKEN_OVER, Hosts, hosts


def folder_of(h: Hosts, daemon: Daemon) -> str:
    (found,) = eventually(lambda: held if len(held := h.held_by(daemon)) == 1 else None)
    return str(found)


def test_a_host_that_was_frozen_notices_before_it_does_anything(tmp_path: Path, database: str) -> None:
    with hosts(tmp_path, database, folders=2) as h:
        a, b = h.start("a"), h.start("b")
        h.spread(a, b)
        mine = folder_of(h, a)
        # One is being uploaded, others are on their way to be claimed, sent and filed.
        h.box.ill(Fault("slow_read", match={"record": "101", "action": "import"}, times=1, bytes_per_second=2000))
        large = b"%PDF" + b"x" * 1_000_000
        h.put(mine, "101_V1_scan.pdf", large)
        a.wait_for("sending", record="101")
        files = h.put_all({mine: [f"{100 + number}_V2_lab{number}.pdf" for number in range(2, 18)]})
        files["101_V1_scan.pdf"] = hashlib.sha256(large).hexdigest()
        a.wait_for("done")
        a.process.send_signal(signal.SIGSTOP)
        b.process.send_signal(signal.SIGSTOP)
        time.sleep(2.0)  # less than the lease: nothing comes of it
        b.process.send_signal(signal.SIGCONT)

        b.wait_for("folder_taken", folder=mine, patience=TAKEN_OVER)
        assert b.events("lease_lost") == []
        files |= h.put_all({mine: ["118_V1_lab.pdf", "119_V1_lab.pdf"]})
        eventually(lambda: any("119" in name for name in h.done()))

        a.process.send_signal(signal.SIGCONT)
        a.wait_for("lease_lost", folder=mine)
        h.spread(a, b)
        files |= h.put_all({folder_of(h, a): ["120_V1_lab.pdf"]})
        a.wait_for("done", record="120")
        eventually(lambda: len(h.done()) == len(files))
        h.all_once(files)
        assert len(a.events("lease_lost")) == 1
        assert a.events("internal_error") == b.events("internal_error") == []
