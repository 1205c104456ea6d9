"""Small files go in batches where the server is quick, and alone where it is slow."""

from __future__ import annotations

from pathlib import Path

from dropcap.delivery.queue import MOST, Batches, Pace
from redcap_sandbox import Fault, RowKey
from tests.site import site


def _shared(threads: int, files: list[str], length: int) -> list[list[str]]:
    batches: Batches[str] = Batches(threads)
    for name in files:
        if batches.room(name[0], alone=False):
            batches.add(name[0], length, name)
    return batches.all()


def test_threads_get_one_each_before_any_gets_two() -> None:
    assert _shared(4, ["a1", "a2", "a3"], 10) == [["a1"], ["a2"], ["a3"]]
    assert _shared(2, ["a1", "a2", "a3", "a4", "a5"], 2) == [["a1", "a3"], ["a2", "a4"]]


def test_a_run_is_of_one_folder() -> None:
    assert _shared(2, ["a1", "b1", "a2", "b2", "c1"], 3) == [["a1", "a2"], ["b1", "b2"]]


def test_what_goes_alone_is_followed_by_nothing() -> None:
    batches: Batches[str] = Batches(1)
    assert batches.room("a", alone=True)
    batches.add("a", 1, "large")
    assert batches.full()
    assert not batches.room("a", alone=False)
    assert not batches.room("a", alone=True)


def test_a_run_is_as_long_as_files_are_quick() -> None:
    pace = Pace()
    assert pace.length() == 1
    for _ in range(50):
        pace.took(0.001)
    assert pace.length() == MOST
    for _ in range(50):
        pace.took(0.3)
    assert pace.length() == 1


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
