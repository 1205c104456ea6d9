"""`dropcap check`, from outside: what it says, where it points, its exit code, and that it leaves nothing behind."""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from dropcap.config.model import Project
from dropcap.config.secrets import TokenSource
from dropcap.ledger.job import Address, Change, NewFile, State
from dropcap.ledger.query import Query
from dropcap.ledger.store import Ledger
from dropcap.preflight.project import limit_remark
from dropcap.reasons import Reason
from redcap_sandbox import Fault, Rights, Sandbox, classic_project
from tests import needs
from tests.cli.command import dropcap
from tests.site import DROPCAP, TOKEN, Site, site


def check(place: Site, *words: str, code: int) -> list[str]:
    """Run it; the lines it says, one for each finding."""
    if code != 1:
        needs.mount_table(place.root)  # that it is not told is a fault, too
    result = dropcap(place, "check", "--all", *words)
    assert result.exit_code == code, result.output
    assert place.box.token not in result.stdout + result.stderr
    return result.stdout.splitlines()


def line(lines: list[str], *parts: str) -> str:
    """The one line that has all these parts."""
    found = [text for text in lines if all(part in text for part in parts)]
    assert len(found) == 1, "\n".join(lines)
    return found[0]


def line_of(place: Site, text: str) -> int:
    """The number of the first line of the configuration that has this text."""
    return next(n for n, one in enumerate(place.config_file.read_text().splitlines(), 1) if text in one)


def test_all_is_well_and_nothing_is_left_behind(place: Site) -> None:
    place.put("101_V1_consent.pdf")
    lines = check(place, code=0)
    assert all(text.startswith("ok ") for text in lines[:-2])
    assert lines[-1] == f"READY  {len(lines) - 2} ok"
    line(lines, "project 42 (Demo trial)", "14.5.5", "2 events")
    for rule in ("consent", "lab", "scan"):
        line(lines, f"rule {rule}: agrees with the project")
    assert place.everywhere() == ["101_V1_consent.pdf"]
    assert sorted(path.name for path in place.drop.iterdir()) == ["101_V1_consent.pdf"], "no marker, no file of a try"
    assert not place.state.exists(), "it would belong to whoever checks"
    assert not any(request.action == "import" for request in place.box.requests)


def test_offline_asks_no_server(place: Site) -> None:
    check(place, "--offline", code=0)
    assert place.box.requests == []


def test_a_near_miss_is_told_with_its_line(place: Site) -> None:
    place.folder["rules"][2]["field"] = "scann"
    place.write_config()
    text = line(check(place, code=1), "error", "scann")
    assert "did you mean scan?" in text
    assert f"config.yaml:{line_of(place, 'name: scan')}: folder consents, rule scan: field:" in text


def test_rules_that_export_nothing_are_not_refused_for_want_of_the_right(place: Site) -> None:
    place.box.tokens[place.box.token] = Rights(api_export=False)
    del place.folder["rules"][1]  # `instance: next` looks records up
    place.folder.update(confirm="none", existing_file="replace")
    place.write_config()
    line(check(place, code=0), "unsure", "cannot be compared")


@pytest.fixture
def classic(tmp_path: Path) -> Iterator[Site]:
    with Sandbox(classic_project(), token=TOKEN) as box, site(tmp_path, box) as made:
        yield made


def test_a_classic_project_has_no_events(classic: Site) -> None:
    lines = check(classic, code=1)
    line(lines, "error", "rule consent: event:", "the project has no events")
    classic.folder["rules"] = [{"name": "consent", "pattern": "{record:digits}_consent.pdf", "field": "consent_pdf"}]
    classic.write_config()
    line(check(classic, code=0), "rule consent: agrees with the project")


def test_a_token_that_redcap_does_not_know(place: Site) -> None:
    place.token_file.write_text("F" * 32)
    line(check(place, code=1), "error", "project trial")


def test_a_page_where_the_api_should_be(place: Site) -> None:
    place.box.ill(Fault("html_200"))
    line(check(place, code=1), "error", "project trial", "correct the project's `url`")
    place.box.well()
    place.project["url"] = place.box.url.replace("/api/", "/elsewhere/api/")
    place.write_config()
    line(check(place, code=1), "error", "404", "correct the project's `url`")


def test_a_server_that_is_down_or_under_maintenance_is_exit_code_3(place: Site) -> None:
    place.box.maintenance = 503
    line(check(place, code=3), "error", "project trial")
    place.box.stop()
    line(check(place, code=3), "error", "project trial")
    place.folder["min_free"] = "1000TiB"
    place.write_config()
    line(check(place, code=1), "error", "nothing is taken")  # something to correct comes first


