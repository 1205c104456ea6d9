"""A ledger into a file and out of it again: equal row by row, all of it or nothing, and from a whole export only."""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import signal
import sqlite3
import stat
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from dropcap.daemon.state import close_ledger, open_ledger
from dropcap.ledger.backup import NotAnExport, bring_in, checked, export, used_by
from dropcap.ledger.chain import AuditAction, AuditActor, AuditChannel
from dropcap.ledger.database import TABLES, ColumnKind
from dropcap.ledger.job import Address, Change, NewFile, State
from dropcap.ledger.proof import prove
from dropcap.ledger.sqlite import SqliteDatabase, SqliteMoving, SqliteWriter, open_for_writing
from dropcap.ledger.store import Ledger
from tests.site import DROPCAP, Site, eventually

ME = AuditActor(1000, None, AuditChannel.COMMAND)
ODD = os.fsdecode(b"not utf-8 \xff\xfe.pdf")


def fill(path: Path, more: int = 0) -> None:
    """Jobs in all states, some pruned, and rows in every table, with values that engines keep in different ways."""
    ledger = Ledger(path, clock=itertools.count(1_800_000_000.1).__next__)
    address = Address("p", "r", "101", "e\u2028x", "x", 3, "k", True, origin='{"dropcap":"1"}')
    files = [
        NewFile(ODD, 1, -(10**20), 2**64 - 1, owner=1),
        *(NewFile(f"{n}", 2**40, n, 2**63, owner=None) for n in range(8 + more)),
    ]
    jobs = ledger.claim("f", files, lambda _: address)
    for number, job in enumerate(jobs[:5]):
        ledger.change([Change(job, State.SENDING, "attempt 1", {"attempts": 1, "key": f"k{number}"})])
        if number < 4:
            ledger.change([Change(job, State.STORED, "stored", {"sha256": "ab" * 32, "result": "stored", "seconds": 0.1 + 0.2})])
            ledger.change([Change(job, State.DONE, "", {"filed_as": f"done/{ODD}", "preserved_as": "Ä\n"})])
    ledger.change(
        [Change(jobs[5], State.HELD, "held", {"reason": "no_record", "message": 'say "so"\x7f', "sent_ctime_ns": 2**70})]
    )
    ledger.act(ME, AuditAction.PAUSE, scope="folder", name="f")
    assert ledger.prune(jobs[1:3], ME) == 2
    ledger.close()
    rows: dict[str, tuple[Any, ...]] = {
        "folder": ("f", "/srv/f", "marker", "", 1.5),
        "pause": ("folder", "f", "paused", "by hand", "", 1e-7, 1),
        "created": ("f", "2026-11-27", 3),
        "learned": ("p", "id", "42", 2.0**60),
        "mark": ("f", b"\xff\x00'", "cut", 1, 2, b"9223372036854775808", 4, 0.0),
        "mismatch": ("f", "101", 1_800_000_000.123456),
    }
    with closing(sqlite3.connect(path)) as connection:
        for table, row in rows.items():
            connection.execute(f"insert into {table} values ({', '.join('?' * len(row))})", row)
        connection.execute("insert into mismatch select * from mismatch")  # which has no key: the same row twice
        connection.execute("insert into meta values ('left f', '[]')")
        connection.commit()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    fill(tmp_path / "ledger.db")
    return tmp_path / "ledger.db"


def dump(path: Path) -> dict[str, list[Any]]:
    """Every row of every table, as SQLite has it."""
    with closing(sqlite3.connect(path)) as connection:
        names = [name for (name,) in connection.execute("select name from sqlite_master where type = 'table'")]
        return {name: sorted(map(repr, connection.execute(f"select * from {name}"))) for name in sorted(names)}


def exported(path: Path, file: Path) -> Path:
    with SqliteDatabase(path).snapshot() as connection:
        export(connection, file)
    return file


def imported(file: Path, path: Path, connected: Callable[[SqliteWriter], Any] = lambda connection: connection) -> None:
    with closing(open_for_writing(path)) as connection, file.open("rb") as content:
        bring_in(connected(connection), SqliteMoving(), content, checked(content), ME)


