"""Questions about records: one that REDCap refuses, one that it answers with nothing, one that it answers with far too much."""

from __future__ import annotations

import contextlib
import json
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from dropcap.redcap.client import MAX_JSON
from redcap_sandbox import Fault
from tests.hostile.echo import EchoProxy, Fields, Said, echoing
from tests.site import Daemon, Site, eventually


def rules(place: Site) -> None:
    place.folder["rules"] = [
        {"name": "compared", "pattern": "{record:digits}_{ini:letters}.pdf", "field": "consent_pdf", "event": "baseline_arm_1",
         "must_match": {"initials": "{ini}"}},
        {"name": "by mrn", "pattern": "mrn{mrn:digits}.pdf", "field": "consent_pdf", "event": "month_6_arm_1",
         "record_where": {"mrn": "{mrn}"}},
        {"name": "scan", "pattern": "{record:digits}_scan.tif", "field": "scan", "event": "baseline_arm_1"},
    ]  # fmt: skip


def through(place: Site, proxy: EchoProxy) -> None:
    place.project["url"] = proxy.url
    place.write_config()


@pytest.mark.parametrize("status", [400, 403])
def test_a_refused_question_stops_only_the_rule_that_asks_it(place: Site, status: int) -> None:
    """Whatever words and status it has for that; and `check` asks it too."""
    rules(place)
    refusing = [True]

    def refuse(fields: Fields, said: Said) -> Said:
        asks = fields.get("content") == "record" and "initials" in fields.values()
        words = "You have no permission to see this" if status == 403 else "Odd"
        return Said(status, [], json.dumps({"error": words}).encode()) if asks and refusing[0] else said

    with echoing(place.box.port) as proxy:
        proxy.spoil = refuse
        through(place, proxy)
        daemon = place.start()
        place.put("101_ZZ.pdf")
        place.put("102_ZZ.pdf")
        first = daemon.wait_for("retrying", 2)[0]
        assert (first["scope"], first["outcome"]) == ("file", "not stored")
        assert "rule `compared`" in first["message"]
        assert 0 < first["in_seconds"] <= 2
        place.put("mrn0799819.pdf", b"of another rule")
        place.put("103_scan.tif", b"of a third")
        place.put("104_QQ.pdf")
        daemon.wait_for("done", 2)
        assert not daemon.events("paused")
        told = place.dropcap("check")
        assert told.returncode == 1
        blamed = [line for line in told.stdout.splitlines() if "REDCap refuses what is asked" in line]
        assert [("compared" in line, "scan" in line or "mrn" in line) for line in blamed] == [(True, False)], told.stdout
        # Mended: what waits goes on by itself, and at once if somebody asks for it.
        refusing[0] = False
        daemon.wait_for("retrying", 3)
        for job in place.jobs():
            if job.state == "waiting":
                place.retry(job.id)
        daemon.wait_for("failed", 3, reason="mismatch")
        assert place.dropcap("check").returncode == 0


def test_a_record_that_redcap_refuses_to_be_asked_about_stops_its_own_file(place: Site) -> None:
    rules(place)

    def refuse(fields: Fields, said: Said) -> Said:
        asks = fields.get("content") == "record" and any(
            value == "107" for key, value in fields.items() if key.startswith("records")
        )
        return Said(400, [], b'{"error": "Not this one"}') if asks else said

    with echoing(place.box.port) as proxy:
        proxy.spoil = refuse
        through(place, proxy)
        for record in range(101, 113):
            place.put(f"{record}_scan.tif", b"%d" % record)
        daemon = place.start()
        daemon.wait_for("done", 11)
        assert {line["file"] for line in daemon.events("retrying")} == {"107_scan.tif"}
        assert "this file's record" in daemon.events("retrying")[0]["message"]
        assert not daemon.events("paused")


@contextmanager
def spoilt_once_known(place: Site, spoil: Callable[[Fields, Said], Said]) -> Iterator[Daemon]:
    """A daemon that knows the project, before what REDCap answers is spoilt on the way."""
    with echoing(place.box.port) as proxy:
        through(place, proxy)
        daemon = place.start()
        place.put("110_scan.tif")
        daemon.wait_for("done")
        proxy.spoil = spoil
        yield daemon


