# ruff: noqa: E402 - the library may be missing
"""Hosts that beat and look, on a real server: they join, stop, freeze, are cut off, and the clock is set."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests import needs
from tests.site import eventually

needs.library("psycopg")
import psycopg

from dropcap.hosts.membership import Heartbeat, LeaseHandle, boot_time
from dropcap.ledger.postgres import leases
from dropcap.ledger.postgres.leases import ThisHost
from dropcap.ledger.postgres.wire import Connector
from tests.postgres.cluster import Cluster

LEASE = 2.5
LONG = 60.0
LOOK = 0.4
FOLDERS = ("/a", "/b", "/c", "/d")


class Working:
    """A host that takes and releases what its heartbeat tells, by connections of its own; `idle`: it takes nothing."""

    def __init__(
        self, dsn: str, folders: tuple[str, ...] = FOLDERS, connector: Connector | None = None, lease: float = LEASE
    ) -> None:
        self.handles: dict[str, LeaseHandle] = {}
        self.gone: list[str] = []
        self.taken_at: dict[str, float] = {}
        self.idle = False
        self._dsn = dsn
        self._lease = lease
        self._pool = ThreadPoolExecutor(1)
        self.id = uuid.uuid4().hex
        self.heartbeat = Heartbeat(
            connector or Connector(dsn, "heartbeat"),
            ThisHost(self.id, "name", os.getpid(), "1", "digest"),
            self,
            folders,
            lease=lease,
            look_every=2 * LOOK if lease == LONG else LOOK,  # a busy machine has the time to take what it is told
        )

    def held(self) -> set[str]:
        return {folder for folder, handle in self.handles.items() if handle.holds()}

    def may_take(self, folder: str, beat: int | None) -> None:
        self._pool.submit(self._take, folder, beat)

    def answers(self, why: str) -> None:
        """Nobody is told."""

    def _take(self, folder: str, beat: int | None) -> None:
        if self.idle or folder in self.handles:
            return
        asked = boot_time()
        with psycopg.connect(self._dsn) as connection:
            connection.execute("update turn set n = n + 1")
            fence = leases.take(connection, folder, self.id, self._lease, beat)
        if fence is not None:
            self.taken_at[folder] = boot_time()
            self.handles[folder] = self.heartbeat.took(folder, fence, asked)

    def lost(self, handle: LeaseHandle) -> None:
        assert handle.lost
        self.gone.append(handle.folder)
        del self.handles[handle.folder]

    def must_release(self, handle: LeaseHandle) -> None:
        if self.handles.pop(handle.folder, None):
            self.heartbeat.release(handle)

    def stop(self) -> None:
        self.idle = True
        self._pool.submit(lambda: None).result(10)  # what is being taken is released as well
        for handle in [*self.handles.values()]:
            self.must_release(handle)
        self.heartbeat.stop(5)
        self._pool.shutdown()


@contextlib.contextmanager
def working(dsn: str, **more: Any) -> Iterator[Working]:
    made = Working(dsn, **more)
    made.heartbeat.start()
    try:
        yield made
    finally:
        if made.heartbeat.is_alive():
            made.stop()


def shared_evenly(*hosts: Working) -> bool:
    held = [host.held() for host in hosts]
    sizes = [len(one) for one in held]
    return sum(sizes) == len(set().union(*held)) == len(FOLDERS) and max(sizes) - min(sizes) <= 1


def share_oddly(first: Working, second: Working) -> None:
    """Evenly, but not as it would be if all were spread anew: whatever is taken that should not be is seen."""
    eventually(lambda: shared_evenly(first, second))
    swapped = min(first.held())
    first.heartbeat.away([swapped])
    eventually(lambda: swapped in second.held() and shared_evenly(first, second))
    first.heartbeat.away([])


_SPARED = 90.0


def test_hosts_come_and_go(dsn: str) -> None:
    with working(dsn, lease=LONG) as first:
        eventually(lambda: first.held() == {*FOLDERS})
        fences = {folder: handle.fence for folder, handle in first.handles.items()}
        with working(dsn, lease=LONG) as second:
            eventually(lambda: shared_evenly(first, second))
            kept = first.held()
            assert {folder: first.handles[folder].fence for folder in kept} == {folder: fences[folder] for folder in kept}
            assert {row.id for row in first.heartbeat.others.look.hosts if row.alive} == {first.id, second.id}
            second.stop()
            eventually(lambda: first.held() == {*FOLDERS}, LONG / 2)  # handed over, since no lease can have lapsed
            assert not second.held()
        assert first.gone == second.gone == []
        # A folder that is away for its host is worked by another, and stays there until the spread asks for it.
        with working(dsn, lease=LONG) as third:
            eventually(lambda: shared_evenly(first, third))
            away = min(third.held())
            third.heartbeat.away([away])
            eventually(lambda: away in first.held() and shared_evenly(first, third))
            # Whoever was too slow to take one that was planned for it, as on a busy machine, is spared for a minute.
            third.heartbeat.away(FOLDERS)
            eventually(lambda: first.held() == {*FOLDERS}, _SPARED)
            first.heartbeat.away(FOLDERS)
            third.heartbeat.away([])
            eventually(lambda: third.held() == {*FOLDERS}, _SPARED)


def test_a_host_that_takes_nothing_leaves_its_folders_to_others(dsn: str) -> None:
    with working(dsn, lease=LONG) as idle:
        idle.idle = True
        eventually(lambda: idle.heartbeat.others.look.hosts)
        with working(dsn, lease=LONG) as other:
            eventually(lambda: other.held() == {*FOLDERS})
            idle.idle = False
            with working(dsn, lease=LONG) as third:
                eventually(lambda: shared_evenly(other, third))
                assert not idle.held()


def test_the_clock_is_set_forward_and_nobody_takes_anything(dsn: str) -> None:
    with working(dsn) as first, working(dsn) as second, psycopg.connect(dsn, autocommit=True) as db:
        share_oddly(first, second)
        before = db.execute("select folder, holder, fence from lease order by folder").fetchall()
        for _ in range(3):  # each time before the next beats
            for table in ("lease", "host"):
                db.execute(f"update {table} set until = until - interval '1 hour'".encode())
            now = boot_time()
            eventually(lambda now=now: min(first.heartbeat.others.at, second.heartbeat.others.at) > now + LOOK)
        assert db.execute("select folder, holder, fence from lease order by folder").fetchall() == before
        assert shared_evenly(first, second)


def test_a_take_whose_answer_was_lost_and_a_row_that_a_fail_over_lost(dsn: str) -> None:
    with psycopg.connect(dsn, autocommit=True) as db, working(dsn) as host:
        eventually(lambda: host.held() == {*FOLDERS})
        # The host holds it and does not know: nobody beats for it, and it is taken again in time.
        host.idle = True
        host.must_release(host.handles["/a"])
        eventually(lambda: db.execute("select holder from lease where folder = '/a'").fetchone() == (None,))
        assert leases.take(db, "/a", host.id, LEASE) == 2
        host.idle = False
        eventually(lambda: "/a" in host.held(), 10)
        assert host.handles["/a"].fence == 3
        db.execute("delete from host")
        eventually(lambda: db.execute("select id from host").fetchall() == [(host.id,)])
        assert host.held() == {*FOLDERS}
        assert host.gone == []
        # The same fence, and another holder: this one's lease is no more.
        db.execute("update lease set holder = 'another', until = clock_timestamp() + interval '1 hour' where folder = '/b'")
        eventually(lambda: host.gone == ["/b"])
        assert host.held() == {*FOLDERS} - {"/b"}


def test_the_database_is_frozen_and_thawed(mine: Cluster, dsn: str) -> None:
    with working(dsn) as first, working(dsn) as second:
        share_oddly(first, second)
        handles = [*first.handles.values(), *second.handles.values()]
        mine.freeze()
        frozen = boot_time()
        try:
            eventually(lambda: first.heartbeat.others.trouble and second.heartbeat.others.trouble)
            eventually(lambda: not any(handle.holds() for handle in handles))
            assert max(handle.trusted_until for handle in handles) <= frozen + LEASE * 2 / 3
            eventually(lambda: boot_time() - frozen > LEASE + 1)  # by now all leases have lapsed for the database as well
        finally:
            mine.thaw()
        eventually(lambda: shared_evenly(first, second))
        assert {*first.handles.values(), *second.handles.values()} == {*handles}, "nobody has taken another's"
        assert first.gone == second.gone == []


def test_the_database_dies_and_one_host_finds_it_sooner_than_the_other(mine: Cluster, dsn: str) -> None:
    """All leases have lapsed by then, and those of the other one stood still for as long as it was away."""
    way = {"closed": False}

    class Way(Connector):
        def conninfo(self) -> str:
            return "host=127.0.0.1 port=1" if way["closed"] else dsn

    with working(dsn, connector=Way(dsn, "heartbeat")) as first, working(dsn) as second:
        share_oddly(first, second)
        handles = [*first.handles.values(), *second.handles.values()]
        died = boot_time()
        mine.stop("immediate")
        way["closed"] = True
        eventually(lambda: boot_time() - died > LEASE + 0.5)
        mine.start()
        eventually(lambda: not second.heartbeat.others.trouble)
        now = boot_time()
        eventually(lambda: second.heartbeat.others.at > now + 2 * LOOK)
        assert first.heartbeat.others.trouble
        way["closed"] = False
        eventually(lambda: shared_evenly(first, second))
        assert {*first.handles.values(), *second.handles.values()} == {*handles}
        assert first.gone == second.gone == []


def _other_process(dsn: str, told: Any, last_held: Any, end: Any) -> None:
    with working(dsn) as host:
        ready = False
        while not end.is_set():
            if host.held():
                last_held.value = boot_time()
            if not ready and host.held() == {*FOLDERS}:
                told.put("holds all")
                ready = True
            if ready and len(host.gone) == len(FOLDERS):
                told.put("lost all")
                return
            time.sleep(0.001)


@pytest.mark.parametrize("how", [signal.SIGSTOP, signal.SIGKILL])
def test_a_process_that_stops_is_replaced_and_holds_nothing_when_it_wakes(dsn: str, how: signal.Signals) -> None:
    context = multiprocessing.get_context("fork")
    told, last_held, end = context.Queue(), context.Value("d", 0.0), context.Event()
    other = context.Process(target=_other_process, args=(dsn, told, last_held, end))
    other.start()
    try:
        assert told.get(timeout=10) == "holds all"
        with working(dsn) as host:
            host.idle = True  # no share for it: all is to be taken over
            host.heartbeat.away(FOLDERS)
            eventually(lambda: len(host.heartbeat.others.look.hosts) == 2)
            stopped = boot_time()
            os.kill(other.pid or 0, how)
            host.idle = False
            host.heartbeat.away(())
            eventually(lambda: host.held() == {*FOLDERS}, 10)
            assert max(host.taken_at.values()) - stopped < LEASE + 5
            assert min(host.taken_at.values()) > last_held.value + LEASE / 4, "by then the other had long ceased to trust"
            if how == signal.SIGSTOP:
                with last_held.get_lock():
                    before = last_held.value
                host.heartbeat.away(())
                os.kill(other.pid or 0, signal.SIGCONT)
                assert told.get(timeout=10) == "lost all"
                assert last_held.value == before, "not for a moment"
                assert host.held() == {*FOLDERS}
                assert host.gone == []
    finally:
        end.set()
        with contextlib.suppress(ProcessLookupError):
            os.kill(other.pid or 0, signal.SIGCONT)
        other.join(10)


def test_a_heart_that_cannot_connect_ends_when_it_is_told_to(dsn: str) -> None:
    tried = threading.Event()

    class Nowhere(Connector):
        def conninfo(self) -> str:
            tried.set()
            return super().conninfo()

    with working(dsn, connector=Nowhere("host=127.0.0.1 port=1", "heartbeat")) as host:
        assert tried.wait(5)
        eventually(lambda: host.heartbeat.others.trouble)
        began = time.monotonic()
        host.stop()
        assert time.monotonic() - began < 4
