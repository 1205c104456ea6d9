"""What a changed configuration changes takes effect at once, whatever it is; what it does not concern runs on."""

from __future__ import annotations

import grp
import hashlib
import json
import os
from dataclasses import fields
from datetime import datetime
from pathlib import Path
from typing import Any

from dropcap.config.model import Folder, Project
from dropcap.reasons import Reason
from dropcap.routing.rule import Rule, RuleSettings
from redcap_sandbox import Fault
from tests.site import Daemon, Site, eventually

IMPORT = {"content": "file", "action": "import"}
BASELINE, MONTH_6 = "baseline_arm_1", "month_6_arm_1"


def reload(place: Site, code: int = 0) -> None:
    place.write_config()
    told = place.dropcap("reload")
    assert told.returncode == code, told.stderr


def history(place: Site, name: str) -> dict[str, Any]:
    last = place.dropcap("history", name, "--json").stdout.splitlines()[-1]
    found: dict[str, Any] = json.loads(last)
    return found


def sha256(place: Site) -> str:
    return hashlib.sha256(place.config_file.read_bytes()).hexdigest()


def stored(place: Site) -> set[tuple[str, str, str]]:
    return {(one.record, one.event, one.field) for one in place.box.holdings()}


def swapped(place: Site) -> None:
    """The words of the table mean each other's events from now on."""
    place.config["tables"]["visits"] = {"V1": MONTH_6, "V2": BASELINE}


def test_a_changed_table_decides_from_the_reload_on(place: Site) -> None:
    daemon = place.start()
    place.put("101_V2_consent.pdf", b"before")
    daemon.wait_for("done")
    before, old = history(place, "101_V2_consent.pdf"), sha256(place)
    place.config["tables"]["visits"] = {"V2": BASELINE, "V3": MONTH_6}
    reload(place)
    place.put("102_V2_consent.pdf", b"after")
    place.put("103_V3_consent.pdf", b"an added word")
    place.put("104_V1_consent.pdf", b"a word that went")
    daemon.wait_for("done", 3)
    daemon.wait_for("failed", reason="no_rule")
    where = {(record, event) for record, event, _ in stored(place)}
    assert where == {("101", MONTH_6), ("102", BASELINE), ("103", MONTH_6)}

    after = history(place, "102_V2_consent.pdf")["origin"]
    assert after["configuration"] == sha256(place)
    assert after["rule"]["tables"] == {"visits": {"V2": BASELINE, "V3": MONTH_6}}
    assert history(place, "101_V2_consent.pdf")["origin"] == before["origin"]
    assert before["origin"]["configuration"] == old
    assert before["origin"]["rule"]["tables"] == {"visits": {"V1": BASELINE, "V2": MONTH_6}}


def test_files_on_their_way_go_by_the_new_table_unless_they_have_gone(place: Site) -> None:
    """Of eleven files one is being sent by the old table, and ten wait: behind it in its batch, and in line."""
    place.config["uploads_at_once"] = 1
    place.write_config()
    daemon = place.start()
    names = [f"{record}_V1_consent.pdf" for record in range(101, 112)]
    place.box.ill(Fault("delay", seconds=3.0, times=1, match=IMPORT))
    for name in names:
        place.put(name, name.encode())
    daemon.wait_for("claimed", len(names))
    (first, *_) = daemon.wait_for("sending")
    swapped(place)
    reload(place)
    daemon.wait_for("done", len(names))
    by_event = {event: {record for record, at, _ in stored(place) if at == event} for event in (BASELINE, MONTH_6)}
    assert by_event == {BASELINE: {first["record"]}, MONTH_6: {name[:3] for name in names} - {first["record"]}}
    assert place.done() == names
    for name in names:
        told = history(place, name)
        assert (told["record"], told["redcap_event"], told["field"]) in stored(place)
        assert told["origin"]["rule"]["tables"]["visits"]["V1"] == told["redcap_event"]
    assert len([r for r in place.box.requests if (r.content, r.action) == ("file", "import")]) == len(names)


