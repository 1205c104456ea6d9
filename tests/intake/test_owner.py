from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dropcap.files.tree import Tree
from dropcap.filing import page
from dropcap.intake import owner
from dropcap.intake.mounts import UNKNOWN
from dropcap.intake.owner import Away, Run, StalenessCheck
from dropcap.ledger.job import NewFile
from dropcap.ledger.store import Ledger

from .conftest import address

RUN = Run("0" * 16, "1" * 16)


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    ledger = Ledger(tmp_path / "ledger.db")
    yield ledger
    ledger.close()


@pytest.fixture
def tree(tmp_path: Path) -> Iterator[Tree]:
    (tmp_path / "drop").mkdir()
    tree = Tree(tmp_path / "drop")
    yield tree
    tree.close()


def own(tree: Tree, ledger: Ledger, folder: str = "consents", path: str = "/srv/drop") -> owner.Marker:
    return owner.own(tree, folder, path, UNKNOWN, ledger, RUN, StalenessCheck())


def test_a_new_folder_gets_one_and_it_stays(tree: Tree, ledger: Ledger) -> None:
    first = own(tree, ledger)
    assert first.installation == ledger.installation
    assert own(tree, ledger) == first
    known = ledger.query.known_folder("consents")
    assert known.marker == first.id
    assert [path.name for path in tree.path.iterdir()] == [".dropcap"]


def test_a_marker_that_appears_meanwhile_is_not_replaced(tree: Tree, ledger: Ledger, tmp_path: Path) -> None:
    """As of a host that comes late: the ledger knows the other one's, and the folder would be away for good."""
    other = Tree(tree.path)

    def while_the_bytes_go_to_the_disk() -> bool:
        if not other.exists(".dropcap"):
            own(other, ledger)
        return True

    tree.holds = while_the_bytes_go_to_the_disk
    with pytest.raises(Away, match="was just put there"):
        own(tree, ledger)
    other.close()
    known = ledger.query.known_folder("consents")
    assert own(tree, ledger).id == known.marker


@pytest.mark.parametrize("asked", [0, 1])
def test_nothing_appears_where_another_host_may_work(tree: Tree, ledger: Ledger, asked: int) -> None:
    """Asked before its bytes go to the disk, which may take long, and after."""
    held = iter([True] * asked)
    tree.holds = lambda: next(held, False)
    with pytest.raises(OSError, match="another host may work"):
        tree.write_over("page", b"x", lambda _: True)
    assert list(tree.path.iterdir()) == []


def test_since_is_by_the_clock_of_the_file_system(tree: Tree, ledger: Ledger) -> None:
    (tree.path / "before").write_bytes(b"x")
    since = own(tree, ledger).since_ns
    (tree.path / "after").write_bytes(b"x")
    assert (tree.path / "before").stat().st_ctime_ns <= since <= (tree.path / "after").stat().st_ctime_ns


def test_a_lost_marker_is_a_bare_mount_point(tree: Tree, ledger: Ledger) -> None:
    own(tree, ledger)
    (tree.path / ".dropcap").unlink()
    with pytest.raises(Away, match=r"marker \.dropcap is gone.*adopt"):
        own(tree, ledger)
    assert list(tree.path.iterdir()) == []


