"""The running daemon compares its rules with the project, tells what is wrong, and pauses only what can store nothing."""

from __future__ import annotations

import signal
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from dropcap.config.load import load
from dropcap.daemon import inspector, log
from dropcap.daemon.engine import Engine
from dropcap.daemon.state import open_ledger, prepare
from redcap_sandbox import Rights
from tests.site import Daemon, Site, eventually


def reload(place: Site, daemon: Daemon) -> None:
    place.write_config()
    daemon.process.send_signal(signal.SIGHUP)


def test_a_folder_that_can_store_nothing_waits_until_it_is_corrected(place: Site) -> None:
    rule = place.folder["rules"][0]
    place.folder["rules"] = [{**rule, "field": "consent_pfd"}]
    place.write_config()
    daemon = place.start()
    (problem,) = daemon.wait_for("check_problem")
    assert (problem["level"], problem["folder"], problem["rule"], problem["key"]) == ("error", "consents", "consent", "field")
    assert problem["remedy"] == "did you mean consent_pdf?"
    pause, *_ = daemon.wait_for("paused")
    assert (pause["scope"], pause["name"], pause["reason"]) == ("folder", "consents", "no_field")
    place.put("101_V1_consent.pdf", b"the consent")
    daemon.wait_for("claimed")
    place.folder["rules"] = [rule]
    reload(place, daemon)
    daemon.wait_for("resumed")
    (done,) = daemon.wait_for("done")
    assert done["field"] == "consent_pdf"
    assert place.box.content("101", "consent_pdf", "baseline_arm_1") == b"the consent"
    assert place.failed() == []
    (job,) = place.jobs()
    assert job.field == "consent_pdf"
    assert daemon.stop() == 0


def test_the_pause_ends_though_the_daemon_was_started_anew(place: Site) -> None:
    rule = place.folder["rules"][0]
    place.folder["rules"] = [{**rule, "field": "consent_pfd"}]
    place.write_config()
    daemon = place.start()
    daemon.wait_for("paused")
    assert daemon.stop() == 0
    place.folder["rules"] = [rule]
    place.write_config()
    place.put("101_V1_consent.pdf")
    daemon = place.start()
    daemon.wait_for("resumed")
    daemon.wait_for("done")


def test_one_bad_rule_does_not_stop_the_others(place: Site) -> None:
    place.folder["rules"][0]["field"] = "consent_pfd"
    place.write_config()
    daemon = place.start()
    daemon.wait_for("check_problem", rule="consent")
    place.put("101_V1_consent.pdf")
    place.put("101_V1_scan.tif")
    assert daemon.wait_for("done")[0]["file"] == "101_V1_scan.tif"
    assert daemon.wait_for("held")[0]["reason"] == "no_field"
    assert daemon.events("paused") == []


def test_a_pause_by_hand_is_left_alone(place: Site) -> None:
    daemon = place.start()
    assert place.dropcap("pause", "--folder", "consents").returncode == 0
    reload(place, daemon)
    daemon.wait_for("reloaded")
    assert place.box.wait_for(lambda box: sum(request.content == "user" for request in box.requests) >= 2)
    assert daemon.events("resumed") == []


def test_nothing_is_asked_of_a_server_that_waits_for_resume(place: Site) -> None:
    daemon = place.start()
    assert place.box.wait_for(lambda box: any(request.content == "user" for request in box.requests))
    assert place.dropcap("pause", "--server", "trial").returncode == 0
    assert daemon.stop() == 0
    asked = len(place.box.requests)
    place.put("101_V1_consent.pdf")
    daemon = place.start()
    daemon.wait_for("claimed")
    reload(place, daemon)
    daemon.wait_for("reloaded")
    assert len(place.box.requests) == asked
    assert place.dropcap("resume", "--server", "trial").returncode == 0
    daemon.wait_for("done")


def test_a_token_that_is_refused_is_told_before_a_file_is_dropped(place: Site) -> None:
    place.token_file.write_text("F" * 32)
    daemon = place.start()
    (problem,) = daemon.wait_for("check_problem")
    assert (problem["level"], problem["project"]) == ("error", "trial")
    assert "F" * 32 not in "".join(daemon.raw)
    assert daemon.events("paused") == []


def test_ready_does_not_wait_for_a_server_that_is_down(place: Site) -> None:
    place.box.stop()
    daemon = place.start()
    daemon.wait_for("check_problem", reason="unreachable")
    assert daemon.stop() == 0


def test_an_update_of_redcap_and_a_refusal_are_reasons_to_look_again(
    place: Site, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(inspector, "HOURLY", 0.1)
    monkeypatch.setattr(inspector, "BETWEEN_DOUBTS", 0.0)
    with (tmp_path / "log").open("w") as stream:
        log.set_up("json", "info", stream)
        prepare(place.state)
        ledger = open_ledger(place.state)
        engine = Engine(load(place.config_file), ledger)
        try:
            engine.inspector.start()
            assert place.box.wait_for(lambda box: _looks(place) == 1)
            # As long as nothing changes, only the version and the stage are asked for.
            asked = sum(request.content == "version" for request in place.box.requests)
            assert place.box.wait_for(lambda box: sum(r.content == "version" for r in box.requests) >= asked + 3)
            assert _looks(place) == 1
            place.box.project.version = "15.0.1"
            assert place.box.wait_for(lambda box: _looks(place) == 2)
            place.box.project.in_production = True
            assert place.box.wait_for(lambda box: _looks(place) == 3)
            place.box.tokens[place.box.token] = replace(Rights(), api_import=False)
            engine.clients["trial"].forget()  # what delivery does upon a refusal
            eventually(lambda: "no API import right" in (tmp_path / "log").read_text())
        finally:
            engine.inspector.stop()
            ledger.close()
    assert not any(thread.name == "inspector" for thread in threading.enumerate())


def _looks(place: Site) -> int:
    return sum(request.content == "user" for request in place.box.requests)
