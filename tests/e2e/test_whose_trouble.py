"""What one file is told, and whether it is true of its server or project: one probe a minute decides for all."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import pytest

from redcap_sandbox import Fault, Limits, RowKey, Sandbox, demo_project
from tests.site import TOKEN, Daemon, Site, site

IMPORT = {"content": "file", "action": "import"}
EXPORT = {"content": "file", "action": "export"}
PLAIN = {"existing_file": "replace", "confirm": "none"}
MIB = 1024 * 1024
LIKE_A_BAN = (
    "my ip address is banned",
    "too many requests",
    "invalid token",
    "project was deleted",
    "offline for maintenance",
    "you exceed 600 requests per minute",
    "suspected abuse & <b>rate limit</b>",
    'it\'s an "ip address" that was blocked',
)


def asked(place: Site, content: str, action: str = "") -> int:
    """How often something was asked."""
    return len([r for r in place.box.requests if (r.content, r.action) == (content, action)])


def emptied(place: Site) -> int:
    """How many requests came of which PHP has dropped all."""
    return asked(place, "")


def second_folder(place: Site) -> Path:
    """Another drop folder of the same project."""
    other = place.root / "other"
    other.mkdir()
    place.config["folders"]["other"] = {**place.folder, "path": str(other)}
    place.write_config()
    return other


def start(place: Site) -> tuple[Daemon, int]:
    """A daemon that has compared its rules with the project, and how many probes that took."""
    daemon = place.start()
    place.box.wait_for(lambda _: asked(place, "user"))
    return daemon, asked(place, "version")


@pytest.mark.parametrize("settings", [PLAIN, {}], ids=["sent at once", "looked up first"])
def test_names_that_read_like_a_ban_stop_nobody(place: Site, settings: dict[str, Any]) -> None:
    rule = {"name": "any", "pattern": "{record:any}__any.pdf", "event": "baseline_arm_1", "field": "consent_pdf"}
    place.folder.update(settings, rules=[rule])
    place.write_config()
    daemon, probes = start(place)
    names = [f"{record.replace('/', '_')}__any.pdf" for record in LIKE_A_BAN]
    for name in names:
        place.put(name)
    place.put("101__any.pdf", b"fine")
    daemon.wait_for("done")
    daemon.wait_for("failed", len(names), reason="no_record")
    assert not daemon.events("paused")
    assert not daemon.events("retrying")
    assert asked(place, "version") == probes


def test_a_ban_and_a_limit_that_only_one_file_hears_of_are_its_own(place: Site) -> None:
    """An answer that quotes the name in a way that nobody knows, say."""
    place.folder.update(PLAIN)
    place.write_config()
    daemon, probes = start(place)
    for record in ("101", "102", "103"):
        place.box.ill(Fault("ban", match={**IMPORT, "record": record}))
        place.put(f"{record}_V1_consent.pdf", b"poison")
    told = daemon.wait_for("retrying", 3, reason="banned")
    assert {line["scope"] for line in told} == {"file"}
    for record in range(104, 120):
        place.put(f"{record}_V1_consent.pdf", b"fine")
    daemon.wait_for("done", 16)
    assert asked(place, "version") == probes + 1, "one probe serves all"
    assert not daemon.events("paused")
    assert not daemon.events("failed")
    place.box.well()
    for job in place.jobs()[:3]:
        place.retry(job.id)
    daemon.wait_for("done", 19)


def test_a_limit_in_words_rests_the_server_first(place: Site) -> None:
    place.folder.update(PLAIN)
    place.write_config()
    daemon, probes = start(place)
    place.box.ill(Fault("status", code=400, body='{"error": "rate limit"}', match={**IMPORT, "record": "101"}))
    place.put("101_V1_consent.pdf", b"poison")
    daemon.wait_for("paused", scope="server", reason="rate_limited")
    requests = len(place.box.requests)
    place.put("102_V1_consent.pdf", b"fine")
    daemon.wait_for("claimed", 2)
    more = place.box.wait_for(lambda box: len(box.requests) > requests, timeout=1.5)
    assert not more, "not even a probe, which may be one too many"
    assert asked(place, "version") == probes


def test_a_page_for_an_answer_is_the_trouble_of_the_files_that_meet_it(place: Site) -> None:
    """A web firewall that dislikes what is in some files."""
    other = second_folder(place)
    for number in range(200, 240):
        place.box.project.store.set_value(str(number), RowKey("baseline_arm_1"), "record_id", str(number))
        page = "<html><body>Request blocked</body></html>"
        code, met = [(403, IMPORT), (500, IMPORT), (502, EXPORT), (503, IMPORT)][number % 4]
        place.box.ill(Fault("status", code=code, body=page, match={**met, "record": str(number)}))
    daemon, probes = start(place)
    for number in range(200, 240):
        place.put(f"{number}_V1_consent.pdf", b"poison")
    daemon.wait_for("retrying", 20)
    for number in range(101, 111):
        (other / f"{number}_V1_consent.pdf").write_bytes(b"fine")
    waited = [line["since_claim"] for line in daemon.wait_for("done", 10)]
    assert max(waited) < 5, waited
    assert {line["scope"] for line in daemon.wait_for("retrying", 40)} == {"file"}
    assert asked(place, "version") <= probes + 1
    assert not daemon.events("paused")
    assert not daemon.events("failed")
    assert daemon.stop() == 0
    with sqlite3.connect(place.state / "ledger.db") as ledger:
        ledger.execute("update job set faults = 7, due = case when id < 5 then 0 else due + 600 end where state <> 'done'")
    held = place.start().wait_for("held", 4)
    assert {line["reason"] for line in held} == {"not_the_api", "server_error", "maintenance"}


def test_one_server_that_shows_everybody_a_page_is_paused_and_nobody_is_blamed(place: Site) -> None:
    daemon, _ = start(place)
    place.box.ill(Fault("html_200"))
    for record in range(101, 111):
        place.put(f"{record}_V1_consent.pdf", b"fine")
    daemon.wait_for("paused", scope="server", reason="not_the_api")
    place.box.well()
    daemon.wait_for("done", 10, patience=40)
    assert {job.faults for job in place.jobs()} <= {0, 1}


@pytest.mark.parametrize("code", [401, 403])
def test_a_refused_token_that_is_well_pauses_its_project_at_the_second_file(place: Site, code: int) -> None:
    place.folder.update(PLAIN)
    place.write_config()
    daemon, probes = start(place)
    refused = Fault("status", code=code, body='{"error": "kzt brx"}', match={**IMPORT, "record": "101"})
    place.box.ill(refused)
    place.put("101_V1_consent.pdf", b"of a form that is not ours")
    daemon.wait_for("retrying", scope="file", reason="rights")
    for record in range(102, 106):
        place.put(f"{record}_V1_consent.pdf", b"fine")
    daemon.wait_for("done", 4)
    place.box.ill(Fault("status", code=code, body='{"error": "kzt brx"}', match=IMPORT))
    for record in range(106, 116):
        place.put(f"{record}_V1_consent.pdf", b"waits")
    paused, *_ = daemon.wait_for("paused")
    assert (paused["scope"], paused["reason"]) == ("project", "rights")
    assert not daemon.events("failed")
    assert asked(place, "version") == probes + 1
    place.box.well()
    place.dropcap("resume", "--project", "trial")  # unless one that was on its way has ended it
    daemon.wait_for("done", 14, patience=30)
    assert place.failed() == []


def test_a_token_that_is_taken_away_while_files_are_sent_pauses_at_the_first(place: Site) -> None:
    place.folder.update(PLAIN)
    place.write_config()
    daemon, _ = start(place)
    place.put("101_V1_consent.pdf", b"fine")
    daemon.wait_for("done")
    place.box.revoke(place.box.token)
    place.put("102_V1_consent.pdf", b"waits")
    paused, *_ = daemon.wait_for("paused")
    assert (paused["scope"], paused["reason"]) == ("project", "token")
    assert place.failed() == []


XML = '<?xml version="1.0" encoding="UTF-8" ?><hash><error>{}</error></hash>'
WARNING = "<br />\n<b>Warning</b>:  POST Content-Length of 9 bytes exceeds the limit of 8 bytes in <b>Unknown</b>\n"
LOST = [
    (501, XML.format("kzt brx")),
    (400, XML.format("Kein Zugriff")),
    (403, WARNING + XML.format("kzt")),
    (200, WARNING + XML.format("x")),
]


def test_a_form_that_php_has_emptied_is_too_large_at_the_first_reply(place: Site) -> None:
    place.config["uploads_at_once"] = 1
    place.write_config()
    for record, (code, body) in enumerate(LOST, 101):
        place.box.ill(Fault("status", code=code, body=body, match={**IMPORT, "record": str(record)}))
        place.put(f"{record}_V1_scan.bin", b"z" * (2 * MIB - record))  # smaller each time: what is learned forbids none
    place.put("110_V1_scan.bin", b"z" * MIB)
    place.box.ill(Fault("status", code=501, body=XML.format("kzt"), times=1, match={**IMPORT, "record": "111"}))
    place.put("111_V1_consent.pdf", b"small: whatever it is, it is not too large")
    assert place.once().returncode == 1
    told = {job.name: (job.reason, job.attempts) for job in place.jobs() if job.name != "111_V1_consent.pdf"}
    assert told == {f"{n}_V1_scan.bin": ("too_large", 1) for n in range(101, 105)} | {"110_V1_scan.bin": (None, 1)}
    assert "post_max_size" in (place.jobs()[0].message or "")
    assert "111_V1_consent.pdf" not in place.failed()


def test_a_server_that_answers_all_errors_in_xml_calls_no_file_too_large(place: Site) -> None:
    place.folder.update(PLAIN)
    place.write_config()
    place.box.project.errors = "xml"
    for record in (101, 102):  # which the project does not take
        place.put(f"{record}_V1_scan.xyz", b"z" * (2 * MIB + record))
    place.box.project.blocked_extensions = frozenset({"xyz"})
    assert place.once().returncode == 1
    place.put("103_V1_scan.bin", b"z" * (4 * MIB))
    assert place.once().returncode == 0
    assert [job.reason for job in place.jobs()] == ["blocked_extension", "blocked_extension", None]
    assert asked(place, "dropcap") == 1
    assert "has refused" not in place.dropcap("check").stdout


def test_limits_are_learned_from_two_files_told_by_check_and_never_held_against_retry(tmp_path: Path) -> None:
    with Sandbox(demo_project(), token=TOKEN, limits=Limits(post_max_size=2 * MIB)) as box, site(tmp_path, box) as place:
        daemon, _ = start(place)
        place.put("101_V1_scan.bin", b"z" * (3 * MIB))
        daemon.wait_for("failed")
        assert emptied(place) == 1, "PHP drops all of it"
        place.put("101_V1_scan.bin", b"z" * (3 * MIB))
        place.put("103_V1_scan.bin", b"z" * (3 * MIB))
        daemon.wait_for("failed", 3)
        assert emptied(place) == 3
        assert "has refused" not in place.dropcap("check").stdout, "the same bytes again are no other file"
        place.put("102_V1_scan.bin", b"z" * (4 * MIB))
        daemon.wait_for("failed", 4)
        check = place.dropcap("check").stdout
        assert "has lately refused 2 files for their size, one of them of 4,194,304 bytes" in check, check
        sent = emptied(place)
        place.put("106_V1_scan.bin", b"z" * (5 * MIB))
        place.put("104_V1_scan.bin", b"z" * MIB)
        daemon.wait_for("failed", 5, reason="too_large")
        daemon.wait_for("done")
        assert emptied(place) == sent, "it was not sent"
        assert "was not sent" in next(job.message or "" for job in place.jobs() if job.name == "106_V1_scan.bin")
        assert daemon.stop() == 0
        daemon, _ = start(place)  # what was learned outlives a restart
        place.put("105_V1_scan.bin", b"z" * (5 * MIB))
        daemon.wait_for("failed", file="105_V1_scan.bin")
        assert emptied(place) == sent
        box.limits = Limits(post_max_size=9 * MIB)
        place.retry(next(job.id for job in place.jobs() if job.name == "106_V1_scan.bin"))
        daemon.wait_for("done", file="106_V1_scan.bin")
        place.put("107_V1_scan.bin", b"z" * (5 * MIB))
        daemon.wait_for("done", file="107_V1_scan.bin")
        assert "has refused" not in place.dropcap("check").stdout


def test_a_file_whose_sends_break_off_is_held_at_the_third_while_smaller_ones_arrive(place: Site) -> None:
    daemon, _ = start(place)
    place.put("102_V1_consent.pdf", b"small")
    daemon.wait_for("done")
    place.box.ill(Fault("reset_during_body", after=100_000, match={**IMPORT, "record": "101"}))
    place.put("101_V1_scan.bin", b"z" * MIB)
    for count in (1, 2, 3):
        daemon.wait_for("retrying", count, file="101_V1_scan.bin", outcome="unknown")
        read_back = asked(place, "file", "export")
        place.retry(2)
    (held,) = daemon.wait_for("held")
    assert held["reason"] == "too_large"
    assert "perhaps it is too large" in held["message"]
    assert asked(place, "file", "export") > read_back, "what broke off last is read back too"
    place.box.well()
    place.retry(2)
    daemon.wait_for("done", 2)


def test_a_file_on_trial_that_is_renamed_keeps_nobody_waiting(place: Site) -> None:
    place.folder["rescan"] = "300ms"
    place.write_config()
    daemon = place.start()
    place.put("103_V1_consent.pdf")
    daemon.wait_for("done")  # which project it is is known from here on
    place.token_file.write_text("F" * 32)
    place.put("101_V1_consent.pdf")
    daemon.wait_for("paused", scope="project", reason="token")
    place.box.ill(Fault("delay", times=1, match={"content": "record"}, seconds=2.0, before="answer"))
    place.token_file.write_text(place.box.token)  # the project is tried at once, by one file
    assert place.box.illness.wait()
    asked = place.drop / "in_progress" / "101_V1_consent.pdf"
    asked.rename(asked.with_name("nobody knows.txt"))
    daemon.wait_for("failed", reason="no_rule")
    place.put("102_V1_scan.pdf")
    daemon.wait_for("done", file="102_V1_scan.pdf")
