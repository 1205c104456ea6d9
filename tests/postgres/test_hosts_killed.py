# ruff: noqa: E402 - the library may be missing
"""A host that is killed in the middle of a burst: others take its folders over, and no file is lost or in two places."""

from __future__ import annotations

from pathlib import Path

from redcap_sandbox import Fault, RowKey, Sandbox, demo_project
from tests import needs
from tests.site import TOKEN, eventually

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


def test_a_search_that_a_killed_host_began_is_anothers(database: str, tmp_path: Path) -> None:
    """Two files of the same bytes, of which one is there already: each instance accounts for one of them."""
    with Sandbox(demo_project(), TOKEN) as box, hosts(tmp_path, database, box=box) as place:
        for number, content in enumerate((b"theirs", b"equal", b"theirs too"), 1):
            key = RowKey("baseline_arm_1", "laboratory", number)
            box.project.store.put_bytes("101", key, "lab_report", "x.pdf", content)
        (place.folders["d1"] / "in_progress").mkdir()
        for letter in "ab":
            place.put("d1", f"101_V1_lab_{letter}.pdf", b"equal").rename(
                place.folders["d1"] / "in_progress" / f"101_V1_lab_{letter}.pdf"
            )
        box.ill(Fault("delay", seconds=30.0, match={"content": "file", "action": "export"}, skip=1))
        first = place.start("a")
        assert box.illness.wait()
        second = place.start("b")
        first.kill()
        box.well()
        done = second.wait_for("done", 2, patience=60)
        assert [(line["result"], line["instance"]) for line in done] == [("already_there", 2), ("stored", 4)]
        assert len(place.imports()) == 1
