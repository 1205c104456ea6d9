"""When what looks cut off is refused: pure, by clock arguments; and what is remembered of it."""

from __future__ import annotations

import gzip
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from dropcap.config.load import load
from dropcap.config.model import Folder
from dropcap.content.examiner import Examiner
from dropcap.intake import content
from dropcap.intake.arrivals import Fingerprint, Observation, RestTime, Waiting
from dropcap.intake.content import Ask, ContentJudge, Take, refused_in
from dropcap.intake.opened import DropDirectory
from dropcap.intake.owner import StalenessCheck
from dropcap.ledger.job import Mark, MarkKind
from tests.content.make import pdf
from tests.intake.conftest import Desk, Quiet, until

NOW = 1_800_000_000.0
HOUR = 3600.0
LOCAL, SHARE = RestTime(1.0, 10.0, local=True), RestTime(1.0, 10.0, local=False)


def mark(*, since: float, changed: float) -> Mark:
    ns = int(changed * 1e9)
    return Mark("x.pdf", MarkKind.CUT, 1000, ns - 5, ns, 7, since)


class TestTheHour:
    def test_here_it_counts_from_the_last_change(self) -> None:
        assert refused_in(mark(since=NOW, changed=NOW - 600), local=True, wall=NOW) == pytest.approx(HOUR - 600)
        assert refused_in(mark(since=NOW, changed=NOW - 9000), local=True, wall=NOW) < 0

    def test_on_a_share_from_when_it_was_first_seen(self) -> None:
        old = mark(since=NOW - 60, changed=NOW - 9000)
        assert refused_in(old, local=False, wall=NOW) == pytest.approx(HOUR - 60)

    @pytest.mark.parametrize("local", [True, False])
    def test_times_in_the_future_prove_nothing(self, local: bool) -> None:
        assert refused_in(mark(since=NOW + 9000, changed=NOW + 9000), local, NOW) == pytest.approx(HOUR)
        assert refused_in(mark(since=NOW - 1800, changed=NOW + 9000), local, NOW) == pytest.approx(HOUR - 1800)


def folder(desk: Desk, tmp_path: Path) -> Folder:
    """With a rule for PDFs."""
    (tmp_path / "token").write_text("0" * 32)
    config = tmp_path / "config.yaml"
    config.write_text(
        f"state_dir: {tmp_path}/state\n"
        f"projects: {{p: {{url: 'https://redcap.example.org/api/', token_file: {tmp_path}/token}}}}\n"
        f"folders:\n  consents:\n    path: {desk.path}\n    project: p\n"
        "    rules: [{pattern: '{record}.pdf', field: consent}]\n"
    )
    return load(config).folders["consents"]


class Judging:
    """The content of one folder, judged as intake does."""

    def __init__(self, desk: Desk, tmp_path: Path) -> None:
        self.desk = desk
        self.examiner = desk.context.examiner = Examiner()
        desk.context.folder = folder(desk, tmp_path)
        self.contents = self.fresh()

    def fresh(self) -> ContentJudge:
        """As after a restart."""
        opened = DropDirectory(self.desk.context, Quiet(), StalenessCheck(), watched=False)
        opened.heartbeat.end()
        self.tree = opened.tree
        return ContentJudge(opened)

    def waiting(self, name: str, pace: RestTime = LOCAL) -> Waiting:
        now = time.monotonic()
        fingerprint = Fingerprint.of((self.desk.path / name).stat())
        return Waiting(Observation(fingerprint, now - 60, now - 60), pace, now, "")

    def judge(self, name: str, pace: RestTime = LOCAL) -> Take | None:
        waiting = self.waiting(name, pace)
        said = self.contents.judge(name, waiting)
        if isinstance(said, Ask):
            fd = self.tree.open(name)
            self.contents.ask([(name, waiting, fd)])
            until(lambda: self.contents.next() <= time.monotonic())
            self.contents.take_answers()
            said = self.contents.judge(name, waiting)
        self.save()
        return None if isinstance(said, Ask) else said

    def save(self) -> None:
        self.contents.save()
        until(lambda: self.contents._marks._saving is None or not self.contents._marks._saving.is_alive())

    def close(self) -> None:
        self.examiner.close()
        self.tree.close()


@pytest.fixture
def judging(desk: Desk, tmp_path: Path) -> Iterator[Judging]:
    judging = Judging(desk, tmp_path)
    yield judging
    judging.close()


def first_seen(judging: Judging, name: str, ago: float) -> None:
    """As if it had been seen to be cut off so long ago."""
    ledger = judging.desk.ledger
    (one,) = [mark for mark in ledger.query.marks("consents", name) if mark.kind is MarkKind.CUT]
    ledger.mark("consents", [Mark(name, one.kind, one.size, one.mtime_ns, one.ctime_ns, one.inode, time.time() - ago)])
    judging.contents = judging.fresh()


def test_on_a_share_the_hour_goes_on_over_a_restart(judging: Judging) -> None:
    (judging.desk.path / "a.pdf").write_bytes(pdf()[:9000])
    assert judging.judge("a.pdf", SHARE) is None
    first_seen(judging, "a.pdf", HOUR - 100)
    assert judging.judge("a.pdf", SHARE) is None
    first_seen(judging, "a.pdf", HOUR + 1)
    said = judging.judge("a.pdf", SHARE)
    assert said.refusal.reason == "incomplete"


