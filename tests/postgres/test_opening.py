# ruff: noqa: E402 - the library may be missing
"""Who opens a ledger on PostgreSQL: it is made once, and where it cannot be used, people read why."""

from __future__ import annotations

import contextlib
import threading
import time
from pathlib import Path

import pytest

from tests import needs

needs.library("psycopg")
import psycopg
from psycopg import sql

from dropcap.daemon.opening import _settle
from dropcap.hosts.send_journal import BegunSend, SendJournal
from dropcap.ledger.database import VERSION, DatabaseError, LedgerError, NewerLedger
from dropcap.ledger.job import Address, Change, NewFile, State
from dropcap.ledger.postgres.database import PostgresDatabase
from dropcap.ledger.postgres.wire import Connector
from dropcap.ledger.proof import prove
from dropcap.ledger.store import Ledger
from tests.postgres.cluster import Cluster


def opened(dsn: str) -> Ledger:
    return Ledger(PostgresDatabase(Connector(dsn, "test")))


def by_hand(dsn: str, statement: str) -> list[tuple[object, ...]]:
    with psycopg.connect(dsn, autocommit=True) as connection:
        cursor = connection.execute(statement.encode())
        return cursor.fetchall() if cursor.description else []


@pytest.mark.parametrize("_", range(3))  # it is a race
def test_of_three_who_open_it_at_once_one_makes_it(database: str, _: int) -> None:
    made: list[Ledger | Exception] = []
    go = threading.Barrier(3)

    def work() -> None:
        go.wait()
        try:
            made.append(opened(database))
        except Exception as error:
            made.append(error)

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    ledgers = [one for one in made if isinstance(one, Ledger)]
    assert len(ledgers) == 3, made
    assert len({ledger.installation for ledger in ledgers}) == 1
    assert [act.what for act in ledgers[0].query.acts()] == ["created"]
    assert prove(ledgers[0].database).broken == []
    assert ledgers[0].query.version() == VERSION
    for ledger in ledgers:
        ledger.close()


def test_a_newer_ledger_is_left_alone(database: str) -> None:
    opened(database).close()
    by_hand(database, f"update ledger_version set version = {VERSION + 1}")
    before = by_hand(database, "select n from turn")
    with pytest.raises(NewerLedger, match=f"version {VERSION + 1}.*install the newer dropcap"):
        opened(database)
    assert by_hand(database, "select n from turn") == before


def test_a_database_that_cannot_hold_a_ledger(postgres: Cluster) -> None:
    postgres.admin("create database latin template template0 encoding 'LATIN1' locale 'C' owner dropcap")
    with pytest.raises(LedgerError, match="encoding is LATIN1: make one with encoding UTF8"):
        opened(postgres.dsn("latin"))


def test_roles_that_lack_rights(postgres: Cluster, database: str) -> None:
    """One that may make no tables; one that may not read those of another role; one that may not write them."""
    name = database.rpartition("/")[2]
    postgres.role("lacking", "secret")
    theirs = postgres.dsn(name, user="lacking", password="secret")
    with pytest.raises(LedgerError, match=r"cannot be made .*permission denied"):
        opened(theirs)
    opened(database).close()
    with pytest.raises(LedgerError, match=r"may not write the ledger \(permission denied for act, chain, .*\): grant it"):
        opened(theirs)

    def grant(what: str) -> None:
        for kind in ("tables", "sequences"):
            words = f"grant {what if kind == 'tables' else 'usage, select'} on all {kind} in schema public to lacking"
            postgres.admin(sql.SQL(words), database=name)  # type: ignore[arg-type]

    grant("select")
    with pytest.raises(LedgerError, match=r"may not write the ledger"):
        opened(theirs)
    with contextlib.closing(PostgresDatabase(Connector(theirs, "test")).reader()) as reader:
        assert reader.rows("select count(*) from act", ()) == [(1,)], "who only reads needs no more"
    grant("select, insert, update, delete")
    with contextlib.closing(opened(theirs)) as ledger:
        ledger.claim("f", [NewFile("a", 1, 1, 1)], lambda _: Address())
        assert ledger.change([Change(1, State.SENDING)]) == {1}
        assert prove(ledger.database).broken == []


def test_a_database_or_password_that_is_wrong_is_told_at_once(postgres: Cluster) -> None:
    postgres.role("known", "secret")
    for dsn, said in (
        (postgres.dsn("nowhere"), 'database "nowhere" does not exist'),
        (postgres.dsn("postgres", user="known", password="wrong"), "password authentication failed"),
    ):
        with pytest.raises(DatabaseError, match=said) as told:
            opened(dsn)
        assert "wrong" not in str(told.value)


def test_a_standby_is_refused_and_read(mine: Cluster) -> None:
    dsn = mine.create_database()
    ledger = opened(dsn)
    with mine.standby() as standby:
        standby.catch_up(mine)
        there = standby.dsn(dsn.rpartition("/")[2])
        with pytest.raises(LedgerError, match="a standby, which takes no writes: name the primary"):
            opened(there)
        assert prove(PostgresDatabase(Connector(there, "test"))).acts == 1
    ledger.close()


@pytest.mark.parametrize(("days", "state"), [(40.0, State.HELD), (1.0, State.UNKNOWN)])
def test_the_database_has_forgotten_a_host_or_lost_it(database: str, tmp_path: Path, days: float, state: State) -> None:
    """What a host began to send that ended a month ago is settled; of one that a fail-over has lost, the outcome is unknown."""
    ledger = opened(database)
    (job,) = ledger.claim("f", [NewFile("a", 1, 2, 3)], lambda name: Address("p", "r", name, None, "f", 1, name))
    ledger.change([Change(job, State.HELD)])
    journal = SendJournal(tmp_path / "sending.journal")
    journal.append([BegunSend(job, "f", "a", 1, "p a f", None, "", "gone", 3, time.time() - days * 86400)])
    _settle(ledger, ledger.database, journal)
    assert ledger.query.job(job).state is state  # type: ignore[union-attr]
    assert bool(journal.all()) is (state is State.HELD)
    journal.close()
    ledger.close()
