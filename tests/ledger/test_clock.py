"""What a clock that was ahead has put off is due once it stands right."""

from __future__ import annotations

from typing import Any

import pytest

from dropcap.ledger.job import Address, Change, NewFile, State
from tests.ledger.engine import Engine

NOW, HOUR, DAY = 1_800_000_000.0, 3600.0, 86400.0


@pytest.mark.parametrize(
    ("says", "entered", "columns", "due"),
    [
        ("put off for two seconds", NOW - 1, {"due": NOW + 1}, NOW + 1),
        ("an hour, for its record", NOW - 10, {"due": NOW + HOUR, "reason": "no_record"}, NOW + HOUR),
        ("until tomorrow", NOW - 10, {"due": NOW + DAY, "reason": "create_limit"}, NOW + DAY),
        ("by a clock that was 400 days ahead", NOW + 400 * DAY, {"due": NOW + 400 * DAY + 2}, 0.0),
        ("ten minutes ahead", NOW + 600, {"due": NOW + 602}, 0.0),
        ("its day was 400 days ahead", NOW + 400 * DAY, {"due": NOW + 401 * DAY, "reason": "create_limit"}, 0.0),
        ("the day's limit, ten minutes ahead", NOW + 600, {"due": NOW + DAY, "reason": "create_limit"}, NOW + DAY),
        ("due for long", NOW + 400 * DAY, {"due": 0.0}, 0.0),
        ("later than any delay, whenever it was entered", NOW - 10, {"due": NOW + 3 * DAY}, 0.0),
    ],
)
def test_what_is_due(engine: Engine, says: str, entered: float, columns: dict[str, Any], due: float) -> None:
    clock = [entered]
    ledger = engine.open(lambda: clock[0])
    (job,) = ledger.claim("f", [NewFile("a", 1, 1, 1)], lambda _: Address())
    ledger.change([Change(job, State.WAITING, "", columns)])
    clock[0] = NOW
    assert ledger.clock_was_set() == (due != columns["due"])
    found = ledger.query.job(job)
    assert found is not None
    assert found.due == due, says
