"""Taking turns: one carries the baton, nobody waits for ever, and whoever waits puts it down."""

from __future__ import annotations

import threading
import time

import pytest

from dropcap import baton
from dropcap.baton import Baton

PATIENT = 30.0


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> Baton:
    """One whose carriers are waited for, however slow this machine is."""
    monkeypatch.setattr(baton, "PATIENCE", PATIENT)
    return Baton()


def test_one_at_a_time(patient: Baton) -> None:
    inside, most = 0, 0

    def work() -> None:
        nonlocal inside, most
        for _ in range(50):
            with patient:
                inside += 1
                most = max(most, inside)
                time.sleep(0)
                inside -= 1

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == 1


def test_put_down_while_something_is_waited_for(patient: Baton) -> None:
    came = threading.Event()

    def other() -> None:
        with patient:
            came.set()

    thread = threading.Thread(target=other)
    with patient:
        thread.start()
        with patient.down:
            assert came.wait(PATIENT / 2)
        assert not patient._lock.acquire(blocking=False)  # carried again
    thread.join()
    with patient.down:  # nothing to put down
        assert patient._lock.acquire(blocking=False)
        patient._lock.release()


def test_a_carrier_that_hangs_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(baton, "PATIENCE", 0.01)
    shared = Baton()
    hangs, over = threading.Event(), threading.Event()

    def hang() -> None:
        with shared:
            hangs.set()
            over.wait()

    thread = threading.Thread(target=hang)
    thread.start()
    hangs.wait()
    with shared:
        pass
    with shared:  # the next one does not even wait for its patience to end
        pass
    over.set()
    thread.join()
    with shared:
        pass


def test_put_down_after_an_error(patient: Baton) -> None:
    with pytest.raises(ZeroDivisionError), patient:
        raise ZeroDivisionError
    assert not patient.put_down()
    with patient:
        pass
