"""Servers that lie or are ill: no false done, no false failed, and it goes on by itself."""

from __future__ import annotations

import signal

import pytest

from redcap_sandbox import Fault, RowKey
from tests.site import Site, eventually

IMPORT = {"content": "file", "action": "import"}
EXPORT = {"content": "file", "action": "export"}


def imports(place: Site) -> int:
    """How many times the sandbox was asked to import a file."""
    return len([r for r in place.box.requests if (r.content, r.action) == ("file", "import")])


@pytest.mark.parametrize(
    ("fault", "sent"),
    [
        (Fault("empty_200_without_storing", times=1, match=IMPORT), 2),
        (Fault("stored_then_500", times=1, match=IMPORT), 1),
        (Fault("html_200", times=1, match=IMPORT), 2),
        (Fault("reset_after_body", times=1, match=IMPORT, stored=True), 1),
        (Fault("reset_during_body", times=1, match=IMPORT), 2),
        (Fault("truncated_head", times=1, match=IMPORT), 1),
        (Fault("maintenance", times=1, match=IMPORT), 2),
        (Fault("rate_429", times=1, match=IMPORT, retry_after=1), 2),
    ],
    ids=lambda value: value.kind if isinstance(value, Fault) else str(value),
)
def test_one_lie_about_an_import_neither_loses_nor_doubles(place: Site, fault: Fault, sent: int) -> None:
    place.box.ill(fault)
    daemon = place.start()
    place.put("101_V1_consent.pdf", b"the consent")
    place.put("101_V1_lab_1.pdf", b"the sample")
    daemon.wait_for("done", 2, patience=40)
    assert place.box.content("101", "consent_pdf", "baseline_arm_1") == b"the consent"
    assert [(h.field, h.instance) for h in place.box.holdings() if h.field == "lab_report"] == [("lab_report", 1)]
    assert place.failed() == []
    assert imports(place) <= sent + 1
    assert not daemon.events("failed")
    assert not daemon.events("internal_error")


@pytest.mark.parametrize("kind", ["html_200", "maintenance", "truncated_body"])
def test_a_page_is_never_taken_for_the_old_file(place: Site, kind: str) -> None:
    place.put("101_V1_consent.pdf", b"the old one")
    assert place.once().returncode == 0
    place.box.ill(Fault(kind, times=1, match=EXPORT))
    place.put("101_V1_consent.pdf", b"the new one")
    daemon = place.start()
    daemon.wait_for("done", 1, patience=40)
    kept = place.copies()
    assert [(place.kept / name).read_bytes() for name in kept] == [b"the old one"]
    assert place.box.content("101", "consent_pdf", "baseline_arm_1") == b"the new one"


def test_what_redcap_gives_out_must_be_what_was_sent(place: Site) -> None:
    place.box.ill(Fault("wrong_content", times=1, match=EXPORT, skip=1))
    daemon = place.start()
    place.put("101_V1_consent.pdf", b"the consent")
    daemon.wait_for("retrying", reason="not_confirmed")
    assert place.done() == []
    daemon.wait_for("done", patience=40)


def test_a_token_that_is_refused_pauses_the_project_and_a_new_one_is_taken_up(place: Site) -> None:
    right = place.token_file.read_text()
    place.token_file.write_text("F" * 32)
    daemon = place.start()
    place.put("101_V1_consent.pdf", b"the consent")
    daemon.wait_for("paused", scope="project", reason="token")
    assert place.failed() == []
    assert place.done() == []
    place.token_file.write_text(right)
    daemon.wait_for("done", patience=30)
    assert place.failed() == []


def test_a_ban_stops_the_server_until_somebody_resumes_it(place: Site) -> None:
    place.box.rate_limit = 3
    daemon = place.start()
    for record in (101, 102, 103, 104):
        place.put(f"{record}_V1_consent.pdf", b"the consent")
    daemon.wait_for("paused", scope="server", reason="banned")
    asked = len(place.box.requests)
    place.put("105_V1_consent.pdf", b"one more")
    daemon.wait_for("claimed", file="105_V1_consent.pdf")
    status = place.dropcap("status")
    assert "banned" in status.stdout
    assert len(place.box.requests) == asked, "not one request while banned"
    place.box.rate_limit = 0
    place.box.unban()
    host = place.box.url.split("/")[2]
    assert place.dropcap("resume", "--server", host).returncode == 0
    daemon.wait_for("done", 5, patience=30)
    assert place.failed() == []


def test_a_server_that_is_down_costs_a_few_lines_and_is_taken_up_when_it_is_back(place: Site) -> None:
    place.box.maintenance = 503
    daemon = place.start()
    for record in range(101, 121):
        place.put(f"{record}_V1_consent.pdf", str(record).encode())
    daemon.wait_for("claimed", 20)
    daemon.wait_for("paused", scope="server")
    place.box.maintenance = 0
    daemon.wait_for("done", 20, patience=40)
    assert len(daemon.events("retrying")) < 20
    assert place.failed() == []


