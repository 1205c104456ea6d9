"""What waits for somebody: who gets what, storms, a mail server that is down for an hour, restarts, a full disk."""

from __future__ import annotations

import os
from datetime import datetime
from pathlib import Path

import pytest

from dropcap.config.model import Notify, Recipient, SecretPlace
from dropcap.notify.notices import FILE, MOST, MOST_LINES, Notice, Outbox
from dropcap.reasons import NoticeKind
from tests.snapshot import NOW

ALL = frozenset(NoticeKind)
WHEN = f"{datetime.fromtimestamp(NOW).astimezone():%d %B, %H:%M}: "
URL = SecretPlace("address", "/nowhere", None)
DESK, LAB = Recipient("desk", URL, ALL), Recipient("lab", URL, ALL, folders=frozenset({"labs"}), names=True)
TRIAL, QUIET = (
    Recipient("trial", URL, ALL, projects=frozenset({"trial"})),
    Recipient("quiet", URL, frozenset({NoticeKind.LEDGER})),
)


def notice(text: str, kind: NoticeKind = NoticeKind.FILES, folder: str = "", project: str = "") -> Notice:
    return Notice(kind, text, NOW, (project,) if project else (), (folder,) if folder else (), "secret name.pdf")


def got(box: Outbox) -> dict[str, str]:
    return {message.to: message.body.replace(WHEN, "") for message in box.due(NOW)}


def test_each_gets_what_concerns_it(tmp_path: Path) -> None:
    box = Outbox(tmp_path, NOW)
    told = [
        notice("A.", folder="labs", project="trial"),
        notice("B.", folder="consents", project="other"),
        notice("C.", NoticeKind.LEDGER),
    ]
    box.put(told, Notify((DESK, LAB, TRIAL, QUIET)))
    assert got(box) == {"desk": "A.\n\nB.\n\nC.", "lab": "A. Files: secret name.pdf", "trial": "A.", "quiet": "C."}


def test_what_concerns_all_is_told_to_those_of_one_folder_if_there_is_nobody_else(tmp_path: Path) -> None:
    box = Outbox(tmp_path, NOW)
    box.put([notice("C.", NoticeKind.LEDGER)], Notify((LAB,)))
    assert list(got(box)) == ["lab"]


def test_a_storm_is_one_message_and_bounded(tmp_path: Path) -> None:
    box = Outbox(tmp_path, NOW)
    for number in range(10_000):
        box.put([notice(f"{number}.")], Notify((DESK,)))
    (message,) = box.due(NOW)
    assert len(message.entries) == MOST
    assert message.body.startswith(f"{10_000 - MOST_LINES} earlier messages are left out")
    assert message.body.endswith("9999.")
    box.sent(message, NOW, 60.0)
    box.put([notice("after")], Notify((DESK,)))
    assert box.due(NOW + 59) == []
    assert [message.body for message in box.due(NOW + 60)] == [f"{WHEN}after"], "it may come late, and says when it was true"


def test_a_mail_server_that_is_down_for_an_hour(tmp_path: Path) -> None:
    box, now, tries = Outbox(tmp_path, NOW), NOW, 0
    while now < NOW + 3600:
        box.put([notice(f"at {now - NOW:.0f}")], Notify((DESK,)))
        for message in box.due(now):
            tries += 1
            box.failed(message, now)
        now += 10.0
    assert tries <= 12
    box.keep()
    again = Outbox(tmp_path, now)
    (message,) = again.due(now)
    assert len(message.entries) == 360
    assert message.body.endswith("at 3590")
    again.sent(message, now, 60.0)
    again.keep()
    assert Outbox(tmp_path, now).due(now + 100) == []


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"entries": [1]}', "\x00"])
def test_a_damaged_file_is_begun_anew(tmp_path: Path, content: str) -> None:
    (tmp_path / FILE).write_text(content)
    box = Outbox(tmp_path, NOW)
    box.put([notice("A.")], Notify((DESK,)))
    box.keep()
    assert list(got(Outbox(tmp_path, NOW))) == ["desk"]
    assert (tmp_path / FILE).stat().st_mode & 0o777 == 0o600


def test_what_cannot_be_kept_is_told_all_the_same(tmp_path: Path) -> None:
    place = tmp_path / "gone"
    box = Outbox(place, NOW)
    box.put([notice("A.")], Notify((DESK,)))
    box.keep()
    assert not os.path.exists(place)
    assert list(got(box)) == ["desk"]


def test_those_who_left_the_configuration_are_told_nothing(tmp_path: Path) -> None:
    box = Outbox(tmp_path, NOW)
    box.put([notice("A.")], Notify((DESK, TRIAL)))
    box.forget_all_but(["desk"])
    assert list(got(box)) == ["desk"]


def test_the_title_says_what_it_is_about(tmp_path: Path) -> None:
    box = Outbox(tmp_path, NOW)
    box.put([notice("A."), notice("B.", NoticeKind.PAUSED)], Notify((DESK,)))
    (message,) = box.due(NOW)
    assert message.title == "dropcap: something is paused, files wait for somebody"
    box.sent(message, NOW, 0.0)
    box.put([notice("C.", NoticeKind.RESUMED)], Notify((DESK,)))
    assert [(message.title, message.good) for message in box.due(NOW)] == [("dropcap: it goes on", True)]
