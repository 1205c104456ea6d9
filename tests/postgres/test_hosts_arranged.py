# ruff: noqa: E402 - the library may be missing
"""A folder comes to a host while the database goes away."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests import needs

needs.library("psycopg")

from dropcap.config.load import load
from dropcap.daemon.engine import Engine
from dropcap.daemon.host_leases import UnsharedLeases
from dropcap.hosts.membership import LeaseHandle
from dropcap.ledger.database import DatabaseError
from dropcap.ledger.postgres.database import PostgresDatabase
from dropcap.ledger.postgres.wire import Connector
from dropcap.ledger.query import Query
from dropcap.ledger.store import Ledger
from tests.postgres.cluster import Cluster
from tests.postgres.hosts import hosts
from tests.postgres.proxy import proxy


class Given(UnsharedLeases):
    """A host that has the folders it is given."""

    def __init__(self) -> None:
        super().__init__()
        self.folders: set[str] = set()

    def lease_handle(self, folder: str) -> LeaseHandle | None:  # type: ignore[override]
        return super().lease_handle(folder) if folder in self.folders else None


def test_what_the_database_kept_from_being_taken_up_is_taken_up_later(database: str, postgres: Cluster, tmp_path: Path) -> None:
    """Its channel was built, and then the ledger took nothing: it must not take files that nobody sends."""
    with hosts(tmp_path, database) as h, proxy(postgres.port) as way:
        dsn = postgres.dsn(database.rpartition("/")[2], port=way.port)
        ledger = Ledger(PostgresDatabase(Connector(dsn, "test")))
        ledger.query.close()
        ledger.query = Query(PostgresDatabase(Connector(database, "test")))  # what is read comes through
        given = Given()
        engine = Engine(load(h.host("a").config_file), ledger, given)
        ledger.give_up()  # no write waits
        way.refuse()
        way.reset()
        given.folders.add("d1")
        with pytest.raises(DatabaseError):
            engine.arrange()
        assert not engine.delivery.busy("d1")
        way.admit()
        engine.agree(asked=False)
        assert engine.delivery.busy("d1")
        engine.stop(0.0)
        ledger.close()