def test_a_poison_file_stops_only_itself(place: Site) -> None:
    place.box.ill(Fault("status", code=500, match={**IMPORT, "record": "101"}))
    daemon = place.start()
    place.put("101_V1_consent.pdf", b"poison")
    daemon.wait_for("retrying", file="101_V1_consent.pdf")
    for record in range(102, 112):
        place.put(f"{record}_V1_consent.pdf", b"fine")
    daemon.wait_for("done", 10, patience=30)
    assert "in_progress/101_V1_consent.pdf" in place.everywhere()
    assert place.failed() == []
    place.box.well()
    daemon.wait_for("done", 11, patience=60)


@pytest.mark.parametrize(
    "fault",
    [
        Fault("status", code=403, body="<html><body>Request blocked</body></html>", match={**IMPORT, "record": "101"}),
        Fault("redirect", match={**IMPORT, "record": "101"}),
        Fault("maintenance", match={**EXPORT, "record": "101"}),
        Fault("reset_before_body", match={**EXPORT, "record": "101"}),
    ],
    ids=["a firewall's page", "a redirect", "a maintenance page", "a lost connection"],
)
def test_what_only_one_file_meets_is_no_trouble_of_the_server(place: Site, fault: Fault) -> None:
    place.put("101_V1_consent.pdf", b"the old one")
    assert place.once().returncode == 0
    place.box.ill(fault)
    daemon = place.start()
    place.put("101_V1_consent.pdf", b"poison")
    (later, *_) = eventually(lambda: [line for line in daemon.events("retrying") if line["in_seconds"] > 1])
    assert later["file"] == "101_V1_consent.pdf", "it waits, longer each time"
    assert len(daemon.events("resumed", scope="server")) <= 4
    place.put("102_V1_consent.pdf", b"fine")
    daemon.wait_for("done", file="102_V1_consent.pdf")
    assert not daemon.events("failed")


@pytest.mark.parametrize("content", ["record", "metadata", "event"])
def test_one_answer_of_nothing_at_all_fails_no_file(place: Site, content: str) -> None:
    place.box.ill(Fault("status", times=1, code=200, body="[]", content_type="application/json", match={"content": content}))
    place.put("101_V1_consent.pdf", b"the consent")
    place.put("102_V1_consent.pdf", b"the other consent")
    assert place.once().returncode == 0
    assert place.done() == ["101_V1_consent.pdf", "102_V1_consent.pdf"]


@pytest.mark.parametrize("refused", [1, 2], ids=["all together", "one rule"])
def test_a_question_that_is_refused_for_one_rule_stops_no_other(place: Site, refused: int) -> None:
    odd = Fault("status", times=refused, code=400, body='{"error": "something odd"}', match={"content": "record"})
    place.box.ill(odd)
    place.put("101_V1_consent.pdf", b"the consent")
    place.put("102_V1_lab_1.pdf", b"the sample")
    place.put("103_V1_scan.tif", b"the scan")
    daemon = place.start()
    daemon.wait_for("done", 3)
    assert not daemon.events("paused")
    assert {line["scope"] for line in daemon.events("retrying")} <= {"file"}


def test_a_field_that_is_taken_away_holds_its_own_files_at_once(place: Site) -> None:
    daemon = place.start()
    place.put("101_V1_scan.tif", b"the scan")
    place.put("101_V1_consent.pdf", b"the consent")
    daemon.wait_for("done", 2)
    del place.box.project.fields["scan"]
    place.put("102_V1_scan.tif", b"another scan")
    daemon.wait_for("held", file="102_V1_scan.tif", reason="no_field")
    place.put("102_V1_consent.pdf", b"another consent")
    daemon.wait_for("done", file="102_V1_consent.pdf")
    assert not daemon.events("paused")


def test_a_missing_right_to_export_is_told_and_never_silently_weaker(place: Site) -> None:
    from redcap_sandbox import Rights

    place.box.grant(place.box.token, Rights(username="importer", api_import=True, api_export=False))
    daemon = place.start()
    place.put("101_V1_consent.pdf", b"the consent")
    paused = daemon.wait_for("paused", scope="project")
    assert paused[0]["reason"] in ("rights", "token")
    assert place.done() == []
    assert place.failed() == []


def test_with_import_alone_files_go_if_nothing_else_is_asked_for(place: Site) -> None:
    from redcap_sandbox import Rights

    place.box.grant(place.box.token, Rights(username="importer", api_import=True, api_export=False))
    place.folder.update(existing_file="replace", confirm="none")
    place.folder["rules"] = [place.folder["rules"][0]]
    place.write_config()
    place.put("101_V1_consent.pdf", b"the consent")
    result = place.once()
    assert result.returncode == 0, result.stdout + result.stderr
    assert [(r.content, r.action) for r in place.box.requests] == [("project", ""), ("file", "import")], "asked once what it is"


