"""The daemon's life: reload, stop, pauses, fairness, one bad part of a configuration."""

from __future__ import annotations

import json
import signal
import time

from dropcap.delivery.order import Order
from redcap_sandbox import Fault
from tests import needs
from tests.site import Daemon, Site, eventually

IMPORT = {"content": "file", "action": "import"}
EXPORT = {"content": "file", "action": "export"}
NO_ORDER = Order((), (), {})


def test_a_reload_takes_up_a_new_rule_and_a_new_folder(place: Site) -> None:
    daemon = place.start()
    other = place.root / "other"
    other.mkdir()
    place.folder["rules"].append({"pattern": "letter-{record:digits}.pdf", "event": "baseline_arm_1", "field": "referral_letter"})
    place.config["folders"]["letters"] = {
        **place.folder,
        "path": str(other),
        "rules": [{"pattern": "{record:digits}.pdf", "event": "baseline_arm_1", "field": "referral_letter"}],
    }
    place.write_config()
    daemon.process.send_signal(signal.SIGHUP)
    daemon.wait_for("reloaded")
    place.put("letter-101.pdf", b"of 101")
    (place.root / "x").write_bytes(b"of 102")
    (place.root / "x").rename(other / "102.pdf")
    daemon.wait_for("done", 2)
    assert place.box.content("101", "referral_letter", "baseline_arm_1") == b"of 101"
    assert place.box.content("102", "referral_letter", "baseline_arm_1") == b"of 102"


def reload(place: Site, daemon: Daemon) -> None:
    before = len(daemon.events("reloaded"))
    place.write_config()
    daemon.process.send_signal(signal.SIGHUP)
    daemon.wait_for("reloaded", before + 1)


def test_what_may_have_arrived_is_looked_for_where_it_was_sent_whatever_the_rules_say_now(place: Site) -> None:
    daemon = place.start()
    place.box.ill(Fault("reset_after_body", times=2, match=IMPORT))
    place.box.ill(Fault("maintenance", match=EXPORT, skip=2))
    place.put("101_V1_lab_1.pdf", b"of the laboratory")
    place.put("102_V1_consent.pdf", b"consent")
    daemon.wait_for("retrying", 2, outcome="unknown")
    consent, lab, _ = place.folder["rules"]
    consent["field"], lab["event"] = "scan", "month_6_arm_1"
    reload(place, daemon)
    place.box.well()
    daemon.wait_for("done", 2)
    held = {(h.record, h.field, h.event, h.instance) for h in place.box.holdings()}
    assert held == {("101", "lab_report", "baseline_arm_1", 1), ("102", "consent_pdf", "baseline_arm_1", None)}
    assert {(job.record, job.field, job.event, job.instance) for job in place.jobs()} == held


def test_what_may_have_arrived_in_another_project_waits_for_a_person(place: Site) -> None:
    daemon = place.start()
    place.box.ill(Fault("reset_after_body", times=1, match=IMPORT))
    place.box.ill(Fault("maintenance", match=EXPORT, skip=1))
    place.put("101_V1_lab_1.pdf")
    daemon.wait_for("retrying", outcome="unknown")
    place.config["projects"]["other"] = place.project
    place.folder["project"] = "other"
    reload(place, daemon)
    daemon.wait_for("held")
    place.box.well()
    reload(place, daemon)  # held files are looked at again, and nothing has changed
    daemon.wait_for("held", 2)
    place.folder["project"] = "trial"
    reload(place, daemon)
    daemon.wait_for("done")
    assert [(h.record, h.instance) for h in place.box.holdings()] == [("101", 1)]