@pytest.mark.parametrize("status", [200, 403, 502])
def test_a_page_in_answer_to_a_question_stops_those_that_meet_it(place: Site, status: int) -> None:
    """A web firewall that takes what is asked about some records, or a rule's condition, for an attack."""
    rules(place)
    second = place.root / "second"
    second.mkdir()
    place.config["folders"]["second"] = {**place.folder, "path": str(second)}
    disliked = {"101", "102", "103", "104", "105"}

    def block(fields: Fields, said: Said) -> Said:
        asks = fields.get("content") == "record" and ("filterLogic" in fields or disliked & set(fields.values()))
        return Said(status, [("Content-Type", "text/html")], b"<html>Request blocked</html>") if asks else said

    with spoilt_once_known(place, block) as daemon:
        for record in disliked:
            place.put(f"{record}_scan.tif")
        place.put("mrn0799819.pdf")
        daemon.wait_for("retrying", 6)
        for record in (106, 107, 108):
            (second / f"{record}_scan.tif").write_bytes(b"fine")
        waited = [line["since_claim"] for line in daemon.wait_for("done", 4)]
        assert max(waited) < 3, waited
        assert {line["scope"] for line in daemon.events("retrying")} == {"file"}
        assert not daemon.events("paused")
        assert not daemon.events("failed")


@pytest.mark.parametrize(
    ("status", "body"),
    [(200, "<html>Blocked"), (403, "<html>Blocked"), (500, "<html>Oops"), (200, ""), (400, '{"error": "Odd"}')],
)
def test_a_question_that_fails_each_time_asks_no_more_than_it_must(place: Site, status: int, body: str) -> None:
    """At first it is found out whom the failure concerns; then each try is one question, and the structure is known."""
    place.box.ill(Fault("status", None, {"content": "record"}, code=status, body=body, content_type="text/html"))
    daemon = place.start()
    for record in (101, 102, 103):
        place.put(f"{record}_V1_consent.pdf")
    daemon.wait_for("retrying", 4)
    tries = len(daemon.events("retrying"))
    asked = [request.content for request in place.box.requests]
    assert asked.count("metadata") == asked.count("project") == 1
    assert asked.count("record") <= 6 + tries, tries
    assert asked.count("version") <= 3


def test_two_questions_that_are_disliked_at_once_are_not_the_servers_trouble(place: Site) -> None:
    """By the first one's answer the structure counts as unknown, which says nothing of the second one's."""
    rules(place)
    asked, both, anew = threading.Event(), threading.Event(), threading.Event()

    def block(fields: Fields, said: Said) -> Said:
        page = Said(200, [("Content-Type", "text/html")], b"<html>Request blocked</html>")
        if fields.get("content") == "metadata":
            anew.set()
            time.sleep(0.5)  # it is unknown for as long
        elif fields.get("content") == "record" and "filterLogic" in fields:
            both.set()
            assert anew.wait(10)
            return page
        elif fields.get("content") == "record" and "101" in fields.values():
            asked.set()
            assert both.wait(10)
            return page
        return said

    with spoilt_once_known(place, block) as daemon:
        time.sleep(5.5)  # a structure that was told a moment ago is not doubted
        place.put("101_scan.tif")
        assert asked.wait(10)
        place.put("mrn0799819.pdf")
        retried = daemon.wait_for("retrying", 2)
        assert {line["scope"] for line in retried} == {"file"}
        assert not daemon.events("paused")


def test_a_project_that_refuses_every_question_pauses(place: Site) -> None:
    rules(place)
    place.write_config()
    daemon = place.start()
    place.box.ill(Fault("status", match={"content": "record"}, code=403, body='{"error": "You have no rights to export"}'))
    place.put("101_scan.tif")
    place.put("102_ZZ.pdf")
    daemon.wait_for("paused", scope="project", reason="rights")


def test_one_empty_answer_fails_no_file(place: Site) -> None:
    rules(place)
    place.write_config()
    empty = Fault("status", times=1, match={"content": "record"}, code=200, body="[]", content_type="application/json")
    place.box.ill(empty)
    place.put("mrn0799819.pdf", b"there")
    place.put("mrn0000000.pdf", b"nobody's")
    assert place.once().returncode == 1
    assert place.box.content("101", "consent_pdf", "month_6_arm_1") == b"there"
    assert place.failed() == ["mrn0000000.pdf"]


