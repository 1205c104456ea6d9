"""Who waits for whom where files go to one place and a folder is not there."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dropcap.ledger.job import Address, NewFile, State
from dropcap.ledger.passing import NOBODY, Absent
from dropcap.ledger.store import Ledger
from dropcap.ledger.transition import Change
from dropcap.reasons import Reason

LONG = Absent(frozenset({"away"}), frozenset({"away"}))
SHORT = Absent(frozenset(), frozenset({"away"}))
ONE = Address("p", "r", "101", "e", "f", 1, "k")
THREE = Address("p", "r", "101", "e", "f", 3, "k")
NEXT = Address("p", "r", "101", "e", "f", None, "k", takes_next=True)


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    made = Ledger(tmp_path / "ledger.db")
    yield made
    made.close()


def claim(ledger: Ledger, folder: str, address: Address, *states: State, **columns: Any) -> int:
    """A job in the last of these states."""
    (job,) = ledger.claim(folder, [NewFile(f"{folder}-{address.instance}", 1, 1, 1)], lambda _: address)
    for state in states:
        assert ledger.change([Change(job, state, "", columns)]) == {job}
    return job


def row(ledger: Ledger, job: int) -> tuple[State, str | None]:
    found = ledger.query.job(job)
    assert found is not None
    return found.state, found.reason


SENT = {"attempts": 1}
GONE_BY = {"reason": Reason.NEWER_WENT}
SENDING, UNKNOWN = (State.SENDING,), (State.SENDING, State.UNKNOWN)


@pytest.mark.parametrize(
    ("says", "older", "states", "columns", "newer", "absent", "goes", "then"),
    [
        ("its folder is there", ONE, (), {}, ONE, NOBODY, False, None),
        ("away for a while", ONE, (), {}, ONE, SHORT, False, None),
        ("away for long", ONE, (), {}, ONE, LONG, True, (State.WAITING, Reason.NEWER_WENT)),
        ("held, and away for long", ONE, (State.HELD,), {}, ONE, LONG, True, (State.HELD, Reason.NEWER_WENT)),
        ("held since a newer one has gone", ONE, (State.HELD,), GONE_BY, ONE, NOBODY, True, (State.HELD, Reason.NEWER_WENT)),
        ("to be filed only", ONE, (*SENDING, State.STORED), {}, ONE, NOBODY, True, (State.STORED, None)),
        ("to be filed to failed/ only", ONE, (State.REFUSED,), {}, ONE, NOBODY, True, (State.REFUSED, None)),
        ("being sent is never passed", ONE, SENDING, SENT, ONE, LONG, False, None),
        ("of unknown outcome", ONE, UNKNOWN, SENT, ONE, LONG, True, (State.HELD, Reason.NEWER_WENT)),
        ("of unknown outcome, for a while", ONE, UNKNOWN, SENT, ONE, SHORT, False, None),
        ("next waits for no absent folder", ONE, (), {}, NEXT, SHORT, True, (State.WAITING, None)),
        ("next behind next", NEXT, (), {}, NEXT, SHORT, True, (State.WAITING, None)),
        ("next behind an unknown instance 3", THREE, UNKNOWN, SENT, NEXT, SHORT, True, (State.HELD, Reason.NEWER_WENT)),
        ("an instance that nobody knows", NEXT, UNKNOWN, SENT, NEXT, LONG, False, None),
        ("next that was sent to 3", NEXT, UNKNOWN, {**SENT, "instance": 3}, THREE, LONG, True, (State.HELD, Reason.NEWER_WENT)),
        ("another instance of the record", ONE, (), {}, THREE, LONG, True, (State.WAITING, None)),
    ],
)
def test_who_may_pass(
    ledger: Ledger,
    says: str,
    older: Address,
    states: tuple[State, ...],
    columns: dict[str, Any],
    newer: Address,
    absent: Absent,
    goes: bool,
    then: tuple[State, str | None] | None,
) -> None:
    first = claim(ledger, "away", older, *states, **columns)
    second = claim(ledger, "here", newer)
    due = [job.id for job in ledger.query.due("here", 1e12, 10, 100, small=True, absent=absent)]
    assert due == ([second] if goes else []), says
    before = row(ledger, first)
    if not goes:
        return
    assert ledger.change([Change(second, State.SENDING, "", SENT)], absent) == {second}
    assert row(ledger, first) == then, says
    if then == (State.WAITING, Reason.NEWER_WENT):
        passed = ledger.query.job(first)
        assert passed is not None
        assert ledger.query.newer_went(passed)
        ledger.change([Change(second, State.REFUSED)])
        assert not ledger.query.newer_went(passed), "nothing arrived: it goes by itself"
    assert before[0] in (then[0], State.UNKNOWN) if then else True


def test_nobody_is_passed_by_one_that_does_not_go(ledger: Ledger) -> None:
    first = claim(ledger, "away", ONE, *UNKNOWN, **SENT)
    second = claim(ledger, "here", ONE)
    gone = Change(second, State.SENDING, "", SENT, target=("another key", "f"))  # a reload came in between
    assert ledger.change([gone], LONG) == set()
    assert row(ledger, first) == (State.UNKNOWN, None)


def test_a_second_try_passes_nobody_again(ledger: Ledger) -> None:
    first = claim(ledger, "away", ONE)
    second = claim(ledger, "here", ONE)
    for state in (State.SENDING, State.UNKNOWN, State.SENDING):
        assert ledger.change([Change(second, state, "", SENT)], LONG) == {second}
    assert len(ledger.query.history(first)) == 2
