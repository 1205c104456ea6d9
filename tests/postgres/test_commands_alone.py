"""Commands of people where the database is away, and where no other host works with the ledger."""

from __future__ import annotations

import copy
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.site import eventually

if TYPE_CHECKING:
    from tests.postgres.cluster import Cluster
    from tests.postgres.hosts import Hosts

#: A database that does not answer is given up after 3 s; the rest is the machine's.
QUICK = 8.0


@pytest.fixture
def shared(database: str, tmp_path: Path) -> Iterator[Hosts]:
    from tests.postgres.hosts import hosts

    with hosts(tmp_path, database, 2) as made:
        yield made


def test_where_the_database_is_away_that_is_said_soon_and_in_words(shared: Hosts, postgres: Cluster, database: str) -> None:
    from tests.postgres.proxy import proxy

    with proxy(postgres.port) as way:
        through = postgres.dsn(database.rpartition("/")[2], port=way.port)
        shared.start("a", ledger=through).wait_for("folder_taken", 2)
        here, none = shared.sites["a"], shared.host("none", ledger=through)
        eventually(lambda: here.dropcap("status").returncode == 0, 20)
        way.deaf()
        for site, then in ((here, "The dropcap of this host waits for it"), (none, "No dropcap runs on this host.")):
            began = time.monotonic()
            done = site.dropcap("status")
            assert time.monotonic() - began < QUICK
            assert done.returncode == 1
            assert done.stdout.startswith("NOT WELL  The ledger postgresql://dropcap@127.0.0.1:"), done
            assert "see whether PostgreSQL runs and lets you in" in done.stdout
            assert then in done.stdout
        way.refuse()
        way.reset()
        told = json.loads(here.dropcap("status", "--json").stdout)
        assert (told["ok"], told["exit_code"], told["running"], told["answers"]) == (False, 1, True, True)
        assert told["ledger_unwritable"]
        nagios = none.dropcap("status", "--nagios")
        assert nagios.returncode == 2
        assert nagios.stdout.startswith("DROPCAP CRITICAL - the ledger postgresql://")
        for words in (
            ("history",),
            ("pause", "--folder", "d1"),
            ("retry", "--failed"),
            ("verify", "--chain"),
            ("dry-run",),
            ("run", "--once"),
        ):
            done = none.dropcap(*words)
            assert done.returncode == 2, (words, done)
            assert "cannot be read" in done.stderr
            assert "state_dir" not in done.stderr, "that is not where it is"
            assert "Traceback" not in done.stderr
        check = none.dropcap("check")
        assert check.returncode == 3, check.stdout
        assert "does not let this host in" in check.stdout
        assert check.stdout.count("postgresql://") == 1, "once is enough"
        way.resume()
        way.admit()
        eventually(lambda: here.dropcap("status").returncode == 0, 30)


def test_once_is_a_host_for_as_long_as_it_takes(shared: Hosts) -> None:
    shared.put("d1", "101_V1_consent.pdf")
    shared.put("d2", "102_V1_consent.pdf")
    site = shared.host("a")
    done = site.once()
    assert done.returncode == 0, done
    assert "2 done, 0 failed, 0 held, 0 waiting" in done.stdout
    shared.put("d2", "103_V1_consent.pdf")
    assert "1 done" in shared.host("b").once().stdout, "it is gone, and the next need not wait for a lease"
    status = site.dropcap("status")
    assert status.returncode == 1
    assert "dropcap runs on no host; what stands here is what its ledger says" in status.stdout
    assert "NOT WELL  dropcap does not run." in status.stdout
    nagios = site.dropcap("status", "--nagios")
    assert (nagios.returncode, nagios.stdout[:39]) == (2, "DROPCAP CRITICAL - dropcap does not run")
    retry = site.dropcap("retry", "--failed")
    assert "no dropcap runs on any host: they are tried when one starts" in retry.stderr


