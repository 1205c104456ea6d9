# ruff: noqa: E402 - the library may be missing
"""One budget of requests for many processes, on a real server; time is moved by moving the stamps, not by waiting."""

from __future__ import annotations

import multiprocessing
import threading
import time
from collections.abc import Iterator

import pytest

from tests import needs
from tests.site import eventually

needs.library("psycopg")
import psycopg

from dropcap.hosts.membership import GOOD_FOR, TRY_AGAIN, SharedWindow
from dropcap.ledger.postgres.wire import Connector, Wire
from dropcap.redcap.window import WINDOW, Stopped
from tests.postgres.cluster import Cluster


@pytest.fixture
def wire(dsn: str) -> Iterator[Wire]:
    made = Wire(Connector(dsn, "test"), patience=1.0)
    yield made
    made.close()


def shift(dsn: str, seconds: float) -> None:
    """As if all requests had been made `seconds` later (negative: earlier)."""
    with psycopg.connect(dsn) as connection:
        connection.execute("update slot set at = at + make_interval(secs => %s) where at > 'epoch'", (seconds,))


def taken(window: SharedWindow, most: int = 1000) -> int:
    count = 0
    while count < most and window.try_acquire() == 0:
        count += 1
    return count


def test_no_more_than_the_limit_in_a_window_that_slides(dsn: str, wire: Wire) -> None:
    window = SharedWindow(wire, "host", 5)
    assert window.used() == 0
    assert taken(window, 2) == 2
    shift(dsn, -40)
    assert taken(window) == 3
    assert WINDOW - 42 < window.try_acquire() <= WINDOW - 40
    assert window.used() == 5
    shift(dsn, -WINDOW + 39)
    assert taken(window) == 2
    shift(dsn, -WINDOW)
    assert (window.used(), taken(window)) == (0, 5)
    assert taken(SharedWindow(wire, "another", 3)) == 3


def test_another_limit_forgets_nothing(dsn: str, wire: Wire) -> None:
    assert taken(SharedWindow(wire, "host", 6)) == 6
    assert taken(SharedWindow(wire, "host", 2)) == 0
    assert taken(SharedWindow(wire, "host", 6)) == 0
    assert taken(SharedWindow(wire, "host", 9)) == 3
    shift(dsn, -WINDOW)
    assert taken(SharedWindow(wire, "host", 2)) == 2
    assert taken(SharedWindow(wire, "host", 9)) == 7
    shift(dsn, -30)
    assert 30 < SharedWindow(wire, "host", 4).try_acquire() < WINDOW - 30
    assert SharedWindow(wire, "host", 4).used() == 9


def test_a_lowered_limit_lets_requests_go_as_old_ones_leave(dsn: str, wire: Wire) -> None:
    """Whichever rows they are in: of six, three were made late, in the rows at either end."""
    for late in ((0, 1, 2), (3, 4, 5), (0, 2, 4)):
        with psycopg.connect(dsn) as connection:
            connection.execute("delete from slot")
        assert taken(SharedWindow(wire, "host", 6)) == 6
        with psycopg.connect(dsn) as connection:
            connection.execute("update slot set at = at - interval '1 hour' where n <> all(%s)", ([*late],))
        assert taken(SharedWindow(wire, "host", 3)) == 0
        assert taken(SharedWindow(wire, "host", 4)) == 1
        shift(dsn, -WINDOW)
        assert taken(SharedWindow(wire, "host", 4)) == 4


def test_a_clock_that_goes_back_waits_a_window_at_most(dsn: str, wire: Wire) -> None:
    window = SharedWindow(wire, "host", 5)
    taken(window)
    shift(dsn, 86400)
    assert 0 < window.try_acquire() <= WINDOW
    shift(dsn, -WINDOW)
    assert taken(window) == 5


def test_without_a_limit_nobody_is_asked() -> None:
    window = SharedWindow(Wire(Connector("nowhere", "test")), "host", 0)
    assert (taken(window, 500), window.acquire(), window.used(), window.fresh()) == (500, 0.0, 0, True)


