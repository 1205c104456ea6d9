# ruff: noqa: E402 - the library may be missing
"""The leases of folders on a real server: who races, who comes too late, and what becomes of the clock."""

from __future__ import annotations

import multiprocessing
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests import needs
from tests.site import eventually

needs.library("psycopg")
import psycopg

from dropcap.ledger.postgres import leases
from dropcap.ledger.postgres.leases import LeaseRow, ThisHost

LEASE = 60.0


@pytest.fixture
def db(dsn: str) -> Iterator[psycopg.Connection]:
    with psycopg.connect(dsn, autocommit=True) as connection:
        yield connection


def lapse(db: psycopg.Connection) -> None:
    """As if the database's clock were an hour later."""
    for table in ("lease", "host"):
        db.execute(f"update {table} set until = until - interval '1 hour' where until > 'epoch'".encode())


def host(db: psycopg.Connection, name: str) -> str:
    leases.register(db, ThisHost(name, f"{name}.example", 1, "1", "digest"), LEASE)
    return name


def lease_of(db: psycopg.Connection, folder: str) -> LeaseRow:
    return next(row for row in leases.look(db).leases if row.folder == folder)


def test_a_folder_goes_from_hand_to_hand(db: psycopg.Connection) -> None:
    a, b = host(db, "a"), host(db, "b")
    assert leases.take(db, "/x", a, LEASE) == 1
    assert leases.take(db, "/x", b, LEASE) is None
    assert lease_of(db, "/x") == LeaseRow("/x", 1, a, lapsed=False, released=False, beat=0)
    assert leases.beat(db, a, {"/x": 1}, LEASE) == {"/x"}
    assert lease_of(db, "/x").beat == 1
    assert leases.release(db, b, {"/x": 1}) == frozenset()
    assert leases.release(db, a, {"/x": 2}) == frozenset()
    assert leases.release(db, a, {"/x": 1}) == {"/x"}
    assert lease_of(db, "/x")[2:5] == ("", True, True)
    assert leases.beat(db, a, {"/x": 1}, LEASE) == frozenset(), "a beat on its way does not undo a release"
    assert leases.take(db, "/x", b, LEASE, beat=0) == 2, "what was released needs no beat that stood still"
    assert leases.release(db, b, {"/x": 2}) == {"/x"}
    assert leases.take(db, "/x", b, LEASE) == 3
    assert leases.beat(db, b, {"/x": 2}, LEASE) == frozenset(), "an older lease of the same host"


def test_many_folders_are_handed_back_at_once(db: psycopg.Connection) -> None:
    a, b = host(db, "a"), host(db, "b")
    fences = {f"/{number}": leases.take(db, f"/{number}", a, LEASE) or 0 for number in range(5)}
    lapse(db)
    assert leases.take(db, "/4", b, LEASE) == 2
    assert leases.release(db, a, fences | {"/3": 7, "/unknown": 1}) == {"/0", "/1", "/2"}
    assert {row.folder: row.holder for row in leases.look(db).leases} == {"/0": "", "/1": "", "/2": "", "/3": a, "/4": b}
    assert leases.release(db, a, {}) == frozenset()


def test_a_beat_after_a_take_finds_nothing(db: psycopg.Connection) -> None:
    a, b = host(db, "a"), host(db, "b")
    leases.take(db, "/x", a, LEASE)
    leases.take(db, "/y", a, LEASE)
    lapse(db)
    assert lease_of(db, "/x").lapsed
    assert leases.take(db, "/x", b, LEASE, lease_of(db, "/x").beat) == 2
    assert leases.beat(db, a, {"/x": 1, "/y": 1}, LEASE) == {"/y"}, "nobody has taken the other one"
    assert lease_of(db, "/x").holder == b
    # After a fail-over that has lost the take, another host is given the same fence.
    db.execute("update lease set holder = 'c' where folder = '/x'")
    assert leases.beat(db, b, {"/x": 2}, LEASE) == frozenset()
    assert leases.release(db, b, {"/x": 2}) == frozenset()


def test_a_holder_that_has_moved_since_keeps_its_folder(db: psycopg.Connection) -> None:
    a, b = host(db, "a"), host(db, "b")
    leases.take(db, "/x", a, LEASE)
    seen = lease_of(db, "/x").beat
    leases.beat(db, a, {"/x": 1}, LEASE)
    lapse(db)  # the clock is set between that beat and the take
    assert leases.take(db, "/x", b, LEASE, seen) is None
    assert leases.take(db, "/x", b, LEASE, seen + 1) == 2


