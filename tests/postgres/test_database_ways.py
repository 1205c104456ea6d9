"""Ways to the database: by TLS, with a password that changes, with few rights, past a standby."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from psycopg import sql

from tests.postgres.burst import troubled
from tests.postgres.cluster import Cluster, cluster
from tests.postgres.hosts import hosts
from tests.site import eventually
from tests.tls import make_authority

RIGHTS = (
    "grant usage on schema public to worker",
    "grant select, insert, update, delete on all tables in schema public to worker",
    "grant usage, select, update on all sequences in schema public to worker",
)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def guarded(authority: Path) -> Iterator[Cluster]:
    with cluster(tls=authority) as made:
        made.role("worker", "first")
        yield made


def test_a_password_is_renewed_while_hosts_run_and_tls_is_verified(guarded: Cluster, authority: Path, tmp_path: Path) -> None:
    plain = guarded.create_database()
    name = plain.rpartition("/")[2]
    with hosts(tmp_path, plain, 1) as place:  # the owner makes the tables
        owner = place.start("owner")
        owner.wait_for("folder_taken")
        assert owner.stop() == 0
        for right in RIGHTS:
            guarded.admin(right, database=name)  # type: ignore[arg-type]
        verified = {"sslmode": "verify-full", "sslrootcert": str(authority / "ca.pem")}
        way = guarded.dsn(name, user="worker", **verified).replace("127.0.0.1", "localhost")
        password = tmp_path / "password"
        password.write_text("wrong\n")
        password.chmod(0o600)
        site = place.host("a", ledger=way, ledger_password_file=str(password))
        refused = site.start(ready=False)
        assert refused.process.wait(20) == 5
        eventually(lambda: "password authentication failed" in "".join(refused.raw))
        assert "first" not in "".join(refused.raw)
        password.write_text("first\n")
        a = site.start(ready=False)
        a.wait_for("folder_taken")
        place.put("d1", "101_V1_consent.pdf")
        a.wait_for("done")
        guarded.admin(sql.SQL("alter role worker password 'second'"))
        guarded.admin("select pg_terminate_backend(pid) from pg_stat_activity where usename = 'worker'")
        place.put("d1", "102_V1_consent.pdf")
        (told,) = a.wait_for("ledger_unwritable")
        assert "password authentication failed" in told["message"]
        password.write_text("second\n")
        a.wait_for("done", 2)
        a.wait_for("ledger_writable")
        assert troubled(a, but=frozenset({"ledger_unwritable"})) == []
        assert a.stop() == 0
        stranger = way.replace("ca.pem", "stranger.crt")
        b = place.host("b", ledger=stranger, ledger_password_file=str(password)).start(ready=False)
        assert b.process.wait(20) == 5
        eventually(lambda: "certificate" in "".join(b.raw))


def test_a_standby_that_is_named_first_is_passed_over(mine: Cluster, tmp_path: Path) -> None:
    plain = mine.create_database()
    with mine.standby() as standby:
        standby.catch_up(mine)
        both = plain.replace(f"127.0.0.1:{mine.port}", f"127.0.0.1:{standby.port},127.0.0.1:{mine.port}")
        with hosts(tmp_path, both, 1) as place:
            a = place.start("a")
            a.wait_for("folder_taken")
            place.put("d1", "101_V1_consent.pdf")
            a.wait_for("done")
            alone = plain.replace(str(mine.port), str(standby.port))
            b = place.host("b", ledger=alone).start(ready=False)
            assert b.process.wait(20) == 5
            eventually(lambda: "this server is a standby" in "".join(b.raw))
            assert a.stop() == 0
            assert troubled(a) == []


def test_sessions_that_began_while_the_database_was_read_only_are_closed(mine: Cluster, tmp_path: Path) -> None:
    plain = mine.create_database()
    database = sql.Identifier(plain.rpartition("/")[2])
    ended = "select pg_terminate_backend(pid) from pg_stat_activity where datname = %s and pid <> pg_backend_pid()"
    with hosts(tmp_path, plain, 1) as place:
        a = place.start("a")
        a.wait_for("folder_taken")
        mine.admin(sql.SQL("alter database {} set default_transaction_read_only = on").format(database))
        mine.admin(ended, plain.rpartition("/")[2])
        place.put("d1", "101_V1_consent.pdf")
        a.wait_for("ledger_unwritable")
        sessions = "select count(*) from pg_stat_activity where datname = %s and state = 'idle'"
        eventually(lambda: mine.admin(sessions, plain.rpartition("/")[2]) > [(1,)])  # of the writer and of the heartbeat
        mine.admin(sql.SQL("alter database {} reset default_transaction_read_only").format(database))
        a.wait_for("done")
        a.wait_for("ledger_writable")
        assert place.holders() == {"d1": a.process.pid}
        assert a.stop() == 0
