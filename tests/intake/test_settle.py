from __future__ import annotations

import math
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dropcap.files.regular import Lease
from dropcap.intake.arrivals import BETWEEN_LOOKS, Fingerprint, Observation, RestTime, Waiting, settled_at
from dropcap.intake.claim import _rests_for_a_page

NOW = 1000.0
WALL = 1_800_000_000 * 10**9


def fingerprint(size: int = 10, age: float = 0.0, ctime_age: float | None = None, inode: int = 1) -> Fingerprint:
    later = age if ctime_age is None else ctime_age
    return Fingerprint(size, WALL - int(age * 1e9), WALL - int(later * 1e9), inode)


def seen(fingerprint: Fingerprint, since: float = NOW) -> Observation:
    """A file that was first seen at `since`."""
    return Observation.again(None, fingerprint, since, WALL - int((NOW - since) * 1e9))


@pytest.mark.parametrize(
    ("name", "watched", "local", "lease", "expected"),
    [
        ("old and free: at first sight", seen(fingerprint(age=60)), True, Lease.FREE, NOW - 60 + 1),
        ("just written: one second", seen(fingerprint()), True, Lease.FREE, NOW + 1),
        ("half a second old", seen(fingerprint(age=0.5)), True, Lease.FREE, NOW + 0.5),
        ("old mtime kept by cp -p, new ctime", seen(fingerprint(age=9999, ctime_age=0)), True, Lease.FREE, NOW + 1),
        ("times in the future prove nothing", seen(fingerprint(age=-3600)), True, Lease.FREE, NOW + 1),
        ("future times, but watched", seen(fingerprint(age=-3600), NOW - 5), True, Lease.FREE, NOW - 5 + 1),
        ("somebody writes", seen(fingerprint(age=60), NOW - 60), True, Lease.WRITER, math.inf),
        ("no lease: our own watching", seen(fingerprint(age=60)), True, Lease.UNKNOWN, NOW + 10),
        ("network: lease and clock do not count", seen(fingerprint(age=60)), False, Lease.FREE, NOW + 10),
        ("network, writer on this machine", seen(fingerprint(age=60)), False, Lease.WRITER, math.inf),
        ("empty waits longer", seen(fingerprint(size=0)), True, Lease.FREE, NOW + 10),
        ("old and empty", seen(fingerprint(size=0, age=60)), True, Lease.FREE, NOW - 60 + 10),
    ],
)
def test_when_a_file_is_settled(name: str, watched: Observation, local: bool, lease: Lease, expected: float) -> None:
    assert settled_at(watched, RestTime(1.0, 10.0, local), lease) == pytest.approx(expected), name


def waiting(closed: float = 5.0, quiet: float = 15.0, age: float = 6.0, local: bool = True) -> Waiting:
    changed_ns = time.time_ns() - int(age * 1e9)
    now = time.monotonic()
    return Waiting(
        Observation(Fingerprint(10, changed_ns, changed_ns, 1), now - age, now - age), RestTime(closed, quiet, local), now, ""
    )


@pytest.mark.parametrize(
    ("says", "settings", "claimed_ago", "left"),
    [
        ("taken long ago", {}, 70.0, None),
        ("taken ten seconds before its last change", {}, 16.0, 9.0),
        ("taken 59 s before its last change", {}, 65.0, 9.0),
        ("the same, looked at later: it does not depend on the look", {"age": 14.0}, 73.0, 1.0),
        ("rested already", {"age": 15.5}, 20.0, None),
        ("changed before the claim of the other", {"age": 10.0}, 5.0, 5.0),
        ("the clock was set back since", {}, -3600.0, 9.0),
        ("on a share the rest is as long anyway", {"local": False, "age": 20.0}, 30.0, None),
        ("settle_quiet is the shorter one", {"closed": 20.0, "quiet": 1.0}, 10.0, 14.0),
    ],
)
def test_the_next_page_of_a_name_that_was_just_taken(
    says: str, settings: dict[str, Any], claimed_ago: float, left: float | None
) -> None:
    file = waiting(**settings)
    rests = _rests_for_a_page(file, time.time() - claimed_ago)
    assert rests is (left is not None), says
    if left is not None:
        assert file.at - time.monotonic() == pytest.approx(left, abs=0.3)
        assert file.rests


def test_settle_closed_of_nothing_is_at_once() -> None:
    assert settled_at(seen(fingerprint()), RestTime(0.0, 10.0, True), Lease.FREE) <= NOW


@given(
    looks=st.lists(st.tuples(st.floats(0.01, 30.0), st.integers(1, 3)), min_size=1, max_size=20),
    quiet=st.floats(0.0, 20.0),
    lease=st.sampled_from([Lease.FREE, Lease.UNKNOWN]),
)
def test_without_a_trusted_lease_two_equal_looks_so_far_apart_are_needed(
    looks: list[tuple[float, int]], quiet: float, lease: Lease
) -> None:
    now, watched, history = NOW, None, []
    for pause, size in looks:
        now += pause
        # The server's clock is a year behind: it must not matter.
        watched = Observation.again(watched, fingerprint(size=size, age=31_536_000), now, WALL)
        history.append((now, size))
        if settled_at(watched, RestTime(0.0, quiet, False), lease) <= now:
            unchanged = [at for at, _ in _tail(history)]
            assert len(unchanged) >= 2
            assert now - unchanged[0] >= max(quiet, BETWEEN_LOOKS) - 1e-9


def _tail(history: list[tuple[float, int]]) -> list[tuple[float, int]]:
    tail: list[tuple[float, int]] = []
    for look in reversed(history):
        if tail and tail[0][1] != look[1]:
            break
        tail.insert(0, look)
    return tail


@given(age=st.floats(-1e6, 1e6), since=st.floats(0, 1000), closed=st.floats(0, 60), quiet=st.floats(0, 60))
def test_more_lease_never_means_more_waiting(age: float, since: float, closed: float, quiet: float) -> None:
    watched = seen(fingerprint(age=age), NOW - since)
    pace = RestTime(min(closed, quiet), quiet, True)
    free, unknown, writer = (settled_at(watched, pace, lease) for lease in (Lease.FREE, Lease.UNKNOWN, Lease.WRITER))
    assert free <= unknown <= writer


@pytest.mark.parametrize("jump", [-86400.0, -1.0, 1.0, 3600.0, 400 * 86400.0])
def test_a_clock_that_is_set_while_a_file_rests(jump: float) -> None:
    """Its age is that of the first look; from then on our own watching counts."""
    before = seen(fingerprint(age=2.0))
    pace, later = RestTime(5.0, 15.0, local=True), NOW + 1.0
    again = Observation.again(before, before.fingerprint, later, WALL + int((1.0 + jump) * 1e9))
    assert settled_at(again, pace, Lease.FREE) == pytest.approx(NOW + 3.0)
    changed = Observation.again(before, fingerprint(size=20), later, WALL + int((1.0 + jump) * 1e9))
    assert NOW + 5.0 <= settled_at(changed, pace, Lease.FREE) <= later + 5.0  # it was another file at NOW


def test_a_rename_does_not_make_other_bytes() -> None:
    assert fingerprint(ctime_age=5).same_bytes(fingerprint(ctime_age=0))
    assert not fingerprint(size=1).same_bytes(fingerprint(size=2))
    assert not fingerprint(inode=1).same_bytes(fingerprint(inode=2))