def test_a_host_that_the_database_has_forgotten_is_told(db: psycopg.Connection) -> None:
    a = host(db, "a")
    leases.take(db, "/x", a, LEASE)
    assert host(db, "a") == a, "registering again changes nothing"
    assert len(leases.look(db).hosts) == 1
    db.execute("delete from host")
    assert leases.beat(db, a, {"/x": 1}, LEASE) is None
    assert lease_of(db, "/x").beat == 0


def test_what_a_look_tells_of_hosts(db: psycopg.Connection) -> None:
    a, b = host(db, "a"), host(db, "b")
    leases.lacks(db, b, ["/z", "/y"])
    leases.leave(db, a)
    found = {row.id: row for row in leases.look(db).hosts}
    assert (found[a].alive, found[b].alive, found[b].lacks) == (False, True, ("/y", "/z"))
    assert found[b][:5] == ("b", "b.example", 1, "1", "digest")
    db.execute("update host set until = until - interval '40 days' where id = 'a'")
    host(db, "c")
    assert db.execute("select id from host order by id").fetchall() == [("b",), ("c",)]


def _take(dsn: str, me: str, start: threading.Barrier, results: multiprocessing.Queue[tuple[str, dict[str, int | None]]]) -> None:
    with psycopg.connect(dsn) as connection:
        start.wait(20)
        found = {}
        for number in range(20):
            connection.execute("update turn set n = n + 1")
            found[f"/{number}"] = leases.take(connection, f"/{number}", me, LEASE, beat=0)
            connection.commit()
        results.put((me, found))


def test_of_many_processes_one_takes_a_folder(dsn: str, db: psycopg.Connection) -> None:
    """Half of the folders have lapsed, the others were never held."""
    context = multiprocessing.get_context("fork")
    for number in range(10):
        leases.take(db, f"/{number}", host(db, "gone"), LEASE)
    lapse(db)
    start, results = context.Barrier(5), context.Queue()
    others = [context.Process(target=_take, args=(dsn, f"h{number}", start, results)) for number in range(4)]
    for other in others:
        other.start()
    start.wait(20)
    found = [results.get(timeout=20) for _ in others]
    for other in others:
        other.join(20)
    for number in range(20):
        took = [(me, fences[f"/{number}"]) for me, fences in found if fences[f"/{number}"] is not None]
        assert took == [(lease_of(db, f"/{number}").holder, 2 if number < 10 else 1)]


def test_who_takes_a_folder_waits_for_a_write_in_flight(dsn: str, db: psycopg.Connection) -> None:
    """Whether it was guarded by the turn or by the lease's row alone; and beats wait for neither."""
    a, b = host(db, "a"), host(db, "b")
    leases.take(db, "/x", a, LEASE)
    lapse(db)
    with psycopg.connect(dsn) as writer, psycopg.connect(dsn, autocommit=True) as taker, ThreadPoolExecutor(1) as pool:
        held = "select 1 from lease where folder = '/x' and fence = 1 and holder = 'a' for key share"
        assert writer.execute(held.encode()).fetchone() is not None
        taking = pool.submit(leases.take, taker, "/x", b, LEASE)
        pid = taker.info.backend_pid
        waits = "select wait_event_type = 'Lock' from pg_stat_activity where pid = %s"
        eventually(lambda: db.execute(waits, (pid,)).fetchone() == (True,))
        assert not taking.done()
        writer.commit()
        assert taking.result(10) == 2
        assert writer.execute(held.encode()).fetchone() is None
        writer.rollback()
        assert leases.beat(db, b, {"/x": 2}, LEASE) == {"/x"}
        writer.execute("update turn set n = n + 1")
        writer.execute("select 1 from lease where folder = '/x' for key share")
        assert leases.beat(db, b, {"/x": 2}, LEASE) == {"/x"}


def test_a_beat_and_the_takes_that_it_is_too_late_for_never_wait_for_each_other(dsn: str, db: psycopg.Connection) -> None:
    """Both go by the order of names, whatever that of the rows in the table is."""
    folders = [f"/{number:02}" for number in range(30)]
    fences = {folder: leases.take(db, folder, host(db, "a"), LEASE) or 0 for folder in folders[::-1]}
    lapse(db)
    with psycopg.connect(dsn) as taker, psycopg.connect(dsn, autocommit=True) as beating, ThreadPoolExecutor(1) as pool:
        assert leases.take(taker, "/00", "b", LEASE) == 2
        beat = pool.submit(leases.beat, beating, "a", fences, LEASE)
        waits = "select wait_event_type = 'Lock' from pg_stat_activity where pid = %s"
        eventually(lambda: db.execute(waits, (beating.info.backend_pid,)).fetchone() == (True,))
        assert [leases.take(taker, folder, "b", LEASE) for folder in folders[1:]] == [2] * 29
        taker.commit()
        assert beat.result(10) == frozenset()
