"""A ledger that dropcap 0.1.0 wrote, with files on their way, goes on; what it held is sealed as it was found."""

from __future__ import annotations

import gzip
import json
import os
import sqlite3
from pathlib import Path

from dropcap.ledger.sqlite import MIGRATIONS
from redcap_sandbox import RowKey
from tests.site import Site

STORED = Path(__file__).parent / "ledger-0.1.0.db.gz"
#: As they lay when that dropcap was killed: 101_V2_scan.png had just arrived, 102_V1_consent.pdf waited, its folder was paused.
FILES = {
    "done/2026-11-27/101_V1_consent.pdf": b"%PDF one\n",
    "done/2026-11-27/101_V1_lab_a.pdf": b"%PDF lab\n",
    "failed/nope.pdf": b"%PDF no rule\n",
    "in_progress/101_V2_scan.png": b"PNG is being sent\n",
    "in_progress/102_V1_consent.pdf": b"%PDF waits\n",
}


def lay_out(place: Site) -> None:
    """What that dropcap left, with the inodes and the path that it all has here."""
    place.state.mkdir()
    ledger = place.state / "ledger.db"
    ledger.write_bytes(gzip.decompress(STORED.read_bytes()))
    connection = sqlite3.connect(ledger)
    (marker,) = connection.execute("select marker from folder").fetchone()
    (installation,) = connection.execute("select value from meta where key = 'installation'").fetchone()
    for name, content in FILES.items():
        path = place.drop / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        (mtime,) = connection.execute("select mtime_ns from job where name = ?", (path.name.encode(),)).fetchone()
        os.utime(path, ns=(mtime, mtime))
        connection.execute("update job set inode = ? where name = ?", (path.stat().st_ino, path.name.encode()))
    connection.execute("update folder set path = ?", (str(place.drop),))
    connection.commit()
    connection.close()
    told = {"about": "", "installation": installation, "folder": "consents", "id": marker, "since_ns": 1, "dropcap": 1}
    (place.drop / ".dropcap").write_text(json.dumps(told))
    for record, key, field, name in (
        ("101", RowKey("baseline_arm_1"), "consent_pdf", "done/2026-11-27/101_V1_consent.pdf"),
        ("101", RowKey("baseline_arm_1", "laboratory", 1), "lab_report", "done/2026-11-27/101_V1_lab_a.pdf"),
        ("101", RowKey("month_6_arm_1"), "scan", "in_progress/101_V2_scan.png"),
    ):
        place.box.project.store.put_bytes(record, key, field, Path(name).name, FILES[name])


def test_what_0_1_0_left_is_sealed_and_goes_on(place: Site) -> None:
    lay_out(place)
    daemon = place.start()
    whole = place.dropcap("verify", "--chain")
    assert (whole.returncode, whole.stderr) == (0, ""), whole.stdout
    assert f"upgraded from version 1 to {len(MIGRATIONS)}, with 5 jobs with 15 entries" in whole.stdout
    assert [job.state.value for job in place.jobs()] == ["done", "done", "failed", "unknown", "waiting"], "its folder is paused"

    assert place.dropcap("resume", "--folder", "consents").returncode == 0
    daemon.wait_for("done", 2)
    assert sum(r.content == "file" and r.action == "import" for r in place.box.requests) == 1, (
        "what had arrived is not sent again"
    )
    assert place.done() == ["101_V1_consent.pdf", "101_V1_lab_a.pdf", "101_V2_scan.png", "102_V1_consent.pdf"]
    daemon.stop()
    whole = place.dropcap("verify", "--chain")
    assert whole.returncode == 0, whole.stdout
    assert place.dropcap("verify", "--files").stdout == "4 files looked at: 4 same\n"

    old, new = (
        json.loads(place.dropcap("history", "--json", name).stdout) for name in ("101_V1_lab_a.pdf", "102_V1_consent.pdf")
    )
    assert (old["dropped_by"], old["origin"]) == (None, None), "nobody knows it any more"
    assert [step["state"] for step in old["steps"]] == ["waiting", "sending", "stored", "done"]
    assert new["origin"]["redcap"]["project_id"] == 42, "of a file that was claimed before, from its sending on"


def test_a_copy_of_what_0_1_0_left_can_be_put_back(place: Site) -> None:
    """It has no chains: its first start makes them, and enters as an act that it lacks what was there before."""
    lay_out(place)
    copy = place.root / "copy.db"
    copy.write_bytes((place.state / "ledger.db").read_bytes())
    assert place.start().stop() == 0
    told = place.dropcap("ledger", "restore", str(copy))
    assert told.returncode == 0, told.stderr
    daemon = place.start()
    assert daemon.events("ledger_restored")
    assert [job.state.value for job in place.jobs()] == ["done", "done", "failed", "unknown", "unknown"]
    assert daemon.stop() == 0
    proved = place.dropcap("verify", "--chain")
    assert proved.returncode == 0, proved.stdout
    assert "entries were missing at a start" in proved.stdout

    # Twice, and by a copy of now: nothing is lost then, and nobody is surprised.
    now = place.root / "now.db"
    assert place.dropcap("ledger", "backup", str(now)).returncode == 0
    for _ in range(2):
        assert place.dropcap("ledger", "restore", str(now)).returncode == 0
    act = json.loads(place.dropcap("history", "--acts", "--json").stdout.splitlines()[-1])
    assert (act["what"], act["way"]) == ("restored", "command")
    assert place.dropcap("verify", "--chain").returncode == 0
    daemon = place.start()
    assert not daemon.events("ledger_restored")
    assert daemon.stop() == 0