def test_every_table_and_column_is_moved(path: Path) -> None:
    """Who adds one by a migration adds it to `ledger/database`."""
    kinds = {
        "text": {ColumnKind.TEXT},
        "blob": {ColumnKind.BYTES},
        "real": {ColumnKind.REAL},
        "integer": {ColumnKind.WHOLE, ColumnKind.FLAG},
    }
    with closing(sqlite3.connect(path)) as connection:
        own = "select name from sqlite_master where type = 'table' and name not like 'sqlite_%'"
        there = {name: list(connection.execute(f"pragma table_info({name})")) for (name,) in connection.execute(own)}
    assert set(there) == {table.name for table in TABLES}
    for table in TABLES:
        columns = {name: kind.lower() for _, name, kind, *_ in there[table.name]}
        assert set(columns) == set(table.names), table.name
        assert len(table.names) == len(columns), table.name
        assert all(kind in kinds[columns[name]] for name, kind in table.columns), table.name


def test_there_and_back_all_is_as_it_was(path: Path, tmp_path: Path) -> None:
    file = exported(path, tmp_path / "export")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert not list(tmp_path.glob(".dropcap-*"))
    there = tmp_path / "there.db"
    imported(file, there)
    before, after = dump(path), dump(there)
    assert all(before[table.name] for table in TABLES), "a row in every table"
    acts = [row for row in after["act"] if row not in before["act"]]
    assert len(acts) == 1
    assert "'imported'" in acts[0]
    for name in before:
        if name not in ("act", "chain"):
            assert after[name] == before[name], name
    proof = prove(there)
    assert (proof.broken, proof.jobs) == ([], 7)
    assert any("brought here from an export, with 7 jobs" in told for told in proof.told)
    assert [head for head in prove(path).heads if head.chain] == [head for head in proof.heads if head.chain]

    # The ledger goes on: numbers are behind all that there ever were, and a third one is equal again.
    ledger = Ledger(there)
    (job,) = ledger.claim("f", [NewFile("new", 1, 2, 3)], lambda _: Address())
    ledger.close()
    assert job == max(int(line[1:].partition(",")[0]) for line in before["job"]) + 1
    assert prove(there).broken == []
    again = exported(there, tmp_path / "again")
    imported(again, tmp_path / "third.db")
    third = dump(tmp_path / "third.db")
    assert all(third[name] == rows for name, rows in dump(there).items() if name not in ("act", "chain"))


def test_numbers_of_removed_entries_are_not_used_again(tmp_path: Path) -> None:
    """The last entry may have been pruned: its seal stays, and its number is not given out again."""
    ledger = Ledger(tmp_path / "a.db")
    first, _ = ledger.claim("f", [NewFile("a", 1, 2, 3), NewFile("b", 1, 2, 3)], lambda _: Address())
    ledger.change([Change(first, State.WITHDRAWN, "gone")])
    ledger.prune([first], ME)
    ledger.close()
    imported(exported(tmp_path / "a.db", tmp_path / "export"), tmp_path / "b.db")
    assert dump(tmp_path / "b.db")["sqlite_sequence"] == ["('history', 3)"]


def lines(file: Path) -> list[bytes]:
    return file.read_bytes().splitlines(keepends=True)


def signed(made: Sequence[bytes]) -> bytes:
    """As somebody who knows the format would write it."""
    content = b"".join(made)
    return content + json.dumps({"sha256": hashlib.sha256(content).hexdigest()}, separators=(",", ":")).encode() + b"\n"


def header(line: bytes, **changed: Any) -> bytes:
    return json.dumps(json.loads(line) | changed, separators=(",", ":")).encode() + b"\n"


