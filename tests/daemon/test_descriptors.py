"""What a daemon opens for a question or a reload, it closes again."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

import pytest

from dropcap.daemon.control import ask
from tests import needs
from tests.site import DROPCAP, Daemon, Site, eventually


def descriptors(daemon: Daemon) -> int:
    return len(os.listdir(f"/proc/{daemon.process.pid}/fd"))


def test_questions_leave_no_descriptor_behind(place: Site) -> None:
    daemon = place.start()
    question = {"do": "retry", "jobs": [1], "failed": False, "held": False, "folder": None}
    place.put("101_V1_consent.pdf")
    daemon.wait_for("done")  # every thread has what it needs by then
    assert ask(place.state, question) == {"tried": [], "cannot": ["job 1 (101_V1_consent.pdf) is done: nothing to try again"]}
    before = descriptors(daemon)
    for _ in range(30):
        assert len(ask(place.state, question)["cannot"]) == 1
    eventually(lambda: descriptors(daemon) <= before + 6)


def test_reloads_leave_no_descriptor_behind(place: Site) -> None:
    place.project["requests_per_minute"] = 6000
    place.write_config()
    daemon = place.start()

    def reload(number: int) -> None:
        place.folder["min_free"] = str(number)  # another folder, with threads of its own
        place.write_config()
        place.put(f"101_V1_scan_{number}.pdf", str(number).encode())
        daemon.process.send_signal(signal.SIGHUP)
        daemon.wait_for("reloaded", number)
        daemon.wait_for("done", number)

    reload(1)
    before = descriptors(daemon)
    for number in range(2, 10):
        reload(number)
    eventually(lambda: descriptors(daemon) <= before + 12)


def test_a_control_socket_that_cannot_be_made_is_told_in_words(place: Site) -> None:
    (place.state / "control.sock").mkdir(parents=True)
    result = place.dropcap("run")
    assert result.returncode == 5
    assert "control.sock cannot be made" in result.stderr
    assert "Traceback" not in result.stderr


def test_it_takes_as_many_descriptors_as_it_may_have(place: Site) -> None:
    daemon = place.start(prefix=[needs.program("prlimit"), "--nofile=256:2048"])
    limits = Path(f"/proc/{daemon.process.pid}/limits").read_text().splitlines()
    (files,) = [line.split() for line in limits if line.startswith("Max open files")]
    assert files[3:5] == ["2048", "2048"]
    assert daemon.stop() == 0


@pytest.mark.parametrize("most", [16, 20])  # with which the ledger or the folder is what cannot be opened
def test_too_few_descriptors_are_told_as_such(place: Site, most: int) -> None:
    daemon = place.start(prefix=[needs.program("prlimit"), f"--nofile={most}"], ready=False)
    (told,) = daemon.wait_for("folder_away")
    assert "LimitNOFILE" in told["message"]
    assert daemon.stop() == 0


def test_a_command_tells_of_too_few_for_the_ledger(place: Site) -> None:
    assert place.once().returncode == 0
    told = ""
    for most in (5, 6, 7, 8):  # Python itself needs some, the ledger needs three
        command = [needs.program("prlimit"), f"--nofile={most}", *DROPCAP, "history"]
        told += subprocess.run(command, env=place.env(), capture_output=True, text=True).stderr
    assert "raise LimitNOFILE= of the unit, or `ulimit -n`" in told
    assert "unable to open" not in told
