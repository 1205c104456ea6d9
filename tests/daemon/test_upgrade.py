"""The first start of a new version: the old ledger is kept before it is changed."""

from __future__ import annotations

import os
import sqlite3
import time
from pathlib import Path

import pytest

from dropcap import __version__
from dropcap.ledger.database import VERSION
from dropcap.ledger.sqlite import MIGRATIONS
from tests.site import Site


def old_ledger(place: Site, version: int) -> Path:
    """A ledger as an older dropcap has left it, with one job."""
    place.state.mkdir(0o700, exist_ok=True)
    path = place.state / "ledger.db"
    ledger = sqlite3.connect(path, isolation_level=None)
    for script in MIGRATIONS[:version]:
        for statement in filter(str.strip, script.split(";")):
            ledger.execute(statement)
    ledger.execute("insert into meta values ('installation', 'x')")
    columns = "project,rule,record,event,field,key,size,mtime_ns,inode,attempts,claimed_at,changed_at"
    values = "'trial','consent','101','e','f','k',10,2,3,1,1.0,1.0"
    ledger.execute(
        f"insert into job (id,folder,name,state,ended_at,{columns}) values (1,'consents',x'61','withdrawn',1.0,{values})"
    )
    ledger.execute("insert into history (job, at, state, note) values (1, 1.0, 'withdrawn', '')")
    ledger.execute(f"pragma user_version = {version}")
    ledger.close()
    return path


def version_of(path: Path) -> int:
    ledger = sqlite3.connect(path)
    try:
        return int(ledger.execute("pragma user_version").fetchone()[0])
    finally:
        ledger.close()


@pytest.mark.parametrize("version", [1, VERSION - 1])
def test_the_old_ledger_is_kept_before_it_is_changed(place: Site, version: int) -> None:
    path, copy = old_ledger(place, version), place.state / f"ledger.before-{__version__}.db"
    backup = place.root / "by-hand.db"
    assert place.dropcap("ledger", "backup", str(backup)).returncode == 0
    daemon = place.start()
    assert daemon.events("ledger_kept", file=copy.name)
    assert daemon.stop() == 0
    assert (version_of(path), version_of(copy), version_of(backup)) == (VERSION, version, version)
    assert copy.stat().st_mode & 0o077 == 0
    again = place.start()
    assert not again.events("ledger_kept")
    assert again.stop() == 0


def test_without_room_for_the_copy_nothing_is_changed(place: Site) -> None:
    path = old_ledger(place, 7)
    (place.state / f"ledger.before-{__version__}.db").mkdir()
    daemon = place.start(ready=False)
    assert daemon.process.wait(20) == 5
    assert "make room on the disk" in "".join(daemon.raw)
    assert version_of(path) == 7


def test_the_copy_goes_with_the_history(place: Site) -> None:
    old_ledger(place, 7)
    place.config["keep"] = {"history": "30d"}
    place.write_config()
    assert place.once().returncode == 0
    copy = place.state / f"ledger.before-{__version__}.db"
    place.dropcap("prune")
    assert copy.exists()
    os.utime(copy, (time.time() - 40 * 86400,) * 2)
    looked = place.dropcap("prune", "--dry-run")
    assert looked.returncode == 0
    assert f"{copy.name}, the ledger before an upgrade, would be removed" in looked.stderr
    assert copy.exists()
    assert place.dropcap("prune").returncode == 0
    assert not copy.exists()