def test_once_waits_for_its_folders_where_the_database_is_far_away(shared: Hosts, postgres: Cluster) -> None:
    from tests.postgres.proxy import proxy

    for folder, record in (("d1", 101), ("d2", 102)):
        shared.put(folder, f"{record}_V1_consent.pdf")
    with proxy(postgres.port) as way:
        site = shared.host("a", ledger=postgres.dsn(shared.ledger.rpartition("/")[2], port=way.port))
        way.latency(15)
        done = site.once()
    assert "2 done, 0 failed, 0 held, 0 waiting" in done.stdout, done


def test_a_folder_gets_another_name_once_no_host_works_in_it_by_the_old_one(shared: Hosts) -> None:
    daemon = shared.start("a")
    daemon.wait_for("folder_taken", 2)
    shared.put("d1", "101_V1_consent.pdf")
    daemon.wait_for("done")
    renamed = shared.host("b")
    renamed.config = copy.deepcopy(renamed.config)
    renamed.config["folders"]["wards"] = renamed.config["folders"].pop("d1")
    renamed.write_config()
    refused = renamed.dropcap("check", "--adopt", "--force")
    assert refused.returncode == 1, refused
    assert "works in it under the name d1: give all hosts the new configuration" in refused.stdout
    assert shared.jobs()[0].folder == "d1"
    assert daemon.stop() == 0
    adopted = renamed.dropcap("check", "--adopt")
    assert "adopted: this installation works there now" in adopted.stdout, adopted
    assert shared.jobs()[0].folder == "wards"
    shared.put("d1", "102_V1_consent.pdf")
    assert "1 done" in renamed.once().stdout, "by the marker as the hosts know it, without a minute's watch"


def test_what_another_host_lacks_is_told(shared: Hosts) -> None:
    daemon = shared.start("a")
    begun = shared.sites["a"].dropcap("status").stdout
    assert "away for every host" not in begun, "it has not looked at them all yet"
    daemon.wait_for("folder_taken", 2)
    fewer = {name: value for name, value in shared.config["folders"].items() if name == "d1"}
    shared.start("b", folders=fewer)
    site = shared.sites["a"]

    def lacking() -> bool:
        told = json.loads(site.dropcap("status", "--json").stdout)
        return any(host["lacks"] == ["d2"] for host in told["hosts"]) and {len(host["folders"]) for host in told["hosts"]} == {1}

    eventually(lacking, 30)
    status = site.dropcap("status")
    assert "; it lacks d2" in status.stdout
    assert status.returncode == 0, "the other one has it"
    check = site.dropcap("check")
    assert "lacks the folder d2; mount it there, or leave it to the hosts that have it" in check.stdout
    shared.folders["d2"].rename(shared.root / "gone")
    eventually(lambda: "d2" in site.dropcap("status", "--nagios").stdout, 30)
    assert site.dropcap("status").returncode == 1
    elsewhere = shared.sites["b"].dropcap("status", "--nagios")
    assert elsewhere.returncode in (0, 2), "its configuration does not name the folder"


def test_check_tells_what_the_role_may_not(shared: Hosts, postgres: Cluster, database: str, tmp_path: Path) -> None:
    name = f"role{time.monotonic_ns()}"
    postgres.role(name, "secret")
    password = tmp_path / "password"
    password.write_text("secret\n")
    password.chmod(0o600)
    its = postgres.dsn(database.rpartition("/")[2], user=name)
    site = shared.host("x", ledger=its, ledger_password_file=str(password))
    postgres.admin("revoke create on schema public from public", database=database.rpartition("/")[2])
    fresh = site.dropcap("check")
    assert fresh.returncode == 1
    assert "the role may make no tables in the schema public" in fresh.stdout
    shared.host("owner", ledger=database).once()
    made = site.dropcap("check")
    assert made.returncode == 1
    assert "the role may not read and write " in made.stdout
    postgres.admin("grant select on ledger_version to public", database=database.rpartition("/")[2])
    history = site.dropcap("history")
    assert history.returncode == 2
    assert history.stderr.startswith("dropcap: the ledger cannot be read or written any more (permission denied"), (
        "in the midst of it"
    )
    password.write_text("wrong\n")
    wrong = site.dropcap("check")
    assert "does not let this host in" in wrong.stdout
    assert "password authentication failed" in wrong.stdout
    assert "wrong\n" not in wrong.stdout
