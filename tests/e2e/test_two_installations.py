"""Two installations on one folder, and one that was copied: never two of them send. From outside, by the real command."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from redcap_sandbox import Fault
from tests.heavy import heavy
from tests.site import DROPCAP, Site, eventually, site


def imports(place: Site) -> int:
    return len([r for r in place.box.requests if (r.content, r.action) == ("file", "import")])


def marker(place: Site) -> dict[str, str]:
    values: dict[str, str] = json.loads((place.drop / ".dropcap").read_text())
    return values


def away(told: list[dict[str, str]]) -> str:
    return " ".join(line["message"] for line in told)


@pytest.fixture
def other(place: Site, tmp_path: Path) -> Iterator[Site]:
    """Another installation that has the same folder in its configuration."""
    (tmp_path / "other").mkdir()
    with site(tmp_path / "other", place.box, path=str(place.drop)) as made:
        made.drop = place.drop
        yield made


def adopt(place: Site, *words: str) -> subprocess.Popen[str]:
    command = [*DROPCAP, "check", "--offline", "--adopt", *words]
    return subprocess.Popen(command, env=place.env(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def told(running: subprocess.Popen[str], patience: float = 60) -> tuple[int, str]:
    output, _ = running.communicate(timeout=patience)
    return running.returncode, output


def test_a_folder_whose_owner_has_ended_is_adopted_at_once(place: Site, other: Site) -> None:
    assert place.start().stop() == 0
    assert marker(place)["beat"].endswith(" " + "0" * 16)
    began = time.monotonic()
    code, output = told(adopt(other))
    assert (code, "adopted: this installation works there now" in output) == (0, True), output
    assert time.monotonic() - began < 20
    place.put("101_V1_consent.pdf")
    assert other.once().returncode == 0
    assert place.done() == ["101_V1_consent.pdf"]

    # One of the version before, which leaves the marker as it is, may have worked there since.
    (place.drop / "_STATUS.html").write_text("its page")
    running = adopt(place)
    eventually(lambda: "watched for 90 s" in (running.stdout.readline() if running.stdout else ""))
    number = 0

    def goes_on() -> bool:  # also if the first look comes only now
        nonlocal number
        number += 1
        (place.drop / "_STATUS.html").write_text(f"its page, {number} looks later")
        return running.poll() is not None

    eventually(goes_on)
    code, output = told(running)
    assert (code, "another dropcap is alive there" in output) == (1, True), output


def test_a_living_owner_keeps_its_folder_and_loses_it_by_force_at_once(place: Site, other: Site) -> None:
    daemon, newcomer = place.start(), other.start()
    assert "another installation" in away(newcomer.wait_for("folder_away"))

    (place.drop / ".dropcap").unlink()  # a dropper: neither does the owner stop, nor does the other one begin
    time.sleep(2.5)  # more than one look of the newcomer
    place.put("101_V1_consent.pdf")
    daemon.wait_for("done")
    assert not newcomer.events("folder_watched")
    assert not daemon.events("folder_away")

    running = adopt(other)
    eventually(lambda: "watched for 90 s" in (running.stdout.readline() if running.stdout else ""))
    place.put("102_V1_consent.pdf")  # its page changes, long before its marker does
    code, output = told(running)
    assert code == 1
    assert "another dropcap is alive there" in output
    daemon.wait_for("done", 2)

    code, output = told(adopt(other, "--force"))
    assert (code, "adopted" in output) == (0, True), output
    place.put("103_V1_consent.pdf")  # the next batch of claims is soon enough
    newcomer.wait_for("done")
    assert "another installation" in away(daemon.wait_for("folder_away"))
    assert imports(place) == 3
    assert place.done() == ["101_V1_consent.pdf", "102_V1_consent.pdf", "103_V1_consent.pdf"]
    assert len(daemon.events("claimed")) == 2

    # Whoever removes the marker, and then the page too, right before the first one adopts again helps it to nothing.
    newcomer.process.send_signal(signal.SIGSTOP)
    for name in (".dropcap", "_STATUS.html"):
        (place.drop / name).unlink()
        running = adopt(place)
        eventually(lambda out=running.stdout: "watched for 90 s" in out.readline())
        if name == ".dropcap":
            running.kill()
            told(running)
    newcomer.process.send_signal(signal.SIGCONT)
    code, output = told(running)
    assert (code, "another dropcap is alive there" in output) == (1, True), output


def test_a_file_that_a_frozen_owner_was_sending_gets_no_second_instance(place: Site, other: Site) -> None:
    place.box.ill(Fault("delay", seconds=60.0, match={"content": "file", "action": "export"}, skip=1))
    daemon = place.start()
    place.put("101_V1_lab_1.pdf")
    assert place.box.illness.wait()  # it is there, and about to be confirmed
    daemon.process.send_signal(signal.SIGSTOP)
    place.box.well()
    code, output = told(adopt(other, "--force"))
    assert (code, "adopted" in output) == (0, True), output
    (done,) = other.start().wait_for("done")
    assert (done["result"], done["instance"]) == ("already_there", 1)
    daemon.process.send_signal(signal.SIGCONT)
    assert "another installation" in away(daemon.wait_for("folder_away"))
    assert imports(place) == 1
    assert place.done() == ["101_V1_lab_1.pdf"]


def test_force_alone_says_what_it_belongs_to(place: Site) -> None:
    result = place.dropcap("check", "--offline", "--force")
    assert result.returncode == 2
    assert "--adopt" in result.stderr


def test_a_killed_run_goes_on_at_once_on_the_same_machine(place: Site) -> None:
    place.start().kill()
    assert not marker(place)["beat"].endswith(" " + "0" * 16)
    place.put("101_V1_consent.pdf")
    place.start().wait_for("done")


def test_a_copied_installation_takes_nothing_while_the_first_one_lives(place: Site, other: Site) -> None:
    daemon = place.start()
    shutil.copytree(place.state, other.state, ignore=shutil.ignore_patterns("*.sock"))
    copy = other.start()
    assert "whether a copy is alive" in away(copy.wait_for("folder_away"))
    place.put("101_V1_consent.pdf")
    daemon.wait_for("done")
    assert not copy.events("folder_watched")
    assert not daemon.events("folder_away")
    assert daemon.stop() == 0
    copy.wait_for("folder_watched")  # the first one has said that it ended
    place.put("102_V1_consent.pdf")
    copy.wait_for("done")
    assert imports(place) == 2
    assert "whether a copy is alive" in away(place.start().wait_for("folder_away"))


def test_a_folder_that_leaves_the_configuration_is_free(place: Site, other: Site) -> None:
    place.config["folders"]["labs"] = {**place.folder, "path": str(place.root / "labs")}
    (place.root / "labs").mkdir()
    place.write_config()
    daemon = place.start()
    del place.config["folders"]["consents"]
    place.write_config()
    assert place.dropcap("reload").returncode == 0
    eventually(lambda: marker(place)["beat"].endswith(" " + "0" * 16))
    code, output = told(adopt(other))
    assert (code, "adopted" in output) == (0, True), output
    assert daemon.stop() == 0


@heavy
@pytest.mark.timeout(600)
def test_a_killed_a_stopped_and_a_living_owner(place: Site, other: Site) -> None:
    daemon = place.start()
    began = time.monotonic()
    code, output = told(adopt(other), 120)
    assert code == 1
    assert "alive" in output
    assert time.monotonic() - began < 70, "it is idle, and its page and marker tell"

    daemon.process.send_signal(signal.SIGSTOP)
    began = time.monotonic()
    code, output = told(adopt(other), 150)
    assert (code, "adopted" in output) == (0, True), output
    assert time.monotonic() - began > 90
    newcomer = other.start()
    place.put("101_V1_consent.pdf")
    newcomer.wait_for("done")
    daemon.process.send_signal(signal.SIGCONT)
    assert "another installation" in away(daemon.wait_for("folder_away"))
    place.put("102_V1_consent.pdf")
    newcomer.wait_for("done", 2)
    assert not daemon.events("claimed")
    assert imports(place) == 2

    newcomer.kill()
    code, output = told(adopt(place), 150)
    assert (code, "adopted" in output) == (0, True), output
    place.put("103_V1_consent.pdf")
    daemon.wait_for("done")
    assert imports(place) == 3


@heavy
@pytest.mark.timeout(600)
def test_a_copy_whose_first_one_is_killed(place: Site, other: Site) -> None:
    daemon = place.start()
    shutil.copytree(place.state, other.state, ignore=shutil.ignore_patterns("*.sock"))
    copy = other.start()
    copy.wait_for("folder_away", 2, patience=70)
    assert "a copy that is alive" in away(copy.events("folder_away"))
    daemon.kill()
    place.put("101_V1_consent.pdf")
    copy.wait_for("done", patience=120)
    assert imports(place) == 1