def test_a_folder_with_a_mistake_goes_on_by_its_last_good_tables(place: Site) -> None:
    """The record says so as well."""
    daemon = place.start()
    good = sha256(place)
    swapped(place)
    place.folder["rules"][0]["feild"] = "consent_pdf"
    place.config["contact"] = "Somebody else"  # is taken up, by another channel
    reload(place, 1)
    place.put("101_V2_consent.pdf", b"by the old table")
    daemon.wait_for("done")
    assert stored(place) == {("101", MONTH_6, "consent_pdf")}
    origin = history(place, "101_V2_consent.pdf")["origin"]
    assert origin["configuration"] == good
    assert origin["rule"]["tables"]["visits"]["V2"] == MONTH_6

    del place.folder["rules"][0]["feild"]
    reload(place)
    place.put("102_V2_consent.pdf", b"by the new one")
    daemon.wait_for("done", 2)
    assert stored(place) == {("101", MONTH_6, "consent_pdf"), ("102", BASELINE, "consent_pdf")}
    assert history(place, "102_V2_consent.pdf")["origin"]["configuration"] == sha256(place)


def test_a_table_that_was_changed_while_dropcap_did_not_run(place: Site) -> None:
    daemon = place.start()
    place.dropcap("pause", "--folder", "consents")
    place.put("101_V2_consent.pdf")
    daemon.wait_for("claimed")
    daemon.kill()
    swapped(place)
    place.write_config()
    daemon = place.start()
    place.dropcap("resume", "--folder", "consents")
    daemon.wait_for("done")
    assert stored(place) == {("101", BASELINE, "consent_pdf")}


def test_the_record_is_true_however_tables_change_while_files_are_sent(place: Site) -> None:
    """Each file lies where its history says, by the table of the configuration that it names."""
    place.box.ill(Fault("delay", seconds=0.05, match=IMPORT))
    daemon = place.start()
    said: dict[str, str] = {}
    names = [f"{record}_V1_consent.pdf" for record in range(101, 121)]
    for number, name in enumerate(names):
        place.config["tables"]["visits"]["V1"] = (BASELINE, MONTH_6)[number % 2]
        place.config["contact"] = f"ext. {number}"
        place.write_config()
        said[sha256(place)] = place.config["tables"]["visits"]["V1"]
        for path in (name, f"{name[:3]}_V1_scan.pdf"):
            place.put(path, path.encode())
        assert place.dropcap("reload").returncode == 0
    daemon.wait_for("done", 2 * len(names), patience=60)
    found = stored(place)
    assert len(found) == 2 * len(names), "each once"
    for line in place.dropcap("history", "--json", "--limit", "1000").stdout.splitlines():
        job = json.loads(line)
        assert (job["record"], job["redcap_event"], job["field"]) in found
        assert job["origin"]["rule"]["tables"]["visits"]["V1"] == job["redcap_event"]
        if job["origin"]["configuration"] in said:  # else that of the start
            assert said[job["origin"]["configuration"]] == job["redcap_event"]
    assert not daemon.events("internal_error")


class Watched:
    """How often the folders of a daemon have begun anew."""

    def __init__(self, place: Site, daemon: Daemon) -> None:
        self.place, self.daemon = place, daemon
        self.times = 1

    def begins_anew(self) -> None:
        """With the configuration as it is now."""
        reload(self.place)
        self.times += 1
        self.daemon.wait_for("folder_watched", self.times, folder="consents")
        self.runs_on()

    def runs_on(self) -> None:
        assert len(self.daemon.events("folder_watched", folder="consents")) == self.times
        assert len(self.daemon.events("folder_watched", folder="others")) == 1