#: What becomes of a file's lines, and what is said of it then.
BAD: dict[str, tuple[Callable[[list[bytes]], bytes], str]] = {
    "empty": (lambda _: b"", "it is empty"),
    "foreign": (lambda _: b"SQLite format 3\0", "no export"),
    "binary": (lambda _: bytes(range(256)) * 40, "no export"),
    "other JSON": (lambda _: b'{"format":"x","version":1,"schema":1}\n', "no export"),
    "deep": (lambda _: b"[" * 100_000, "no export"),
    "torn": (lambda made: b"".join(made)[:-30], "its end is missing"),
    "torn in a line": (lambda made: b"".join(made[:9])[:-9], "cannot be read"),
    "torn between lines": (lambda made: b"".join(made[:9]), "its end is missing"),
    "changed": (lambda made: b"".join(made).replace(b'"attempt 1"', b'"attempt 2"'), "its end is missing, or it was changed"),
    "longer": (lambda made: b"".join(made) + made[1], "out of its order"),
    "newer format": (lambda made: signed([header(made[0], version=2), *made[1:-1]]), "newer dropcap"),
    "newer schema": (lambda made: signed([header(made[0], schema=999), *made[1:-1]]), "newer dropcap"),
    "older schema": (lambda made: signed([header(made[0], schema=1), *made[1:-1]]), "earlier dropcap"),
    "a row less": (lambda made: signed(made[:-2]), "does not hold what its first line says"),
    "a table of others": (lambda made: signed([made[0], b'["sqlite_master","x"]\n', *made[1:-1]]), "cannot be read"),
    "a column less": (lambda made: signed([made[0], b'["meta","x"]\n', *made[1:-1]]), "cannot be read"),
    "another kind": (lambda made: signed([made[0], b'["meta","x",1]\n', *made[1:-1]]), "cannot be read"),
    "half a surrogate": (lambda made: signed([made[0], b'["meta","x","\\ud800"]\n', *made[1:-1]]), "cannot be read"),
    "out of order": (lambda made: signed([made[0], *made[1:-1][::-1]]), "out of its order"),
    "no heads": (lambda made: signed([header(made[0], heads=None), *made[1:-1]]), "not as it was made"),
}


@pytest.mark.parametrize("what", BAD)
def test_what_is_no_whole_export_is_refused_before_anything_is_written(path: Path, tmp_path: Path, what: str) -> None:
    file = exported(path, tmp_path / "export")
    make, said = BAD[what]
    file.write_bytes(make(lines(file)))
    with pytest.raises(NotAnExport, match=said), file.open("rb") as content:
        checked(content)


#: What somebody writes who signs the file anew: what reads otherwise in the ledger, and what the chains tell.
FORGED: dict[str, tuple[Callable[[list[bytes]], list[bytes]], str]] = {
    "a note": (lambda made: [line.replace(b'"attempt 1"', b'"attempt 2"') for line in made], "chains of the file are not whole"),
    "a head": (lambda made: [header(made[0], heads=json.loads(made[0])["heads"][:-1]), *made[1:]], "line 1 of the file reads"),
    "rows of meta": (lambda made: [made[0], made[2], made[1], *made[3:]], "line 2 of the file reads"),
    "twice": (lambda made: [made[0].replace(b'"folder":1', b'"folder":2'), *double(made[1:])], "UNIQUE"),
    "a flag": (lambda made: [line.replace(b",true,", b",null,") for line in made], "NOT NULL"),
}


def double(made: list[bytes]) -> Iterator[bytes]:
    for line in made:
        yield line
        if line.startswith(b'["folder"'):
            yield line


@pytest.mark.parametrize("what", FORGED)
def test_what_was_forged_is_taken_back_whole(path: Path, tmp_path: Path, what: str) -> None:
    file = exported(path, tmp_path / "export")
    make, said = FORGED[what]
    file.write_bytes(signed(make(lines(file)[:-1])))
    there = tmp_path / "there.db"
    open_for_writing(there).close()
    before = dump(there)
    with pytest.raises(Exception, match=said):
        imported(file, there)
    assert dump(there) == before


