# ruff: noqa: E402 - the library may be missing
"""A PostgreSQL of the tests' own: what they are said to do to it is what happens."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests import needs
from tests.site import eventually
from tests.tls import make_authority

needs.library("psycopg")
from psycopg import OperationalError

from tests.postgres.cluster import Cluster, Stop, cluster
from tests.postgres.lines import add, connected, in_background, lines, table
from tests.postgres.proxy import proxy


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
def test_a_restart_ends_sessions_and_keeps_what_was_committed(mine: Cluster, mode: Stop) -> None:
    dsn = table(mine)
    add(dsn, 1)
    with connected(dsn, autocommit=False) as connection:
        connection.execute("insert into line values (2)")
        mine.restart(mode)
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


def test_its_clock_can_be_set_under_its_sessions() -> None:
    needs.postgresql()
    with cluster(clock=True) as made, connected(made.dsn("postgres")) as connection:

        def ahead() -> float:
            (shown,) = connection.execute("select extract(epoch from clock_timestamp())::float").fetchone() or ()
            return float(shown) - time.time()

        assert abs(ahead()) < 10
        made.clock(3600)
        assert 3590 < ahead() < 3610
        made.clock(-3600)
        assert -3610 < ahead() < -3590


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


# -- two of them


def test_a_fail_over_loses_commits_that_the_standby_had_not_got() -> None:
    needs.postgresql()
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
