"""How long a server that asks for a pause is left alone."""

from __future__ import annotations

import pytest

from dropcap.delivery.attribution import outcome_for
from dropcap.ledger.job import Later
from dropcap.redcap.reply import Meaning, Verdict


@pytest.mark.parametrize(
    ("verdict", "asked_for", "seconds"),
    [
        (Verdict.RATE_LIMITED, None, 60.0),
        (Verdict.RATE_LIMITED, 5.0, 5.0),
        (Verdict.RATE_LIMITED, 0.0, 1.0),
        (Verdict.SERVER, None, None),
        (Verdict.SERVER, 120.0, 120.0),
        (Verdict.UNKNOWN, 0.0, 1.0),
        (Verdict.UNKNOWN, 999_999_999.0, 3600.0),
    ],
)
def test_retry_after_is_kept_to_within_reason(verdict: Verdict, asked_for: float | None, seconds: float | None) -> None:
    outcome = outcome_for(Meaning(verdict, "maintenance", "later", retry_after=asked_for), sent=False)
    assert isinstance(outcome, Later)
    assert outcome.seconds == seconds