def test_a_change_begins_it_anew(judging: Judging) -> None:
    path = judging.desk.path / "a.pdf"
    path.write_bytes(pdf()[:9000])
    assert judging.judge("a.pdf", SHARE) is None
    first_seen(judging, "a.pdf", HOUR + 1)
    path.write_bytes(pdf()[:9001])
    assert judging.judge("a.pdf", SHARE) is None
    path.write_bytes(pdf())
    said = judging.judge("a.pdf", SHARE)
    assert said.refusal is None


def test_a_clock_that_is_set_changes_nothing(judging: Judging, monkeypatch: pytest.MonkeyPatch) -> None:
    (judging.desk.path / "a.pdf").write_bytes(pdf()[:9000])
    assert judging.judge("a.pdf") is None
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() + 2 * HOUR)
    assert judging.judge("a.pdf") is None


def test_what_was_judged_is_what_is_taken(judging: Judging) -> None:
    path = judging.desk.path / "a.pdf"
    path.write_bytes(pdf())
    said = judging.judge("a.pdf")
    assert said == Take(Fingerprint.of(path.stat()))


def test_what_is_gone_is_forgotten(judging: Judging) -> None:
    path = judging.desk.path / "a.pdf"
    path.write_bytes(pdf()[:9000])
    judging.judge("a.pdf")
    judging.contents.keep(())
    assert judging.desk.ledger.query.marks("consents"), "it lies there"
    path.unlink()
    judging.contents.keep(())
    judging.save()
    assert judging.desk.ledger.query.marks("consents") == []


def test_a_persons_word_holds_until_its_file_is_there_but_not_for_ever(judging: Judging) -> None:
    ledger = judging.desk.ledger
    for name, ago in (("a.pdf", 10.0), ("b.pdf", 2 * HOUR)):
        ledger.mark("consents", [Mark(name, MarkKind.AS_IS, 1, 2, 3, 4, time.time() - ago)])
    judging.contents.keep(())
    assert [mark.name for mark in ledger.query.marks("consents")] == ["a.pdf"]


def test_the_process_dies_over_a_file_again_and_again(judging: Judging) -> None:
    (judging.desk.path / "a.pdf").write_bytes(pdf()[:9000])
    waiting = judging.waiting("a.pdf")
    for number in (1, 2):
        judging.contents._asked[number] = ("a.pdf", waiting, waiting.seen.fingerprint)
        judging.contents.answered(number, None)
        judging.contents.take_answers()
        assert isinstance(judging.contents.judge("a.pdf", waiting), Ask)
    judging.contents._asked[3] = ("a.pdf", waiting, waiting.seen.fingerprint)
    judging.contents.answered(3, None)
    judging.contents.take_answers()
    assert isinstance(judging.contents.judge("a.pdf", waiting), Take)


def test_those_that_take_long_leave_room_for_others(judging: Judging, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(content, "AT_ONCE", 4)
    (judging.desk.path / "quick.pdf").write_bytes(pdf())
    slow = gzip.compress(b"\0" * 100 * 1024**2, 1)
    asked = []
    for number in range(5):
        name = f"{number}.pdf"
        (judging.desk.path / name).write_bytes(slow)
        asked.append((name, judging.waiting(name), judging.tree.open(name)))
    try:
        judging.contents.ask(asked)
        assert len(judging.contents._asked) == 4
        until(lambda: judging.contents._answers)
        began = time.monotonic()
        while not isinstance(judging.judge("quick.pdf"), Take):
            assert time.monotonic() - began < 8
        assert len(judging.contents._asked) >= 2, "others are still looked into"
    finally:
        for _, _, fd in asked:
            os.close(fd)


class TestNoFreeBlock:
    def saw(self, judging: Judging, name: str, pace: RestTime = LOCAL) -> None:
        judging.contents.saw(name, Fingerprint.of((judging.desk.path / name).stat()), pace, closely=True)

    def free(self, judging: Judging, monkeypatch: pytest.MonkeyPatch, blocks: int) -> None:
        monkeypatch.setattr(judging.tree, "free_bytes", lambda _: blocks * 4096)

    def test_what_had_rested_while_there_was_room_is_as_it_should_be(
        self, judging: Judging, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (judging.desk.path / "a.pdf").write_bytes(b"no format that is known")
        self.free(judging, monkeypatch, 100)
        quick = RestTime(0.0, 0.0, local=True)
        time.sleep(0.01)  # the clock of the file system goes in steps
        self.saw(judging, "a.pdf", quick)
        self.free(judging, monkeypatch, 0)
        self.saw(judging, "a.pdf", quick)
        assert isinstance(judging.judge("a.pdf"), Take)

    def test_a_person_wants_it_sent(self, judging: Judging, monkeypatch: pytest.MonkeyPatch) -> None:
        path = judging.desk.path / "a.pdf"
        path.write_bytes(b"no format that is known")
        self.free(judging, monkeypatch, 0)
        self.saw(judging, "a.pdf")
        status = path.stat()
        judging.desk.ledger.mark(
            "consents", [Mark("a.pdf", MarkKind.AS_IS, status.st_size, status.st_mtime_ns, 0, 0, time.time())]
        )
        assert isinstance(judging.judge("a.pdf"), Take)
