# ruff: noqa: E402 - the library may be missing
"""The proxy before a PostgreSQL: what it is told to do to those who pass is what happens to them."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from tests import needs
from tests.site import eventually

needs.library("psycopg")
from psycopg import Connection, OperationalError

from tests.postgres.cluster import Cluster
from tests.postgres.lines import add, connected, in_background, lines, table
from tests.postgres.proxy import Proxy, proxy


@pytest.fixture
def way(mine: Cluster) -> Iterator[Proxy]:
    with proxy(mine.port) as made:
        yield made


def test_deaf_on_one_side_or_both_until_it_resumes(mine: Cluster, way: Proxy) -> None:
    dsn = table(mine, port=way.port)
    with connected(dsn) as connection:
        way.deaf("client")
        waiting = in_background(connection.execute, "insert into line values (1)")
        direct = mine.dsn(dsn.rpartition("/")[2])
        eventually(lambda: lines(direct) == [1])  # it was done, and not heard of
        assert waiting.is_alive()
        way.resume()
        waiting.join(10)
        way.deaf("server")
        waiting = in_background(connection.execute, "insert into line values (2)")
        coming = in_background(lines, dsn)
        waiting.join(0.2)
        assert waiting.is_alive()
        assert coming.is_alive()
        assert lines(direct) == [1]
        way.resume()
        waiting.join(10)
        coming.join(10)
        assert lines(direct) == [1, 2]


def test_connections_are_reset_and_new_ones_refused(mine: Cluster, way: Proxy) -> None:
    dsn = table(mine, port=way.port)
    with connected(dsn) as connection:
        way.refuse()
        with pytest.raises(OperationalError, match="refused"):
            connected(dsn)
        connection.execute("select 1")  # those who are in stay
        way.reset()
        with pytest.raises(OperationalError):
            connection.execute("select 1")
    way.admit()
    assert lines(dsn) == []
    mine.stop()
    with pytest.raises(OperationalError):
        connected(dsn)
    mine.start()
    assert lines(dsn) == []


def test_a_client_that_is_cut_off_leaves_its_session_behind(mine: Cluster, way: Proxy) -> None:
    dsn = table(mine, port=way.port)
    with connected(dsn, autocommit=False) as connection:
        connection.execute("lock table line")
        way.reset("client")
        with pytest.raises(OperationalError):
            connection.execute("select 1")
    sessions = "select count(*) from pg_stat_activity where state = 'idle in transaction'"
    assert mine.admin(sessions) == [(1,)]
    way.reset("server")
    eventually(lambda: mine.admin(sessions) == [(0,)])


def test_latency_counts_both_ways_and_once_for_what_is_pipelined(mine: Cluster, way: Proxy) -> None:
    with connected(table(mine, port=way.port)) as connection:
        way.latency(50)
        begun = time.monotonic()
        connection.execute("select 1")
        single = time.monotonic() - begun
        with connection.pipeline():
            for number in range(100):
                connection.execute("insert into line values (%s)", [number])
        pipelined = time.monotonic() - begun - single
        way.latency(0)
    assert single >= 0.1
    assert 0.1 <= pipelined < 5  # not 100 * 0.1


@pytest.mark.parametrize("how", ["transaction", "autocommit", "prepared", "pipeline"])
def test_a_commit_is_done_and_its_reply_is_lost(mine: Cluster, way: Proxy, how: str) -> None:
    dsn = table(mine, port=way.port)
    with connected(dsn, autocommit=how == "autocommit") as connection:
        if how == "prepared":
            connection.execute("insert into line values (1)", prepare=True)
            connection.rollback()
        cut = way.cut_after_commit(of="into line")
        with connected(dsn) as other:  # commits something else
            other.execute("create table other ()")
        assert not cut.is_set()
        with pytest.raises(OperationalError):
            insert(connection, how)
    assert cut.is_set()
    assert lines(dsn) == [1]
    add(dsn, 2)  # it was for one time
    assert lines(dsn) == [1, 2]


@pytest.mark.parametrize("how", ["transaction", "pipeline"])
def test_a_commit_is_lost_on_its_way(mine: Cluster, way: Proxy, how: str) -> None:
    dsn = table(mine, port=way.port)
    with connected(dsn, autocommit=False) as connection:
        cut = way.cut_before_commit()
        with pytest.raises(OperationalError):
            insert(connection, how)
    assert cut.is_set()
    assert lines(dsn) == []


def insert(connection: Connection, how: str) -> None:
    if how == "pipeline":
        with connection.pipeline():
            connection.execute("insert into line values (%s)", [1])
            connection.commit()
    else:
        connection.execute("insert into line values (1)", prepare=how == "prepared")
        connection.commit()


def test_a_reply_can_be_lost_in_silence(mine: Cluster, way: Proxy) -> None:
    dsn = table(mine, port=way.port)
    connection = connected(dsn)
    cut = way.cut_after_commit(end="silence")
    waiting = in_background(pytest.raises, OperationalError, connection.execute, "insert into line values (1)")
    assert cut.wait(10)
    waiting.join(0.1)
    assert waiting.is_alive()
    assert lines(dsn) == [1]  # others are heard
    way.reset()
    waiting.join(10)
    assert not waiting.is_alive()
    connection.close()
