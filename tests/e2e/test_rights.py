"""Tokens that may not do everything: what works does, and nothing is done more weakly than the rule says."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from redcap_sandbox import Fault, Rights, Sandbox, demo_project
from tests.cli.command import dropcap
from tests.site import TOKEN, Site, eventually, site

NO_DESIGN = json.dumps({"error": "You do not have Project Design privileges"})


@pytest.fixture
def grouped(tmp_path: Path) -> Iterator[Site]:
    """A project with two data access groups: 101 is in `north`, 102 in `south`, 103 in none."""
    project = demo_project()
    project.dags = ("north", "south")
    project.store.dags.update({"101": "north", "102": "south"})
    with Sandbox(project, TOKEN) as box, site(tmp_path, box) as made:
        made.folder["rules"] = [
            {
                "name": "by site",
                "pattern": "{record:digits}_{site}_consent.pdf",
                "event": "baseline_arm_1",
                "field": "consent_pdf",
                "must_match": {"redcap_data_access_group": "{site}"},
            }
        ]
        made.write_config()
        yield made


def told(place: Site) -> dict[str, str]:
    """What `check` says, by its level and the rule or the project."""
    return {text: text.split()[0] for text in dropcap(place, "check", "--all").stdout.splitlines() if text}


def says(place: Site, level: str, *parts: str) -> bool:
    return any(is_level == level and all(part in text for part in parts) for text, is_level in told(place).items())


def test_a_record_has_to_be_in_the_group_that_the_name_says(grouped: Site) -> None:
    assert says(grouped, "ok", "rule by site: agrees with the project")
    daemon = grouped.start()
    for name in ("101_north_consent.pdf", "102_north_consent.pdf", "103_north_consent.pdf", "101_North_consent.pdf"):
        grouped.put(name, name.encode())
    daemon.wait_for("done", file="101_north_consent.pdf")
    assert {line["reason"] for line in daemon.wait_for("failed", 3)} == {"mismatch"}
    assert [(one.record, one.field) for one in grouped.box.holdings()] == [("101", "consent_pdf")]

    grouped.box.grant(TOKEN, Rights(dag="south"))  # who is in a group is not told any
    assert says(grouped, "error", "rule by site: must_match", "does not tell groups to somebody who is in one (south)")
    assert says(grouped, "error", "rule by site: rights", "tells this token no data access groups")
    assert says(grouped, "warning", "project trial", "the token's user is in the data access group south")
    grouped.put("102_south_consent.pdf", b"of the right group, as it happens")
    (held,) = daemon.wait_for("held")
    assert (held["reason"], "data access group" in held["message"]) == ("rights", True)
    grouped.box.grant(TOKEN, Rights())
    grouped.retry(held["job"])
    daemon.wait_for("done", file="102_south_consent.pdf")


def test_a_project_without_groups_and_a_search_by_group(place: Site) -> None:
    rule = place.folder["rules"][0]
    rule["must_match"] = {"redcap_data_access_group": "north"}
    place.write_config()
    assert says(place, "error", "rule consent: rights", "tells this token no data access groups")
    place.put("101_V1_consent.pdf")
    eventually(lambda: "would be held (rights): REDCap does not tell this token" in dropcap(place, "dry-run").output)
    assert "data access group" in place.once("--wait", "5s").stdout
    assert place.box.holdings() == []
    del rule["must_match"]
    rule.update(pattern="{site}_{visit:visits}_consent.pdf", record_where={"redcap_data_access_group": "{site}"})
    place.write_config()
    assert "finds no single record" in dropcap(place, "check").output


def test_no_record_is_created_that_another_group_may_have(grouped: Site) -> None:
    rule = grouped.folder["rules"][0]
    del rule["must_match"]
    rule["missing_record"] = "create"
    grouped.write_config()
    grouped.box.grant(TOKEN, Rights(dag="north"))
    assert says(grouped, "error", "rule by site: missing_record", "no records are created for somebody in a data access group")
    grouped.put("102_south_consent.pdf")
    grouped.put("900_north_consent.pdf")
    eventually(lambda: dropcap(grouped, "dry-run").output.count("would be held (rights): REDCap shows no record") == 2)
    daemon = grouped.start()
    assert {line["reason"] for line in daemon.wait_for("held", 2)} == {"rights"}
    grouped.put("101_north_consent.pdf")
    daemon.wait_for("done", file="101_north_consent.pdf")
    assert not any((request.content, request.action) == ("record", "import") for request in grouped.box.requests)
    assert "900" not in grouped.box.project.store.records


def test_what_repeats_is_seen_where_the_token_is_not_told(place: Site) -> None:
    """Without Design rights, instance 1 of a form that repeats would be overwritten, one file by the next."""
    place.box.ill(
        Fault("status", None, {"content": "repeatingFormsEvents"}, code=403, body=NO_DESIGN, content_type="application/json")
    )
    del place.folder["rules"][1]["instance"]
    place.write_config()
    assert says(place, "unsure", "rule lab: instance", "does not tell this token's user whether the form lab")
    daemon = place.start()
    place.put("101_V1_lab_1.pdf", b"one")
    daemon.wait_for("done")
    place.put("101_V1_lab_2.pdf", b"two")
    (failed,) = daemon.wait_for("failed")
    assert failed["reason"] == "needs_instance"
    assert place.box.content("101", "lab_report", "baseline_arm_1", 1) == b"one"


def test_an_import_only_token_does_what_needs_no_export_and_nothing_else(place: Site) -> None:
    place.box.grant(TOKEN, Rights(api_export=False))
    place.folder["rules"][0].update(confirm="none", existing_file="replace")
    place.write_config()
    assert says(place, "unsure", "rule consent", "needs no API Export")
    assert says(
        place, "error", "rule scan", "confirm: readback, existing_file need it", "`confirm: none` and `existing_file: replace`"
    )
    assert says(place, "error", "rule lab", "instance: next need it")
    daemon = place.start()
    place.put("102_V1_consent.pdf")
    daemon.wait_for("done", confirmed="none")
    place.put("101_V1_scan.pdf")
    daemon.wait_for("paused", scope="project", reason="rights")
    assert [one.field for one in place.box.holdings()] == ["consent_pdf"]
    place.box.grant(TOKEN, Rights())
    assert dropcap(place, "resume", "--project", "trial").exit_code == 0
    daemon.wait_for("done", 2)
    assert {one.field for one in place.box.holdings()} == {"scan", "consent_pdf"}


def test_a_server_that_answers_an_import_only_token_with_pages(place: Site) -> None:
    """It may be any web server: nothing is sent there before it has answered as REDCap, though the rule needs no export."""
    page = "<html><body>Access was not granted</body></html>"
    asked = ("version", "project", "metadata", "event", "formEventMapping", "repeatingFormsEvents", "user", "record")
    for match in (*({"content": content} for content in asked), {"content": "file", "action": "export"}):
        place.box.ill(Fault("status", None, match, code=200, body=page, content_type="text/html"))
    place.folder["rules"][0].update(confirm="none", existing_file="replace")
    place.write_config()
    assert says(place, "error", "project trial", "Access was not granted", "API Export")
    daemon = place.start()
    place.put("102_V1_consent.pdf")
    (paused,) = daemon.wait_for("paused")
    assert (paused["scope"], paused["reason"]) == ("project", "rights")
    assert "API Export" in paused["remedy"]
    assert place.box.holdings() == []
    place.box.well()
    assert dropcap(place, "resume", "--project", "trial").exit_code == 0
    daemon.wait_for("done")
    assert not daemon.events("paused", scope="server")


@pytest.mark.parametrize(
    ("level", "said"),
    [
        ("0", "has no access to"),
        ("1", ""),
        ("2", "may only read"),
        ("3", ""),
        ("128", "has no access to"),
        ("129", "may only read"),
        ("130", ""),
        ("137", "may only read"),
        ("138", ""),
        ("144", "has no access to"),
        ("145", "may only read"),
        ("154", ""),
    ],
)
def test_a_form_that_the_user_may_not_edit(place: Site, level: str, said: str) -> None:
    """The numbers are those of REDCap up to 15.5, and the sums of bits from 15.6 on."""
    form = place.box.project.fields["scan"].form
    place.box.grant(TOKEN, Rights(forms={form: level}))
    asked = dropcap(place, "check")
    assert (asked.exit_code == 1) == bool(said)
    assert ("NOT READY" in asked.stdout) == bool(said)
    if said:
        assert said in " ".join(asked.stdout.split())
    assert says(place, "ok", "rule consent: agrees with the project")
