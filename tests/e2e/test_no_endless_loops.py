"""Whatever goes wrong again and again costs a request now and then, and nothing else."""

from __future__ import annotations

import contextlib
import sqlite3

import pytest

from redcap_sandbox import Fault
from tests.site import Site

LOOK_UP = {"content": "record"}
EXPORT = {"content": "file", "action": "export"}


def asked(place: Site, content: str, action: str = "") -> int:
    """How many requests of a kind the sandbox has had."""
    return len([r for r in place.box.requests if r.content == content and (not action or r.action == action)])


@pytest.mark.parametrize(
    "settings",
    [
        {"field": "no_such_field"},
        {"field": "consent_pdf", "must_match": {"no_such_field": "{ini}"}},
        {"field": "consent_pdf", "record": "", "record_where": {"no_such_field": "{ini}"}},
    ],
    ids=["field", "must_match", "record_where"],
)
def test_a_rule_with_a_field_that_is_not_there_holds_its_own_files_alone(place: Site, settings: dict[str, object]) -> None:
    rule = {"pattern": "odd_{record:digits}_{ini:letters}.pdf", "event": "baseline_arm_1", **settings}
    if not rule.get("record", "x"):
        del rule["record"]
        rule["pattern"] = "odd_{number:digits}_{ini:letters}.pdf"
    place.folder["rules"].append(rule)
    place.write_config()
    daemon = place.start()
    place.put("odd_101_AB.pdf", b"odd")
    place.put("102_V1_consent.pdf", b"fine")
    (held,) = daemon.wait_for("held", file="odd_101_AB.pdf", reason="no_field")
    daemon.wait_for("done", file="102_V1_consent.pdf")
    before = asked(place, "metadata")
    place.put("103_V1_consent.pdf", b"fine too")
    daemon.wait_for("done", file="103_V1_consent.pdf")
    assert asked(place, "metadata") - before <= 1
    assert before <= 3, "not asked over and over for the file that is held"
    assert daemon.events("paused") == []
    assert "no_such_field" in held["message"]
    assert "in_progress/odd_101_AB.pdf" in place.everywhere()


def test_a_look_up_that_fails_is_tried_again_later_and_later(place: Site) -> None:
    place.box.ill(Fault("status", code=500, match=LOOK_UP))
    daemon = place.start()
    place.put("101_V1_consent.pdf", b"the consent")
    daemon.wait_for("retrying", 2, file="101_V1_consent.pdf")
    assert asked(place, "record") <= 3
    assert asked(place, "version") <= 4
    place.box.well()
    place.retry(1)
    daemon.wait_for("done")


def test_a_record_that_may_not_be_created_is_asked_for_once(place: Site) -> None:
    place.folder["rules"] = [
        {"pattern": "{record:digits}.pdf", "event": "baseline_arm_1", "field": "consent_pdf", "missing_record": "create"}
    ]
    place.write_config()
    place.box.ill(Fault("status", code=400, body='{"error": "something odd"}', match={"content": "record", "action": "import"}))
    place.put("701.pdf", b"new")
    assert place.once().returncode == 1
    assert asked(place, "record", "import") == 1
    assert place.failed() == ["701.pdf"]


def test_a_file_that_comes_back_changed_each_time_makes_one_instance(place: Site) -> None:
    place.box.ill(Fault("wrong_content", match=EXPORT, skip=1))
    daemon = place.start()
    place.put("101_V1_lab_1.pdf", b"the sample")
    daemon.wait_for("retrying", 3, reason="not_confirmed")
    assert [(h.field, h.instance) for h in place.box.holdings()] == [("lab_report", 1)]
    assert place.done() == []
    place.box.well()
    place.retry(1)
    daemon.wait_for("done")
    assert [(h.field, h.instance) for h in place.box.holdings()] == [("lab_report", 1)]


def test_a_held_file_that_may_have_arrived_is_read_back_when_it_is_tried_again(place: Site) -> None:
    place.box.ill(Fault("stored_then_500", match={"content": "file", "action": "import"}))
    place.box.ill(Fault("status", code=500, match=EXPORT, skip=1))
    daemon = place.start()
    place.put("101_V1_lab_1.pdf", b"the sample")
    daemon.wait_for("retrying", outcome="unknown")
    daemon.stop()
    with contextlib.closing(sqlite3.connect(place.state / "ledger.db")) as ledger, ledger:
        ledger.execute("update job set faults = 8, due = 0")  # as after a quarter of an hour of this
    daemon = place.start()
    daemon.wait_for("held")
    assert place.dropcap("retry", "--held").returncode == 0
    daemon.wait_for("retrying", outcome="unknown")
    place.box.well()
    place.retry(1)
    daemon.wait_for("done")
    assert [(h.field, h.instance) for h in place.box.holdings()] == [("lab_report", 1)]
    assert len([r for r in place.box.requests if r.action == "import" and r.content == "file"]) == 1
