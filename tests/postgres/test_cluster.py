# ruff: noqa: E402 - the library may be missing
"""The aids of the tests with PostgreSQL: what they are said to do to it is what happens."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import needs
from tests.site import eventually
from tests.tls import make_authority

needs.library("psycopg")
import psycopg
from psycopg import Connection, OperationalError

from tests.postgres.cluster import Cluster, cluster
from tests.postgres.proxy import Proxy, proxy


@pytest.fixture(scope="module")
def mine() -> Iterator[Cluster]:
    """A cluster that the tests of this file may break."""
    needs.postgresql()
    with cluster() as made:
        yield made


@pytest.fixture
def way(mine: Cluster) -> Iterator[Proxy]:
    with proxy(mine.port) as made:
        yield made


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


def in_background(what: object, *values: object) -> threading.Thread:
    thread = threading.Thread(target=what, args=values, daemon=True)  # type: ignore[arg-type]
    thread.start()
    return thread


# -- the cluster


def test_each_test_has_an_empty_database_of_its_own(database: str, postgres: Cluster) -> None:
    with connected(database) as connection:
        assert connection.execute("select current_user, count(*) from pg_tables where schemaname = 'public'").fetchone() == (
            "dropcap",
            0,
        )
        (shown,) = connection.execute("select current_setting('server_encoding') || current_setting('fsync')").fetchone() or ()
        assert shown == "UTF8off"
    assert postgres.create_database() != database


def test_a_role_needs_its_password_and_nobody_is_superuser_by_tcp(mine: Cluster) -> None:
    mine.role("o'hara", "pass word/%")
    with connected(mine.dsn("postgres", user="o'hara", password="pass word/%")) as connection:
        assert connection.execute("select current_user").fetchone() == ("o'hara",)
    with pytest.raises(OperationalError, match="password authentication failed"):
        connected(mine.dsn("postgres", user="o'hara", password="other"))
    with pytest.raises(OperationalError, match="no password supplied"):
        connected(mine.dsn("postgres", user="o'hara"))
    with pytest.raises(OperationalError, match="rejects connection"):
        connected(mine.dsn("postgres", user="postgres"))


@pytest.mark.parametrize("mode", ["fast", "immediate"])
def test_a_restart_ends_sessions_and_keeps_what_was_committed(mine: Cluster, mode: str) -> None:
    dsn = table(mine)
    add(dsn, 1)
    with connected(dsn, autocommit=False) as connection:
        connection.execute("insert into line values (2)")
        mine.restart("fast" if mode == "fast" else "immediate")
        with pytest.raises(OperationalError):
            connection.execute("select 1")
    assert lines(dsn) == [1]


def test_a_kill_is_recovered_from_at_the_same_port(mine: Cluster) -> None:
    dsn = table(mine)
    add(dsn, 1)
    mine.kill()
    assert mine.processes() == []
    with pytest.raises(OperationalError, match="refused"):
        connected(dsn)
    mine.start()
    assert lines(dsn) == [1]
    assert "not properly shut down" in mine.log()


def test_what_is_frozen_answers_once_it_is_thawed(mine: Cluster) -> None:
    dsn = table(mine)
    with connected(dsn) as one, connected(dsn) as other:
        mine.freeze(one.info.backend_pid)
        waiting = in_background(one.execute, "insert into line values (1)")
        other.execute("insert into line values (2)")
        mine.freeze()
        waiting_too = in_background(other.execute, "insert into line values (3)")
        waiting_too.join(0.2)
        assert waiting.is_alive()
        assert waiting_too.is_alive()
        mine.thaw()
        waiting.join(10)
        waiting_too.join(10)
    assert lines(dsn) == [1, 2, 3]


def test_tls_is_offered_by_a_name_that_can_be_verified(tmp_path: Path) -> None:
    needs.postgresql()
    authority = make_authority(tmp_path)
    with cluster(tls=authority) as made, proxy(made.port) as way:
        for port in (made.port, way.port):
            with connected(verified(made.dsn("postgres", port=port), authority / "ca.pem")) as connection:
                (shown,) = connection.execute("select ssl from pg_stat_ssl where pid = pg_backend_pid()").fetchone() or ()
                assert shown is True
        with pytest.raises(OperationalError, match="certificate verify failed"):
            connected(verified(made.dsn("postgres"), authority / "stranger.crt"))


def verified(dsn: str, authority: Path) -> str:
    return f"{dsn}?host=localhost&hostaddr=127.0.0.1&sslmode=verify-full&sslrootcert={authority}"


def test_nothing_is_left_when_the_tests_are_killed() -> None:
    needs.postgresql()
    program = (
        "import time\nfrom tests.postgres.cluster import cluster\nwith cluster() as made:\n    made.freeze()\n"
        "    print(made._place.path, *made.processes(), flush=True)\n    time.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", program], cwd=Path(__file__).parents[2], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        place, *pids = process.stdout.readline().decode().split()
        assert Path(place).exists()
        assert len(pids) > 3
        process.send_signal(signal.SIGKILL)
    eventually(lambda: not Path(place).exists())
    assert [pid for pid in pids if Path(f"/proc/{pid}/cmdline").exists() and Path(f"/proc/{pid}/cmdline").read_bytes()] == []


# -- the proxy


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
        coming = in_background(connected, dsn)
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
            for number in range(20):
                connection.execute("insert into line values (%s)", [number])
        pipelined = time.monotonic() - begun - single
        way.latency(0)
    assert single >= 0.1
    assert 0.1 <= pipelined < 1.0  # not 20 * 0.1


@pytest.mark.parametrize("how", ["transaction", "autocommit", "pipeline"])
def test_a_commit_is_done_and_its_reply_is_lost(mine: Cluster, way: Proxy, how: str) -> None:
    dsn = table(mine, port=way.port)
    with connected(dsn, autocommit=how == "autocommit") as connection:
        connection.execute("select 1")
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
        connection.execute("insert into line values (1)")
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


# -- two of them


def test_a_fail_over_loses_commits_that_the_standby_had_not_got(mine: Cluster) -> None:
    with (
        cluster() as primary,
        proxy(primary.port) as link,
        primary.standby(through=link.port) as standby,
        proxy(primary.port) as way,
    ):
        dsn = table(primary, port=way.port)
        add(dsn, 1)
        standby.catch_up(primary)
        link.refuse()
        link.reset()
        add(dsn, 2, 3)
        assert lines(dsn) == [1, 2, 3]
        primary.kill()
        standby.promote()
        way.upstream = standby.port  # as an address that moves
        assert lines(dsn) == [1]
        add(dsn, 4)
        either = dsn.replace(f":{way.port}/", f":{primary.port},127.0.0.1:{standby.port}/")
        primary.start()  # and comes back, believing what it believed
        with connected(f"{either}?target_session_attrs=read-write") as connection:
            assert connection.execute("select max(n) from line").fetchone() == (3,)


def test_a_synchronous_standby_loses_none() -> None:
    needs.postgresql()
    with cluster() as primary, primary.standby() as standby:
        dsn = table(primary)
        primary.configure(synchronous_standby_names="*")
        eventually(lambda: primary.admin("select sync_state from pg_stat_replication") == [("sync",)])
        add(dsn, 1)
        primary.kill()
        standby.promote()
        assert lines(standby.dsn(dsn.rpartition("/")[2])) == [1]
