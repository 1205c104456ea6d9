"""What is wrong, by a table of snapshots."""

from __future__ import annotations

from typing import Any

import pytest

from dropcap.notify.notices import conditions
from dropcap.reasons import NoticeKind, Reason, Scope, explained
from tests.snapshot import NOW, folder, pause, snapshot

BY_HAND = pause(Scope.FOLDER, "consents", Reason.BY_HAND, until=True)
TOKEN = pause(Scope.PROJECT, "trial", Reason.TOKEN)


def test_all_is_well() -> None:
    assert conditions(snapshot()) == ()
    assert snapshot().exit_code == 0


@pytest.mark.parametrize(
    ("wrong", "key", "kind", "at_once", "folders"),
    [
        ({"pauses": (pause(),)}, "pause server redcap:443", NoticeKind.PAUSED, False, ("consents",)),
        ({"pauses": (TOKEN,)}, "pause project trial", NoticeKind.PAUSED, False, ("consents",)),
        ({"pauses": (BY_HAND,)}, "pause folder consents", NoticeKind.PAUSED, True, ("consents",)),
        ({"folders": (folder(away="it is gone"),)}, "away consents", NoticeKind.AWAY, False, ("consents",)),
        ({"folders": (folder(full=True),)}, "full consents", NoticeKind.AWAY, False, ("consents",)),
        ({"folders": (folder(mistake="no rules"),)}, "mistake consents", NoticeKind.MISCONFIGURED, True, ("consents",)),
        ({"folders": (folder(overdue=NOW - 9),)}, "expected consents", NoticeKind.EXPECTED, True, ("consents",)),
        ({"problems": ("c.yaml:1: x",)}, "configuration", NoticeKind.MISCONFIGURED, True, ()),
        ({"unwritable": "disk full"}, "ledger", NoticeKind.LEDGER, False, ()),
        ({"damaged": True}, "ledger damaged", NoticeKind.LEDGER, True, ()),
        ({"alive": False}, "alive", NoticeKind.ENDED, False, ()),
    ],
    ids=lambda of: of if isinstance(of, str) else "",
)  # fmt: skip
def test_each(wrong: dict[str, Any], key: str, kind: NoticeKind, at_once: bool, folders: tuple[str, ...]) -> None:
    (one,) = conditions(snapshot(**wrong))
    assert (one.key, one.kind, one.at_once, one.folders) == (key, kind, at_once, folders)
    assert one.text.endswith(".")
    assert one.remedy
    assert "SECRET-RECORD" not in one.text + one.remedy
    assert snapshot(**wrong).exit_code != 0


def test_what_only_a_person_can_mend_is_not_said_to_pass() -> None:
    told = {
        reason: conditions(snapshot(pauses=(pause(Scope.PROJECT, "trial", reason),)))[0].remedy
        for reason in (Reason.TOKEN, Reason.SERVER_ERROR)
    }
    assert "dropcap check" in told[Reason.TOKEN]
    assert "dropcap check" not in told[Reason.SERVER_ERROR]


def test_every_reason_has_words() -> None:
    assert [reason for reason in Reason if reason and explained(reason).title == reason.replace("_", " ")] == [
        Reason.NO_FILE,
        Reason.STOPPED,
    ]
    assert explained("of_tomorrow").title == "of tomorrow"
