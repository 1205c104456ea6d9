"""The token under an entry becomes another project's: nothing goes there unless somebody says so."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from redcap_sandbox import Fault, Rights, Sandbox, demo_project
from tests.e2e.two_projects import TwoProjects
from tests.site import TOKEN, Daemon, Site, eventually, site

IMPORT = {"content": "file", "action": "import"}
EXPORT = {"content": "file", "action": "export"}
OTHERS, COLLEAGUES = "B" * 32, "C" * 32


@pytest.fixture
def other() -> Iterator[Sandbox]:
    """Project 19, with records of the same names as those of 17."""
    project = demo_project()
    project.project_id = 19
    with Sandbox(project, OTHERS) as box:
        yield box


@pytest.fixture
def place(tmp_path: Path, other: Sandbox) -> Iterator[Site]:
    """Project 17, on a server that has 19 as well."""
    project = demo_project()
    project.project_id = 17
    with Sandbox(project, TOKEN) as box, TwoProjects(box, other) as front, site(tmp_path, box) as made:
        made.project.update(url=front.url, requests_per_minute=0)
        made.write_config()
        yield made


def use(place: Site, token: str) -> None:
    beside = place.root / "new-token"
    beside.write_text(token)
    beside.chmod(0o600)
    beside.rename(place.token_file)


def went(place: Site, file: str) -> tuple[str, int | None]:
    """The state of a file's job, and the project that its history names."""
    (told,) = [json.loads(line) for line in place.dropcap("history", file, "--json").stdout.splitlines()]
    return told["state"], told["origin"]["redcap"]["project_id"]


def touched(box: Sandbox) -> list[tuple[str, str]]:
    """What of records and files a project was asked."""
    return [(one.content, one.action) for one in box.requests if one.content in ("file", "record")]


def bytes_of(box: Sandbox, record: str) -> bytes:
    return box.content(record, "consent_pdf", "baseline_arm_1")


def import_only(place: Site, *boxes: Sandbox) -> None:
    """Tokens that are told nothing of their projects, and a rule that needs nothing of them."""
    for box in boxes:
        box.grant(box.token, Rights(api_export=False))
    place.folder.update(existing_file="replace", confirm="none")
    place.write_config()


def reload(place: Site) -> None:
    place.write_config()
    assert place.dropcap("reload").returncode == 0


def mismatched(daemon: Daemon) -> dict[str, Any]:
    paused, *_ = daemon.wait_for("paused", reason="project_mismatch")
    assert (paused["scope"], paused["name"]) == ("project", "trial")
    return paused


@pytest.fixture
def unknown(place: Site) -> Daemon:
    """101 is in project 17, and nobody knows; now the token is that of project 19, and 102 is dropped."""
    place.box.ill(Fault("stored_then_500", times=1, match=IMPORT))
    place.box.ill(Fault("status", match=EXPORT, skip=1, code=500))
    daemon = place.start()
    place.put("101_V1_consent.pdf", b"of 101")
    daemon.wait_for("retrying", outcome="unknown")
    use(place, OTHERS)
    place.box.well()
    place.put("102_V1_consent.pdf", b"of 102")
    place.retry(1)
    return daemon


def test_nothing_goes_to_another_project_and_all_goes_on_with_the_old_token(place: Site, other: Sandbox, unknown: Daemon) -> None:
    paused = mismatched(unknown)
    assert "17" in paused["message"]
    assert "project_id: 19" in paused["remedy"]
    unknown.wait_for("claimed", file="102_V1_consent.pdf")
    assert touched(other) == []
    use(place, TOKEN)
    unknown.wait_for("done", 2, patience=90)  # a minute later, if 102 met the wrong token after the right one was seen
    assert (bytes_of(place.box, "101"), bytes_of(place.box, "102")) == (b"of 101", b"of 102")
    assert [one.action for one in place.box.requests if one.content == "file"].count("import") == 2
    assert went(place, "101_V1_consent.pdf") == went(place, "102_V1_consent.pdf") == ("done", 17)
    assert touched(other) == []


def test_project_id_means_the_new_project_and_what_may_be_in_the_old_one_waits_for_a_person(
    place: Site, other: Sandbox, unknown: Daemon
) -> None:
    mismatched(unknown)
    place.project["project_id"] = 19
    reload(place)
    unknown.wait_for("done", file="102_V1_consent.pdf")
    held, *_ = unknown.wait_for("held", reason="project_mismatch")
    assert held["file"] == "101_V1_consent.pdf"
    assert "17" in held["message"]
    assert "retry" in held["remedy"]
    place.folder["contact"] = place.config["contact"] = "somebody else"
    del place.folder["contact"]
    reload(place)
    assert unknown.stop() == 0
    daemon = place.start()
    place.put("103_V1_consent.pdf", b"of 103")
    daemon.wait_for("done", file="103_V1_consent.pdf")
    assert [one.record for one in other.holdings()] == ["102", "103"]
    assert went(place, "101_V1_consent.pdf") == ("held", 17)
    assert went(place, "102_V1_consent.pdf") == ("done", 19)
    assert place.dropcap("retry", "--held").returncode == 0
    daemon.wait_for("done", file="101_V1_consent.pdf")
    assert (bytes_of(place.box, "101"), bytes_of(other, "101")) == (b"of 101", b"of 101")
    assert went(place, "101_V1_consent.pdf") == ("done", 19)