def test_a_file_that_was_not_stored_goes_where_the_new_rules_send_it_and_history_says_so(place: Site) -> None:
    daemon = place.start()
    place.put("101_V1_consent.pdf", b"old")
    daemon.wait_for("done")
    place.box.ill(Fault("delay", seconds=0.7, times=1, match=EXPORT))
    place.box.ill(Fault("rate_429", times=1, match=IMPORT))
    place.put("101_V1_consent.pdf", b"new")
    daemon.wait_for("sending", 2)
    place.folder["rules"][0]["field"] = "scan"
    reload(place, daemon)
    daemon.wait_for("done", 2)
    assert {(h.field, h.size) for h in place.box.holdings()} == {("consent_pdf", 3), ("scan", 3)}
    assert place.box.content("101", "scan", "baseline_arm_1") == b"new"
    assert [job.field for job in place.jobs()] == ["consent_pdf", "scan"]
    assert place.dropcap("verify").returncode == 0


def test_the_files_of_a_renamed_folder_go_on_once_it_is_adopted(place: Site) -> None:
    needs.mount_table(place.root)
    place.folder["rescan"] = "1s"
    place.write_config()
    daemon = place.start()
    place.put("999_V1_consent.pdf")
    daemon.wait_for("failed")
    place.box.ill(Fault("reset_after_body", times=1, match=IMPORT))
    place.box.ill(Fault("maintenance", match=EXPORT, skip=1))
    place.put("101_V1_lab_1.pdf", b"sent, nobody knows whether it arrived")
    daemon.wait_for("retrying", outcome="unknown")
    assert place.dropcap("pause", "--folder", "consents").returncode == 0
    place.box.well()
    place.put("102_V1_consent.pdf")
    daemon.wait_for("claimed", 3)
    place.config["folders"] = {"forms": place.folder}
    reload(place, daemon)
    daemon.wait_for("folder_away", folder="forms")
    assert place.dropcap("check", "--adopt", "--offline").returncode == 0
    eventually(lambda: "forms" in place.dropcap("resume", "--folder", "forms").stdout)
    daemon.wait_for("done", 2)
    assert sorted((h.record, h.instance) for h in place.box.holdings()) == [("101", 1), ("102", None)]
    folders = json.loads(place.dropcap("status", "--json").stdout)["folders"]
    assert {name: (one["waiting"], one["failed"], one["done_today"]) for name, one in folders.items()} == {"forms": (0, 1, 2)}


def test_files_that_wait_for_a_record_are_looked_at_when_the_configuration_changes(place: Site) -> None:
    place.folder["missing_record"] = "wait"
    place.config["tables"]["renumbered"] = {"*": "999"}
    place.folder["rules"][0]["record"] = "{record|renumbered}"
    place.write_config()
    daemon = place.start()
    place.put("1_V1_consent.pdf", b"of 101")
    place.put("555_V1_lab.pdf", b"of nobody")
    daemon.wait_for("retrying", 2, reason="no_record")
    place.config["tables"]["renumbered"] = {"1": "101", "*": "999"}
    place.folder["missing_record"] = "refuse"
    reload(place, daemon)
    daemon.wait_for("done", file="1_V1_consent.pdf")
    daemon.wait_for("failed", file="555_V1_lab.pdf")


def test_a_broken_configuration_at_reload_changes_nothing(place: Site) -> None:
    daemon = place.start()
    sound = place.config_file.read_text()
    place.config_file.write_text("folders: [\n")
    daemon.process.send_signal(signal.SIGHUP)
    daemon.wait_for("config_problem")
    place.put("101_V1_consent.pdf")
    daemon.wait_for("done")
    place.config_file.write_text(sound)
    daemon.process.send_signal(signal.SIGHUP)
    daemon.wait_for("reloaded")
    assert daemon.stop() == 0


def test_an_error_in_one_folder_disables_only_that_one(place: Site) -> None:
    bad = place.root / "bad"
    bad.mkdir()
    place.config["folders"]["broken"] = {"path": str(bad), "project": "trial", "rules": [{"pattern": "{record", "field": "x"}]}
    place.write_config()
    daemon = place.start()
    (problem,) = daemon.events("config_problem")
    assert problem["disables"] == "folder broken"
    (bad / "101.pdf").write_bytes(b"x")
    place.put("101_V1_consent.pdf")
    daemon.wait_for("done")
    assert [path.name for path in bad.iterdir()] == ["101.pdf"]


