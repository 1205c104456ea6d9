"""A copy of the ledger beside a working daemon, the copy put back, and a ledger that is whole after an orderly end."""

from __future__ import annotations

import json
import shutil
import sqlite3
import stat
from pathlib import Path

from dropcap.daemon.state import IN_USE
from tests.site import Site, eventually


def jobs(path: Path) -> list[tuple[int, str]]:
    connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro&immutable=1", uri=True)
    try:
        return [(int(job), str(state)) for job, state in connection.execute("select id, state from job order by id")]
    finally:
        connection.close()


def test_a_copy_is_made_and_put_back(place: Site) -> None:
    daemon = place.start()
    place.put("101_V1_consent.pdf", b"one")
    daemon.wait_for("done", 1)
    assert place.dropcap("pause", "--project", "trial").returncode == 0
    place.put("102_V1_lab_1.pdf", b"two")
    daemon.wait_for("claimed", 2)
    copy = place.root / "copy.db"
    told = place.dropcap("ledger", "backup", str(copy))
    assert told.returncode == 0, told.stderr
    assert jobs(copy) == [(1, "done"), (2, "waiting")], "one file, without a write-ahead log"
    assert stat.S_IMODE(copy.stat().st_mode) == 0o600
    assert not list(place.root.glob("copy.db?*"))
    assert place.dropcap("ledger", "backup", str(copy)).returncode == 2, "nothing is written over"
    assert place.dropcap("ledger", "backup", str(place.drop / "copy.db")).returncode == 2
    assert place.dropcap("ledger", "backup", str(place.root / "nowhere/copy.db")).returncode == 1
    assert place.dropcap("ledger", "restore", str(copy)).returncode == 4, "it runs"

    # What happens after the copy: one is sent by `next`, another dropped and sent.
    assert place.dropcap("resume", "--project", "trial").returncode == 0
    daemon.wait_for("done", 2)
    place.put("103_V1_consent.pdf", b"three")
    daemon.wait_for("done", 3)
    assert daemon.stop() == 0

    told = place.dropcap("ledger", "restore", str(copy))
    assert told.returncode == 0, told.stderr
    (aside,) = place.state.glob("ledger.before-restore-*.db")
    assert str(aside) in told.stdout
    assert len(jobs(aside)) == 3
    act = json.loads(place.dropcap("history", "--acts", "--json").stdout.splitlines()[-1])
    assert (act["what"], act["way"], len(act["told"]["lost"])) == ("restored", "command", 2), "with the old heads"
    assert place.dropcap("verify", "--chain").returncode == 0, "it goes on from there"
    assert place.dropcap("ledger", "restore", str(place.config_file)).returncode == 2, "no ledger"
    sent = len([r for r in place.box.requests if (r.content, r.action) == ("file", "import")])
    daemon = place.start()
    assert place.dropcap("resume", "--project", "trial").returncode == 0, "it was paused when the copy was made"
    assert not daemon.events("ledger_restored"), "it was done on purpose"
    place.put("104_V1_consent.pdf", b"four")
    daemon.wait_for("done", file="104_V1_consent.pdf")
    eventually(lambda: place.jobs()[1].state.value == "withdrawn")
    assert place.done() == ["101_V1_consent.pdf", "102_V1_lab_1.pdf", "103_V1_consent.pdf", "104_V1_consent.pdf"]
    assert len([r for r in place.box.requests if (r.content, r.action) == ("file", "import")]) == sent + 1, "nothing twice"
    assert daemon.stop() == 0


def test_after_an_orderly_end_the_ledger_is_one_file(place: Site) -> None:
    daemon = place.start()
    place.put("101_V1_consent.pdf")
    daemon.wait_for("done")
    assert (place.state / IN_USE).exists()
    assert place.dropcap("status").returncode == 0
    assert daemon.stop() == 0
    assert not list(place.state.glob("ledger.db-*"))
    assert not (place.state / IN_USE).exists()
    shutil.copy(place.state / "ledger.db", place.root / "copy.db")
    assert jobs(place.root / "copy.db") == [(1, "done")]


def test_after_a_kill_the_ledger_is_looked_through(place: Site) -> None:
    daemon = place.start()
    for number in range(40):
        place.put(f"{101 + number}_V1_consent.pdf")
    daemon.wait_for("claimed", 40)
    assert daemon.stop() == 0
    ledger = place.state / "ledger.db"
    data = bytearray(ledger.read_bytes())
    page = data.index(b"139_V1_consent.pdf") // 4096 * 4096
    data[page + 8 : page + 300] = bytes(292)  # the cells of a page whose content no start happens to read
    ledger.write_bytes(data)
    (place.state / IN_USE).touch()  # as a kill leaves it
    daemon = place.start()
    assert daemon.events("ledger_damaged"), "it is set aside before anything is written to it"
    assert daemon.stop() == 0
