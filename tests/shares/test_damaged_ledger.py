"""A damaged ledger is set aside and kept, a new one begun from the folders, and nothing sent twice."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from redcap_sandbox import Fault
from tests.heavy import heavy
from tests.shares.test_disks import imports, tracebacks
from tests.site import Site, eventually


def overwrite_middle(ledger: Path) -> None:
    size = ledger.stat().st_size
    with ledger.open("r+b") as file:
        for offset in range(4096, size, 4096):  # all pages but the first
            file.seek(offset)
            file.write(os.urandom(512))


def truncate(ledger: Path) -> None:
    os.truncate(ledger, ledger.stat().st_size // 2 // 4096 * 4096 + 100)


def garbage(ledger: Path) -> None:
    ledger.write_bytes(os.urandom(100_000))


def no_header(ledger: Path) -> None:
    with ledger.open("r+b") as file:
        file.write(b"\0" * 100)


def cut_to_nothing_much(ledger: Path) -> None:
    os.truncate(ledger, 50)


@pytest.mark.parametrize(
    "damage",
    [overwrite_middle, *(pytest.param(d, marks=heavy) for d in (garbage, truncate, no_header, cut_to_nothing_much))],
)
def test_a_damaged_ledger_is_set_aside(place: Site, damage: Callable[[Path], None]) -> None:
    daemon = place.start()
    place.put("101_V1_consent.pdf", b"done before")
    place.put("holiday.jpg", b"failed before")
    daemon.wait_for("done")
    daemon.wait_for("failed")
    # One is stored in REDCap while nobody comes to know: its answer is late, and dropcap is killed.
    place.box.ill(Fault("delay", seconds=60.0, match={"content": "file", "action": "import"}))
    place.put("102_V1_consent.pdf", b"stored, but who knows")
    eventually(lambda: _held(place, "102"))
    daemon.kill()
    place.box.well()
    ledger = place.state / "ledger.db"
    with contextlib.closing(sqlite3.connect(ledger)) as connection:  # else the write-ahead log would heal it
        connection.execute("pragma wal_checkpoint(truncate)")
    before = imports(place.box)
    damage(ledger)

    daemon = place.start()
    (told,) = daemon.wait_for("ledger_damaged")
    assert "set aside" in told["message"]
    kept = [path.name for path in place.state.glob("ledger.damaged-*.db")]
    assert len(kept) == 1
    assert kept[0] in told["message"]
    place.put("103_V1_consent.pdf", b"afterwards")
    daemon.wait_for("done", file="103_V1_consent.pdf")
    if "102_V1_consent.pdf" not in place.done():
        daemon.wait_for("done", file="102_V1_consent.pdf")
    assert imports(place.box) == before + 1, "only the new file was sent"
    assert place.done() == ["101_V1_consent.pdf", "102_V1_consent.pdf", "103_V1_consent.pdf"]
    assert place.failed() == ["holiday.jpg"]
    assert place.copies() == []
    assert not tracebacks(daemon)
    assert daemon.stop() == 0
    assert len(list(place.state.glob("ledger.damaged-*.db"))) == 1


def _held(place: Site, record: str) -> bool:
    return any(held.record == record for held in place.box.holdings())


def test_damage_while_it_runs(place: Site) -> None:
    """The daemon notices, ends with a message, and the next start sets the ledger aside."""
    daemon = place.start()
    for record in range(101, 106):
        place.put(f"{record}_V1_consent.pdf", b"before")
    daemon.wait_for("done", 5)
    for name in ("ledger.db", "ledger.db-wal"):
        path = place.state / name
        with path.open("r+b") as file:
            for offset in range(64, path.stat().st_size, 512):
                file.seek(offset)
                file.write(b"\xff" * 256)
    place.put("106_V1_consent.pdf", b"meanwhile")
    assert daemon.process.wait(30) == 1
    (told,) = daemon.wait_for("ledger_damaged")
    assert "remedy" in told
    assert not tracebacks(daemon)
    assert any(name.endswith("106_V1_consent.pdf") for name in place.everywhere())

    again = place.start()
    again.wait_for("ledger_damaged")
    eventually(lambda: "106_V1_consent.pdf" in place.done())
    assert imports(place.box) == 6
    assert len(list(place.state.glob("ledger.damaged-*.db"))) == 1
    assert again.stop() == 0


@pytest.mark.parametrize("name", ["ledger.db*", pytest.param("ledger.db-wal", marks=heavy)])
def test_a_ledger_that_is_gone(place: Site, name: str) -> None:
    """Deleted, or put back from a backup without its write-ahead log: the folders are still this installation's."""
    daemon = place.start()
    place.box.ill(Fault("delay", seconds=60.0, match={"content": "file", "action": "import"}))
    place.put("102_V1_consent.pdf", b"stored, but who knows")
    eventually(lambda: _held(place, "102"))
    daemon.kill()
    place.box.well()
    before = imports(place.box)
    for path in place.state.glob(name):
        path.unlink()
    daemon = place.start()
    daemon.wait_for("ledger_damaged")
    daemon.wait_for("done")
    assert imports(place.box) == before, "nothing was sent twice"
    assert daemon.stop() == 0


@pytest.mark.parametrize("name", ["ledger.db*", "ledger.db-wal"])
def test_a_ledger_that_is_removed_while_it_runs(place: Site, name: str) -> None:
    """What would be written into a removed file would be lost, so the daemon ends; the next one begins from the folders."""
    daemon = place.start()
    place.put("101_V1_consent.pdf", b"before")
    daemon.wait_for("done")
    place.box.ill(Fault("status", code=503))
    place.put("102_V1_consent.pdf", b"on its way")
    daemon.wait_for("claimed", file="102_V1_consent.pdf")
    for path in place.state.glob(name):
        path.unlink()
    assert daemon.process.wait(30) == 1
    (told,) = daemon.wait_for("ledger_damaged")
    assert "removed or replaced" in told["message"]
    assert not tracebacks(daemon)
    place.box.well()
    daemon = place.start()
    daemon.wait_for("done", file="102_V1_consent.pdf")
    assert imports(place.box) == 2
    assert daemon.stop() == 0
