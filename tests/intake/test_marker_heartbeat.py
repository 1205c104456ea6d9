"""The marker is kept while dropcap works, on real files; by the class itself with short intervals."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from dropcap.files.tree import Tree
from dropcap.intake import marker_heartbeat, owner
from dropcap.intake.marker_heartbeat import MarkerHeartbeat
from dropcap.intake.mounts import UNKNOWN
from dropcap.intake.owner import Away, Marker, Run, StalenessCheck
from dropcap.ledger.store import Ledger

from .conftest import Desk, Quiet, until


class Clock:
    def __init__(self) -> None:
        self.at = 1000.0
        self.runs = False

    def __call__(self) -> float:
        return time.monotonic() if self.runs else self.at


class Place(Quiet):
    """A drop folder that is ours, and the heartbeat of one run in it."""

    def __init__(self, root: Path) -> None:
        self.path = root / "drop"
        self.path.mkdir()
        self.file = self.path / ".dropcap"
        self.ledger = Ledger(root / "ledger.db")
        self.run = Run.of(root)
        self.tree = Tree(self.path)
        self.marker = self.own()
        self.clock = Clock()
        self.lost: list[str] = []
        self.ended = False
        self.presences: list[MarkerHeartbeat] = []

    def has_answer(self) -> None:
        self.lost.append("lost")

    def over(self) -> bool:
        return self.ended

    def own(self) -> Marker:
        return owner.own(self.tree, "consents", str(self.path), UNKNOWN, self.ledger, self.run, StalenessCheck())

    def heartbeat(self, **settings: float) -> MarkerHeartbeat:
        made = MarkerHeartbeat(self.tree, self.marker, self.run, self, **settings)
        self.presences.append(made)
        return made

    def values(self) -> dict[str, str]:
        values: dict[str, str] = json.loads(self.file.read_text())
        return values


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    place = Place(tmp_path)
    for module in (owner, marker_heartbeat):
        monkeypatch.setattr(module, "boot_time", place.clock)
    yield place
    for heartbeat in place.presences:
        heartbeat.end()
    place.ledger.close()


def test_a_beat_is_written_in_place(place: Place) -> None:
    before, first = place.file.stat(), place.values()
    heartbeat = place.heartbeat()
    heartbeat.beat()
    after, second = place.file.stat(), place.values()
    assert (after.st_ino, after.st_size, after.st_blocks) == (before.st_ino, before.st_size, before.st_blocks)
    assert {key for key in first if first[key] != second[key]} == {"beat"}
    assert os.listdir(place.path) == [".dropcap"]
    assert owner.read(place.tree) == place.marker, "markers that differ by their beat alone are equal"


def test_a_marker_of_the_version_before_gets_a_beat(place: Place) -> None:
    """And that version reads what it needs of ours: it looks at these keys, and at no others."""
    old = Marker(place.marker.installation, "consents", place.marker.id, place.marker.since_ns)
    assert b"beat" not in old.to_bytes()
    place.file.write_bytes(old.to_bytes())
    assert place.own() == old
    place.heartbeat()
    values = place.values()
    assert values.pop("beat").startswith(place.run.home + place.run.number)
    assert values == json.loads(old.to_bytes())


def test_a_marker_that_somebody_removes_while_it_is_written(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    heartbeat = place.heartbeat()
    opened = place.tree.open

    def removed(name: str, *, write: bool = False) -> int:
        fd = opened(name, write=write)
        if write:
            place.file.unlink()
        return fd

    monkeypatch.setattr(place.tree, "open", removed)
    heartbeat.beat()
    assert heartbeat.sure()
    assert owner.read(place.tree) == place.marker


def _another_directory(place: Place) -> None:
    place.file.unlink()
    place.path.rename(place.path.with_name("elsewhere"))
    place.path.mkdir()


def _unreliable_inodes(place: Place) -> None:
    place.file.unlink()
    place.tree.stable_inodes = False


@pytest.mark.parametrize("change", [_another_directory, _unreliable_inodes])
def test_it_is_not_written_anew_where_it_is_not_known_to_be_the_same_directory(
    place: Place, change: Callable[[Place], None]
) -> None:
    heartbeat = place.heartbeat()
    change(place)
    with pytest.raises(Away, match=r"marker \.dropcap is gone.*check --adopt"):
        heartbeat.confirm()
    assert not heartbeat.sure()
    assert place.lost == ["lost"]
    assert list(place.tree.scan()) == []
    assert list(place.path.iterdir()) == []


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"installation": "another"}, "names another installation"),
        ({"folder": "labs"}, "says that it is the folder"),
        ({"id": "another"}, "was replaced by another one"),
        ({"beat": f"{'a' * 32} {'1' * 16}"}, "a copy that is alive"),
    ],
)
def test_another_marker_ends_it_at_once_and_stays(place: Place, change: dict[str, str], told: str) -> None:
    heartbeat = place.heartbeat()
    place.file.write_text(json.dumps({**place.values(), **change}))
    content = place.file.read_bytes()
    assert heartbeat.sure()
    for act in (heartbeat.confirm, heartbeat.beat, heartbeat.confirm):
        with pytest.raises(Away, match=told):
            act()
    assert not heartbeat.sure()
    assert place.lost == ["lost"], "told once"
    assert place.file.read_bytes() == content


def test_a_beat_that_is_written_in_another_way(place: Place) -> None:
    heartbeat = place.heartbeat()
    text = place.file.read_text()
    beat = place.values()["beat"]
    place.file.write_text(text.replace(beat, f"\\u{ord(beat[0]):04x}{beat[1:]}"))
    assert place.values()["beat"] == beat
    heartbeat.beat()
    assert place.values()["beat"] in place.file.read_text()


def test_what_covers_the_marker_is_told_by_whoever_asks(place: Place) -> None:
    heartbeat = place.heartbeat()
    place.file.write_bytes(b"")
    for act in (heartbeat.beat, heartbeat.confirm, heartbeat.keep):
        with pytest.raises(owner.NoMarker):
            act()


def test_the_beat_of_an_earlier_run_of_this_home_is_taken_over(place: Place) -> None:
    heartbeat = place.heartbeat()
    place.file.write_bytes(Marker(**{**_fields(place.marker), "beat": Run(place.run.home, "f" * 16).beat()}).to_bytes())
    heartbeat.confirm()
    assert place.values()["beat"].startswith(place.run.home + place.run.number)


def _fields(marker: Marker) -> dict[str, object]:
    return {name: getattr(marker, name) for name in ("installation", "folder", "id", "since_ns")}


def test_what_was_not_written_for_a_minute_is_not_sure(place: Place) -> None:
    heartbeat = place.heartbeat()
    place.clock.at += 59.9
    assert heartbeat.sure()
    place.clock.at += 0.2
    assert not heartbeat.sure()
    heartbeat.confirm()  # it was stopped, say; the folder is ours still
    assert heartbeat.sure()
    place.clock.at += 100
    os.replace(place.file, place.path / "aside")
    place.file.mkdir()
    with pytest.raises(Away, match="not a plain file"):
        heartbeat.confirm()
    assert not heartbeat.sure()


def test_a_twin_is_watched_by_each_look(place: Place) -> None:
    """A marker that another home of this installation has kept last: this machine before it started anew, or a copy of it."""
    other = Run("e" * 16, "f" * 16)
    staleness = StalenessCheck()

    def own() -> Marker:
        return owner.own(place.tree, "consents", str(place.path), UNKNOWN, place.ledger, place.run, staleness)

    def beat() -> None:
        owner.put(place.tree, Marker(**{**_fields(place.marker), "beat": other.beat()}))  # type: ignore[arg-type]

    beat()
    for _ in range(3):
        with pytest.raises(Away, match="nothing needs to be done"):
            own()
        place.clock.at += 29
    for _ in range(5):
        beat()
        with pytest.raises(Away, match="a copy that is alive"):
            own()
        place.clock.at += 30
    place.clock.at += 61
    assert own() == place.marker, "it has not moved for a minute and a half"
    assert place.heartbeat().sure()
    beat()
    with pytest.raises(Away, match="nothing needs to be done"):
        own()
    owner.put(place.tree, Marker(**{**_fields(place.marker), "beat": other.over()}))  # type: ignore[arg-type]
    assert own() == place.marker, "it has said that it ended"


def test_the_thread_beats_and_says_at_the_end_that_it_is_over(place: Place) -> None:
    place.clock.runs = True
    heartbeat = place.heartbeat(every=0.05)
    heartbeat.start()
    seen = set()
    until(lambda: seen.add(place.values()["beat"]) or len(seen) >= 4)  # type: ignore[func-returns-value]
    place.file.unlink()
    until(place.file.exists)
    heartbeat.end(say_so=True, within=5)
    last = place.values()["beat"]
    assert last.endswith(" " + "0" * 16)
    time.sleep(0.2)
    assert place.values()["beat"] == last


def test_it_ends_once_nothing_is_under_way(place: Place) -> None:
    place.clock.runs = True
    heartbeat = place.heartbeat(every=0.05)
    heartbeat.start()
    heartbeat.end_once_over(True)
    first = place.values()["beat"]
    until(lambda: place.values()["beat"] != first)
    place.ended = True
    until(lambda: place.values()["beat"].endswith(" " + "0" * 16))


def test_one_that_ends_without_a_word_looks_alive_for_a_while(place: Place) -> None:
    place.clock.runs = True
    heartbeat = place.heartbeat(every=0.05)
    heartbeat.start()
    heartbeat.end(within=5)
    assert not place.values()["beat"].endswith(" " + "0" * 16)


def test_a_beat_that_cannot_be_written_is_tried_again(place: Place) -> None:
    place.clock.runs = True
    heartbeat = place.heartbeat(every=0.05, lasts=0.3)
    place.tree.fd, fd = os.open("/proc/self", os.O_RDONLY | os.O_DIRECTORY), place.tree.fd  # a file system that takes no files
    heartbeat.start()
    until(lambda: not heartbeat.sure())
    os.close(place.tree.fd)
    place.tree.fd = fd
    until(heartbeat.sure)


def test_beats_wake_nobody(desk: Desk) -> None:
    intake = desk.start()
    until(lambda: intake.idle.is_set())
    walked, woken = intake.last_walk, []
    wake = intake.wake
    intake.wake = lambda names=None: (woken.append(names), wake(names))[1]  # type: ignore[method-assign]
    beat = desk.path / ".dropcap"
    for _ in range(5):
        with beat.open("r+b") as file:
            file.write(b"{")
    (desk.path / "x.pdf").write_bytes(b"x")
    desk.until_open("x.pdf")
    assert woken[0] == ("x.pdf",)
    assert not any(names is None or ".dropcap" in names for names in woken), woken
    assert intake.last_walk == walked


def test_the_folder_goes_on_when_a_dropper_removes_its_marker(desk: Desk) -> None:
    intake = desk.start()
    until(lambda: intake.last_walk is not None)
    for name in ("one.pdf", "two.pdf"):
        (desk.path / ".dropcap").unlink()
        (desk.path / name).write_bytes(b"x")
        desk.until_open(name)
        assert (desk.path / ".dropcap").exists()
    (desk.path / ".dropcap").unlink()
    intake.wake()
    until((desk.path / ".dropcap").exists)
    assert intake.away is None
    (desk.path / ".dropcap").unlink()
    desk.stop()
    assert (desk.path / ".dropcap").exists(), "the next run, or the next configuration, is to find it"
    (desk.path / ".dropcap").unlink()
    intake = desk.start()
    until(lambda: intake.away is not None)
    assert "--adopt" in str(intake.away)


def test_what_covers_the_marker_stops_the_folder_until_it_is_gone(desk: Desk) -> None:
    intake = desk.start(rescan=0.2)
    until(lambda: intake.last_walk is not None)
    marker = desk.path / ".dropcap"
    before = owner.read(desk_tree := Tree(desk.path))
    for cover in (lambda: marker.symlink_to("/nowhere"), lambda: marker.write_bytes(b""), marker.mkdir):
        marker.unlink()
        cover()
        intake.wake()
        until(lambda: intake.away is not None)
        assert ".dropcap in it is not" in str(intake.away)
        marker.rmdir() if marker.is_dir() else marker.unlink()
        until(lambda: intake.away is None)
        assert owner.read(desk_tree) == before
    marker.unlink()
    marker.mkdir()
    until(lambda: intake.away is not None)
    moved = desk.path.with_name("elsewhere")
    desk.path.rename(moved)  # another directory in its place has no marker, and gets none
    desk.path.mkdir()
    until(lambda: "is gone" in str(intake.away))
    assert list(desk.path.iterdir()) == []
    desk_tree.close()


def test_nothing_is_taken_once_the_marker_is_another(desk: Desk, tmp_path: Path) -> None:
    """The next batch notices, long before the next walk or beat."""
    intake = desk.start()
    until(lambda: intake.last_walk is not None)
    other = Ledger(tmp_path / "other.db")
    tree = Tree(desk.path)
    owner.adopt(tree, "consents", str(desk.path), UNKNOWN, other, Run("e" * 16, "f" * 16))
    tree.close()
    other.close()
    (desk.path / "x.pdf").write_bytes(b"x")
    until(lambda: intake.away is not None)
    assert "another installation" in str(intake.away)
    assert intake.shared_tree is None
    assert not intake.directory.confirm()
    assert desk.open() == {}
    assert (desk.path / "x.pdf").exists()
