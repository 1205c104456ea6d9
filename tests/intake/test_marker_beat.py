from __future__ import annotations

from pathlib import Path

import pytest

from dropcap.intake import owner
from dropcap.intake.owner import MarkerBeat, Run, StalenessCheck


@pytest.mark.parametrize(
    "value",
    [
        None,
        5,
        "",
        "0" * 49,
        f"{'0' * 32} {'g' * 16}",
        f"{'0' * 32} {'1' * 15}",
        f"{'0' * 32} {'1' * 17}",
        f"{'0' * 32} {'1' * 16}\n",
    ],
)
def test_what_is_no_beat(value: object) -> None:
    assert MarkerBeat.parse(value) is None


def test_a_beat_has_one_length_and_is_another_each_time(tmp_path: Path) -> None:
    run = Run.of(tmp_path)
    beats = [str(run.beat()) for _ in range(100)]
    assert len(set(beats)) == 100
    assert {len(beat) for beat in [*beats, str(run.over())]} == {49}
    assert all(MarkerBeat.parse(beat) == MarkerBeat(run.home, run.number, beat[33:]) for beat in beats)


def test_whose_beat_is_nobodys_who_is_alive(tmp_path: Path) -> None:
    run, before = Run.of(tmp_path), Run.of(tmp_path)
    assert run.number != before.number
    (tmp_path / "copy").mkdir()
    copy = Run.of(tmp_path / "copy")
    assert run.knows(None)
    assert run.knows(run.beat())
    assert run.knows(before.beat()), "the lock of state_dir keeps the two apart"
    assert run.knows(copy.over())
    assert not run.knows(copy.beat())


@pytest.mark.parametrize(
    ("looks", "left", "moved"),
    [
        ([(0, b"a")], 90, False),
        ([(0, b"a"), (60, b"a")], 30, False),
        ([(0, b"a"), (89.9, b"a"), (90, b"a")], 0, False),
        ([(0, b"a"), (30, b"b")], 90, True),
        ([(0, b"a"), (89, b"b"), (100, b"b")], 79, True),
        ([(0, b"a"), (30, b""), (60, b"a")], 90, True),
        ([(0, b"a"), (30, b"b"), (120, b"b")], 0, True),
        ([(0, b"a"), (5000, b"a")], 0, False),
        ([(0, b"a"), (5000, b"b")], 90, True),
    ],
)
def test_a_vigil(looks: list[tuple[float, bytes]], left: float, moved: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr(owner, "boot_time", lambda: now)
    staleness = StalenessCheck()
    told = None
    for now, sign in looks:  # noqa: B007  the clock reads it
        told = staleness.look(sign)
    assert told == pytest.approx(left)
    assert staleness.moved is moved
