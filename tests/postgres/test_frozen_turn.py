# ruff: noqa: E402 - the library may be missing
"""A process that is frozen within its turn to write keeps nobody else from theirs."""

from __future__ import annotations

import time
import uuid

import pytest

from tests import needs

needs.library("psycopg")

from dropcap.ledger.database import Unavailable
from dropcap.ledger.postgres.database import PostgresDatabase
from dropcap.ledger.postgres.leases import ThisHost
from dropcap.ledger.postgres.wire import Connector


def test_who_is_silent_within_his_turn_loses_it(database: str) -> None:
    def writer() -> PostgresDatabase:
        me = ThisHost(uuid.uuid4().hex, "host", 1, "1", "")
        return PostgresDatabase(Connector(database, "test"), me)

    silent, other = writer().writer(), writer().writer()
    silent.begin()
    began = time.monotonic()
    other.begin()  # as if the first one's process were stopped here
    other.commit()
    assert 4.0 < time.monotonic() - began < 12.0
    with pytest.raises(Unavailable):
        silent.execute("select 1")
    silent.rollback()
    silent.begin()  # nothing of his stands, and he goes on
    silent.commit()
    for one in (silent, other):
        one.close()
