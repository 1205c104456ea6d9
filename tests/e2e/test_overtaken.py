"""However an older file has come to its place (other rules, another name), it replaces no newer one unless a person says so."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from redcap_sandbox import Fault
from tests.site import Daemon, Site

BASELINE = "baseline_arm_1"


@pytest.fixture
def other(place: Site) -> Path:
    """A second folder that sends its files to the same project."""
    path = place.root / "other"
    path.mkdir()
    place.folder["rescan"] = "300ms"
    place.config["folders"]["other"] = {**place.folder, "path": str(path), "rules": [{**place.folder["rules"][0]}]}
    lead(place, "scan")
    return path


def lead(place: Site, field: str) -> None:
    """The second folder's files go to that field from now on."""
    place.config["folders"]["other"]["rules"][0]["field"] = field
    place.write_config()


def taken_up(place: Site, daemon: Daemon, times: int) -> None:
    assert place.dropcap("reload").returncode == 0
    daemon.wait_for("reloaded", times)


def held_in(place: Site, record: str) -> Any:
    return place.box.content(record, "consent_pdf", BASELINE)


def test_an_older_file_that_other_rules_or_names_lead_to_a_newer_one(place: Site, other: Path) -> None:
    daemon = place.start()
    assert place.dropcap("pause", "--folder", "other").returncode == 0
    for record in ("101", "102"):
        (other / f"{record}_V1_consent.pdf").write_bytes(f"older {record}".encode())
    daemon.wait_for("claimed", 2, folder="other")
    for record in ("101", "102", "103"):
        place.put(f"{record}_V1_consent.pdf", f"newer {record}".encode())
    daemon.wait_for("done", 3, folder="consents")

    lead(place, "consent_pdf")  # as it should have been
    taken_up(place, daemon, 1)
    assert place.dropcap("resume", "--folder", "other").returncode == 0
    held = {line["file"]: line for line in daemon.wait_for("held", 2, folder="other")}
    assert {line["reason"] for line in held.values()} == {"newer_went"}
    assert [held_in(place, record) for record in ("101", "102")] == [b"newer 101", b"newer 102"]

    # A person renames one of them to another patient, whose newer file has gone too.
    (other / "in_progress" / "101_V1_consent.pdf").rename(other / "in_progress" / "103_V1_consent.pdf")
    again = daemon.wait_for("held", 1, folder="other", file="103_V1_consent.pdf")
    assert again[0]["reason"] == "newer_went"
    assert held_in(place, "103") == b"newer 103"

    # `retry` is a person's word, and outlasts a restart.
    assert place.dropcap("pause", "--project", "trial").returncode == 0
    assert place.dropcap("retry", str(held["102_V1_consent.pdf"]["job"])).returncode == 0
    daemon.kill()
    daemon = place.start()
    assert place.dropcap("resume", "--project", "trial").returncode == 0
    daemon.wait_for("done", folder="other", file="102_V1_consent.pdf")
    assert held_in(place, "102") == b"older 102"
    assert sorted(path.read_bytes() for path in place.kept.with_name("other").rglob("*.pdf")) == [b"newer 102"]

    # Where no newer one has gone, the other one goes by itself.
    lead(place, "scan")
    taken_up(place, daemon, 1)
    daemon.wait_for("done", folder="other", file="103_V1_consent.pdf")
    assert (held_in(place, "103"), place.box.content("103", "scan", BASELINE)) == (b"newer 103", b"older 101")


def test_a_file_from_before_redcap_told_its_project_goes_first(place: Site) -> None:
    """What orders files names the project. The first file was entered when REDCap had not told it, and its look-up fails."""
    for content in ("project", "record"):
        place.box.ill(Fault("status", times=2, match={"content": content}, code=500))
    daemon = place.start()
    place.put("101_V1_scan-older.pdf", b"older")
    daemon.wait_for("retrying", 2, file="101_V1_scan-older.pdf")
    place.put("101_V1_scan-newer.pdf", b"newer")
    done = [line["file"] for line in daemon.wait_for("done", 2)]
    assert done == ["101_V1_scan-older.pdf", "101_V1_scan-newer.pdf"]
    assert place.box.content("101", "scan", BASELINE) == b"newer"
