"""The contract that both engines keep: what asks for `engine` or `ledger` runs with SQLite and with PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from dropcap.ledger.store import Ledger
from tests.ledger.engine import Engine, PostgresEngine, SqliteEngine


@pytest.fixture(scope="session")
def postgres_engine(request: pytest.FixtureRequest) -> Iterator[PostgresEngine]:
    made = PostgresEngine(request.getfixturevalue("postgres").create_database())
    yield made
    made.end()


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