def test_a_token_that_others_can_read(place: Site) -> None:
    place.token_file.chmod(0o644)
    line(check(place, "--offline", code=1), "error", "mode 0644", "chmod 0600")


def test_all_problems_of_the_configuration_at_once(place: Site) -> None:
    place.folder["settle_quite"] = "1s"
    place.folder["rules"][0]["pattern"] = "{record"
    place.config["folders"]["other"] = {"path": str(place.root / "other"), "project": "trail", "rules": []}
    (place.root / "good").mkdir()
    place.config["folders"]["good"] = {
        **place.folder, "path": str(place.root / "good"), "rules": place.folder["rules"][1:]
    }  # fmt: skip
    del place.config["folders"]["good"]["settle_quite"]
    place.write_config()
    lines = check(place, "--offline", code=1)
    line(lines, "error", "settle_quite", "did you mean `settle_quiet`?")
    line(lines, "error", "never closed")
    line(lines, "error", "did you mean `trial`?")
    line(lines, "ok", "folder good", "is new")


def test_a_configuration_that_cannot_be_used_is_exit_code_2(place: Site) -> None:
    place.config_file.write_text("folders: [\n")
    check(place, code=2)
    place.config_file.unlink()
    check(place, code=2)


def test_what_is_wrong_with_folders(place: Site) -> None:
    for name in ("link", "missing", "file", "blocked"):
        place.config["folders"][name] = {**place.folder, "path": str(place.root / name)}
    (place.root / "link").symlink_to(place.drop)
    (place.root / "file").write_text("")
    (place.root / "blocked").mkdir()
    (place.root / "blocked" / "failed").write_text("")
    place.config["folders"]["blocked"].update(group="no_such_group", min_free="1000TiB")
    place.write_config()
    lines = check(place, "--offline", code=1)
    line(lines, "error", "folder link: path:", "is a link, or not a directory")
    line(lines, "error", "folder file: path:", "is a link, or not a directory")
    line(lines, "error", "folder missing: path:", "does not exist")
    line(lines, "error", "folder blocked: failed in it is not a directory")
    line(lines, "error", "folder blocked: group:", "no_such_group")
    line(lines, "error", "folder blocked:", "min_free")
    line(lines, "ok", "folder consents: the folder is new")


def test_a_folder_of_another_installation_is_told_and_adopted_on_request(place: Site) -> None:
    assert place.once().returncode == 0
    marker = place.drop / ".dropcap"
    ours = json.loads(marker.read_text())
    marker.write_text(json.dumps({**ours, "installation": "another"}))
    line(check(place, "--offline", code=1), "error", "names another installation", "--adopt")
    assert json.loads(marker.read_text())["installation"] == "another", "looking changes nothing"
    line(check(place, "--offline", "--adopt", code=0), "ok", "adopted")
    assert json.loads(marker.read_text())["installation"] == ours["installation"]
    line(check(place, "--offline", code=0), "the folder is ours")
    place.put("101_V1_consent.pdf")
    assert place.once().returncode == 0
    assert place.done() == ["101_V1_consent.pdf"]


def test_a_lost_marker_is_told_and_a_running_daemon_takes_the_adopted_folder_up(place: Site) -> None:
    assert place.once().returncode == 0
    (place.drop / ".dropcap").unlink()
    daemon = place.start()
    daemon.wait_for("folder_away")
    line(check(place, "--offline", code=1), "error", "is gone")
    os.utime(place.drop / "_STATUS.html", (0, 0))  # else it would be watched for a living owner
    line(check(place, "--offline", "--adopt", code=0), "ok", "adopted")
    place.put("101_V1_consent.pdf")
    daemon.wait_for("folder_watched")
    daemon.wait_for("done")


def test_adopting_releases_what_is_held_but_for_what_a_person_alone_decides(place: Site) -> None:
    place.put("102_V1_consent.pdf")
    place.once()
    jobs = {}
    with contextlib.closing(Ledger(place.state / "ledger.db")) as ledger:
        for reason in (Reason.RIGHTS, Reason.NEWER_WENT, Reason.TOO_MANY_MISMATCHES):
            name = f"101_V1_scan-{reason}.pdf"
            path = place.put(f"in_progress/{name}", reason.encode())
            seen = path.stat()
            file = NewFile(name, seen.st_size, seen.st_mtime_ns, seen.st_ino)
            address = Address("trial", "scan", "101", "baseline_arm_1", "scan", None, reason)
            (jobs[reason],) = ledger.claim("consents", [file], lambda _, at=address: at)
            ledger.change([Change(jobs[reason], State.HELD, "", {"reason": reason, "message": "m", "remedy": "r"})])
        ledger.mismatched("consents", "101", 86400.0)
    (place.drop / ".dropcap").unlink()
    a_while_ago = time.time() - 100.0
    (place.drop / "_STATUS.html").touch()  # a run that is over at once may have written none
    os.utime(place.drop / "_STATUS.html", (a_while_ago, a_while_ago))
    daemon = place.start()
    daemon.wait_for("folder_away")
    line(check(place, "--offline", "--adopt", code=0), "ok", "adopted")
    assert daemon.wait_for("done")[0]["job"] == jobs[Reason.RIGHTS]
    held = {job.id: job.reason for job in place.jobs() if job.state is State.HELD}
    assert held == {jobs[reason]: reason for reason in (Reason.NEWER_WENT, Reason.TOO_MANY_MISMATCHES)}
    with contextlib.closing(Query(place.state / "ledger.db")) as query:
        assert query.mismatches("consents", "101", time.time(), 86400.0) == 1