def test_nothing_starts_without_a_usable_configuration(place: Site) -> None:
    place.config["uploads_at_once"] = "many"
    place.config["colour"] = "blue"
    place.write_config()
    result = place.dropcap("run")
    assert result.returncode == 2
    assert "uploads_at_once" in result.stderr
    assert "colour" in result.stderr
    assert "Traceback" not in result.stderr


def test_a_graceful_stop_lets_an_upload_end(place: Site) -> None:
    place.box.ill(Fault("delay", seconds=1.0, times=1, match=IMPORT))
    daemon = place.start()
    place.put("101_V1_consent.pdf", b"slow")
    daemon.wait_for("sending")
    assert daemon.stop() == 0
    assert place.done() == ["101_V1_consent.pdf"]
    assert place.box.content("101", "consent_pdf", "baseline_arm_1") == b"slow"


def test_an_upload_that_does_not_end_is_broken_off_and_looked_at_again(place: Site) -> None:
    place.config["stop_within"] = "200ms"
    place.write_config()
    place.box.ill(Fault("delay", seconds=30.0, times=1, match=IMPORT))
    daemon = place.start()
    place.put("101_V1_lab_1.pdf", b"slow")
    daemon.wait_for("sending")
    began = time.monotonic()
    assert daemon.stop() == 0
    assert time.monotonic() - began < 10
    assert "in_progress/101_V1_lab_1.pdf" in place.everywhere()
    place.box.well()
    again = place.start()
    again.wait_for("done")
    assert [(h.instance, h.size) for h in place.box.holdings()] == [(1, 4)]


def test_large_files_leave_a_lane_for_small_ones(place: Site) -> None:
    place.config.update(uploads_at_once=2, small_file="1KiB")
    place.write_config()
    place.box.ill(Fault("delay", seconds=3.0, match={**IMPORT, "field": "scan"}))
    daemon = place.start()
    for record in range(101, 105):
        place.put(f"{record}_V1_scan.dcm", bytes(4096))
    daemon.wait_for("sending")
    for record in range(106, 112):
        place.put(f"{record}_V1_consent.pdf", b"small")
    daemon.wait_for("done", 6)
    assert len([name for name in place.done() if "consent" in name]) == 6
    place.box.well()
    daemon.wait_for("done", 10)


def test_a_folder_with_many_files_does_not_hold_up_another(place: Site) -> None:
    place.config["uploads_at_once"] = 1
    other = place.root / "other"
    other.mkdir()
    place.config["folders"]["other"] = {
        **place.folder,
        "path": str(other),
        "rules": [{"pattern": "{record:digits}.pdf", "event": "baseline_arm_1", "field": "referral_letter"}],
    }
    place.write_config()
    for record in range(101, 121):
        for visit in ("V1", "V2"):
            place.put(f"{record}_{visit}_consent.pdf", b"one of many")
    (other / "101.pdf").write_bytes(b"alone")
    place.box.ill(Fault("delay", seconds=0.05, match=IMPORT))
    daemon = place.start()
    daemon.wait_for("done", folder="other")
    assert len(daemon.events("done", folder="consents")) < 20
    daemon.wait_for("done", 41)


def test_a_paused_folder_waits_also_over_a_restart(place: Site) -> None:
    daemon = place.start()
    assert place.dropcap("pause", "--folder", "consents").returncode == 0
    place.put("101_V1_consent.pdf")
    daemon.wait_for("claimed")
    assert daemon.stop() == 0
    daemon = place.start()
    assert place.done() == []
    assert "paused" in place.dropcap("status").stdout
    assert place.dropcap("resume", "--folder", "consents").returncode == 0
    daemon.wait_for("done")


