"""Many steps at once are decided as if one went after the other: PostgreSQL merges them, SQLite does not."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from dropcap.ledger.database import DatabaseError
from dropcap.ledger.job import Address, Change, Event, Job, NewFile, State
from dropcap.ledger.store import Ledger
from dropcap.reasons import Reason
from tests.ledger.engine import PostgresEngine, SqliteEngine

NOW = 1_800_000_000.5
JOBS = 5
#: (which job, to which state, with which columns, with which target)
Step = tuple[int, State, dict[str, Any], str]
S, U, W, D = State.SENDING, State.UNKNOWN, State.WAITING, State.STORED
SENT = {"attempts": 1}


@pytest.fixture(scope="module")
def both(postgres_of_a_file: PostgresEngine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Ledger]]:
    engines = [SqliteEngine(tmp_path_factory.mktemp("steps")), postgres_of_a_file]
    yield [engine.open(lambda: NOW) for engine in engines]
    for engine in engines:
        engine.close()
        assert engine.said() == []


@st.composite
def places(draw: st.DrawFn) -> tuple[str | None, str, str | None, int | None, bool]:
    """A job's key, record, event, instance, and whether it takes the next one."""
    key = draw(st.sampled_from(["k", "k", "l", "k\0\x1e", None]))
    takes_next = draw(st.integers(0, 4)) == 0
    instance = None if takes_next else draw(st.sampled_from([None, 1, 3]))
    return key, draw(st.sampled_from(["", "R", "R", "Q"])), draw(st.sampled_from([None, "e"])), instance, takes_next


def columns(state: State) -> st.SearchStrategy[dict[str, Any]]:
    common: list[dict[str, Any]] = [{}, {}, {"due": 0}, {"due": 2.5, "reason": Reason.NO_RECORD, "message": "a\0\x1e"}]
    if state is S:
        common = [
            SENT,
            {"attempts": 2, "record": "R"},
            {"attempts": 1, "record": "R", "instance": 3},
            {"attempts": 3, "record": "Q"},
        ]
    if state is W:
        common += [{"sent_over": 3}, {"instance": None}]
    if state is State.WITHDRAWN:
        common += [{"may_have_arrived": True}, {"may_have_arrived": True, "found": "no"}]
    return st.sampled_from(common)


@st.composite
def steps(draw: st.DrawFn) -> Step:
    state = draw(st.sampled_from([S, S, S, S, U, U, W, D, State.DONE, State.HELD, State.REFUSED, State.FAILED, State.WITHDRAWN]))
    return draw(st.integers(0, JOBS - 1)), state, draw(columns(state)), draw(st.sampled_from(["", "", "its own", "another"]))


def taken(ledger: Ledger, number: int, where: list[Any], batches: list[list[Step]]) -> list[set[int]]:
    """Jobs at those places, and what of each batch went."""

    def at(name: str) -> Address:
        key, record, event, instance, takes_next = where[int(name)]
        its = f"{number} {key}" if key is not None else None
        return Address("p", "r", record and f"{number} {record}", event, "f", instance, its, takes_next)

    files = [NewFile(str(n), 1, 1, 1) for n in range(JOBS)]
    jobs = ledger.claim(f"folder {number}", files, at)
    went = []
    for batch in batches:
        changes = []
        for n, state, given_, target in batch:
            its = {**given_, "record": f"{number} {given_['record']}"} if "record" in given_ else dict(given_)
            if its.get("sent_over"):
                its["sent_over"] = jobs[its["sent_over"]]
            key = at(str(n)).key
            its_target = {"": None, "its own": (key, "f"), "another": ("other", "f")}[target]
            changes.append(Change(jobs[n], state, f"note \0 {state}", its, its_target))
        went.append({jobs.index(job) for job in ledger.change(changes)})
    return went


def entered(ledger: Ledger, number: int) -> list[tuple[Job, list[Event]]]:
    found = sorted(ledger.query.each_open(f"folder {number}"))
    jobs = list(ledger.query.recent(JOBS * 2, folder=f"folder {number}"))
    assert len(found) <= len(jobs) == JOBS
    return [(job, ledger.query.history(job.id)) for job in jobs]


NUMBERS = itertools.count()
ONE_PLACE = ("k", "R", "e", None, False)
SAME_RECORD = [ONE_PLACE, ("l", "R", "e", None, False), (None, "R", "e", None, False), (None, "Q", "e", 1, False), ONE_PLACE]


@settings(max_examples=50, deadline=None)
@given(
    where=st.lists(places(), min_size=JOBS, max_size=JOBS),
    batches=st.lists(st.lists(steps(), min_size=1, max_size=6), min_size=1, max_size=5),
)
@example(SAME_RECORD, [[(0, S, SENT, ""), (4, S, SENT, "")]])  # one key twice
@example(SAME_RECORD, [[(2, S, SENT, ""), (1, S, SENT, ""), (0, S, SENT, "")]])  # newer ones first, by their record
@example(SAME_RECORD, [[(3, S, {"attempts": 1, "record": "R"}, ""), (0, S, SENT, "")]])  # whose record is known only now
@example(SAME_RECORD, [[(0, S, SENT, ""), (0, D, {}, ""), (0, State.DONE, {}, ""), (4, S, SENT, "")]])  # one job's whole way
@example(SAME_RECORD, [[(0, S, SENT, "")], [(1, D, {}, ""), (4, S, SENT, ""), (0, D, {}, "")]])  # free only afterwards
@example(SAME_RECORD, [[(0, S, SENT, "")], [(0, State.HELD, {}, "")], [(4, S, SENT, ""), (0, U, {}, "")]])
@example(SAME_RECORD, [[(0, W, {"due": 0}, ""), (1, W, {"due": 2.5}, "")]])  # numbers of two types
def test_what_goes_is_the_same_one_after_the_other_and_at_once(
    both: list[Ledger], where: list[Any], batches: list[list[Step]]
) -> None:
    number = next(NUMBERS)
    in_sqlite, in_postgres = (taken(ledger, number, where, batches) for ledger in both)
    assert in_postgres == in_sqlite
    ours, theirs = (entered(ledger, number) for ledger in both)
    assert theirs == ours


def test_what_many_threads_want_at_once_goes_as_if_each_was_alone(ledger: Ledger) -> None:
    """Their steps are merged: each learns what became of its own, and what cannot be entered at all fails for one of them."""
    files = [NewFile(str(n), 1, 1, 1) for n in range(48)]
    jobs = ledger.claim("f", files, lambda n: Address("p", "r", str(int(n) // 2), None, "f", 1, f"k{int(n) // 2}"))
    came: dict[int, object] = {}
    go = threading.Barrier(24)

    def work(which: int) -> None:
        pair = jobs[2 * which : 2 * which + 2]  # of one key: one of them goes
        changes = [Change(job, S, "x\udcff" if which == 7 else "", SENT) for job in pair]
        if which == 5:
            changes.append(Change(pair[0], D, "", {"no_such_column": 1}))
        go.wait()
        try:
            came[which] = ledger.change(changes)
        except Exception as error:
            came[which] = type(error)

    with ThreadPoolExecutor(24) as threads:
        list(threads.map(work, range(24)))
    for which in range(24):
        first, second = jobs[2 * which : 2 * which + 2]
        states = [found.state for job in (first, second) if (found := ledger.query.job(job))]
        assert (came[which], states) == ((DatabaseError, [W, W]) if which == 5 else ({first}, [S, W])), which