def test_a_folder_that_is_well_is_not_adopted_anew(place: Site) -> None:
    assert place.once().returncode == 0
    before = (place.drop / ".dropcap").read_bytes()
    assert not any("adopted" in text for text in check(place, "--offline", "--adopt", code=0))
    assert (place.drop / ".dropcap").read_bytes() == before


def test_certificates_that_cannot_be_used(place: Site) -> None:
    place.project["ca_file"] = str(place.root / "authority.pem")
    place.write_config()
    line(check(place, "--offline", code=1), "error", "there is no", "authority.pem")
    (place.root / "authority.pem").write_text("no certificate")
    line(check(place, "--offline", code=1), "error", "authority.pem cannot be used")


def test_what_a_file_costs_and_how_many_a_day_the_limit_allows(place: Site) -> None:
    place.project["requests_per_minute"] = 100
    place.folder["rules"][0].update(confirm="none", existing_file="replace")
    place.write_config()
    assert not any("request a file" in text for text in check(place, code=0)), "on request only"
    lines = check(place, "--costs", code=0)
    text = line(lines, "  consents/consent: 1 request a file; in REDCap's log 1 entry a file")
    assert "at 100 requests a minute at most 98 files a minute, 141,639 a day" in text  # 100 * 60 / 61
    text = line(lines, "  consents/scan: 3 requests a file, 1 for up to 100 files")
    assert "at most 32 files a minute, 47,056 a day" in text  # 100 * 60 / 61 / 3.01
    line(lines, "ok", "project trial: at most 100 requests in any minute go to 127.0.0.1")


@pytest.mark.parametrize(
    ("limit", "level", "remedy"),
    [
        (0, "warning", "set requests_per_minute, or ask its administrator for an exception for this address"),
        (241, "warning", "ask its administrator for an exception for this address, or take 240"),
        (240, "ok", "before you raise requests_per_minute, ask its administrator for an exception for this address"),
    ],
)
def test_what_the_limit_leaves_to_others(limit: int, level: str, remedy: str) -> None:
    project = Project("trial", "https://redcap.example.org/api/", TokenSource("env", "X"), requests_per_minute=limit)
    remark = limit_remark(project, limit)
    assert (remark.level, remark.remedy) == (level, remedy)
    assert "bans the address for good" in remark.message
    assert "redcap.example.org:443" in remark.message


def test_a_window_that_root_makes_belongs_to_the_owner_of_the_state_directory(place: Site) -> None:
    needs.root("to give files away")
    place.project["requests_per_minute"] = 400
    place.write_config()
    assert place.once().returncode == 0
    for path in (place.state, *place.state.rglob("*")):
        os.chown(path, 65534, 65534)
    for window in (place.state / "windows").iterdir():
        window.unlink()
    line(check(place, code=0), "warning", "this check runs as root")
    assert [window.stat().st_uid for window in (place.state / "windows").iterdir()] == [65534]


def test_what_is_well_is_a_line_each_part_and_what_is_not_comes_last(place: Site) -> None:
    place.folder["rules"][2]["field"] = "scann"
    place.folder["ignore"] = []
    place.config["folders"]["gone"] = {**place.folder, "path": str(place.root / "gone"), "rules": place.folder["rules"][:1]}
    place.write_config()
    result = dropcap(place, "check")
    assert result.exit_code == 1
    levels = [text.split()[0] for text in result.stdout.splitlines() if text]
    assert levels == ["ok"] * 5 + ["error", "error", "NOT"]
    parts = {text[9:24].strip(): text[24:] for text in result.stdout.splitlines() if text.startswith("ok ")}
    assert list(parts) == ["Configuration", "This machine", "Folders", "Projects", "Rules"]
    assert (parts["Folders"], parts["Rules"]) == ("consents", "consents/consent, consents/lab, gone/consent")
    assert result.stdout.splitlines()[-1].startswith("NOT READY  2 errors, ")
    place.box.maintenance = 503
    away = dropcap(place, "check").stdout
    assert (
        "skipped  Rules          consents/consent, consents/lab, consents/scan, gone/consent: their project could not be asked"
        in away
    )
    assert "skipped  Rules" in dropcap(place, "check", "--offline").stdout


