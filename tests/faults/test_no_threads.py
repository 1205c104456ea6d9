"""The system gives no more threads for a while: what was begun is undone, tried again, and told."""

from __future__ import annotations

import hashlib
import io
import os
import signal
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn

import pytest

from dropcap.daemon.control import ask
from dropcap.delivery import workers
from dropcap.delivery.circuit import Breakers
from dropcap.files.hand import Hand
from dropcap.ledger.job import Later
from dropcap.reasons import Reason, Scope
from dropcap.redcap.request import CHUNK, FileBody
from dropcap.redcap.transport import BrokenOff, Exchange, ExchangeWatchdog
from dropcap.threads import NoThread
from tests import needs
from tests.site import NobodyTold, Site, eventually, site


@pytest.fixture
def place() -> Iterator[Site]:
    """Where the command's user, who is not always the tests', has a folder of his own."""
    with tempfile.TemporaryDirectory() as root, site(Path(root)) as made:
        if needs.limited_threads():
            for path in (made.root, made.drop, made.token_file, made.config_file):
                os.chown(path, *needs.SOMEBODY)
        yield made


def status(place: Site) -> dict[str, Any]:
    told = ask(place.state, {"do": "status"})
    assert told is not None
    return told


def test_files_wait_and_go_on(place: Site) -> None:
    daemon = place.start(needs.limited_threads())
    needs.limit_threads(daemon.process.pid, 1)
    other = place.root / "other"
    other.mkdir()
    if os.geteuid() == 0:
        os.chown(other, *needs.SOMEBODY)
    place.config["folders"]["other"] = {**place.folder, "path": str(other)}
    place.write_config()
    daemon.process.send_signal(signal.SIGHUP)
    daemon.wait_for("check_problem", message="the system gives dropcap no more threads: not all folders are watched yet")
    for number in range(12):  # more than the threads that it may have
        place.put(f"101_V{1 + number % 2}_scan-{number}.pdf", b"%PDF " + str(number).encode())
    message = "the system gives dropcap no more threads: it goes on with the 0 that work on files"
    assert "TasksMax=" in daemon.wait_for("check_problem", message=message)[0]["remedy"]
    assert status(place)["alive"] is False  # a folder is watched by nobody
    assert place.failed() == place.done() == []

    needs.limit_threads(daemon.process.pid, None)
    eventually(lambda: len(place.done()) == 12)
    daemon.wait_for("folder_watched", folder="other")
    assert {job.attempts for job in place.jobs()} == {1}
    assert eventually(lambda: status(place)["alive"])
    assert status(place)["pauses"] == []
    assert daemon.stop() == 0


def test_threads_that_it_has_go_on(place: Site) -> None:
    daemon = place.start(needs.limited_threads())
    place.put("101_V1_scan.pdf")
    daemon.wait_for("done")
    needs.limit_threads(daemon.process.pid, 1)
    for number in range(4):
        place.put(f"10{number + 1}_V2_scan.pdf", b"%PDF " * number * 300_000 + str(number).encode())
    daemon.wait_for("done", 5)
    assert daemon.events("internal_error") == []
    needs.limit_threads(daemon.process.pid, None)
    assert daemon.stop() == 0


def test_it_cannot_start(place: Site) -> None:
    daemon = place.start([*needs.limited_threads(), needs.program("prlimit"), "--nproc=1:"], ready=False)
    assert daemon.process.wait(20) == 1
    eventually(lambda: "no more threads" in "".join(daemon.raw))
    assert "Traceback" not in "".join(daemon.raw)


@pytest.fixture
def no_threads(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """From now on the system refuses threads to this process; until what is returned is called."""

    def refused(*_: object, **__: object) -> NoReturn:
        raise RuntimeError("can't start new thread")

    name = "_start_joinable_thread" if hasattr(threading, "_start_joinable_thread") else "_start_new_thread"  # since Python 3.13
    monkeypatch.setattr(threading, name, refused)
    return monkeypatch.undo


def test_copies_are_asked_for_again(no_threads: Callable[[], None]) -> None:
    hand = Hand("copies")
    with pytest.raises(NoThread):
        hand.do(10.0, lambda: 1)
    no_threads()
    assert hand.do(10.0, lambda: 2) == 2


def test_a_request_that_nobody_could_break_off_does_not_begin(no_threads: Callable[[], None]) -> None:
    watchdog, stop = ExchangeWatchdog(), threading.Event()
    exchange = Exchange(60.0, stop)
    with pytest.raises(NoThread):
        watchdog.add(exchange)
    no_threads()
    watchdog.add(exchange)
    stop.set()
    assert eventually(lambda: exchange.broken_off) is BrokenOff.STOPPED


@pytest.mark.parametrize("size", [0, 1, CHUNK, 9 * CHUNK + 7])
def test_who_sends_a_file_hashes_it_as_well(no_threads: Callable[[], None], size: int) -> None:
    content = os.urandom(size)
    body = FileBody([], io.BytesIO(content), size, "scan.pdf")
    sent = b"".join(bytes(piece) for piece in body)
    assert len(sent) == body.length
    assert content in sent
    assert body.sha256 == hashlib.sha256(content).hexdigest()
    no_threads()


def test_a_probe_without_a_thread_is_due_a_little_later() -> None:
    breakers = Breakers(NobodyTold())
    breakers.failed(Scope.SERVER, "host", 1, Later(Reason.UNREACHABLE, "down", scope=Scope.SERVER, certain=True), 0.0)
    assert breakers.probes_due(100.0) == ["host"]
    breakers.not_probed("host", 101.0)
    assert breakers.next_wake(100.0) == 1.0
    assert breakers.probes_due(100.5) == []
    assert breakers.probes_due(101.0) == ["host"]


def test_without_any_thread_delivery_is_not_alive(no_threads: Callable[[], None], monkeypatch: pytest.MonkeyPatch) -> None:
    staff = workers.Workers(4)
    assert staff.ready(2) == 0
    assert staff.alive(), "there is hope"
    monkeypatch.setattr(workers, "_BARREN", 0.0)
    assert not staff.alive()
    no_threads()
    assert staff.ready(2) == 2
    assert staff.alive()
    assert staff.free() == 4, "what was tried in vain occupies no slot"
    staff.stop()
