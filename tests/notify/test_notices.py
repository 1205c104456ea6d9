"""What is told, and when: at the beginning and at the end of a trouble that lasts, and of files, gathered."""

from __future__ import annotations

import json
from typing import Any

from dropcap.config.model import Notify
from dropcap.notify.notices import Files, Notices
from dropcap.reasons import NoticeKind
from dropcap.snapshot import Snapshot
from tests.snapshot import NOW, folder, pause, snapshot

RULES = Notify((), after=60.0, digest=300.0)


def down(at: float) -> Snapshot:
    return snapshot(at, pauses=(pause(),))


def kinds(notices: Notices, *snapshots: Snapshot) -> list[str]:
    return [one.kind for seen in snapshots for one in notices.look(seen, RULES)]


def test_a_trouble_is_told_once_it_lasts_and_once_it_is_over() -> None:
    notices = Notices(NOW)
    assert kinds(notices, down(NOW), down(NOW + 59)) == []
    assert kinds(notices, down(NOW + 60), down(NOW + 65), down(NOW + 4000)) == [NoticeKind.PAUSED]
    assert kinds(notices, snapshot(NOW + 4001), snapshot(NOW + 4060)) == []
    (over,) = notices.look(snapshot(NOW + 4061), RULES)
    assert (over.kind, over.text.startswith("Over: ")) == (NoticeKind.RESUMED, True)
    assert kinds(notices, snapshot(NOW + 5000)) == []


def test_what_ends_by_itself_is_not_told() -> None:
    notices = Notices(NOW)
    assert kinds(notices, down(NOW), down(NOW + 30), snapshot(NOW + 31), down(NOW + 61), snapshot(NOW + 90)) == []


def test_what_comes_and_goes_is_told_once() -> None:
    notices = Notices(NOW)
    flaps = [(down if step % 2 else snapshot)(NOW + 100 + 30 * step) for step in range(200)]
    assert kinds(notices, down(NOW), down(NOW + 61), *flaps) == [NoticeKind.PAUSED]


def test_what_a_person_must_end_is_told_at_once() -> None:
    assert kinds(Notices(NOW), snapshot(pauses=(pause(until=True),))) == [NoticeKind.PAUSED]


def test_a_pause_that_the_configuration_ended_says_so() -> None:
    notices = Notices(NOW)
    kinds(notices, down(NOW), down(NOW + 61))
    gone: dict[str, Any] = {"folders": (), "projects": (), "servers": ()}
    notices.look(snapshot(NOW + 70, **gone), RULES)
    (over,) = notices.look(snapshot(NOW + 131, **gone), RULES)
    assert over.text.startswith("It is no longer in the configuration: ")


def test_a_restart_tells_nothing_twice() -> None:
    notices = Notices(NOW)
    kinds(notices, down(NOW), down(NOW + 61))
    again = Notices.of(json.loads(json.dumps(notices.kept())), NOW + 100)
    assert kinds(again, down(NOW + 100), down(NOW + 200)) == []
    assert kinds(again, snapshot(NOW + 201), snapshot(NOW + 262)) == [NoticeKind.RESUMED]


def test_files_are_gathered() -> None:
    notices = Notices(NOW)
    assert not notices.pending(snapshot(NOW), False, 300.0)
    assert not notices.pending(snapshot(NOW + 10), True, 300.0)
    assert notices.pending(snapshot(NOW + 310), True, 300.0)
    waiting = {"consents": Files({"no_rule": 12, "no_record": 1}, names=("a.pdf",))}
    (told,) = notices.digest(snapshot(NOW + 310, folders=(folder(strays=2),)), waiting)
    assert told.text.startswith(
        "consents: 13 files wait for somebody. The name matches no rule: 12. REDCap has no such record: 1. 2 files lie"
    )
    assert "a.pdf" not in told.text
    assert told.names == "a.pdf"
    assert notices.files_until == NOW + 310
    assert not notices.pending(snapshot(NOW + 320, folders=(folder(strays=2),)), False, 0.0)
    assert not notices.pending(snapshot(NOW + 330, folders=(folder(strays=0),)), False, 0.0)
    assert notices.pending(snapshot(NOW + 340, folders=(folder(strays=1),)), False, 0.0), "a new one counts again"


def test_a_clock_that_is_set_back_delays_nothing() -> None:
    notices = Notices(NOW)
    assert kinds(notices, down(NOW + 86400), down(NOW), down(NOW + 60)) == [NoticeKind.PAUSED]
    assert kinds(notices, snapshot(NOW + 86400), snapshot(NOW + 70), snapshot(NOW + 130)) == [NoticeKind.RESUMED]
    assert not notices.pending(snapshot(NOW + 86400), True, 300.0)
    assert not notices.pending(snapshot(NOW + 200), True, 300.0)
    assert notices.pending(snapshot(NOW + 500), True, 300.0)


def test_a_clock_that_was_ahead_keeps_nothing_silent() -> None:
    ahead = Notices(NOW + 1e6)
    assert Notices.of(ahead.kept(), NOW).files_until == NOW
