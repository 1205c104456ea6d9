"""A ledger moves from SQLite into PostgreSQL and back, by the command: equal row by row, all of it or nothing."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import psycopg
import pytest

from dropcap.ledger.database import TABLES
from tests.ledger.test_moving import dump, exported, fill, imported
from tests.site import Site


@pytest.fixture
def moved(place: Site, database: str) -> Path:
    """The export of a ledger of all kinds, and a configuration that names the database."""
    fill(place.root / "ledger.db")
    place.config["ledger"] = database
    place.folder["preserve_in"] = str(place.state)
    place.write_config()
    return exported(place.root / "ledger.db", place.root / "export")


def test_there_and_back_all_is_as_it_was(place: Site, database: str, moved: Path) -> None:
    assert place.dropcap("ledger", "export", str(place.root / "none")).returncode == 1, "there is no ledger yet"
    told = place.dropcap("ledger", "import", str(moved))
    assert told.returncode == 0, told.stderr
    assert "7  job\n" in told.stdout
    with psycopg.connect(database) as connection:
        kept = connection.execute("select name, mtime_ns, inode, takes_next from job where id = 1").fetchone()
        assert kept == (b"not utf-8 \xff\xfe.pdf", -(10**20), 2**64 - 1, True)
        for table in ("job", "history", "chain"):
            row = connection.execute(f"select nextval(pg_get_serial_sequence('{table}', 'id')), max(id) from {table}").fetchone()
            assert row is not None
            assert row[0] > row[1], table
    again = place.dropcap("ledger", "import", str(moved))
    assert again.returncode == 2, again.stderr
    assert "the ledger is not empty" in again.stderr

    back = place.root / "back"
    told = place.dropcap("ledger", "export", str(back))
    assert told.returncode == 0, told.stderr

    def rows(file: Path) -> list[bytes]:
        return [line for line in file.read_bytes().splitlines() if not line.startswith((b"{", b'["act"', b'["chain"'))]

    assert rows(back) == rows(moved), "the same bytes, whichever engine they come from"
    imported(back, place.root / "third.db")
    before, after = dump(place.root / "ledger.db"), dump(place.root / "third.db")
    assert all(after[table.name] == before[table.name] for table in TABLES if table.name not in ("act", "chain"))
    actions = [json.loads(line)[7] for line in back.read_bytes().splitlines() if line.startswith(b'["act"')]
    assert actions[-2:] == ["imported", "exported"]


def test_nothing_moves_while_a_host_is_alive(place: Site, database: str, moved: Path) -> None:
    assert place.dropcap("ledger", "import", str(moved)).returncode == 0
    host = (
        "insert into host (id, name, pid, version, configuration, until) values ('a', 'north', 7, '', '', clock_timestamp() + %s)"
    )
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute(host, ("1 hour",))
        for words in (("export", str(place.root / "not")), ("import", str(moved))):
            told = place.dropcap("ledger", *words)
            assert told.returncode == 4, told.stderr
            assert "dropcap works with this ledger on north (process 7): stop it on all hosts" in told.stderr
        assert not (place.root / "not").exists()
        connection.execute("update host set until = clock_timestamp() - interval '1 second'")
        assert place.dropcap("ledger", "export", str(place.root / "not")).returncode == 0, "its host is gone"


def test_what_was_forged_is_taken_back_whole(place: Site, database: str, moved: Path) -> None:
    content = moved.read_bytes().rpartition(b'{"sha256"')[0].replace(b'"attempt 1"', b'"attempt 2"')
    moved.write_bytes(
        content + json.dumps({"sha256": hashlib.sha256(content).hexdigest()}, separators=(",", ":")).encode() + b"\n"
    )
    told = place.dropcap("ledger", "import", str(moved))
    assert told.returncode == 1, told.stderr
    assert "the chains of the file are not whole" in told.stderr
    with psycopg.connect(database) as connection:
        assert connection.execute("select count(*) from job").fetchone() == (0,)
        assert connection.execute("select what from act").fetchall() == [("created",)]


def test_a_database_that_does_not_answer_is_told(place: Site, moved: Path) -> None:
    place.config["ledger"] = "postgresql://u@127.0.0.1:1/d"
    place.write_config()
    for words in (("export", str(place.root / "not")), ("import", str(moved))):
        told = place.dropcap("ledger", *words)
        assert told.returncode == 1, told.stderr
        assert "its database can be reached" in told.stderr
    place.config |= {"ledger_password_file": "nowhere"}
    place.write_config()
    told = place.dropcap("ledger", "import", str(moved))
    assert told.returncode == 1
    assert "nowhere does not exist" in told.stderr
