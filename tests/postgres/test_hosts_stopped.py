# ruff: noqa: E402 - the library may be missing
"""A host that is frozen for longer than its lease: others work in its folders, and it notices before it does anything."""

from __future__ import annotations

import signal
import time
from pathlib import Path

from tests import needs
from tests.site import Daemon, eventually

needs.library("psycopg")

from redcap_sandbox import Fault
from tests.postgres.hosts import Hosts, hosts

#: Seconds: what a lapsed lease takes to be taken over, at most.
TAKEN_OVER = 15.0 + 5.0


def folder_of(h: Hosts, daemon: Daemon) -> str:
    (found,) = eventually(lambda: held if len(held := h.held_by(daemon)) == 1 else None)
    return str(found)


def test_a_host_that_was_frozen_notices_before_it_does_anything(tmp_path: Path, database: str) -> None:
    with hosts(tmp_path, database, folders=2) as h:
        h.config["projects"]["trial"]["timeout"] = "2s"
        a, b = h.start("a"), h.start("b")
        h.spread(a, b)
        mine = folder_of(h, a)
        # One is being uploaded, others are on their way to be claimed, sent and filed.
        h.box.ill(Fault("slow_read", match={"record": "101", "action": "import"}, times=1, bytes_per_second=2000))
        h.put(mine, "101_V1_scan.pdf", b"%PDF" + b"x" * 1_000_000)
        a.wait_for("sending", record="101")
        files = h.put_all({mine: [f"{100 + number}_V2_lab{number}.pdf" for number in range(2, 18)]})
        a.wait_for("done")
        a.process.send_signal(signal.SIGSTOP)
        began = time.monotonic()
        taken = h.holders()[mine]
        assert taken == a.process.pid
        b.wait_for("folder_taken", folder=mine, patience=TAKEN_OVER + 5)
        assert time.monotonic() - began < TAKEN_OVER
        late = h.put_all({mine: ["118_V1_lab.pdf", "119_V1_lab.pdf"]})
        b.wait_for("done", 2, record="119") if False else eventually(lambda: any("119" in name for name in h.done()))
        a.process.send_signal(signal.SIGCONT)
        a.wait_for("lease_lost", folder=mine)
        began = time.monotonic()
        h.spread(a, b)
        a.wait_for("folder_taken", 2 if b.events("folder_taken", folder=mine) else 2)
        h.put_all(files_of := {folder_of(h, a): ["120_V1_lab.pdf"]})
        name = next(iter(files_of.values()))[0]
        a.wait_for("done", file=name) if False else eventually(lambda: any(name in one for one in h.done()))
        h.all_once(files | late)
        eventually(lambda: len(h.done()) == len(files) + len(late) + 2)
        print("again after", time.monotonic() - began)
        assert len(a.events("lease_lost")) == 1
        for daemon in (a, b):
            assert daemon.events("internal_error") == []
            for line in daemon.raw:
                if '"level": "info"' not in line:
                    print(daemon is a, line[:300])
