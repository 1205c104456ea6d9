# ruff: noqa: E402 - the library may be missing
"""A connection that is bounded in all that it waits for, on a real server that is frozen, and a network that loses all."""

from __future__ import annotations

import time

import pytest

from tests import needs
from tests.site import eventually

needs.library("psycopg")
from dropcap.ledger.database import Unavailable
from dropcap.ledger.postgres.wire import Connector, Wire, in_words, open_wire
from tests.postgres.cluster import Cluster
from tests.postgres.proxy import proxy


def asked(wire: Wire) -> int:
    with wire.asking() as connection:
        return int(connection.execute(b"select 1").fetchone()[0])


def test_a_session_waits_for_nothing_without_a_bound(mine: Cluster) -> None:
    with_own = mine.create_database() + "?application_name=mine&tcp_user_timeout=7000"
    made = open_wire(with_own, "theirs")
    shown = {
        name: made.execute(f"show {name}").fetchone()[0]
        for name in ("synchronous_commit", "statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout",
                     "client_connection_check_interval", "tcp_keepalives_idle", "application_name")
    }  # fmt: skip
    made.close()
    assert [*shown.values()] == ["on", "10s", "2s", "5s", "1s", "5", "mine"]


def test_every_way_to_hear_nothing_ends(mine: Cluster) -> None:
    dsn = mine.create_database()
    with proxy(mine.port) as way:
        through = mine.dsn(dsn.rpartition("/")[2], port=way.port, connect_timeout="2")
        wire = Wire(Connector(through, "test"), patience=0.5)
        assert asked(wire) == 1
        way.deaf()
        began = time.monotonic()
        with pytest.raises(Unavailable, match="does not answer"):
            asked(wire)  # on a connection
        assert time.monotonic() - began < 8
        with pytest.raises(Unavailable):
            asked(wire)  # on the way to one
        assert time.monotonic() - began < 16
        way.resume()
        eventually(lambda: _answers(wire))
        way.reset()
        with pytest.raises(Unavailable):
            asked(wire)
        assert asked(wire) == 1
        wire.close()
        assert asked(wire) == 1
        wire.close()


def test_a_wrong_question_is_told_and_ends_nothing(mine: Cluster) -> None:
    wire = Wire(Connector(mine.create_database(), "test"))
    with pytest.raises(Unavailable, match="nowhere"), wire.asking() as connection:
        connection.execute(b"select * from nowhere")
    with pytest.raises(ZeroDivisionError), wire.asking():
        raise ZeroDivisionError
    assert asked(wire) == 1
    wire.close()


@pytest.mark.parametrize(
    ("said", "words"),
    [
        (
            'connection failed: connection to server at "db", port 5432 failed: Connection refused\n'
            "\tIs the server running on that host and accepting TCP/IP connections?",
            'connection to server at "db", port 5432 failed: Connection refused',
        ),
        (
            'connection to server on socket "/run/postgresql/.s.PGSQL.5432" failed: No such file or directory\n'
            "\tIs the server running locally and accepting connections on that socket?",
            'connection to server on socket "/run/postgresql/.s.PGSQL.5432" failed: No such file or directory',
        ),
        (
            "consuming input failed: server closed the connection unexpectedly\n"
            "\tThis probably means the server terminated abnormally\n\tbefore or while processing the request.\n",
            "consuming input failed: server closed the connection unexpectedly",
        ),
        ("", "Exception"),
    ],
)
def test_what_libpq_asks_and_supposes_is_left_out(said: str, words: str) -> None:
    assert in_words(Exception(said)) == words


def _answers(wire: Wire) -> bool:
    try:
        return asked(wire) == 1
    except Unavailable:
        return False