def test_the_old_project_may_be_meant_again(place: Site, other: Sandbox, unknown: Daemon) -> None:
    mismatched(unknown)
    place.project["project_id"] = 19
    reload(place)
    unknown.wait_for("held", file="101_V1_consent.pdf", reason="project_mismatch")
    unknown.wait_for("done", file="102_V1_consent.pdf")
    use(place, TOKEN)
    place.project["project_id"] = 17
    reload(place)
    unknown.wait_for("done", file="101_V1_consent.pdf")
    assert [one.record for one in other.holdings()] == ["102"]
    assert went(place, "101_V1_consent.pdf") == ("done", 17)


def test_a_held_file_that_may_be_in_the_old_project_is_not_read_back_in_the_new_one(place: Site, other: Sandbox) -> None:
    """It was held for something else, and the reload gives held files their addresses anew."""
    place.box.ill(Fault("stored_then_500", times=1, match=IMPORT))
    place.box.ill(Fault("status", match=EXPORT, skip=1, code=500))
    daemon = place.start()
    path = place.put("101_V1_consent.pdf", b"of 101")
    daemon.wait_for("retrying", outcome="unknown")
    os.truncate(place.drop / "in_progress" / path.name, 1)
    place.retry(1)
    daemon.wait_for("held", reason="came_back_short")
    (place.drop / "in_progress" / path.name).write_bytes(b"of 101")
    use(place, OTHERS)
    place.project["project_id"] = 19
    reload(place)
    daemon.wait_for("held", reason="project_mismatch")
    assert touched(other) == []


@pytest.mark.parametrize("way", ["token_file", "token_env"])
def test_a_token_that_was_changed_while_dropcap_was_stopped(place: Site, other: Sandbox, way: str) -> None:
    if way == "token_env":
        del place.project["token_file"]
        place.project["token_env"] = "TRIAL_TOKEN"
        place.write_config()
    place.put("101_V1_consent.pdf", b"of 101")
    assert place.dropcap("run", "--once", TRIAL_TOKEN=TOKEN).returncode == 0
    use(place, OTHERS)
    place.put("102_V1_consent.pdf", b"of 102")
    daemon = place.start(TRIAL_TOKEN=OTHERS)
    mismatched(daemon)
    daemon.wait_for("claimed")
    assert daemon.stop() == 0
    assert touched(other) == []


def test_another_users_token_of_the_same_project_goes_on(place: Site) -> None:
    daemon = place.start()
    place.put("101_V1_consent.pdf", b"of 101")
    daemon.wait_for("done")
    place.box.grant(COLLEAGUES, Rights(username="colleague"))
    place.box.revoke(TOKEN)
    use(place, COLLEAGUES)
    place.put("102_V1_consent.pdf", b"of 102")
    daemon.wait_for("done", 2)
    assert daemon.events("paused") == []
    assert went(place, "102_V1_consent.pdf") == ("done", 17)
    redcap = [json.loads(line) for line in place.dropcap("history", "102_V1_consent.pdf", "--json").stdout.splitlines()]
    assert redcap[0]["origin"]["redcap"]["user"] in (None, "colleague")


def test_a_token_that_is_not_of_the_configured_project_is_seen_at_the_next_file(place: Site, other: Sandbox) -> None:
    place.project["project_id"] = 17
    place.folder.update(existing_file="replace", confirm="none")
    place.write_config()
    daemon = place.start()
    place.put("101_V1_consent.pdf", b"of 101")
    daemon.wait_for("done")
    use(place, OTHERS)
    place.put("102_V1_consent.pdf", b"of 102")
    assert "correct project_id" in mismatched(daemon)["remedy"]
    assert touched(other) == []


def test_a_token_that_changes_while_its_file_is_being_sent(place: Site, other: Sandbox) -> None:
    place.box.ill(Fault("delay", times=1, match=IMPORT, seconds=1.0))
    daemon = place.start()
    place.put("101_V1_consent.pdf", b"of 101")
    assert place.box.illness.wait()
    use(place, OTHERS)
    mismatched(daemon)
    assert touched(other) == []
    use(place, TOKEN)
    daemon.wait_for("done")
    assert [one.action for one in place.box.requests if one.content == "file"].count("import") == 1
    assert went(place, "101_V1_consent.pdf") == ("done", 17)


