"""What belongs to one thread is touched by that thread alone: a guard on it, in the real engine with real files."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dropcap.config.load import load
from dropcap.daemon import log
from dropcap.daemon.engine import Engine
from dropcap.daemon.state import open_ledger, prepare
from dropcap.delivery import queue
from dropcap.delivery.queue import Absence
from dropcap.intake import loop as intake
from dropcap.intake.folder import OpenedFolder
from redcap_sandbox import Fault
from tests.site import Site, eventually

#: What other threads may read of a folder that intake has opened.
SHARED = {"shared_tree", "full", "not_taken", "behind", "left", "asks", "strays", "waits_for", "__class__"}


class Owned:
    """A lock that knows who holds it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.by: int | None = None

    def __enter__(self) -> None:
        self._lock.acquire()
        self.by = threading.get_ident()

    def __exit__(self, *_: object) -> None:
        self.by = None
        self._lock.release()


class Touched:
    """Who touched what, though it is not his."""

    def __init__(self) -> None:
        self.wrongly: set[str] = set()
        self.rightly = 0
        self.decides = Owned()

    def is_mine(self, what: str, mine: bool) -> None:
        self.rightly += mine
        if not mine:
            self.wrongly.add(f"{threading.current_thread().name}: {what}")

    def deciding(self, what: str) -> None:
        """Only who holds the lock of the deciding thread."""
        self.is_mine(what, self.decides.by == threading.get_ident())


def guarded_dict(touched: Touched) -> type[dict[int, queue.Candidate]]:
    def guard(name: str) -> Callable[..., Any]:
        real = getattr(dict, name)

        @functools.wraps(real)
        def call(self: Any, *args: Any) -> Any:
            touched.deciding(f"lane.{name}")
            return real(self, *args)

        return call

    names = ("__getitem__", "__setitem__", "__delitem__", "__iter__", "__len__", "__contains__")
    names += ("get", "pop", "clear", "keys", "values", "items", "update", "setdefault")
    return type("Guarded", (dict,), {name: guard(name) for name in names})


@pytest.fixture
def touched(monkeypatch: pytest.MonkeyPatch) -> Touched:
    touched = Touched()
    guarded = guarded_dict(touched)

    class Lane(queue.Lane):
        def __init__(self, small: bool) -> None:
            super().__init__(small, guarded())

    class Opened(OpenedFolder):
        def __getattribute__(self, name: str) -> Any:
            if name not in SHARED and not name.startswith("_"):
                touched.is_mine(f"OpenedFolder.{name}", threading.current_thread().name.startswith("intake-"))
            return super().__getattribute__(name)

    def look(self: Absence, *args: Any) -> bool:
        touched.deciding("Absence.look")
        return real_look(self, *args)

    real_look = Absence.look
    monkeypatch.setattr(Absence, "look", look)
    monkeypatch.setattr(queue, "Lane", Lane)
    monkeypatch.setattr(intake, "OpenedFolder", Opened)
    return touched


def test_lanes_are_the_deciding_threads_and_an_opened_folder_is_its_intakes(
    place: Site, touched: Touched, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = place.root / "other"
    other.mkdir()
    place.folder["rescan"] = "100ms"
    place.config["folders"]["other"] = {**place.folder, "path": str(other)}
    place.write_config()
    place.box.ill(Fault("status", times=2, match={"content": "record"}, code=500))
    prepare(place.state)
    with (tmp_path / "log").open("w") as stream:
        log.set_up("json", "error", stream)
        ledger = open_ledger(place.state)
        engine = Engine(load(place.config_file), ledger)
        monkeypatch.setattr(engine.delivery, "_deciding", touched.decides)
        try:
            engine.start()
            for number in range(20):
                place.put(f"{101 + number % 10}_V1_scan-{number}.pdf", str(number).encode())
                place.put(f"{101 + number % 10}_V2_lab-{number}.pdf", str(number).encode())
            place.put("500_V1_consent.pdf")
            eventually(lambda: ledger.query.counts().get("consents"))
            engine.reload(load(place.config_file))
            other.rename(other.with_name("gone"))
            eventually(lambda: engine.channels["other"].intake.away)
            other.with_name("gone").rename(other)
            (other / "101_V1_consent.pdf").write_bytes(b"the consent")
            engine.delivery.queues.wake()
            engine.alive()
            eventually(lambda: place.failed() and len(place.done()) == 40 and list(other.glob("done/*/*")), 30.0)
        finally:
            engine.stop(5.0)
            ledger.close()
    assert touched.rightly > 1000
    assert touched.wrongly == set()
