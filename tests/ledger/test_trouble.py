"""Trouble with the ledger is told once, and so is its end, also where those who write and those who ask meet both at once."""

from __future__ import annotations

from structlog.testing import capture_logs

from dropcap.ledger.database import Unavailable
from dropcap.ledger.writing import Trouble


def test_a_question_that_fails_while_the_trouble_ends_does_not_begin_it_anew() -> None:
    trouble = Trouble("nothing is written: {why}", "start the database")

    class Late(Unavailable):
        def __str__(self) -> str:
            trouble.written()  # by another thread, while this one is about to tell
            return "the connection is gone"

    with capture_logs() as log:
        trouble.met(Unavailable("the connection is gone"))
        trouble.met_asking(Late())
    assert [line["event"] for line in log] == ["ledger_unwritable", "ledger_writable"]
    assert trouble.unwritable == ""
