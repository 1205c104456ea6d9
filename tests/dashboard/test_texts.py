"""The sentence on top, by a table: the worst is said first, and nothing that is not well is left out."""

from __future__ import annotations

from typing import Any

import pytest

from dropcap.dashboard import texts
from dropcap.dashboard.pages import bars, days, histogram, hours
from dropcap.delivery.workers import Uploading
from dropcap.display import span
from dropcap.ledger.job import LikeJobs, State
from dropcap.ledger.reports import BUCKETS
from dropcap.reasons import Reason, Scope
from dropcap.snapshot import ServerNow
from tests.snapshot import NOW, folder, pause, snapshot

GROUP = LikeJobs("consents", State.FAILED, Reason.NO_RULE, 13, NOW, 0.0, 1)
FULL = "Nothing is taken or sent meanwhile: make room."
DOWN = (ServerNow("redcap:443", pause()), ServerNow("other:443"))

BANNED = (ServerNow("redcap:443", pause(reason=Reason.BANNED, until=True)),)
MEND = "Files wait and are safe. Somebody has to mend it; then it goes on by itself."
RESUME = "Files wait and are safe. Somebody has to resume it."
HAND, TOKEN = pause(Scope.FOLDER, "x", Reason.BY_HAND, until=True), pause(Scope.PROJECT, "trial", Reason.TOKEN)


@pytest.mark.parametrize(
    ("what", "mark", "head", "text"),
    [
        ({}, "good", "All is well.", "Nothing waits."),
        ({"folders": (folder(counts={"waiting": 1}),)}, "good", "All is well.", "1 file is on the way."),
        ({"alike": (GROUP,)}, "bad", "13 files need a person.", "All others go on by themselves."),
        ({"alike": (GROUP,), "servers": DOWN}, "bad", "13 files need a person.", "1 of 2 servers does not take files for now."),
        (
            {"alike": (GROUP,), "folders": (folder(away="x"),), "problems": ("p",)},
            "bad",
            "13 files need a person.",
            "1 folder needs a look: consents. The configuration has a problem: run dropcap check.",
        ),
        ({"problems": ("p",)}, "bad", "The configuration has a problem: run dropcap check.", ""),
        ({"folders": (folder(overdue=NOW),)}, "bad", "1 folder needs a look: consents.", ""),
        ({"servers": DOWN[:1]}, "wait", "REDCap does not take files for now.", "Files wait and are safe. It goes on by itself."),
        ({"pauses": (HAND,)}, "wait", "Something is paused.", RESUME),
        ({"pauses": (TOKEN,)}, "bad", "Something is paused.", MEND),
        ({"pauses": (DOWN[0].pause,)}, "wait", "Something is paused.", "Files wait and are safe. It goes on by itself."),
        ({"pauses": (HAND,), "alike": (GROUP,)}, "bad", "13 files need a person.", f"Something is paused. {RESUME}"),
        ({"servers": BANNED}, "bad", "REDCap does not take files for now.", RESUME),
        ({"unwritable": "full", "mend": "make room", "alike": (GROUP,)}, "bad", "The ledger cannot be written.", FULL),
        ({"alive": False}, "bad", "A part of dropcap hangs.", "Look into its log, then restart it."),
    ],
)  # fmt: skip
def test_the_sentence_on_top(what: dict[str, Any], mark: str, head: str, text: str) -> None:
    assert texts.verdict(snapshot(**what)) == (mark, head, text)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "< 0.1 s"), (-5, "< 0.1 s"), (9.44, "9.4 s"), (61, "61 s"), (3000, "50 min"), (7200, "2.0 h"), (8e5, "9 days")],
)
def test_spans(seconds: float, text: str) -> None:
    assert span(seconds) == text


def test_progress_never_tells_more_than_all() -> None:
    assert texts.progress(Uploading(1, "f", "n", 100), NOW) == "100 bytes, begins"
    assert texts.progress(Uploading(1, "f", "n", 2048, 4096, NOW - 9), NOW) == "2.0 KB of 2.0 KB"


def test_plots_of_nothing_and_of_much() -> None:
    for edges, unit in ((hours(NOW), "hour"), (days(NOW), "day")):
        assert edges == sorted(edges)
        assert edges[-2] <= NOW < edges[-1]
        spans = len(edges) - 1
        empty = bars(edges, [(0, 0)] * spans, unit)
        assert (empty.done, empty.failed, empty.peak) == ("", "", None)
        assert empty.words == "Nothing was stored, and nothing failed."
        full = bars(edges, [(number, 1) for number in range(spans)], unit)
        assert full.done.count("M") == spans - 2
        assert full.running.startswith("M")
        assert full.peak[1] == spans - 1
    assert histogram([0] * (len(BUCKETS) + 1)) == []
    assert [(row.name, row.number) for row in histogram([0, 3, 0, 1, 0, 0, 0, 0, 0])] == [
        ("≤ 15 s", 3),
        ("≤ 1 min", 0),
        ("≤ 5 min", 1),
    ]