#: Another value of each setting of a folder and of a rule. What is not a value stands in the test.
FOLDER: dict[str, Any] = {
    "project": "twin",
    "subfolders": False,
    "rescan": "3s",
    "settle_closed": "60ms",
    "settle_quiet": "310ms",
    "first_start": "leave",
    "min_free": "1KiB",
    "group": grp.getgrgid(os.getgid()).gr_name,
    "mode": "0660",
    "ignore": ["*.bak"],
    "expect": {"every": "1d"},
    "language": "de",
    "page_refresh": "7s",
}
RULE: dict[str, Any] = {
    "name": "another",
    "pattern": "{record:digits}_{visit:visits}_agreed.pdf",
    "field": "scan",
    "record": "{record|upper}",
    "event": "{visit|others}",
    "instance": "2",
    "must_match": {"initials": "{stem}"},
    "upload_as": "{record}.pdf",
    "example": "101_V1_agreed.pdf",
}
SETTINGS: dict[str, Any] = {
    "existing_file": "refuse",
    "confirm": "listed",
    "missing_record": "wait",
    "create_limit": 3,
    "suggest_records": True,
    "content_check": "off",
    "case_sensitive": True,
}


def decides(what: type[Any]) -> set[str]:
    return {one.name for one in fields(what) if one.compare}


def test_each_setting_takes_effect_at_a_reload(place: Site) -> None:
    """A setting that is new has to be in the lists above."""
    assert decides(Folder) == {*FOLDER, "name", "rules", "path", "preserve_in"}
    assert decides(Rule) == {*RULE, "settings", "record_where"}
    assert decides(RuleSettings) == set(SETTINGS)
    others, moved = place.root / "others", place.root / "moved"
    for directory in (others, moved):
        directory.mkdir()
    place.config["projects"]["twin"] = dict(place.project)
    place.config["tables"]["others"] = {"V1": MONTH_6, "V2": BASELINE}
    place.config["tables"]["unused"] = {"V1": BASELINE}
    place.config["folders"]["others"] = json.loads(json.dumps({**place.folder, "path": str(others)}))
    place.write_config()
    daemon = place.start()
    watched, rule = Watched(place, daemon), place.folder["rules"][0]

    # What changes nothing for the folder.
    place.config_file.write_text("# a comment moves every line\n" + place.config_file.read_text())
    assert place.dropcap("reload").returncode == 0
    place.config["tables"]["unused"]["V1"] = MONTH_6
    reload(place)
    place.config["tables"]["visits"] = dict(reversed(place.config["tables"]["visits"].items()))
    reload(place)
    place.config["uploads_at_once"] = 2
    reload(place)
    watched.runs_on()

    for key, value in (FOLDER | {"preserve_in": str(place.root), "path": str(moved)}).items():
        place.folder[key] = value
        watched.begins_anew()
    for key, value in (RULE | SETTINGS).items():
        rule[key] = value
        watched.begins_anew()
    del rule["record"]
    rule["record_where"] = {"mrn": "{record}"}
    watched.begins_anew()
    place.config["tables"]["others"]["V1"] = BASELINE
    watched.begins_anew()

    # As a pattern a dot is itself, as an expression it is any character.
    plain = {"name": "plain", "record": "101", "event": BASELINE, "field": "scan"}
    place.folder["rules"].append({**plain, "pattern": "scan.pdf"})
    watched.begins_anew()
    place.folder["rules"][-1] = {**plain, "regex": "scan.pdf"}
    watched.begins_anew()
    assert not daemon.events("internal_error")


def test_who_is_to_be_asked_and_which_project_it_is_take_effect(place: Site) -> None:
    """They stand on the page and in what orders files: all folders concerned begin anew."""
    daemon = place.start()
    watched = Watched(place, daemon)
    place.config["folders"]["others"] = json.loads(json.dumps(place.folder))
    others = Path(place.config["folders"]["others"]["path"]).with_name("others")
    others.mkdir()
    place.config["folders"]["others"]["path"] = str(others)
    reload(place)
    daemon.wait_for("folder_watched", folder="others")
    watched.runs_on()
    for times, change in enumerate(({"contact": "Somebody else"}, {"projects": {"trial": {**place.project, "project_id": 42}}})):
        place.config |= change
        reload(place)
        for folder in ("consents", "others"):
            daemon.wait_for("folder_watched", times + 2, folder=folder)


