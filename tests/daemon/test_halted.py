"""A daemon that does not answer, and one that is ended in the middle: what people are told, and that it stays true."""

from __future__ import annotations

import os
import signal
import time

import pytest

from redcap_sandbox import Fault
from tests.site import Site

IMPORT = {"content": "file", "action": "import"}


def test_a_halted_daemon_does_nothing_later_that_was_said_to_have_failed(place: Site) -> None:
    daemon = place.start()
    place.put("101_V1_consent.pdf")
    daemon.wait_for("done")
    os.kill(daemon.process.pid, signal.SIGSTOP)
    try:
        began = time.monotonic()
        status = place.dropcap("status")
        told = time.monotonic()
        assert told - began < 5.0 + 2.0, "a slow machine's start of the command is on top"
        assert status.returncode == 1
        paused = place.dropcap("pause", "--folder", "consents")
        assert time.monotonic() - told < 5.0 + 2.0
        assert paused.returncode == 4
        assert "Nothing was done" in paused.stderr
    finally:
        os.kill(daemon.process.pid, signal.SIGCONT)
    place.put("102_V1_consent.pdf")
    daemon.wait_for("done", 2)
    assert not daemon.events("paused")
    status = place.dropcap("status", "--json")
    assert '"pauses": []' in status.stdout
    assert place.dropcap("pause", "--folder", "consents").returncode == 0
    assert daemon.stop() == 0


@pytest.mark.parametrize("number", [signal.SIGTERM])
def test_an_upload_that_a_stop_cuts_off_is_named(place: Site, number: int) -> None:
    place.config["stop_within"] = "200ms"
    place.write_config()
    place.box.ill(Fault("delay", seconds=30.0, times=1, match=IMPORT))
    daemon = place.start()
    place.put("101_V1_consent.pdf", b"slow")
    (sending,) = daemon.wait_for("sending")
    assert daemon.stop(number) == 0
    (line,) = daemon.events("cut_off")
    assert (line["job"], line["file"], line["record"]) == (sending["job"], "101_V1_consent.pdf", "101")
    assert "read" in line["remedy"]