def test_an_answer_that_is_too_large_is_asked_for_in_parts(place: Site) -> None:
    """A hundred records with thousands of instances each; one that is too large by itself stops its own rule."""
    rules(place)
    asked: list[int] = []

    def swell(fields: Fields, said: Said) -> Said:
        names = [value for key, value in fields.items() if key.startswith("records[")]
        if fields.get("content") != "record" or "scan" not in fields.values():
            return said
        asked.append(len(names))
        if len(names) > 2 or "109" in names:
            told: list[dict[str, Any]] = json.loads(said.body)
            return Said(200, [], json.dumps(told).encode().ljust(MAX_JSON + 1))
        return said

    with echoing(place.box.port) as proxy:
        proxy.spoil = swell
        through(place, proxy)
        for record in (101, 102, 103, 104, 105):
            place.put(f"{record}_scan.tif", b"%d" % record)
        daemon = place.start()
        daemon.wait_for("done", 5)
        assert max(asked) > 2
        place.put("109_scan.tif")
        late, *_ = daemon.wait_for("retrying", file="109_scan.tif")
        assert "larger than 32 MiB" in late["message"]
        place.put("mrn0799819.pdf")
        daemon.wait_for("done", 6)
        eventually(lambda: not daemon.events("paused"))


RECORDS = {"content": "record"}
NOTHING = Fault("status", match=RECORDS, code=200, body="[]", content_type="application/json")


def test_an_answer_without_the_records_that_redcap_has_fails_no_file(place: Site) -> None:
    """Rows are missing under load: what was stored in 110 tells that 101 may be there as well."""
    rules(place)
    place.folder["rules"][2]["missing_record"] = "create"
    place.write_config()
    place.put("110_scan.tif")
    assert place.once().returncode == 0
    daemon = place.start()
    place.box.ill(NOTHING)
    place.put("101_scan.tif")
    place.put("mrn1234567.pdf")
    daemon.wait_for("retrying", 2, reason="server_error", in_seconds=60.0)
    assert {job.state for job in place.jobs()} == {"done", "waiting"}
    eventually(lambda: "dropcap tries again by itself" in (place.drop / "_STATUS.html").read_text())
    place.box.well()
    for job in place.jobs()[1:]:
        place.retry(job.id)
    daemon.wait_for("done", file="101_scan.tif")
    daemon.wait_for("failed", file="mrn1234567.pdf", reason="no_record")
    assert not [r for r in place.box.requests if (r.content, r.action) == ("record", "import")]


def test_such_a_file_is_held_after_a_day_and_no_sooner(place: Site) -> None:
    place.put("110_V1_scan.tif")
    assert place.once().returncode == 0
    place.box.ill(NOTHING)
    place.put("101_V1_scan.tif")
    place.once()
    for lookups, days, state in ((28, 0.9, "waiting"), (2, 30.0, "waiting"), (28, 1.1, "held")):
        with contextlib.closing(sqlite3.connect(place.state / "ledger.db")) as ledger, ledger:
            ledger.execute(
                "update job set lookups = ?, claimed_at = ?, due = 0 where state = 'waiting'",
                (lookups, time.time() - days * 86400),
            )
        place.once()
        job = place.jobs()[-1]
        assert (job.state, job.reason) == (state, "server_error"), job
    assert "token's user sees the project's records" in job.remedy
    assert place.failed() == []


def test_a_record_that_is_missing_among_others_fails_its_file_at_once(place: Site) -> None:
    """And where nothing was ever stored, REDCap is believed."""
    place.put("999_V1_scan.tif")
    assert place.once().returncode == 1
    place.put("110_V1_scan.tif")
    assert place.once().returncode == 0
    place.put("998_V1_scan.tif")
    assert place.once().returncode == 1
    assert place.failed() == ["998_V1_scan.tif", "999_V1_scan.tif"]
    asked = [r for r in place.box.requests if r.content == "record"]
    assert len(asked) == 5  # twice for each that is missing