#: Another value of each setting of a project, and the reason by which it is seen to have taken effect.
PROJECT: dict[str, tuple[Any, Reason]] = {
    "url": ("http://127.0.0.1:9/api/", Reason.UNREACHABLE),
    "token_file": ("token2", Reason.TOKEN),
    "project_id": (7, Reason.PROJECT_MISMATCH),
    "timeout": ("300ms", Reason.UNREACHABLE),
    "deadline": ("300ms", Reason.UNREACHABLE),
    "max_size": (1, Reason.TOO_LARGE),
    "blocked_extensions": (["pdf"], Reason.BLOCKED_EXTENSION),
}
#: What is given to the client with `url` and `timeout`; one is made anew for each project at each reload.
_OF_THE_CLIENT = {"requests_per_minute", "connect_timeout", "ca_file", "client_cert_file", "client_key_file"}
_OF_THE_CLIENT |= {"proxy", "proxy_credentials"}


def test_each_setting_of_a_project_takes_effect_at_a_reload(place: Site) -> None:
    told = {"token_source" if key == "token_file" else key for key in PROJECT}
    assert decides(Project) == {*told, *_OF_THE_CLIENT, "name"}
    (place.root / "token2").write_text("F" * 32)
    (place.root / "token2").chmod(0o600)
    daemon = place.start()
    good = dict(place.project)
    for number, (key, (value, reason)) in enumerate(PROJECT.items()):
        name, before = f"{101 + number}_V1_consent.pdf", len(daemon.lines)
        if key in ("timeout", "deadline"):
            place.box.ill(Fault("delay", seconds=1.0, times=1, match=IMPORT))
        place.config["projects"]["trial"] = good | {key: value}
        reload(place)
        place.put(name)
        eventually(lambda before=before, reason=reason: reason in {line.get("reason") for line in daemon.lines[before:]})
        place.box.well()
        place.config["projects"]["trial"] = good
        reload(place)
        daemon.wait_for("failed" if reason in (Reason.TOO_LARGE, Reason.BLOCKED_EXTENSION) else "done", file=name)
    assert len(place.box.holdings()) == len(place.done()) == len(PROJECT) - 2


def test_what_holds_for_all_folders_takes_effect_at_a_reload(place: Site) -> None:
    """Those that say how much goes on at a time, and what is told; folders run on. `keep`, `privacy`, `notify` and `dashboard`
    have tests of their own."""
    metrics = place.root / "dropcap.prom"
    place.config["uploads_at_once"] = 1
    place.write_config()
    daemon = place.start()
    place.box.ill(Fault("delay", seconds=1.0, match=IMPORT))
    place.config |= {"uploads_at_once": 2, "stop_within": "7s", "metrics": {"textfile": str(metrics)}}
    reload(place)
    for record in (101, 102):
        place.put(f"{record}_V1_consent.pdf")
    daemon.wait_for("sending", 2)
    assert not daemon.events("done"), "two at a time"
    eventually(metrics.exists)
    daemon.wait_for("done", 2)
    place.config["small_file"] = "0"
    reload(place)
    for record in (103, 104):
        place.put(f"{record}_V1_consent.pdf")
    daemon.wait_for("done", 4)
    third, fourth = (datetime.fromisoformat(line["timestamp"]) for line in daemon.events("sending")[2:])
    assert (fourth - third).total_seconds() >= 0.9, "both are large now, and one thread is left for small ones"
    place.config["log"] = {"level": "error"}
    reload(place)
    place.put("105_V1_consent.pdf")
    eventually(lambda: len(place.done()) == 5)
    assert not daemon.events("claimed", file="105_V1_consent.pdf")
    del place.config["log"]
    reload(place)
    assert len(daemon.events("folder_watched")) == 1
    daemon.stop()
    assert daemon.events("stopping")[0]["within"] == 7.0
