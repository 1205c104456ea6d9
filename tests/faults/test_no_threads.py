"""The system gives no more threads: no start, no reload, and a daemon at work ends once its uploads have."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

import pytest

from dropcap.daemon.control import ask
from dropcap.delivery.workers import Slot, Workers
from dropcap.threads import SHORTAGE, NoThread, begin, make_sure, spare
from redcap_sandbox.fault import Fault
from tests import needs
from tests.site import DROPCAP, Daemon, Site, eventually, site

CODE = 5


@pytest.fixture
def place() -> Iterator[Site]:
    """Where the command's user, who is not always the tests', has a folder of his own."""
    with tempfile.TemporaryDirectory() as root, site(Path(root)) as made:
        if needs.limited_threads():
            for path in (made.root, made.drop, made.token_file, made.config_file):
                os.chown(path, *needs.SOMEBODY)
        yield made


def limited(most: int) -> list[str]:
    return [*needs.limited_threads(), needs.program("prlimit"), f"--nproc={most}:"]


def another_folder(place: Site) -> Path:
    other = place.root / "other"
    other.mkdir()
    if os.geteuid() == 0:
        os.chown(other, *needs.SOMEBODY)
    place.config["folders"]["other"] = {**place.folder, "path": str(other)}
    place.write_config()
    return other


def told_why(daemon: Daemon) -> bool:
    said = "".join(daemon.raw)
    return "TasksMax=" in said and "Traceback" not in said


@pytest.mark.parametrize("most", [1, 12])
def test_it_does_not_start_with_fewer_threads_than_it_may_need(place: Site, most: int) -> None:
    place.put("101_V1_consent.pdf", b"%PDF whole")
    daemon = place.start(limited(most), ready=False)
    assert daemon.process.wait(20) == CODE
    assert told_why(daemon)
    assert [path.name for path in place.drop.iterdir()] == ["101_V1_consent.pdf"]

    again = place.start(needs.limited_threads())
    eventually(lambda: place.done() == ["101_V1_consent.pdf"])
    assert again.stop() == 0


def test_a_reload_is_refused_as_a_whole_and_the_daemon_goes_on(place: Site) -> None:
    daemon = place.start(needs.limited_threads())
    other = another_folder(place)
    place.config["log"] = {"level": "debug"}
    place.write_config()
    needs.limit_threads(daemon.process.pid, 1)

    daemon.process.send_signal(signal.SIGHUP)
    (refused,) = daemon.wait_for("config_problem")
    assert "TasksMax=" in refused["message"]
    assert "the old configuration stays in force" in refused["message"]
    told = ask(place.state, {"do": "reload"})
    assert told is not None
    assert "TasksMax=" in told["not_taken_up"][0]
    assert not (other / "done").exists()
    assert daemon.events("reloaded") == daemon.events("stopping") == []

    needs.limit_threads(daemon.process.pid, None)
    place.put("101_V1_consent.pdf")
    daemon.wait_for("done")
    daemon.process.send_signal(signal.SIGHUP)
    daemon.wait_for("folder_watched", folder="other")
    assert daemon.stop() == 0


def test_a_daemon_at_work_lets_its_uploads_end_and_then_ends(place: Site) -> None:
    daemon = place.start(needs.limited_threads())
    place.box.ill(Fault("slow_read", times=1, bytes_per_second=200_000, match={"action": "import"}))
    slow = b"%PDF " + b"x" * 600_000
    place.put("101_V1_scan.pdf", slow)
    assert place.box.illness.wait()
    needs.limit_threads(daemon.process.pid, 1)
    for number in range(2, 6):  # more than the threads that it has
        place.put(f"10{number}_V1_scan.pdf", b"%PDF " + str(number).encode())

    assert daemon.process.wait(30) == CODE
    message = "the system gives dropcap no more threads: dropcap ends, and systemd starts it again"
    (ends,) = daemon.events("check_problem", message=message)
    assert "TasksMax=" in ends["remedy"]
    assert told_why(daemon)
    assert daemon.events("internal_error") == []
    assert "101_V1_scan.pdf" in place.done()

    again = place.start(needs.limited_threads())
    eventually(lambda: len(place.done()) == 5)
    assert again.stop() == 0
    assert place.failed() == []
    assert {job.attempts for job in place.jobs()} == {1}


def test_the_process_that_examines_files_lacks_one(place: Site) -> None:
    other = another_folder(place)
    daemon = place.start(needs.limited_threads())
    place.put("101_V1_scan.pdf")
    daemon.wait_for("done")
    (child,) = "".join(path.read_text() for path in Path(f"/proc/{daemon.process.pid}/task").glob("*/children")).split()
    needs.limit_threads(int(child), 1)
    (other / "102_V1_scan.pdf").write_bytes(b"%PDF 2")
    assert daemon.process.wait(30) == CODE
    assert told_why(daemon)

    again = place.start(needs.limited_threads())
    eventually(lambda: list((other / "done").rglob("102_V1_scan.pdf")))  # if it had not gone before
    assert place.box.content("102", "scan", "baseline_arm_1") == b"%PDF 2"
    assert again.stop() == 0


@pytest.mark.parametrize("words", [["run", "--once"], ["verify"]])
def test_other_commands_end_with_the_same_message(place: Site, words: list[str]) -> None:
    daemon = place.start(needs.limited_threads())
    place.put("101_V1_scan.pdf")
    daemon.wait_for("done")
    daemon.stop()
    command = [*limited(1), *DROPCAP, words[0], "-c", str(place.config_file), *words[1:]]
    ended = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert ended.returncode == CODE
    assert "TasksMax=" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_threads_that_were_tried_are_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object, **__: object) -> NoReturn:
        raise RuntimeError("can't start new thread")

    before = threading.active_count()
    make_sure(20)
    assert threading.active_count() == before
    name = "_start_joinable_thread" if hasattr(threading, "_start_joinable_thread") else "_start_new_thread"  # since Python 3.13
    monkeypatch.setattr(threading, name, refused)
    with contextlib.suppress(NoThread):
        make_sure(1)
        raise AssertionError
    assert spare(print) is None
    assert not SHORTAGE.is_set(), "nothing was begun that is needed"
    with pytest.raises(NoThread, match="TasksMax="):
        begin(print)
    assert SHORTAGE.is_set()
    SHORTAGE.clear()


def test_who_needs_a_thread_while_others_are_tried_is_not_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A reload is refused since there are too few; an upload begins at that moment."""
    start, most = threading.Thread.start, threading.active_count() + 40

    def few(thread: threading.Thread) -> None:
        if threading.active_count() >= most:
            raise RuntimeError("can't start new thread")
        start(thread)

    def refused() -> None:
        for _ in range(50):
            with pytest.raises(NoThread):
                make_sure(80)

    reloads = threading.Thread(target=refused)
    reloads.start()
    monkeypatch.setattr(threading.Thread, "start", few)
    for _ in range(300):
        begin(time.sleep, None, 0.0).join()
    reloads.join()
    assert not SHORTAGE.is_set()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_worker_that_ends_for_lack_of_threads_is_not_waited_for() -> None:
    workers = Workers(1)
    workers.ready(1)

    def ends(_: Slot) -> None:
        raise NoThread

    workers.run(Slot("consents"), ends)
    eventually(lambda: workers.running() == 0)
    workers.ready(1)  # another one takes its place
    went = threading.Event()
    workers.run(Slot("consents"), lambda _: went.set())
    assert went.wait(20)
    workers.stop()
