"""The exit code of `dropcap run --once`: 3 is for servers that cannot be had, 1 for what a person has to see to."""

from __future__ import annotations

import threading

import pytest

from dropcap.cli import once
from dropcap.config.model import Config, Folder
from tests.site import Site


@pytest.mark.parametrize("scope", [("--folder", "consents"), ("--project", "trial"), ("--server", "trial")])
def test_files_that_a_person_holds_back(place: Site, scope: tuple[str, str]) -> None:
    assert place.once().returncode == 0
    assert place.dropcap("pause", *scope).returncode == 0
    place.put("101_V1_consent.pdf", b"the consent")
    result = place.once("--wait", "500ms")
    assert result.returncode == 1, result.stdout
    assert "paused by hand" in result.stdout
    assert place.names("in_progress") == ["101_V1_consent.pdf"]


def test_a_server_that_is_down(place: Site) -> None:
    place.box.maintenance = 503
    place.put("101_V1_consent.pdf", b"the consent")
    result = place.once("--wait", "500ms")
    assert result.returncode == 3, result.stdout
    assert place.names("in_progress") == ["101_V1_consent.pdf"]


def test_a_token_that_is_refused(place: Site) -> None:
    place.token_file.write_text("F" * 32)
    place.put("101_V1_consent.pdf", b"the consent")
    result = place.once("--wait", "500ms")
    assert result.returncode == 1, result.stdout
    assert "paused: project trial" in result.stdout


def test_a_full_folder(place: Site) -> None:
    place.folder["min_free"] = "100TiB"
    place.write_config()
    place.put("101_V1_consent.pdf", b"the consent")
    (place.drop / "link.pdf").symlink_to(place.drop / "101_V1_consent.pdf")
    result = place.once("--wait", "500ms")
    assert result.returncode == 1, result.stdout
    assert "full: consents: 1 file was not taken" in result.stdout
    assert "not taken: consents: link.pdf" in result.stdout
    assert (place.drop / "101_V1_consent.pdf").read_bytes() == b"the consent"


def test_a_file_that_somebody_keeps_open(place: Site) -> None:
    place.put("101_V1_consent.pdf", b"the consent")
    with (place.drop / "102_V1_consent.pdf").open("wb") as file:
        file.write(b"half of it")
        file.flush()
        result = place.once("--wait", "0s")  # the other one is waited for in any case
    assert result.returncode == 1, result.stdout
    assert "1 done" in result.stdout
    assert "not taken: consents: 102_V1_consent.pdf: somebody has it open for writing" in result.stdout


def test_a_second_file_of_the_name_of_one_that_waits(place: Site) -> None:
    place.box.maintenance = 503
    place.put("101_V1_consent.pdf", b"the consent")
    assert place.once("--wait", "500ms").returncode == 3
    place.put("101_V1_consent.pdf", b"a second one")
    result = place.once("--wait", "1s")
    assert result.returncode == 3, result.stdout
    assert "a file of this name is still on its way" in result.stdout
    assert (place.drop / "101_V1_consent.pdf").read_bytes() == b"a second one"


def test_the_daemon_has_no_wait(place: Site) -> None:
    result = place.dropcap("run", "--wait", "5s")
    assert result.returncode == 2
    assert "--wait goes with --once" in result.stderr


@pytest.mark.parametrize("words", ["retry 99999999999999999999", "history --limit 99999999999999999999"])
def test_numbers_beyond_all_measure(place: Site, words: str) -> None:
    assert place.once().returncode == 0
    result = place.dropcap(*words.split())
    assert result.returncode == 2
    assert "not in the range" in result.stderr


def test_a_file_that_was_dropped_just_before_is_delivered(place: Site) -> None:
    """By the defaults: its rest is waited for."""
    del place.folder["settle_closed"], place.folder["settle_quiet"]
    place.write_config()
    place.put("101_V1_consent.pdf", b"the consent")
    result = place.once()
    assert result.returncode == 0, result.stdout
    assert place.done() == ["101_V1_consent.pdf"]


def test_rests_that_are_longer_than_the_patience_with_servers(place: Site) -> None:
    folder = Folder("consents", place.drop, "trial", (), settle_quiet=120.0)
    config = Config(place.config_file, place.state, folders={"consents": folder})
    assert once._patience(config, None) == once._Patience(rest=135.0, other=30.0)
    assert once._patience(config, "5s") == once._Patience(rest=5.0, other=5.0)


def test_what_is_not_settled_within_the_wait_is_named(place: Site) -> None:
    place.folder["settle_closed"] = "1h"
    place.write_config()
    for number in range(101, 125):
        place.put(f"{number}_V1_consent.pdf", b"the consent")
    result = place.once("--wait", "1s", patience=15.0)
    assert result.returncode == 1, result.stdout
    rests = "rests: it is taken once it has not changed for 3600 s (settle_closed)"
    assert result.stdout.count(rests) == 20
    assert f"not taken: consents: 101_V1_consent.pdf: {rests}" in result.stdout
    assert "and 4 more that are not settled yet" in result.stdout
    assert "is taken by the next run, or by this one with a longer --wait" in result.stdout
    assert place.names("in_progress") == []


def test_a_file_that_never_rests_does_not_hold_it_up(place: Site) -> None:
    """Written to again and again, closed each time; before, such a file held up the run for ever."""
    place.folder.update(settle_closed="3s", settle_quiet="3s")
    place.write_config()
    ended = threading.Event()

    def write() -> None:
        while not ended.wait(0.2):
            with (place.drop / "102_V1_scan.log").open("ab") as file:
                file.write(b"more\n")

    writing = threading.Thread(target=write)
    writing.start()
    try:
        place.put("101_V1_consent.pdf", b"the consent")
        result = place.once("--wait", "8s")
    finally:
        ended.set()
        writing.join()
    assert result.returncode == 1, result.stdout
    assert "not taken: consents: 102_V1_scan.log: rests" in result.stdout
    assert place.done() == ["101_V1_consent.pdf"]


def test_many_like_files_are_one_line_of_the_summary(place: Site) -> None:
    place.once()
    for number in range(20):
        place.put(f"holiday {number}.jpg")
    place.put("999_V1_consent.pdf")
    done = place.once()
    lines = [line for line in done.stdout.splitlines() if line.startswith("  failed: ")]
    assert done.stdout.startswith("0 done, 21 failed, 0 held, 0 waiting\n")
    assert len(lines) == 2
    (folded,) = [line for line in lines if "20 files in consents: the name matches no rule; rename them, or add a rule: " in line]
    assert folded.endswith("and 17 more; see `dropcap status --failed --folder consents`")
    assert any("999_V1_consent.pdf (job " in line and "create the record" in line for line in lines)