def test_a_pause_outlives_a_slip_in_the_configuration(place: Site) -> None:
    daemon = place.start()
    assert place.dropcap("pause", "--folder", "consents").returncode == 0
    assert place.dropcap("pause", "--server", "trial").returncode == 0
    sound = place.config_file.read_text()
    for slip in (sound.replace("{record:alnum}", "{record"), sound.replace("token_file:", "token_fil:")):
        place.config_file.write_text(slip)
        daemon.process.send_signal(signal.SIGHUP)
        daemon.wait_for("reloaded", len(daemon.events("reloaded")) + 1)
    place.config_file.write_text(sound)
    daemon.process.send_signal(signal.SIGHUP)
    daemon.wait_for("reloaded", 3)
    place.put("101_V1_consent.pdf")
    daemon.wait_for("claimed")
    pauses = json.loads(place.dropcap("status", "--json").stdout)["pauses"]
    assert [(pause["scope"], pause["reason"]) for pause in pauses] == [("folder", "by_hand"), ("server", "by_hand")]
    assert place.dropcap("resume", "--folder", "consents").returncode == 0
    assert place.dropcap("resume", "--server", "trial").returncode == 0
    daemon.wait_for("done")


def test_a_second_file_of_a_name_waits_for_the_first(place: Site) -> None:
    place.box.ill(Fault("delay", seconds=0.7, times=1, match=IMPORT))
    daemon = place.start()
    place.put("101_V1_consent.pdf", b"first")
    daemon.wait_for("sending")
    place.put("101_V1_consent.pdf", b"second")
    daemon.wait_for("done", 2)
    assert place.box.content("101", "consent_pdf", "baseline_arm_1") == b"second"
    assert place.done() == ["101_V1_consent (2).pdf", "101_V1_consent.pdf"]
    kept = place.copies()
    assert [(place.kept / name).read_bytes() for name in kept] == [b"first"]


def test_renamed_in_failed_just_before_another_of_its_old_name_fails(place: Site) -> None:
    daemon = place.start()
    place.put("999_V1_consent.pdf", b"of 101")
    daemon.wait_for("failed")
    (place.drop / "failed" / "999_V1_consent.pdf").rename(place.drop / "failed" / "101_V1_consent.pdf")
    place.put("999_V1_consent.pdf", b"of nobody")
    daemon.wait_for("failed", 2)
    daemon.wait_for("again", again_of=1)
    daemon.wait_for("done")
    assert place.box.content("101", "consent_pdf", "baseline_arm_1") == b"of 101"
    assert place.failed() == ["999_V1_consent.pdf"]
    assert "999" in place.why("999_V1_consent.pdf")
    folder = json.loads(place.dropcap("status", "--json").stdout)["folders"]["consents"]
    assert (folder["failed"], folder["done_today"]) == (1, 1)


def test_a_file_taken_out_of_in_progress_ends_its_job(place: Site) -> None:
    place.box.maintenance = 503
    daemon = place.start()
    place.put("101_V1_consent.pdf")
    place.put("102_V1_consent.pdf")
    daemon.wait_for("claimed", 2)
    (place.drop / "in_progress" / "101_V1_consent.pdf").unlink()
    (place.drop / "in_progress" / "102_V1_consent.pdf").rename(place.drop / "in_progress" / "103_V1_consent.pdf")
    daemon.wait_for("withdrawn", file="101_V1_consent.pdf")
    place.box.maintenance = 0
    daemon.wait_for("done", file="103_V1_consent.pdf")
    assert {(h.record, h.field) for h in place.box.holdings()} == {("103", "consent_pdf")}


def test_a_large_file_costs_no_memory(place: Site) -> None:
    daemon = place.start()
    eventually(lambda: daemon.events("folder_watched"))
    idle = resident(daemon.process.pid)
    with (place.root / "large").open("wb") as large:
        large.truncate(100 * 1024**2)
    (place.root / "large").rename(place.drop / "101_V1_scan.dcm")
    daemon.wait_for("done", patience=60)
    assert resident(daemon.process.pid, "VmHWM") - idle < 30 * 1024**2
    (holding,) = place.box.holdings()
    assert holding.size == 100 * 1024**2


def resident(process: int, key: str = "VmRSS") -> int:
    """Resident bytes of a process, now or at most (VmHWM)."""
    with open(f"/proc/{process}/status") as status:
        line = next(line for line in status if line.startswith(key))
    return int(line.split()[1]) * 1024
