"""The database goes away while files are dropped and uploads are under way, and comes back."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from redcap_sandbox.fault import Fault
from tests.heavy import heavy
from tests.postgres.burst import delivered, drop, troubled, wrong
from tests.postgres.cluster import Cluster
from tests.postgres.hosts import Hosts, hosts
from tests.postgres.proxy import Proxy, proxy
from tests.site import Daemon, eventually

AWAY = frozenset({"ledger_unwritable"})
IMPORT = {"content": "file", "action": "import"}

Break = Callable[[Cluster, Proxy], object]
WAYS: dict[str, tuple[Break, Break]] = {
    "stopped": (lambda one, _: one.stop(), lambda one, _: one.start()),
    "killed": (lambda one, _: one.kill(), lambda one, _: one.start()),
    "frozen": (lambda one, _: one.freeze(), lambda one, _: one.thaw()),
    "deaf": (lambda _, way: way.deaf(), lambda _, way: way.resume()),
    "client-deaf": (lambda _, way: way.deaf("client"), lambda _, way: way.resume()),
    "server-deaf": (lambda _, way: way.deaf("server"), lambda _, way: way.resume()),
    "refused": (lambda _, way: (way.refuse(), way.reset()), lambda _, way: way.admit()),
}


def started(place: Hosts, cluster: Cluster, way: Proxy, name: str = "a") -> Daemon:
    """A host by way of the proxy."""
    return place.start(name, ledger=cluster.dsn(place.ledger.rpartition("/")[2], port=way.port))


def page(place: Hosts, folder: str) -> str:
    path = place.folders[folder] / "_STATUS.html"
    return re.sub(r"<[^>]+>", " ", path.read_text()) if path.exists() else ""


def imports(place: Hosts) -> int:
    return len([r for r in place.box.requests if (r.content, r.action) == ("file", "import")])


@pytest.mark.slow
@pytest.mark.parametrize("how", [how if how in ("stopped", "deaf") else pytest.param(how, marks=heavy) for how in WAYS])
def test_an_outage_shorter_than_the_lease_is_told_and_gone(mine: Cluster, tmp_path: Path, how: str) -> None:
    broken, mended = WAYS[how]
    with proxy(mine.port) as way, hosts(tmp_path, mine.create_database(), 2, lease="2m") as place:
        a = started(place, mine, way)
        a.wait_for("folder_taken", 2)
        files = drop(place, 0, 2)
        delivered(place, files)
        eventually(lambda: "All is well" in page(place, "d1"))
        broken(mine, way)
        try:
            files |= drop(place, 2, 2)
            (told,) = a.wait_for("ledger_unwritable")
            assert "database" in told["message"]
            assert "PostgreSQL" in told["remedy"]
            assert "disk" not in told["message"] + told["remedy"]
            eventually(lambda: "dropcap cannot get at its records" in page(place, "d1"), 30)
            assert imports(place) == 2
        finally:
            mended(mine, way)
        back = time.monotonic()
        delivered(place, files)
        assert time.monotonic() - back < 10
        eventually(lambda: "All is well" in page(place, "d1"))
        assert wrong(place, files) == []
        assert len(a.events("folder_taken")) == 2, "nobody took anything over"
        assert troubled(a, but=AWAY) == []
        assert (len(a.events("ledger_unwritable")), len(a.events("ledger_writable"))) == (1, 1), "".join(a.raw)


@pytest.mark.slow
def test_the_host_that_is_cut_off_does_nothing_more_and_comes_back(mine: Cluster, tmp_path: Path) -> None:
    with proxy(mine.port) as way, hosts(tmp_path, mine.create_database(), 2) as place:
        place.config["projects"]["trial"]["timeout"] = "3s"
        a, b = started(place, mine, way), place.start("b", ledger=place.ledger)
        eventually(lambda: len(set(place.holders().values())) == 2)
        folder = next(name for name, pid in place.holders().items() if pid == a.process.pid)
        place.box.ill(Fault("slow_read", bytes_per_second=20_000, match=IMPORT))
        place.put(folder, "101_V1_consent.pdf", b"%PDF" + b"x" * 2_000_000)
        a.wait_for("sending")
        way.deaf()
        cut = time.monotonic()
        b.wait_for("folder_taken", folder=folder, patience=40)
        assert time.monotonic() - cut < 15 + 6
        place.box.well()
        seen = imports(place)
        for number in (102, 103):
            place.put(folder, f"{number}_V1_consent.pdf")
        b.wait_for("done", 3, patience=30)
        assert imports(place) <= seen + 3
        assert [line["file"] for line in a.events("claimed")] == ["101_V1_consent.pdf"]
        assert a.events("done") == []
        way.resume()
        a.wait_for("lease_lost")
        eventually(lambda: len(set(place.holders().values())) == 2)
        assert troubled(a, b, but=AWAY | {"lease_lost", "folder_away", "cut_off"}) == []


@pytest.mark.slow
@pytest.mark.parametrize("how", ["frozen", *(pytest.param(how, marks=heavy) for how in ("stopped", "deaf"))])
def test_a_stop_waits_for_no_database(mine: Cluster, tmp_path: Path, how: str) -> None:
    broken, mended = WAYS[how]
    with proxy(mine.port) as way, hosts(tmp_path, mine.create_database(), 2, lease="1m", stop_within="2s") as place:
        a = started(place, mine, way)
        a.wait_for("folder_taken", 2)
        place.box.ill(Fault("slow_read", bytes_per_second=20_000, match=IMPORT))
        place.put("d1", "101_V1_consent.pdf", b"%PDF" + b"x" * 2_000_000)
        a.wait_for("sending")
        broken(mine, way)
        try:
            place.put("d2", "102_V1_consent.pdf")
            a.wait_for("ledger_unwritable")
            began = time.monotonic()
            assert a.stop() == 0
            assert time.monotonic() - began < 2 + 12
        finally:
            mended(mine, way)
        assert troubled(a, but=AWAY | {"cut_off"}) == []


def test_a_start_without_the_database_says_so_and_may_be_tried_again(mine: Cluster, tmp_path: Path) -> None:
    with proxy(mine.port) as way, hosts(tmp_path, mine.create_database(), 1) as place:
        site = place.host("a", ledger=mine.dsn(place.ledger.rpartition("/")[2], port=way.port))
        way.refuse()
        daemon = site.start(ready=False)
        assert daemon.process.wait(20) == 5
        eventually(lambda: any("see whether PostgreSQL runs and lets this host in" in line for line in daemon.raw))
