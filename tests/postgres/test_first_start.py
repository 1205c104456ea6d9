"""Several hosts are started for the first time at once: one of them makes the tables."""

# ruff: noqa: E402 - the library may be missing
from __future__ import annotations

import threading
from pathlib import Path

from tests import needs
from tests.site import eventually

needs.library("psycopg")
import psycopg

from dropcap.ledger.database import VERSION
from dropcap.ledger.postgres.connection import PostgresConnection
from dropcap.ledger.postgres.database import _LOCK, migrate, version_of
from dropcap.ledger.postgres.wire import Connector
from tests.postgres.cluster import Cluster
from tests.postgres.hosts import hosts


def test_who_waits_for_the_one_that_makes_the_tables_finds_them(postgres: Cluster) -> None:
    """Each has looked before any of them was allowed to make them."""
    dsn = postgres.create_database()
    wrong: list[Exception] = []

    def start() -> None:
        connection = PostgresConnection(Connector(dsn, "test"))
        try:
            migrate(connection)
            assert version_of(connection) == VERSION
        except Exception as error:
            wrong.append(error)
        finally:
            connection.close()

    with psycopg.connect(dsn, autocommit=True) as first:
        first.execute("select pg_advisory_lock(%s)", (_LOCK,))
        hosts = [threading.Thread(target=start) for _ in range(5)]
        for host in hosts:
            host.start()
        here = "database = (select oid from pg_database where datname = current_database())"
        waiting = f"select count(*) from pg_locks where locktype = 'advisory' and not granted and {here}".encode()
        eventually(lambda: first.execute(waiting).fetchone() == (5,))
        first.execute("select pg_advisory_unlock(%s)", (_LOCK,))
        for host in hosts:
            host.join(20)
        assert wrong == []
        assert first.execute("select count(*) from act").fetchone() == (1,)


def test_who_is_refused_is_no_host(tmp_path: Path, database: str) -> None:
    with hosts(tmp_path, database) as place:
        refused = place.host("a")
        refused.state.mkdir(exist_ok=True)
        (refused.state / "installation").write_text("0123456789abcdef0123456789abcdef\n")
        daemon = refused.start(ready=False)
        assert daemon.process.wait(20) == 2
        eventually(lambda: any("belongs to another installation than the ledger" in line for line in daemon.raw))
        with psycopg.connect(database) as connection:
            assert connection.execute("select count(*) from host").fetchone() == (0,), "others would wait for it"
