"""A fail-over to a standby that had not followed: what was acknowledged is lost, so REDCap is read back before files are sent."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from redcap_sandbox.fault import Fault
from tests.postgres.burst import delivered, drop, troubled, wrong
from tests.postgres.cluster import Cluster, cluster
from tests.postgres.hosts import Hosts, hosts
from tests.postgres.proxy import Proxy, proxy
from tests.site import Daemon, eventually

TOLD = frozenset({"ledger_unwritable", "failed_over", "commits_lost", "ledger_restored", "stray", "folder_away", "lease_lost"})


class FailingOver:
    """Hosts by a proxy to a cluster that a standby follows, until it is made deaf."""

    def __init__(self, place: Hosts, primary: Cluster, standby: Cluster, follows: Proxy, way: Proxy, dsn: str) -> None:
        self.place, self._primary, self._standby, self._follows, self._way, self._dsn = place, primary, standby, follows, way, dsn

    def start(self, name: str) -> Daemon:
        return self.place.start(name, ledger=self._dsn)

    def lose(self) -> None:
        """From now on what is committed will be lost."""
        self._standby.catch_up(self._primary)
        self._follows.deaf()

    def over(self) -> None:
        self._primary.kill()
        self._follows.reset()
        self._standby.promote()
        self._way.upstream = self._standby.port
        self._way.reset()


@contextmanager
def failing_over(root: Path, folders: int) -> Iterator[FailingOver]:
    with cluster() as primary, proxy(primary.port) as follows, primary.standby(through=follows.port) as standby:
        plain = primary.create_database()
        with proxy(primary.port) as way:
            dsn = primary.dsn(plain.rpartition("/")[2], port=way.port)
            with hosts(root, dsn, folders, lease="15s") as place:
                yield FailingOver(place, primary, standby, follows, way, dsn)


@pytest.mark.slow
def test_what_a_failover_loses_is_neither_lost_nor_sent_twice(tmp_path: Path) -> None:
    with failing_over(tmp_path, 2) as made:
        place = made.place
        a = made.start("a")
        a.wait_for("folder_taken", 2)
        files = drop(place, 0, 4)
        delivered(place, files)
        made.lose()
        files |= drop(place, 4, 4)  # claimed, sent and done, of which the standby hears nothing
        delivered(place, files)
        made.over()
        files |= drop(place, 8, 4)
        assert a.process.wait(20) == 1
        (line,) = a.events("commits_lost")
        assert "fail-over" in line["message"]
        a = made.start("a")
        a.wait_for("folder_taken", 2, patience=30)
        eventually(lambda: len(place.done()) == len(files))
        assert [one for one in wrong(place, files) if "job" not in one] == []
        assert troubled(a, but=TOLD) == []


@pytest.mark.slow
def test_after_a_failover_any_host_reads_back_what_waits(tmp_path: Path) -> None:
    """Its own host is dead with its journal, and the standby has the files waiting that REDCap has already."""
    with failing_over(tmp_path, 1) as made:
        place = made.place
        a = made.start("a")
        a.wait_for("folder_taken", 1)
        place.box.ill(Fault("status", code=503))
        files = drop(place, 1, 2) | drop(place, 17, 1)  # two that take the next instance of one record
        eventually(lambda: len(place.jobs()) == 3)
        made.lose()
        place.box.well()
        eventually(lambda: len(list(place.box.holdings())) == 3)
        a.kill()
        made.over()
        b = made.start("b")
        b.wait_for("folder_taken", 1, patience=30)
        eventually(lambda: all(job.state in ("done", "withdrawn") for job in place.jobs()), 30)
        assert [one for one in wrong(place, files) if "job" not in one] == []
        assert [line["jobs"] for line in b.events("failed_over")] == [3]
        assert troubled(b, but=TOLD) == []


@pytest.mark.slow
def test_without_its_journal_nothing_is_sent_and_all_goes_on_once_it_can_be_written(database: str, tmp_path: Path) -> None:
    with hosts(tmp_path, database, 1) as place:
        a = place.start("a")
        a.wait_for("folder_taken")
        journal = place.sites["a"].state / "sending.journal"
        journal.mkdir()  # as good as a full disk, for everybody
        files = drop(place, 1, 1)
        (told,) = a.wait_for("check_problem")
        assert "nothing is sent meanwhile" in told["message"]
        assert "state_dir" in told["remedy"]
        assert [r for r in place.box.requests if r.action == "import"] == []
        assert a.stop() == 0
        refused = place.sites["a"].start(ready=False)
        assert refused.process.wait(20) == 5
        eventually(lambda: "sending.journal" in "".join(refused.raw))
        journal.rmdir()
        a = place.start("a")
        delivered(place, files)
        assert wrong(place, files) == []
        assert [json.loads(line)["name"] for line in journal.read_text().splitlines()] == list(files)
