from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from tests import needs

if TYPE_CHECKING:  # the extra [postgres] may not be installed
    from tests.postgres.cluster import Cluster


@pytest.fixture(scope="module")
def mine() -> Iterator[Cluster]:
    """A cluster that the tests of a file may break, if they leave it running."""
    needs.postgresql()
    from tests.postgres.cluster import cluster

    with cluster() as made:
        yield made


@pytest.fixture
def dsn(mine: Cluster) -> str:
    """The DSN of a fresh database that has the tables of hosts and leases, and no ledger."""
    import psycopg

    from dropcap.ledger.postgres.leases import HOSTS

    made = mine.create_database()
    with psycopg.connect(made) as connection:
        connection.execute(HOSTS.encode())
    return made
