"""The database is stopped, killed or loses its answers in the middle of a burst: nothing is lost, nothing is sent twice."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from tests.heavy import heavy
from tests.postgres.burst import delivered, drop, troubled, wrong
from tests.postgres.cluster import Cluster
from tests.postgres.hosts import hosts
from tests.postgres.proxy import End, proxy
from tests.site import eventually

AWAY = frozenset({"ledger_unwritable"})


@pytest.mark.slow
@pytest.mark.parametrize(
    "breaks",
    [
        pytest.param(lambda one: one.restart("fast"), id="fast", marks=heavy),
        pytest.param(lambda one: one.restart("immediate"), id="immediate", marks=heavy),
        pytest.param(lambda one: (one.kill(), one.start()), id="killed"),
    ],
)
def test_a_database_that_is_started_anew_in_a_burst_costs_no_file(
    mine: Cluster, tmp_path: Path, breaks: Callable[[Cluster], object]
) -> None:
    with hosts(tmp_path, mine.create_database(), 4, lease="30s") as place:
        a = place.start("a")
        b = place.start("b")
        eventually(lambda: len(set(place.holders().values())) == 2)
        files = drop(place, 0, 16)
        eventually(lambda: len(place.done()) >= 2)
        breaks(mine)
        files |= drop(place, 16, 16)
        delivered(place, files)
        assert wrong(place, files) == []
        assert troubled(a, b, but=AWAY) == []
        for one in (a, b):
            assert len(one.events("ledger_unwritable")) == len(one.events("ledger_writable")) <= 1
            assert one.stop() == 0


STEPS = ("insert into job", "set state = 'sending'", "set state = 'stored'", "set state = 'done'")


@pytest.mark.slow
@pytest.mark.parametrize("before", [True, False], ids=["before", "after"])
@pytest.mark.parametrize(
    ("end", "steps"),
    [pytest.param("reset", STEPS, id="reset"), pytest.param("silence", STEPS[1:2], id="silence", marks=heavy)],
)
def test_a_commit_whose_answer_is_lost_is_neither_forgotten_nor_done_twice(
    mine: Cluster, tmp_path: Path, before: bool, end: End, steps: Sequence[str]
) -> None:
    plain = mine.create_database()
    with proxy(mine.port) as way, hosts(tmp_path, plain, 2, lease="1m") as place:
        a = place.start("a", ledger=mine.dsn(plain.rpartition("/")[2], port=way.port))
        a.wait_for("folder_taken", 2)
        files: dict[str, bytes] = {}
        for number, of in enumerate(steps):
            struck = (way.cut_before_commit if before else way.cut_after_commit)(of=of, end=end)
            files |= drop(place, 4 * number, 4)
            assert struck.wait(20), of
            delivered(place, files, 30)
        assert wrong(place, files) == []
        assert troubled(a, but=AWAY) == []