def test_an_export_that_is_refused_for_no_known_reason_fails_no_file(place: Site) -> None:
    place.put("101_V1_consent.pdf", b"the old one")
    assert place.once().returncode == 0
    place.box.ill(Fault("status", code=400, body='{"error": "something odd"}', times=2, match=EXPORT))
    place.put("101_V1_consent.pdf", b"the new one")
    daemon = place.start()
    daemon.wait_for("done", patience=40)
    assert place.failed() == []
    kept = place.copies()
    assert [(place.kept / name).read_bytes() for name in kept] == [b"the old one"]


def test_a_record_that_was_deleted_while_the_outcome_was_unknown_ends_in_failed(place: Site) -> None:
    place.folder.update(existing_file="replace", confirm="none")
    place.write_config()
    place.box.ill(Fault("reset_after_body", times=1, match=IMPORT, stored=False))
    daemon = place.start()
    place.box.project.store.records.pop("101")
    place.put("101_V1_consent.pdf", b"for nobody")
    daemon.wait_for("retrying")
    daemon.wait_for("failed", reason="no_record", patience=30)
    assert place.failed() == ["101_V1_consent.pdf"]
    assert imports(place) <= 2


@pytest.mark.parametrize("stored", [True, False])
@pytest.mark.parametrize(
    "then",
    [
        [Fault("truncated_body", times=2, match=EXPORT)],
        [Fault("html_200", times=2, match=EXPORT)],
        [Fault("reset_after_body", times=1, match=EXPORT, stored=False), Fault("html_200", times=1, match=EXPORT)],
        [Fault("status", times=1, match=EXPORT, code=500), Fault("reset_after_body", times=1, match=IMPORT, stored=True)],
        [Fault("html_200", times=1, match={"content": "record"}), Fault("truncated_head", times=1, match=EXPORT)],
    ],
    ids=lambda value: "+".join(fault.kind for fault in value),
)
def test_one_lie_after_another_makes_no_second_instance(place: Site, stored: bool, then: list[Fault]) -> None:
    """The import's outcome is unknown, and so are the answers to the questions about it."""
    place.box.ill(Fault("reset_after_body", times=1, match=IMPORT, stored=stored))
    for fault in then:
        place.box.ill(fault)
    daemon = place.start()
    place.put("101_V1_lab_1.pdf", b"the sample")
    daemon.wait_for("done", 1, patience=60)
    held = [(h.instance, place.box.content("101", "lab_report", "baseline_arm_1", h.instance)) for h in place.box.holdings()]
    assert held == [(1, b"the sample")]
    assert not daemon.events("internal_error")


def test_what_somebody_else_put_into_the_chosen_instance_is_kept_even_by_replace(place: Site) -> None:
    place.folder["existing_file"] = "replace"
    place.write_config()
    place.box.ill(Fault("empty_200_without_storing", times=1, match=IMPORT))
    place.box.ill(Fault("status", times=1, code=500, match=EXPORT, skip=1))
    daemon = place.start()
    place.put("101_V1_lab_1.pdf", b"the sample")
    daemon.wait_for("retrying", outcome="unknown")
    place.box.project.store.put_bytes("101", RowKey("baseline_arm_1", "laboratory", 1), "lab_report", "other.pdf", b"theirs")
    daemon.wait_for("done")
    kept = place.copies()
    assert [(place.kept / name).read_bytes() for name in kept] == [b"theirs"]


def test_a_rule_that_goes_away_while_its_files_outcome_is_unknown(place: Site) -> None:
    """REDCap may have the file: it must not pass for failed, and once the rule is back it is read back, not sent again."""
    place.box.ill(Fault("delay", times=1, match=IMPORT, seconds=1.0))
    daemon = place.start()
    place.put("101_V1_lab_1.pdf", b"the sample")
    daemon.wait_for("sending")
    assert place.box.illness.wait()
    daemon.kill()
    assert place.box.wait_for(lambda box: box.holdings())
    rules = place.folder["rules"]
    place.folder["rules"] = [rule for rule in rules if rule["name"] != "lab"]
    place.write_config()
    daemon = place.start()
    (held,) = daemon.wait_for("held")
    assert held["reason"] == "no_rule"
    assert place.names("in_progress") == ["101_V1_lab_1.pdf"]
    place.folder["rules"] = rules
    place.write_config()
    daemon.process.send_signal(signal.SIGHUP)
    daemon.wait_for("reloaded")
    (done,) = daemon.wait_for("done")
    assert (done["result"], done["instance"]) == ("stored", 1)
    assert place.box.wait_for(lambda _: imports(place) == 1)  # counted when its answer has gone out
