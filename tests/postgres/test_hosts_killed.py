# ruff: noqa: E402 - the library may be missing
"""A host that is killed in the middle of a burst: others take its folders over, and no file is lost or in two places."""

from __future__ import annotations

from pathlib import Path

from tests import needs
from tests.site import eventually

needs.library("psycopg")

from tests.postgres.hosts import TAKEN_OVER, hosts


def test_a_host_killed_in_mid_burst_loses_and_doubles_nothing(tmp_path: Path, database: str) -> None:
    with hosts(tmp_path, database, folders=4) as h:
        a, b = h.start("a"), h.start("b")
        h.spread(a, b)
        # Each folder has files to places of its own, and others that go to the next instances of the same records.
        own = {
            folder: [f"{100 + 5 * row + number}_V2_consent.pdf" for number in range(1, 6)] for row, folder in enumerate(h.folders)
        }
        shared = {folder: [f"{101 + number}_V1_lab{folder}.pdf" for number in range(4)] for folder in h.folders}
        files = h.put_all({folder: own[folder] + shared[folder] for folder in h.folders})
        a.wait_for("done", 3)
        a.kill()
        a = h.start("a")  # another host, for all that the ledger knows
        living = {a.process.pid, b.process.pid}
        eventually(lambda: len(held := h.holders()) == 4 and set(held.values()) <= living, TAKEN_OVER)
        eventually(lambda: len(h.done()) == len(files))
        h.all_once(files)
        assert a.events("internal_error") == b.events("internal_error") == []
