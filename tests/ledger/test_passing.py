"""Who waits for whom where files go to one place and a folder is not there."""

from __future__ import annotations

from typing import Any

import pytest

from dropcap.ledger.job import Address, Change, NewFile, State
from dropcap.ledger.query import NOBODY, Absent
from dropcap.ledger.store import Ledger
from dropcap.reasons import Reason

LONG = Absent(frozenset({"away"}), frozenset({"away"}))
SHORT = Absent(frozenset(), frozenset({"away"}))
ONE = Address("p", "r", "101", "e", "f", 1, "k")
THREE = Address("p", "r", "101", "e", "f", 3, "k")
NEXT = Address("p", "r", "101", "e", "f", None, "k", takes_next=True)


def claim(ledger: Ledger, folder: str, address: Address, *states: State, **columns: Any) -> int:
    """A job in the last of these states."""
    (job,) = ledger.claim(folder, [NewFile(f"{folder}-{address.instance}", 1, 1, 1)], lambda _: address)
    for state in states:
        assert ledger.change([Change(job, state, "", columns)]) == {job}
    return job


def row(ledger: Ledger, job: int) -> tuple[State, str | None]:
    found = ledger.query.job(job)
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
        assert ledger.query.overtaken(first)
        ledger.change([Change(second, State.REFUSED)])
        assert not ledger.query.overtaken(first), "nothing arrived: it goes by itself"
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


# However a job has come to its place -----------------------------------------------------------------------------------

ELSEWHERE = Address("p", "r", "101", "e", "g", 1, "elsewhere")
BY_VALUES = Address("p", "r", "", "e", "f", 1, "mrn=1")
NEXT_BY_VALUES = Address("p", "r", "", "e", "f", None, "mrn=1", takes_next=True)
HELD = {"reason": Reason.NEWER_WENT, "message": "m", "remedy": "r"}


def gone(ledger: Ledger, address: Address) -> int:
    """A newer file that was sent to that place."""
    (job,) = ledger.claim("here", [NewFile(f"newer-{address.key}", 1, 1, 1)], lambda _: address)
    for state in (State.SENDING, State.STORED, State.DONE):
        assert ledger.change([Change(job, state, "", SENT)]) == {job}
    return job


def goes(ledger: Ledger, job: int) -> bool:
    overtaken = ledger.query.overtaken(job)
    went = ledger.change([Change(job, State.SENDING)]) == {job}
    assert went is not overtaken
    return went


def test_other_rules_and_names_lead_no_older_one_over_a_newer_one(ledger: Ledger) -> None:
    jobs = {where: claim(ledger, where, ELSEWHERE) for where in ("rules", "name", "record")}
    gone(ledger, ONE)
    ledger.reroute("rules", [(jobs["rules"], ONE)])
    assert ledger.rename_open(jobs["name"], "b", ONE)
    found = ledger.query.job(jobs["record"])
    assert found is not None
    assert ledger.found(found, "101", "k") is not None
    ledger.reroute("record", [(jobs["record"], ONE)])
    assert not any(goes(ledger, job) for job in jobs.values())
    ledger.reroute("rules", [(jobs["rules"], ELSEWHERE)])
    assert goes(ledger, jobs["rules"])


@pytest.mark.parametrize("key", ["k", "k as it was called before another rule took `next`"])
def test_a_place_is_known_again_under_another_key(ledger: Ledger, key: str) -> None:
    older = claim(ledger, "away", ONE)
    gone(ledger, Address("p", "another rule", "101", "e", "f", None, key))
    assert not goes(ledger, older)
    assert goes(ledger, claim(ledger, "here", ONE)), "the newest one"


def test_what_may_have_arrived_is_read_back_though_a_newer_one_has_gone(ledger: Ledger) -> None:
    older = claim(ledger, "away", ONE, State.SENDING, State.WAITING, State.HELD, **SENT, **HELD)
    gone(ledger, ONE)
    assert ledger.rename_open(older, "renamed", ONE)
    assert ledger.query.overtaken(older)
    assert ledger.change([Change(older, State.SENDING)]) == {older}


