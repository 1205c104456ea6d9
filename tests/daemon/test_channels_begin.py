"""A folder's threads begin once, whoever of the daemon's threads has them begin."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from dropcap.config.load import load
from dropcap.daemon.engine import Engine
from dropcap.ledger.store import Ledger
from tests.site import Site


def test_two_that_begin_them_at_once_begin_them_once(place: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place.state.mkdir()
    ledger = Ledger(tmp_path / "own.db")
    engine = Engine(load(place.config_file), ledger)
    begins, both = threading.Thread.start, threading.Event()
    begun: list[threading.Thread] = []

    def meets_another(thread: threading.Thread) -> None:
        if thread.name.startswith("filing"):
            begun.append(thread)
            if len(begun) > 1:
                both.set()
            both.wait(1.0)
        begins(thread)

    try:
        with ThreadPoolExecutor(2) as pool:
            two = threading.Barrier(2)
            for one in [pool.submit(two.wait) for _ in range(2)]:
                one.result()  # the pool's own threads are there
            monkeypatch.setattr(threading.Thread, "start", meets_another)
            both_of_them = [pool.submit(engine.start_channels) for _ in range(2)]
            for one in both_of_them:
                one.result()
        assert len(begun) == 1
    finally:
        engine.stop(0.0)
        ledger.close()