def test_json(place: Site) -> None:
    place.folder["rules"][2]["field"] = "scann"
    place.write_config()
    result = dropcap(place, "check", "--json", "--costs")
    told = json.loads(result.stdout)
    assert (result.exit_code, told["exit_code"], told["ok"]) == (1, 1, False)
    (error,) = [one for one in told["findings"] if one["level"] == "error"]
    assert (error["part"], error["name"], error["rule"], error["passes"]) == ("rule", "consents", "scan", False)
    assert "did you mean scan?" in error["message"] + error["remedy"]
    assert [one["rule"] for one in told["costs"]] == ["consents/consent", "consents/lab", "consents/scan"]
    assert told["verdict"].startswith("NOT READY: 1 error")
    place.config_file.write_text("folders: [\n")
    broken = dropcap(place, "check", "--json")
    assert (broken.exit_code, json.loads(broken.stdout)["exit_code"]) == (2, 2)


def test_a_rule_whose_trouble_is_told_at_another_is_neither_well_nor_skipped(place: Site) -> None:
    place.box.tokens[place.box.token] = Rights(api_import=False)
    result = dropcap(place, "check")
    assert "and of 2 more rules: consents/lab, consents/scan" in result.stdout
    assert "skipped" not in result.stdout
    assert "Rules" not in result.stdout
    (error,) = [one for one in json.loads(dropcap(place, "check", "--json").stdout)["findings"] if one["level"] == "error"]
    assert error["also"] == ["consents/lab", "consents/scan"]


def test_what_goes_on_in_spite_of_an_error(place: Site) -> None:
    place.folder["rules"][2]["field"] = "scann"
    place.write_config()
    shell = f"stty cols 80; {shlex.join([*DROPCAP, 'check'])}"
    run = [needs.terminal(), "-qec", shell, "/dev/null"]
    said = subprocess.run(run, env=place.env(TERM="dumb"), capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=60)
    lines = said.stdout.replace("\r", "").splitlines()
    assert lines[-1] == "           dropcap goes on with everything but rule consents/scan."
    assert lines[-2].startswith("NOT READY  1 error, ")
    at = line_of(place, "name: scan")
    assert f"error    Rule           consents/scan: field, config.yaml:{at}" in lines
    assert "         Did you mean scan?" in lines, "in a block of its own"


# `dropcap check` on patterns that may be read in several ways


def test_captures_that_touch_are_a_warning(place: Site) -> None:
    needs.mount_table(place.root)
    place.folder["rules"] = [{"name": "tight", "pattern": "{record:digits}{visit:digits}.pdf", "field": "scan"}]
    place.write_config()
    result = place.dropcap("check", "--offline")
    assert result.returncode == 0, result.stdout
    assert "rule tight: pattern: nothing tells where {record} ends and {visit} begins" in result.stdout
    assert "1 warning" in result.stdout


# What lies in each other only by way of links: in state_dir the configuration sees it, in folders `check` does


def test_a_state_dir_that_leads_into_the_drop_folder(place: Site) -> None:
    (place.root / "link").symlink_to(place.drop)
    place.config["state_dir"] = str(place.root / "link" / "state")
    place.write_config()
    content = place.put("101_V1_consent.pdf")
    result = place.once("--wait", "0")
    assert result.returncode != 0
    assert "overlap" in result.stdout + result.stderr
    assert content.exists()


def test_folders_by_way_of_a_link(place: Site) -> None:
    (place.root / "link").symlink_to(place.root)
    (place.drop / "sub").mkdir()
    place.config["folders"]["other"] = {**place.folder, "path": str(place.root / "link" / "drop" / "sub")}
    place.write_config()
    result = place.dropcap("check", "--offline")
    assert result.returncode == 1
    assert "folder other: a link makes it overlap with the drop folder consents" in result.stdout


def test_a_folder_that_leads_to_state_dir(place: Site) -> None:
    (place.root / "link").symlink_to(place.root)
    place.config["state_dir"] = str(place.drop / "state")
    place.folder["path"] = str(place.root / "link" / "drop")
    place.write_config()
    result = place.dropcap("check", "--offline")
    assert result.returncode == 1
    assert "a link makes the folder" in result.stdout