def test_a_token_that_changes_between_two_questions_about_the_project(place: Site, other: Sandbox) -> None:
    """17 as the project and the fields of 19 would refuse the file for want of its field."""
    place.box.ill(Fault("delay", times=1, match={"content": "project"}, seconds=1.0))
    other.project.fields = {name: one for name, one in other.project.fields.items() if name != "consent_pdf"}
    place.put("101_V1_consent.pdf", b"of 101")
    daemon = place.start()
    assert place.box.illness.wait()
    use(place, OTHERS)
    mismatched(daemon)
    use(place, TOKEN)
    daemon.wait_for("done")
    assert place.failed() == []
    assert [one.content for one in other.requests if one.content not in ("project", "version")] == []


def test_a_project_that_redcap_does_not_name_holds_what_waits(place: Site, other: Sandbox) -> None:
    import_only(place, other)
    daemon = place.start()
    place.put("101_V1_consent.pdf", b"of 101")
    daemon.wait_for("done")
    use(place, OTHERS)
    place.put("102_V1_consent.pdf", b"of 102")
    assert "project_id" in mismatched(daemon)["remedy"]
    assert touched(other) == []
    place.project["project_id"] = 19
    reload(place)
    daemon.wait_for("done", file="102_V1_consent.pdf")
    assert bytes_of(other, "102") == b"of 102"
    assert went(place, "102_V1_consent.pdf") == ("done", 19)


@pytest.mark.parametrize("stopped", [False, True])
def test_two_tokens_of_which_redcap_names_no_project(place: Site, other: Sandbox, stopped: bool) -> None:
    import_only(place, place.box, other)
    daemon = place.start()
    place.put("101_V1_consent.pdf", b"of 101")
    daemon.wait_for("done")
    if stopped:
        assert daemon.stop() == 0
        daemon = place.start()
        place.put("102_V1_consent.pdf", b"of 102")
        daemon.wait_for("done")
        assert daemon.stop() == 0
    use(place, OTHERS)
    daemon = place.start() if stopped else daemon
    place.put("103_V1_consent.pdf", b"of 103")
    mismatched(daemon)
    assert touched(other) == []
    use(place, TOKEN)
    daemon.wait_for("done", file="103_V1_consent.pdf")


def test_a_file_that_was_taken_away_is_not_looked_for_in_another_project(place: Site, other: Sandbox, unknown: Daemon) -> None:
    mismatched(unknown)
    there = place.drop / "in_progress" / "101_V1_consent.pdf"
    there.rename(place.root / "aside")
    unknown.wait_for("withdrawn")
    (place.root / "aside").rename(place.drop / "104_V1_consent.pdf")
    unknown.wait_for("claimed", file="104_V1_consent.pdf")
    place.project["project_id"] = 19
    reload(place)
    (told,) = unknown.wait_for("read_back")
    assert told["found"] == "unknown"
    assert "17" in told["message"]
    unknown.wait_for("done", file="104_V1_consent.pdf")
    assert "101" not in {one.record for one in other.requests}


def test_check_tells_that_the_token_is_another_projects(place: Site) -> None:
    place.put("101_V1_consent.pdf")
    assert place.once().returncode == 0
    use(place, OTHERS)
    told = place.dropcap("check")
    assert told.returncode == 1
    assert "project_id: 19" in told.stdout


def test_an_entry_that_says_another_name_goes_to_the_new_project(place: Site, other: Sandbox, unknown: Daemon) -> None:
    mismatched(unknown)
    eventually(lambda: len(place.jobs()) == 2)
    place.config["projects"]["second"] = place.config["projects"].pop("trial")
    place.folder["project"] = "second"
    reload(place)
    unknown.wait_for("done", file="102_V1_consent.pdf")
    unknown.wait_for("held", file="101_V1_consent.pdf")
    assert [one.record for one in other.holdings()] == ["102"]
    assert went(place, "102_V1_consent.pdf") == ("done", 19)


def test_what_was_sent_before_is_read_back_where_it_was_sent_though_the_rules_have_changed(place: Site) -> None:
    """Neither the wrong token nor a retry or a reload makes it a file that was never sent."""
    daemon = place.start()
    place.put("101_V1_consent.pdf", b"of 101")
    daemon.wait_for("done")
    place.box.ill(Fault("reset_after_body", times=1, match=IMPORT))
    place.put("102_V1_consent.pdf", b"of 102")
    daemon.wait_for("retrying", outcome="unknown", reason="unreachable")
    use(place, OTHERS)
    daemon.wait_for("retrying", outcome="unknown", reason="project_mismatch")
    assert place.dropcap("retry", "2").returncode == 0
    place.config["tables"]["visits"]["V1"] = "month_6_arm_1"
    place.write_config()
    assert place.dropcap("reload").returncode == 0
    use(place, TOKEN)
    daemon.wait_for("done", 2, patience=60)
    assert [(held.record, held.event) for held in place.box.holdings()] == [("101", "baseline_arm_1"), ("102", "baseline_arm_1")]
