"""Jobs whose files come back after they were taken away: only what may have arrived goes on, and nothing else is woken."""

from __future__ import annotations

import sqlite3
import time
from pathlib import Path

import pytest

from dropcap.ledger.database import Conflict
from dropcap.ledger.job import RETURNS, TRANSITIONS, Address, Back, Change, NewFile, ReadBackFound, State
from dropcap.ledger.query import KNOWN_FOR
from dropcap.ledger.sqlite import MIGRATIONS
from dropcap.ledger.store import Ledger
from tests.ledger.engine import Engine

SHA = "a" * 64


class Clock:
    now = 1_700_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def ledger(engine: Engine, clock: Clock) -> Ledger:
    return engine.open(clock)


def to(record: str = "101", key: str = "k") -> Address:
    return Address("p", "r", record, "e", "f", None, key)


def claim(ledger: Ledger, name: str, back: Back | None = None, record: str = "101", key: str = "k") -> int:
    (job,) = ledger.claim("f", [NewFile(name, 10, 2, 3, back=back)], lambda _: to(record, key))
    return job


def state(ledger: Ledger, job: int) -> State:
    found = ledger.query.job(job)
    return found.state


def taken_away(ledger: Ledger, now: float) -> list[int]:
    return [file.job for file in ledger.query.taken_away(["p"], [10], now)]


def withdrawn(ledger: Ledger, *steps: Change) -> int:
    job = claim(ledger, "a")
    for step in steps:
        assert ledger.change([Change(job, step.state, "", step.columns)]) == {job}
    assert ledger.withdraw(job)
    return job


SENT = Change(0, State.SENDING, columns={"attempts": 1, "instance": 3, "sent_sha256": SHA})
UNKNOWN = Change(0, State.UNKNOWN)


def test_what_may_have_arrived_is_known_for_seven_days(ledger: Ledger, clock: Clock) -> None:
    job = withdrawn(ledger, SENT, UNKNOWN)
    assert taken_away(ledger, clock.now + KNOWN_FOR - 1) == [job]
    assert taken_away(ledger, clock.now + KNOWN_FOR + 1) == []
    assert ledger.query.taken_away(["another"], [10], clock.now) == []


def test_what_was_never_sent_or_surely_did_not_arrive_is_not(ledger: Ledger, clock: Clock) -> None:
    withdrawn(ledger)
    withdrawn(ledger, SENT, Change(0, State.WAITING, columns={"instance": None}))
    assert taken_away(ledger, clock.now) == []


@pytest.mark.parametrize("last", [UNKNOWN, Change(0, State.HELD), Change(0, State.WAITING)], ids=lambda one: one.state)
def test_the_old_job_goes_on_with_its_instance(ledger: Ledger, clock: Clock, last: Change) -> None:
    job = withdrawn(ledger, SENT, last)
    assert taken_away(ledger, clock.now) == [job]
    assert claim(ledger, "a", Back(job, SHA, goes_on=True)) == job
    again = ledger.query.job(job)
    assert (again.state, again.instance, again.ended_at, again.reason) == (State.UNKNOWN, 3, None, None)
    assert ledger.change([Change(job, State.SENDING)]) == {job}


def test_no_other_way_wakes_a_job_that_is_over(ledger: Ledger) -> None:
    job = withdrawn(ledger, SENT, UNKNOWN)
    for after in State:
        assert ledger.change([Change(job, after)]) == set()
    never = withdrawn(ledger)
    new = claim(ledger, "a", Back(never, SHA, goes_on=True))
    assert new not in (job, never), "what was never sent is claimed as new"
    assert all(not TRANSITIONS[before] for before in RETURNS)


def test_it_waits_while_another_is_sent_to_its_place(ledger: Ledger) -> None:
    job = withdrawn(ledger, SENT, UNKNOWN)
    other = claim(ledger, "b")
    assert ledger.change([Change(other, State.SENDING)]) == {other}
    with pytest.raises(Conflict):
        claim(ledger, "a", Back(job, SHA, goes_on=True))
    assert state(ledger, job) is State.WITHDRAWN


def test_another_name_to_the_same_place_takes_over_the_instance(ledger: Ledger) -> None:
    job = withdrawn(ledger, SENT, UNKNOWN)
    new = ledger.query.job(claim(ledger, "b", Back(job, SHA, goes_on=False)))
    assert (new.state, new.instance, new.sent_sha256, new.back_of) == (State.UNKNOWN, 3, SHA, job)
    assert [one.id for one in ledger.query.to_read_back(time.time() + 1e9)] == [job]


def test_another_patients_file_takes_over_nothing(ledger: Ledger) -> None:
    job = withdrawn(ledger, SENT, UNKNOWN)
    new = ledger.query.job(claim(ledger, "b", Back(job, SHA, goes_on=False), record="102", key="other"))
    assert (new.state, new.instance, new.sent_sha256) == (State.WAITING, None, None)
    old = ledger.query.job(job)
    assert old is not None
    assert ledger.tell_read_back(old, "no", "it is not there", None)
    assert not ledger.tell_read_back(old, "no", "it is not there", None), "told once"
    assert ledger.query.to_read_back(1e12) == []


def test_a_record_that_is_found_later_takes_over_the_instance_then(ledger: Ledger) -> None:
    job = withdrawn(ledger, SENT, UNKNOWN)
    new = claim(ledger, "b", Back(job, SHA, goes_on=False), record="", key="mrn=1")
    job_now = ledger.query.job(new)
    assert job_now is not None
    assert ledger.found(job_now, "101", "k") is ReadBackFound.ENTERED
    found = ledger.query.job(new)
    assert (found.state, found.instance) == (State.WAITING, 3)


def test_a_file_of_the_first_version_is_brought_up(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    old = sqlite3.connect(path, isolation_level=None)
    for statement in MIGRATIONS[0].split(";"):
        if statement.strip():
            old.execute(statement)
    old.execute("insert into meta values ('installation', 'x')")
    old.execute("pragma user_version = 1")
    values = "'p','r','101','e','f',3,'k',10,2,3,1,1.0,1.0"
    columns = "project,rule,record,event,field,instance,key,size,mtime_ns,inode,attempts,claimed_at,changed_at"
    for number, steps in ((1, ("waiting", "sending", "unknown")), (2, ("waiting",))):
        old.execute(
            f"insert into job (id,folder,name,state,ended_at,{columns}) values (?,'f',?,'withdrawn',?,{values})",
            (number, b"a", time.time()),
        )
        for step in (*steps, "withdrawn"):
            old.execute("insert into history values (?,1.0,?,'')", (number, step))
    old.close()
    ledger = Ledger(path)
    try:
        assert taken_away(ledger, time.time()) == [1]
        assert claim(ledger, "a", Back(1, SHA, goes_on=True)) == 1
    finally:
        ledger.close()
