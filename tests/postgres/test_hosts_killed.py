# ruff: noqa: E402 - the library may be missing
"""A host that is killed in the middle of a burst: others take its folders over, and no file is lost or in two places."""

from __future__ import annotations

import time
from pathlib import Path

from tests import needs
from tests.site import eventually

needs.library("psycopg")

from tests.postgres.hosts import hosts

#: Seconds: what a lapsed lease takes to be taken over, at most.
TAKEN_OVER = 15.0 + 5.0


def test_a_host_killed_in_mid_burst_loses_and_doubles_nothing(tmp_path: Path, database: str) -> None:
    with hosts(tmp_path, database, folders=4) as h:
        h.config["projects"]["trial"]["timeout"] = "2s"
        a, b = h.start("a"), h.start("b")
        h.spread(a, b)
        files = h.put_all(
            {
                folder: [f"{101 + number}_V1_lab{folder}.pdf" for number in range(10)]
                + [f"{101 + number + 10 * (half // 2)}_V{half % 2 + 1}_consent.pdf" for number in range(10)][:0]
                for half, folder in enumerate(h.folders)
            }
        )
        a.wait_for("done", 5)
        a.kill()
        began = time.monotonic()
        again = h.start("a")
        b.wait_for("folder_taken", 2)
        eventually(lambda: sorted(set(h.holders().values())) == sorted((again.process.pid, b.process.pid)) and len(h.holders()) == 4, TAKEN_OVER)
        print("all held", time.monotonic() - began)
        assert time.monotonic() - began < TAKEN_OVER
        eventually(lambda: len(h.done()) == len(files), 15)
        print("all done", time.monotonic() - began)
        h.all_once(files)
        for daemon in (a, b, again):
            assert daemon.events("internal_error") == []
            for line in daemon.raw:
                if '"info"' not in line:
                    print(line[:300])
