"""A folder that is away, or cannot file, keeps no other one's files waiting for ever; no older file replaces a newer one."""

from __future__ import annotations

import signal
import sys
from pathlib import Path

import pytest

from dropcap.daemon.control import ask
from redcap_sandbox import Fault
from tests.site import Daemon, Site, eventually

#: The command, with an hour that is over soon.
SOON = (
    "import runpy, sys; from dropcap.delivery import queue; queue.WAITED_FOR = 1.0;"
    " sys.argv[:] = ['dropcap', *sys.argv[4:]]; runpy.run_module('dropcap', run_name='__main__')"
)


@pytest.fixture
def other(place: Site) -> Path:
    """A second folder with the same rules and project."""
    path = place.root / "other"
    path.mkdir()
    place.folder["rescan"] = "300ms"
    place.config["folders"]["other"] = {**place.folder, "path": str(path)}
    place.write_config()
    return path


def claimed_here_and_gone(place: Site, name: str, content: bytes) -> tuple[Daemon, Path]:
    """A file waits in a folder that is away by now."""
    daemon = place.start([sys.executable, "-c", SOON])
    assert ask(place.state, {"do": "pause", "scope": "project", "name": "trial"})
    place.put(name, content)
    daemon.wait_for("claimed", folder="consents")
    gone = place.drop.with_name("gone")
    place.drop.rename(gone)
    daemon.wait_for("folder_away", folder="consents")
    assert ask(place.state, {"do": "resume", "scope": "project", "name": "trial"})
    return daemon, gone


def test_a_file_that_only_has_to_be_filed_keeps_nobody_waiting(place: Site, other: Path) -> None:
    place.box.ill(Fault("delay", times=1, match={"content": "file", "action": "import"}, seconds=0.5, before="answer"))
    daemon = place.start()
    place.put("101_V1_consent.pdf", b"older")
    assert place.box.illness.wait()
    (place.root / "elsewhere").mkdir()
    (place.drop / "done").symlink_to(place.root / "elsewhere")
    eventually(lambda: place.jobs()[0].state == "stored")
    (other / "101_V1_consent.pdf").write_bytes(b"newer")
    daemon.wait_for("done", folder="other")
    assert place.box.content("101", "consent_pdf", "baseline_arm_1") == b"newer"
    assert list((place.root / "elsewhere").iterdir()) == []
    (place.drop / "done").unlink()
    daemon.wait_for("done", folder="consents")


def test_an_absent_folder_is_waited_for_and_then_passed(place: Site, other: Path) -> None:
    daemon, gone = claimed_here_and_gone(place, "101_V1_consent.pdf", b"older")
    (other / "101_V1_consent.pdf").write_bytes(b"newer")
    daemon.wait_for("done", folder="other")
    gone.rename(place.drop)
    (held,) = daemon.wait_for("held", folder="consents")
    assert held["reason"] == "newer_went"
    assert "retry" in held["remedy"]
    daemon.process.send_signal(signal.SIGHUP)
    daemon.wait_for("reloaded")
    assert place.box.content("101", "consent_pdf", "baseline_arm_1") == b"newer"
    assert place.dropcap("retry", str(held["job"])).returncode == 0
    daemon.wait_for("done", folder="consents")
    assert place.box.content("101", "consent_pdf", "baseline_arm_1") == b"older"
    assert [(place.kept / name).read_bytes() for name in place.copies()] == [b"newer"]