def test_a_newer_one_that_was_taken_away_counts_until_it_is_known_that_it_did_not_arrive(ledger: Ledger) -> None:
    older = claim(ledger, "away", ONE)
    newer = claim(ledger, "here", ONE)
    for state in UNKNOWN:
        assert ledger.change([Change(newer, state, "", SENT)], LONG) == {newer}
    assert ledger.withdraw(newer)
    assert ledger.query.overtaken(older)
    ledger.note(newer, "read back", {"found": "no"})
    assert goes(ledger, older)


def test_a_persons_word_holds_for_the_place_and_for_what_had_gone_there(ledger: Ledger) -> None:
    older = claim(ledger, "away", ONE)
    over = {"sent_over": gone(ledger, ONE)}
    assert ledger.change([Change(older, State.WAITING, "", over)]) == {older}
    assert not ledger.query.overtaken(older)
    newest = claim(ledger, "here", ONE)
    assert ledger.change([Change(newest, State.SENDING, "", SENT)], LONG) == {newest}
    assert not goes(ledger, older), "another one has passed it since"
    ledger.change([Change(newest, state) for state in (State.STORED, State.DONE)])

    other = claim(ledger, "other", ELSEWHERE)
    over = {"sent_over": gone(ledger, ONE)}
    assert ledger.change([Change(other, State.WAITING, "", over)]) == {other}
    ledger.reroute("other", [(other, ONE)])
    assert not goes(ledger, other), "it was said of another place"


@pytest.mark.parametrize(
    ("says", "address", "states", "columns", "rules", "then", "where"),
    [
        ("another place", ONE, (State.HELD,), HELD, ELSEWHERE, (State.WAITING, None), "elsewhere"),
        ("the same place", ONE, (State.HELD,), HELD, ONE, (State.HELD, Reason.NEWER_WENT), "k"),
        (
            "surely not arrived",
            ONE,
            (State.SENDING, State.WAITING, State.HELD),
            SENT | HELD,
            ELSEWHERE,
            (State.WAITING, None),
            None,
        ),
        ("no rule", ONE, (State.HELD,), HELD, Address("p"), (State.WAITING, None), None),
        ("may have arrived", ONE, (*UNKNOWN, State.HELD), SENT | HELD, ELSEWHERE, (State.HELD, Reason.NEWER_WENT), "k"),
        (
            "held for its rights",
            ONE,
            (State.HELD,),
            {"reason": Reason.RIGHTS},
            ELSEWHERE,
            (State.HELD, Reason.RIGHTS),
            "elsewhere",
        ),
        ("a record found by its values", ONE, (State.HELD,), HELD, BY_VALUES, (State.WAITING, None), "mrn=1"),
    ],
)
def test_at_another_place_it_is_judged_anew(
    ledger: Ledger,
    says: str,
    address: Address,
    states: tuple[State, ...],
    columns: dict[str, Any],
    rules: Address,
    then: tuple[State, str | None],
    where: str | None,
) -> None:
    job = claim(ledger, "f", address, *states, **columns)
    gone(ledger, ONE)
    ledger.reroute("f", [(job, rules)])
    assert row(ledger, job) == then, says
    found = ledger.query.job(job)
    assert where in (None, found.key)


def test_an_instance_that_may_have_arrived_outlasts_other_rules(ledger: Ledger) -> None:
    """A table got another line, say: whose record was found by its values is not looked for anew in another instance."""
    columns = {**SENT, "instance": 3, "record": "101", "reason": Reason.NOT_CONFIRMED}
    for folder, states in (("held", (*UNKNOWN, State.HELD)), ("waiting", (State.SENDING, State.WAITING))):
        job = claim(ledger, folder, Address("p", "r", "101", "e", "f", None, folder, takes_next=True), *states, **columns)
        ledger.reroute(folder, [(job, NEXT_BY_VALUES)])
        found = ledger.query.job(job)
        assert (found.instance, found.record, found.key) == (3, "101", folder)
