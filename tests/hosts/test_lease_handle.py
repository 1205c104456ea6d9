"""What a host believes of a lease, by the clock that nobody sets."""

from __future__ import annotations

import math

import pytest

from dropcap.hosts.membership import LeaseHandle, boot_time, trusted_until


def test_it_holds_for_two_thirds_of_a_lease_from_before_it_was_asked_for() -> None:
    now = boot_time()
    assert LeaseHandle.taken("/x", 3, now, 60).trusted_until == trusted_until(now, 60) == pytest.approx(now + 40)
    assert LeaseHandle.taken("/x", 3, now - 39, 60).holds()
    late = LeaseHandle.taken("/x", 3, now - 41, 60)
    assert (late.holds(), late.left()) == (False, 0.0)
    late.renew(now + 10)  # nobody had taken it meanwhile
    assert late.holds()
    assert 9 < late.left() <= 10
    late.renew(now - 1)  # an older beat is told later
    assert late.holds()


def test_what_is_lost_stays_lost() -> None:
    handle = LeaseHandle.taken("/x", 3, boot_time(), 60)
    handle.lose()
    handle.renew(boot_time() + 60)
    assert (handle.lost, handle.holds(), handle.left()) == (True, False, 0.0)


def test_who_shares_with_nobody_always_holds() -> None:
    handle = LeaseHandle.alone("/x")
    assert (handle.holds(), handle.left(), handle.fence) == (True, math.inf, 0)
