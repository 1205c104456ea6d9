"""Lines in a table, by which tests see what became of a transaction."""

from __future__ import annotations

import threading
from collections.abc import Callable

import psycopg
from psycopg import Connection

from tests.postgres.cluster import Cluster


def table(cluster: Cluster, *, port: int | None = None) -> str:
    """The DSN of a fresh database with a table; `port`: as `dsn`."""
    plain = cluster.create_database()
    with connected(plain) as connection:
        connection.execute("create table line (n int)")
    return cluster.dsn(plain.rpartition("/")[2], port=port)


def connected(dsn: str, *, autocommit: bool = True) -> Connection:
    return psycopg.connect(dsn, autocommit=autocommit, keepalives=0, connect_timeout=20)


def add(dsn: str, *numbers: int) -> None:
    with connected(dsn) as connection:
        for number in numbers:
            connection.execute("insert into line values (%s)", [number])


def lines(dsn: str) -> list[int]:
    with connected(dsn) as connection:
        return [number for (number,) in connection.execute("select n from line order by n")]


def in_background(what: Callable[..., object], *values: object) -> threading.Thread:
    thread = threading.Thread(target=what, args=values, daemon=True)
    thread.start()
    return thread