def test_a_marker_that_was_removed_under_a_living_dropcap(tree: Tree, ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that is new to the folder takes it only once the other one's page has stood still."""
    now = 0.0
    monkeypatch.setattr(owner, "boot_time", lambda: now)
    staleness = StalenessCheck()
    shown = page.render(page.StatusView("consents", datetime.now(UTC))).encode()
    path = tree.path / page.NAME

    def newcomer() -> owner.Marker:
        return owner.own(tree, "consents", "/srv/drop", UNKNOWN, ledger, RUN, staleness)

    for _ in range(3):
        path.write_bytes(shown)
        with pytest.raises(Away, match=r"no marker .*another dropcap has just written"):
            newcomer()
        now += 60
    assert not (tree.path / ".dropcap").exists()
    now += 31
    assert newcomer().installation == ledger.installation


@pytest.mark.parametrize(("content", "age"), [(b"<html>somebody's page</html>", 0), (None, 100)])
def test_a_page_that_tells_of_no_living_dropcap(tree: Tree, ledger: Ledger, content: bytes | None, age: float) -> None:
    path = tree.path / page.NAME
    path.write_bytes(content or page.render(page.StatusView("consents", datetime.now(UTC))).encode())
    os.utime(path, (time.time() - age,) * 2)
    assert own(tree, ledger)


def test_one_that_was_anothers_a_moment_ago_is_not_new(tree: Tree, ledger: Ledger, tmp_path: Path) -> None:
    other, staleness = Ledger(tmp_path / "other.db"), StalenessCheck()
    own(tree, other)
    other.close()
    for told in ("names another installation", "has just gone"):
        with pytest.raises(Away, match=told):
            owner.own(tree, "consents", "/srv/drop", UNKNOWN, ledger, RUN, staleness)
        (tree.path / ".dropcap").unlink(missing_ok=True)
    assert owner.own(tree, "consents", "/srv/drop", UNKNOWN, ledger, RUN, StalenessCheck()), "to one that never saw it, it is"


def test_another_installation(tree: Tree, ledger: Ledger, tmp_path: Path) -> None:
    other = Ledger(tmp_path / "other.db")
    own(tree, other)
    with pytest.raises(Away, match="another installation"):
        own(tree, ledger)
    owner.adopt(tree, "consents", "/srv/drop", UNKNOWN, ledger, RUN)
    own(tree, ledger)
    with pytest.raises(Away, match="another installation"):
        own(tree, other)
    other.close()


def test_two_folders_on_one_path(tree: Tree, ledger: Ledger) -> None:
    own(tree, ledger)
    with pytest.raises(Away, match="says that it is the folder"):
        own(tree, ledger, folder="labs")


def test_a_copy_mounted_in_its_place(tree: Tree, ledger: Ledger) -> None:
    values = json.loads(own(tree, ledger).to_bytes())
    values["id"] = "another"
    (tree.path / ".dropcap").write_text(json.dumps(values))
    with pytest.raises(Away, match="copy or a backup"):
        own(tree, ledger)


def test_a_folder_that_was_moved_with_its_marker(tree: Tree, ledger: Ledger) -> None:
    first = own(tree, ledger)
    assert own(tree, ledger, path="/srv/new") == first
    known = ledger.query.known_folder("consents")
    assert known.path == "/srv/new"


def test_a_new_path_without_a_marker(tree: Tree, ledger: Ledger) -> None:
    ledger.remember_folder("consents", "/srv/old", "m", "ext4 /dev/x")
    ledger.claim("consents", [NewFile("x.pdf", 1, 1, 1)], address)
    with pytest.raises(Away, match="1 of its files are still on their way in /srv/old"):
        own(tree, ledger)
    ledger.withdraw(1)
    assert own(tree, ledger)


def test_written_but_not_remembered(tree: Tree, ledger: Ledger, tmp_path: Path) -> None:
    """The end came between the marker and the ledger."""
    value = owner.Marker(ledger.installation, "consents", "id", 5)
    (tree.path / ".dropcap").write_bytes(value.to_bytes())
    assert own(tree, ledger) == value
    assert ledger.query.known_folder("consents") is not None


def _link(path: Path) -> None:
    target = path.with_name("target")
    target.write_bytes(owner.Marker("x", "y", "z").to_bytes())
    path.symlink_to(target)


@pytest.mark.parametrize(
    "put",
    [
        _link,
        lambda path: path.mkdir(),
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(b"[" * 100_000),
        lambda path: path.write_bytes(b"\xff\xfe"),
        lambda path: path.write_text('{"dropcap": 2, "installation": "x", "folder": "y", "id": "z", "since_ns": 0}'),
        lambda path: path.write_text('{"dropcap": 1, "installation": 5, "folder": "y", "id": "z", "since_ns": 0}'),
        lambda path: path.write_text("{}"),
    ],
)
def test_what_is_no_marker_is_left_alone(tree: Tree, ledger: Ledger, put: Callable[[Path], object]) -> None:
    path = tree.path / ".dropcap"
    put(path)
    before = path.lstat()
    with pytest.raises(Away):
        own(tree, ledger)
    with pytest.raises(Away):
        owner.adopt(tree, "consents", "/srv/drop", UNKNOWN, ledger, RUN)
    assert path.lstat().st_ino == before.st_ino
    assert path.lstat().st_size == before.st_size


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(
    data=st.one_of(
        st.binary(max_size=300),
        st.recursive(st.none() | st.integers() | st.text(), st.lists).map(lambda v: json.dumps(v).encode()),
    )
)
def test_any_bytes_are_judged_without_a_fault(tree: Tree, data: bytes) -> None:
    (tree.path / ".dropcap").write_bytes(data)
    with pytest.raises(Away):
        owner.read(tree)
