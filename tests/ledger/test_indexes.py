"""However long the history has grown, what is asked all day is answered from the open jobs alone."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from dropcap.ledger.job import Address, NewFile, State
from dropcap.ledger.query import NEWER_WENT, Absent, Query
from dropcap.ledger.store import Ledger
from tests.ledger.engine import PostgresEngine


class Explained(Query):
    """Keeps how SQLite goes about each question."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.plans: list[str] = []

    def _rows(self, sql: str, *values: Any) -> Iterator[Any]:
        self.plans += [str(row[3]) for row in super()._rows(f"explain query plan {sql}", *values)]
        return super()._rows(sql, *values)

    def _each(self, sql: str, *values: Any) -> Iterator[Any]:
        return self._rows(sql, *values)


@pytest.fixture
def query(tmp_path: Path) -> Iterator[Explained]:
    ledger = Ledger(tmp_path / "ledger.db")
    explained = Explained(tmp_path / "ledger.db")
    yield explained
    explained.close()
    ledger.close()


EVERY_DAY: list[Callable[[Query], object]] = [
    lambda q: q.due("f", 1.0, 200, 1000, small=True),
    lambda q: q.due("f", 1.0, 200, 1000, small=False),
    lambda q: q.due("f", 1.0, 200, 1000, small=True, absent=Absent(frozenset({"a"}), frozenset({"a", "b"}))),
    lambda q: list(q._rows(NEWER_WENT, 1, "k", "p", "101", None, "f", None)),
    lambda q: q.next_due("f", 1.0),
    lambda q: q.folders_waiting_for(["a", "b"]),
    lambda q: q.open_files("f"),
    lambda q: q.open_names("f", ["a", "b", "c"]),
    lambda q: q.failed_files("f"),
    lambda q: q.failed_files("f", [1, 2]),
    lambda q: q.unfiled("f"),
    lambda q: q.names("f", (State.WAITING, State.HELD)),
    lambda q: q.in_state((State.HELD,)),
    lambda q: q.in_state((State.WAITING, State.SENDING), "f"),
    lambda q: q.failed("f"),
    lambda q: q.behind_held("f"),
    lambda q: q.taken_away(["p", "q"], [1, 2], 1e12),
    lambda q: q.to_read_back(1.0),
    lambda q: q.read_back(1.0),
    lambda q: q.read_back(1.0, "f"),
    lambda q: q.heir(1),
    lambda q: q.copying("f"),
    lambda q: q.ended_since("f", 1.0, State.DONE),
]


@pytest.mark.parametrize("ask", EVERY_DAY)
def test_no_question_of_every_day_walks_the_whole_ledger(query: Explained, ask: Callable[[Query], object]) -> None:
    ask(query)
    searches = [
        plan
        for plan in query.plans
        if plan.startswith(("SEARCH", "SCAN")) and "subquery" not in plan and "placed_files" not in plan
    ]
    assert searches
    assert all(plan.startswith("SEARCH") and "USING" in plan and "PRIMARY KEY" not in plan for plan in searches), searches


def test_when_a_name_was_taken_last_is_found_by_the_name(query: Explained, tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger.db", clock=iter(range(100, 200)).__next__)
    files = [NewFile(name, 1, 1, 1) for name in ("a.pdf", "b\udcff.pdf")]
    for folder in ("f", "f", "g"):
        for job in ledger.claim(folder, files, lambda _: Address()):
            ledger.withdraw(job)
    ledger.close()
    found = query.last_claims("f", ["a.pdf", "b\udcff.pdf", "never.pdf"])
    assert set(found) == {"a.pdf", "b\udcff.pdf"}
    assert found["a.pdf"] < query.last_claims("g", ["a.pdf"])["a.pdf"]
    assert query.last_claims("f", []) == {}
    assert any("SEARCH job USING INDEX job_name (name=?)" in plan for plan in query.plans), query.plans


def test_the_open_states_in_sql_are_those_of_the_model() -> None:
    from dropcap.ledger.database import OPEN_STATES
    from dropcap.ledger.job import OPEN

    connection = sqlite3.connect(":memory:")
    found = {state for state in State if connection.execute(f"select ? in {OPEN_STATES}", (state.value,)).fetchone()[0]}
    connection.close()
    assert found == OPEN


_INSERT = (
    "insert into job (folder, name, state, project, rule, record, field, key, size, mtime_ns, inode, claimed_at, changed_at)"
    " select 'f', (?::text || n)::bytea, ?, 'p', 'r', '', 'f', 'k' || n, 1000 + n, n, n, n, n from generate_series(1, ?) n"
)


@pytest.fixture(scope="module")
def by_postgres(postgres_of_a_file: PostgresEngine) -> Iterator[Query]:
    """Asks PostgreSQL, which believes that nothing is open, since a moment ago nothing was."""
    engine = postgres_of_a_file
    engine.surgery((_INSERT, ("done", "done", 3000)))
    engine.surgery("vacuum analyze job")
    engine.surgery((_INSERT, ("waits", "waiting", 500)), (_INSERT, ("held", "held", 20)))
    made = Query(engine.database())
    yield made
    made.close()


class ExplainedByPostgres(Query):
    """Keeps how PostgreSQL goes about each question."""

    def __init__(self, asked: Query) -> None:
        super().__init__(asked.database)
        self.plans: list[str] = []

    def _rows(self, sql: str, *values: Any) -> Iterator[Any]:
        self.plans += [line for (line,) in self._reader.rows(f"explain (costs off) {sql}", values)]
        return super()._rows(sql, *values)

    def _each(self, sql: str, *values: Any) -> Iterator[Any]:
        return self._rows(sql, *values)


@pytest.mark.parametrize("ask", EVERY_DAY)
def test_postgresql_walks_no_whole_ledger_either(by_postgres: Query, ask: Callable[[Query], object]) -> None:
    explained = ExplainedByPostgres(by_postgres)
    ask(explained)
    explained.close()
    plans = explained.plans
    assert any("job" in line for line in plans)
    assert not [line for line in plans if "Seq Scan on job" in line], plans
    older = [number for number, line in enumerate(plans) if " on job older" in line]
    assert [plans[n].strip() for n in older if "job_order" not in plans[n] or "key = job.key" not in plans[n + 1]] == []
