"""A daemon that does not answer, and one that is ended in the middle: what people are told, and that it stays true."""

from __future__ import annotations

import json
import os
import signal
import time

import pytest

from redcap_sandbox import Fault
from tests.site import Site, eventually

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


def test_an_upload_that_a_stop_cuts_off_is_named(place: Site) -> None:
    place.config["stop_within"] = "200ms"
    place.write_config()
    place.box.ill(Fault("delay", seconds=30.0, times=1, match=IMPORT))
    daemon = place.start()
    place.put("101_V1_consent.pdf", b"slow")
    (sending,) = daemon.wait_for("sending")
    assert daemon.stop() == 0
    (line,) = daemon.events("cut_off")
    assert (line["job"], line["file"], line["record"]) == (sending["job"], "101_V1_consent.pdf", "101")
    assert "read" in line["remedy"]


def test_a_stop_waits_for_no_request_limit(place: Site) -> None:
    place.project["requests_per_minute"] = 4
    place.write_config()
    daemon = place.start()
    for record in range(101, 106):
        place.put(f"{record}_V1_consent.pdf", b"%d" % record)
    daemon.wait_for("claimed", 5)
    eventually(lambda: json.loads(place.dropcap("status", "--json").stdout)["limited"])
    began = time.monotonic()
    assert daemon.stop() == 0
    assert time.monotonic() - began < 20.0, "the limit lasts a minute, and so does `stop_within`"
    assert not daemon.events("cut_off")
    del place.project["requests_per_minute"]
    place.write_config()
    again = place.start()
    again.wait_for("done", 5 - len(daemon.events("done")))
    assert sorted(h.record for h in place.box.holdings()) == [str(record) for record in range(101, 106)]
    imports = [one for one in place.box.requests if (one.content, one.action) == ("file", "import")]
    assert len(imports) == 5, "each was sent once"


@pytest.mark.parametrize(("left", "waits"), [(0, "look-up"), (2, "creation")])
def test_a_stop_ends_what_waits_for_the_limit(place: Site, left: int, waits: str) -> None:
    place.folder["missing_record"] = "create"
    place.write_config()
    first = place.start()
    place.box.wait_for(lambda box: any(one.content == "user" for one in box.requests))
    asked = len(place.box.requests)  # to know the project
    assert first.stop() == 0
    place.project["requests_per_minute"] = asked + left
    place.write_config()
    daemon = place.start()
    place.box.wait_for(lambda box: sum(one.content == "user" for one in box.requests) == 2)
    place.put("901_V1_consent.pdf", b"new")
    daemon.wait_for("claimed")
    eventually(lambda: json.loads(place.dropcap("status", "--json").stdout)["limited"])
    eventually(lambda: len(place.box.requests) == asked + asked + left)
    time.sleep(0.2)  # it waits for the next one
    began = time.monotonic()
    assert daemon.stop() == 0
    assert time.monotonic() - began < 5.0, waits
    assert not daemon.events("internal_error")
    (job,) = place.jobs()
    assert job.state == "waiting"
    del place.project["requests_per_minute"]
    place.write_config()
    place.start().wait_for("done")
    assert [one.record for one in place.box.holdings()] == ["901"]


def test_an_upload_under_way_is_waited_for_beside_those_at_the_limit(place: Site) -> None:
    place.project["requests_per_minute"] = 12  # some of them for the structure of the project
    place.write_config()
    place.box.ill(Fault("delay", seconds=4.0, times=1, match=IMPORT | {"record": "101"}))
    daemon = place.start()
    place.put("101_V1_consent.pdf", b"slow")
    daemon.wait_for("sending")
    place.box.wait_for(lambda box: any(one.action == "export" for one in box.requests))  # the import comes next
    for record in (102, 103, 104):
        place.put(f"{record}_V1_consent.pdf", b"%d" % record)
    eventually(lambda: json.loads(place.dropcap("status", "--json").stdout)["limited"])
    assert daemon.stop() == 0
    assert "101" in {h.record for h in place.box.holdings()}
    assert not daemon.events("cut_off")
    (job,) = [job for job in place.jobs() if job.record == "101"]
    assert job.state in ("done", "unknown"), "what is left to do is to read it back"
