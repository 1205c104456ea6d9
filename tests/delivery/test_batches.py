"""Small files go in batches where the server is quick, and alone where it is slow."""

from __future__ import annotations

from pathlib import Path

from dropcap.config.model import Folder
from dropcap.delivery.order import Order
from dropcap.delivery.queue import MOST, FolderQueue
from dropcap.delivery.scheduler import _Picked
from dropcap.ledger.store import Ledger
from redcap_sandbox import Fault, RowKey
from tests.site import QuietFolder, keep_in, site


class Quick(FolderQueue):
    """A folder whose files take so little that `length` of them go together."""

    def __init__(self, name: str, path: Path, length: int = 0) -> None:
        folder = Folder(name=name, path=path, project="trial", rules=(), min_free=0)
        super().__init__(QuietFolder(folder), Ledger(path / f"{name}.db"), Order([], [], {}), keep_in(path), "")
        for _ in range(50 if length else 0):
            self.took(0.09 / length)


def shared(path: Path, threads: int, files: list[str], length: int, *, alone: bool = False) -> list[list[str]]:
    folders = {name[0]: Quick(name[0], path, length) for name in files}
    picked = _Picked(threads)
    for name in files:
        if picked.room(folders[name[0]], alone=alone):
            picked.send(folders[name[0]], name, None, alone=alone)  # type: ignore[arg-type]
    return [[name for name, _ in one.files] for one in picked.sends]  # type: ignore[misc]


def test_threads_get_one_each_before_any_gets_two(tmp_path: Path) -> None:
    assert shared(tmp_path, 4, ["a1", "a2", "a3"], 10) == [["a1"], ["a2"], ["a3"]]
    assert shared(tmp_path, 2, ["a1", "a2", "a3", "a4", "a5"], 2) == [["a1", "a3"], ["a2", "a4"]]


def test_a_batch_is_of_one_folder(tmp_path: Path) -> None:
    assert shared(tmp_path, 2, ["a1", "b1", "a2", "b2", "c1"], 3) == [["a1", "a2"], ["b1", "b2"]]


def test_what_goes_alone_is_followed_by_nothing(tmp_path: Path) -> None:
    assert shared(tmp_path, 1, ["a1", "a2"], 10, alone=True) == [["a1"]]


def test_a_batch_is_as_long_as_files_are_quick(tmp_path: Path) -> None:
    folder = Quick("a", tmp_path)
    assert folder.batch_length() == 1
    for _ in range(50):
        folder.took(0.001)
    assert folder.batch_length() == MOST
    for _ in range(50):
        folder.took(0.3)
    assert folder.batch_length() == 1


def test_what_a_batch_has_not_begun_when_the_server_falls_ill_is_not_counted_as_tried(tmp_path: Path) -> None:
    imports = {"content": "file", "action": "import"}
    with site(tmp_path, existing_file="replace", confirm="none") as place:
        for number in range(1, 201):
            place.box.project.store.set_value(str(number), RowKey("baseline_arm_1"), "record_id", str(number))
            place.put(f"{number}_V1_scan.bin", b"x")
        place.box.ill(Fault("ban", match={**imports, "record": "120"}))
        place.box.ill(Fault("ban", match={"content": "version"}))
        daemon = place.start()
        daemon.wait_for("paused")
        assert daemon.stop() == 0
        jobs = place.jobs()
        sent = [r for r in place.box.requests if (r.content, r.action) == ("file", "import")]
        assert len(jobs) == 200
        assert sum(job.attempts for job in jobs) == len(sent), "an attempt is a request"
        assert not [job for job in jobs if job.state.value == "sending"]
