"""The contract that both engines keep: what asks for `engine` or `ledger` runs with SQLite and with PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from dropcap.ledger.store import Ledger
from tests.ledger.engine import Engine, PostgresEngine, SqliteEngine

if TYPE_CHECKING:  # the extra [postgres] may not be installed
    from tests.postgres.cluster import Cluster


@pytest.fixture(scope="session")
def postgres_engine(postgres: Cluster) -> Iterator[PostgresEngine]:
    with PostgresEngine.new(postgres) as made:
        yield made


@pytest.fixture(scope="module")
def postgres_of_a_file(postgres: Cluster) -> Iterator[PostgresEngine]:
    """For what the tests of a file ask one after the other."""
    with PostgresEngine.new(postgres) as made:
        yield made


@pytest.fixture(params=["sqlite", "postgresql"])
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Engine]:
    """An empty ledger of each engine."""
    made: Engine
    if request.param == "sqlite":
        made = SqliteEngine(tmp_path)
    else:
        made = request.getfixturevalue("postgres_engine")
        made.begin_anew()
    yield made
    made.close()


@pytest.fixture
def ledger(engine: Engine) -> Ledger:
    """It is open."""
    return engine.open()