class Fails:
    """A connection that is gone at its nth statement, as a kill leaves it."""

    def __init__(self, connection: SqliteWriter, after: int) -> None:
        self._connection, self._left = connection, after

    def _next(self) -> None:
        self._left -= 1
        if self._left < 0:
            self._connection.close()
            raise KeyboardInterrupt

    def execute(self, *words: Any) -> Any:
        self._next()
        return self._connection.execute(*words)

    def executemany(self, *words: Any) -> Any:
        self._next()
        return self._connection.executemany(*words)

    def begin(self) -> None:
        self.execute("begin immediate")

    def commit(self) -> None:
        self.execute("commit")

    def rollback(self) -> None:
        pass

    def newest(self) -> tuple[int, int]:
        return self._connection.newest()


def test_wherever_an_import_ends_there_is_nothing_or_all(path: Path, tmp_path: Path) -> None:
    file = exported(path, tmp_path / "export")
    open_for_writing(tmp_path / "there.db").close()
    before = dump(tmp_path / "there.db")
    for after in itertools.count(0, 3):
        try:
            imported(file, tmp_path / "there.db", lambda connection, after=after: Fails(connection, after))
        except KeyboardInterrupt:
            assert dump(tmp_path / "there.db") == before, after
        else:
            break
    assert after > 50, "at each third statement"
    assert prove(tmp_path / "there.db").broken == []


# By the command


def test_a_ledger_moves_and_the_daemon_goes_on(place: Site, tmp_path: Path) -> None:
    daemon = place.start()
    place.put("101_V1_consent.pdf", b"one")
    daemon.wait_for("done")
    assert place.dropcap("pause", "--project", "trial").returncode == 0
    place.put("102_V1_lab_1.pdf", b"two")
    daemon.wait_for("claimed", 2)
    file = place.root / "export"
    running = place.dropcap("ledger", "export", str(file))
    assert (running.returncode, file.exists()) == (4, False), running.stderr
    assert "stop it first" in running.stderr
    assert daemon.stop() == 0

    told = place.dropcap("ledger", "export", str(file))
    assert told.returncode == 0, told.stderr
    assert "2  job\n" in told.stdout
    for target, code in ((file, 2), ("-", 2), (place.drop / "export", 2), (place.root / "nowhere/export", 1)):
        assert place.dropcap("ledger", "export", str(target)).returncode == code, target
    assert place.dropcap("ledger", "import", str(file)).returncode == 2, "it is not empty"
    assert len(place.jobs()) == 2

    # On another machine: the same folders, another state_dir.
    old, place.state = place.state, place.root / "other"
    place.config["state_dir"] = str(place.state)
    place.write_config()
    torn = place.root / "torn"
    torn.write_bytes(file.read_bytes()[:-9])
    os.mkfifo(place.root / "fifo")
    for bad in (torn, place.root / "nowhere", place.root, place.root / "fifo", "-"):
        refused = place.dropcap("ledger", "import", str(bad))
        assert (refused.returncode, refused.stdout) == (2, ""), refused.stderr
    assert not (place.state / "ledger.db").exists(), "nothing is made for what is refused"
    told = place.dropcap("ledger", "import", str(file))
    assert told.returncode == 0, told.stderr
    assert "compared row by row" in told.stdout
    before, after = dump(old / "ledger.db"), dump(place.state / "ledger.db")
    assert all(after[name] == rows for name, rows in before.items() if name not in ("act", "chain"))
    assert place.dropcap("verify", "--chain").returncode == 0
    acts = [json.loads(line) for line in place.dropcap("history", "--acts", "--json").stdout.splitlines()]
    assert [(act["what"], act["told"]["rows"]["job"]) for act in acts[-2:]] == [("exported", 2), ("imported", 2)]
    assert place.dropcap("history", "--acts").stdout.count("2 jobs with ") == 2
    assert acts[-2]["told"]["heads"][1] == acts[-1]["told"]["heads"][1], "no job has changed in between"

    daemon = place.start()
    assert not daemon.events("ledger_restored")
    assert not daemon.events("ledger_damaged")
    assert not daemon.events("folder_away"), "it is the same installation"
    running = place.dropcap("ledger", "import", str(file))
    assert running.returncode == 4, running.stderr
    assert place.dropcap("resume", "--project", "trial").returncode == 0
    daemon.wait_for("done")
    assert place.done() == ["101_V1_consent.pdf", "102_V1_lab_1.pdf"]
    assert daemon.stop() == 0
    assert place.dropcap("verify", "--chain").returncode == 0

    # What an import would refuse is not exported: it would be found out on the other machine only.
    with closing(sqlite3.connect(place.state / "ledger.db")) as connection:
        connection.execute("update job set record = '109' where id = 1")
        connection.commit()
    refused = place.dropcap("ledger", "export", str(place.root / "changed"))
    assert (refused.returncode, refused.stdout) == (1, "")
    assert "its record is '109' now" in refused.stderr
    assert not (place.root / "changed").exists()