def test_a_slip_in_the_configuration_gets_its_time_and_ends_no_pause_by_hand(place: Site, other: Path) -> None:
    """Whether a folder was taken out by a slip or on purpose cannot be told."""
    third = place.root / "third"
    third.mkdir()
    place.config["folders"]["third"] = {**place.folder, "path": str(third)}
    place.write_config()
    daemon = place.start([sys.executable, "-c", SOON.replace("= 1.0", "= 2.5")])
    for name in ("consents", "third"):
        assert ask(place.state, {"do": "pause", "scope": "folder", "name": name})
    place.put("101_V1_consent.pdf", b"older")
    (third / "103_V1_consent.pdf").write_bytes(b"older")
    daemon.wait_for("claimed", 2)
    folders = place.config["folders"]
    place.config["folders"] = {"other": folders["other"]}
    place.write_config()
    assert place.dropcap("reload").returncode == 0
    assert place.dropcap("resume", "--folder", "third").returncode == 0  # it is only out of the configuration
    for record in ("101", "102", "103"):
        (other / f"{record}_V1_consent.pdf").write_bytes(b"newer")
    daemon.wait_for("done", file="102_V1_consent.pdf")
    assert not daemon.events("done", file="103_V1_consent.pdf")
    daemon.wait_for("done", file="103_V1_consent.pdf")
    assert not daemon.events("done", file="101_V1_consent.pdf")
    place.config["folders"] = folders
    place.write_config()
    assert place.dropcap("reload").returncode == 0
    (held,) = daemon.wait_for("held", folder="third")
    assert held["reason"] == "newer_went"
    assert ask(place.state, {"do": "resume", "scope": "folder", "name": "consents"})
    daemon.wait_for("done", 2, file="101_V1_consent.pdf")
    assert [line["folder"] for line in daemon.events("done", file="101_V1_consent.pdf")] == ["consents", "other"]
    assert place.box.content("103", "consent_pdf", "baseline_arm_1") == b"newer"


def test_next_waits_for_no_absent_folder(place: Site, other: Path) -> None:
    daemon, gone = claimed_here_and_gone(place, "101_V1_lab-1.pdf", b"older")
    (other / "101_V1_lab-2.pdf").write_bytes(b"newer")
    daemon.wait_for("done", folder="other")
    gone.rename(place.drop)
    daemon.wait_for("done", folder="consents")
    contents = [place.box.content("101", "lab_report", "baseline_arm_1", instance) for instance in (1, 2)]
    assert contents == [b"newer", b"older"]


def test_a_pause_by_hand_is_waited_for(place: Site, other: Path) -> None:
    daemon, gone = claimed_here_and_gone(place, "101_V1_consent.pdf", b"older")
    assert ask(place.state, {"do": "pause", "scope": "folder", "name": "consents"})
    (other / "101_V1_consent.pdf").write_bytes(b"newer")
    (other / "102_V1_consent.pdf").write_bytes(b"another")
    daemon.wait_for("done", file="102_V1_consent.pdf")
    gone.rename(place.drop)
    daemon.wait_for("folder_back", folder="consents")
    assert daemon.events("done", file="101_V1_consent.pdf") == []
    assert ask(place.state, {"do": "resume", "scope": "folder", "name": "consents"})
    daemon.wait_for("done", 3)
    assert place.box.content("101", "consent_pdf", "baseline_arm_1") == b"newer"
    assert [job.state for job in place.jobs()] == ["done"] * 3


def test_what_may_have_arrived_is_held_when_it_is_passed(place: Site, other: Path) -> None:
    place.box.ill(Fault("reset_after_body", match={"content": "file", "action": "import"}, stored=True))
    daemon = place.start([sys.executable, "-c", SOON])
    place.put("101_V1_consent.pdf", b"older")
    daemon.wait_for("retrying", folder="consents", outcome="unknown")
    gone = place.drop.with_name("gone")
    place.drop.rename(gone)
    daemon.wait_for("folder_away", folder="consents")
    place.box.well()
    (other / "101_V1_consent.pdf").write_bytes(b"newer")
    daemon.wait_for("done", folder="other")
    gone.rename(place.drop)
    daemon.wait_for("folder_back", folder="consents")
    (first, _) = place.jobs()
    assert (first.state, first.reason) == ("held", "newer_went")
    assert place.box.content("101", "consent_pdf", "baseline_arm_1") == b"newer"
    kept = [path.read_bytes() for path in place.kept.with_name("other").rglob("*.pdf")]
    assert kept == [b"older"], "it had arrived, and is kept"
    # Another name for the same place is no word that it is to go there: it is read back, and held again.
    held = place.drop / "in_progress" / first.name
    held.rename(held.with_suffix(".PDF"))
    (again,) = daemon.wait_for("held", folder="consents")
    assert (again["file"], again["reason"]) == ("101_V1_consent.PDF", "newer_went")
    assert place.box.content("101", "consent_pdf", "baseline_arm_1") == b"newer"
    assert place.copies() == []
