"""The exit code of `dropcap run --once`: 3 is for servers that cannot be had, 1 for what a person has to see to."""

from __future__ import annotations

import pytest

from tests.site import Site


@pytest.mark.parametrize("scope", [("--folder", "consents"), ("--project", "trial"), ("--server", "trial")])
def test_files_that_a_person_holds_back(place: Site, scope: tuple[str, str]) -> None:
    assert place.once().returncode == 0
    assert place.dropcap("pause", *scope).returncode == 0
    place.put("101_V1_consent.pdf", b"the consent")
    result = place.once("--wait", "0")
    assert result.returncode == 1, result.stdout
    assert "paused by hand" in result.stdout
    assert place.names("in_progress") == ["101_V1_consent.pdf"]


def test_a_server_that_is_down(place: Site) -> None:
    place.box.maintenance = 503
    place.put("101_V1_consent.pdf", b"the consent")
    result = place.once("--wait", "0")
    assert result.returncode == 3, result.stdout
    assert place.names("in_progress") == ["101_V1_consent.pdf"]


def test_a_token_that_is_refused(place: Site) -> None:
    place.token_file.write_text("F" * 32)
    place.put("101_V1_consent.pdf", b"the consent")
    result = place.once("--wait", "0")
    assert result.returncode == 1, result.stdout
    assert "paused: project trial" in result.stdout


def test_a_full_folder(place: Site) -> None:
    place.folder["min_free"] = "100TiB"
    place.write_config()
    place.put("101_V1_consent.pdf", b"the consent")
    (place.drop / "link.pdf").symlink_to(place.drop / "101_V1_consent.pdf")
    result = place.once("--wait", "0")
    assert result.returncode == 1, result.stdout
    assert "full: consents: 1 file was not taken" in result.stdout
    assert "not taken: consents: link.pdf" in result.stdout
    assert (place.drop / "101_V1_consent.pdf").read_bytes() == b"the consent"


def test_a_file_that_somebody_keeps_open(place: Site) -> None:
    place.put("101_V1_consent.pdf", b"the consent")
    with (place.drop / "102_V1_consent.pdf").open("wb") as file:
        file.write(b"half of it")
        file.flush()
        result = place.once("--wait", "1s")
    assert result.returncode == 1, result.stdout
    assert "1 done" in result.stdout
    assert "not taken: consents: 102_V1_consent.pdf: somebody has it open for writing" in result.stdout


def test_a_second_file_of_the_name_of_one_that_waits(place: Site) -> None:
    place.box.maintenance = 503
    place.put("101_V1_consent.pdf", b"the consent")
    assert place.once("--wait", "0").returncode == 3
    place.put("101_V1_consent.pdf", b"a second one")
    result = place.once("--wait", "1s")
    assert result.returncode == 3, result.stdout
    assert "a file of this name is on its way" in result.stdout
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