def test_whose_folders_are_anothers_gets_no_ledger(place: Site) -> None:
    """The ledger of this state_dir is lost, the folders know it: that of another installation does not take its place."""
    fill(place.root / "another.db")
    file = exported(place.root / "another.db", place.root / "export")
    place.state.mkdir()
    (place.state / "installation").write_text("ab" * 16 + "\n")
    refused = place.dropcap("ledger", "import", str(file))
    assert refused.returncode == 2
    assert "another installation" in refused.stderr
    assert not (place.state / "ledger.db").exists()
    assert (place.state / "installation").read_text() == "ab" * 16 + "\n"

    # Nor where a new ledger stands for the lost one; but into one whose id no folder has ever got.
    close_ledger(open_ledger(place.state), place.state)
    assert place.dropcap("ledger", "import", str(file)).returncode == 2
    (place.state / "ledger.db").unlink()
    (place.state / "installation").unlink()
    close_ledger(open_ledger(place.state), place.state)
    own = (place.state / "installation").read_text()
    told = place.dropcap("ledger", "import", str(file))
    assert told.returncode == 0, told.stderr
    assert (place.state / "installation").read_text() != own
    ledger = open_ledger(place.state)
    rebuilt = ledger.query.meta("rebuilt")
    close_ledger(ledger, place.state)
    assert rebuilt is None, "a start takes it for what it is"


def test_killed_in_the_middle_leaves_nothing(place: Site) -> None:
    place.state.mkdir()
    fill(place.state / "ledger.db")
    texts = [f"{number} " * 40_000 for number in range(60)]  # much to write, and little to compute
    with closing(sqlite3.connect(place.state / "ledger.db")) as connection:
        rows = [(hashlib.sha256(text.encode()).hexdigest(), text) for text in texts]
        connection.executemany("insert into document values (?, ?)", rows)
        connection.commit()
    file = place.root / "export"

    def killed(words: Sequence[str], when: Callable[[], Any]) -> None:
        """On a machine that is busy with others it may just have ended."""
        with subprocess.Popen([*DROPCAP, "ledger", *words], env=place.env()) as process:
            eventually(lambda: when() or process.poll() is not None)
            process.send_signal(signal.SIGKILL)
            assert process.wait(10) in (-signal.SIGKILL, 0)

    killed(["export", str(file)], lambda: any(one.stat().st_size > 4096 for one in place.root.glob(".dropcap-*")))
    if file.exists():
        with file.open("rb") as content:
            checked(content)
    else:
        assert place.dropcap("ledger", "export", str(file)).returncode == 0
    before = dump(place.state / "ledger.db")

    place.state = place.root / "other"
    place.config["state_dir"] = str(place.state)
    place.write_config()

    def begun() -> bool:
        """Rows are in the write-ahead log behind those that made the ledger."""
        try:
            with (place.state / "ledger.db-wal").open("rb") as wal:
                wal.seek(2**20)
                return any(wal.read(4096))
        except OSError:
            return False

    killed(["import", str(file)], begun)
    with closing(sqlite3.connect(place.state / "ledger.db")) as connection:
        nothing = used_by(connection) is None
    if nothing:
        told = place.dropcap("ledger", "import", str(file))
        assert told.returncode == 0, told.stderr
    after = dump(place.state / "ledger.db")
    assert all(after[name] == rows for name, rows in before.items() if name not in ("act", "chain"))