def test_a_grant_is_good_for_a_second(wire: Wire) -> None:
    window = SharedWindow(wire, "host", 5)
    assert not window.fresh(), "nothing was granted"
    began = time.monotonic()
    assert window.acquire() == 0.0
    assert window.fresh()
    found: list[bool] = []
    thread = threading.Thread(target=lambda: found.append(window.fresh()))
    thread.start()
    thread.join()
    assert found == [False], "what another thread was granted is not ours"
    eventually(lambda: not window.fresh(), 3)
    assert time.monotonic() - began >= GOOD_FOR


def test_an_answer_that_comes_late_grants_nothing(dsn: str) -> None:
    """The request is entered by then, and is not made: the next one is asked for."""
    slow = Wire(Connector(dsn, "test"), patience=5.0)
    window = SharedWindow(slow, "host", 2)
    assert window.try_acquire() == 0.0
    with psycopg.connect(dsn) as other:
        other.execute("lock table slot in exclusive mode")
        free = threading.Timer(GOOD_FOR + 0.2, other.rollback)
        free.start()
        assert window.try_acquire() > WINDOW - 5, "both are used up"
        free.join()
    slow.close()


def _spend(dsn: str, seconds: float, start: threading.Barrier, results: multiprocessing.Queue[int]) -> None:
    wire = Wire(Connector(dsn, "spender"))
    window = SharedWindow(wire, "host", 60, window=0.7)
    window.used()
    start.wait(20)
    end, count = time.monotonic() + seconds, 0
    while time.monotonic() < end:
        if window.try_acquire() == 0.0:
            count += 1
    results.put(count)
    wire.close()


def test_four_processes_never_pass_one_budget(dsn: str, wire: Wire) -> None:
    """Each grant's stamp is kept by a trigger: in no window, wherever it begins, are there more than the budget."""
    with psycopg.connect(dsn) as connection:
        connection.execute(
            b"create table grant_log (at timestamptz);"
            b"create function note() returns trigger language plpgsql as"
            b" $$ begin insert into grant_log values (new.at); return new; end $$;"
            b"create trigger note after update on slot for each row execute function note()"
        )
    context = multiprocessing.get_context("fork")
    start, results = context.Barrier(5), context.Queue()
    others = [context.Process(target=_spend, args=(dsn, 1.6, start, results)) for _ in range(4)]
    for other in others:
        other.start()
    start.wait(20)
    counts = [results.get(timeout=20) for _ in others]
    for other in others:
        other.join(20)
    with psycopg.connect(dsn) as connection:
        stamps = [float(at) for (at,) in connection.execute("select extract(epoch from at) from grant_log order by at")]
    assert len(stamps) == sum(counts) >= 120, counts
    assert min(later - earlier for earlier, later in zip(stamps, stamps[60:], strict=False)) >= 0.7


def test_while_the_database_is_away_there_is_no_room(mine: Cluster, dsn: str, wire: Wire) -> None:
    window = SharedWindow(wire, "host", 5)
    assert window.try_acquire() == 0.0
    stop, ended = threading.Event(), threading.Event()
    mine.stop("immediate")
    try:
        assert (window.try_acquire(), window.used()) == (TRY_AGAIN, 0)

        def wait() -> None:
            with pytest.raises(Stopped):
                window.acquire(stop)
            ended.set()

        threading.Thread(target=wait).start()
        eventually(lambda: window.waiting)
        assert window.room_at <= time.time() + TRY_AGAIN
        stop.set()
        assert ended.wait(5)
    finally:
        mine.start()
    assert window.acquire() <= 5 * TRY_AGAIN, "it connects anew by itself"
    assert window.used() == 2


def test_a_frozen_server_ends_the_wait(mine: Cluster, dsn: str, wire: Wire) -> None:
    """Its sockets stay as they are: only the watchdog of the wire helps."""
    window = SharedWindow(wire, "host", 5)
    assert window.try_acquire() == 0.0
    mine.freeze()
    try:
        began = time.monotonic()
        assert window.try_acquire() == TRY_AGAIN
        assert 0.9 < time.monotonic() - began < 8
    finally:
        mine.thaw()
    assert window.try_acquire() in (0.0, TRY_AGAIN)
    eventually(lambda: window.try_acquire() == 0.0)
