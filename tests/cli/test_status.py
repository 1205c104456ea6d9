"""`dropcap status`, beside a running dropcap and without one."""

from __future__ import annotations

import json
import re
import shlex
import socket
import sqlite3
import time
from datetime import UTC, date, datetime, timedelta
from typing import Any

from dropcap.cli.status import progress_of
from dropcap.daemon.state import only_one
from redcap_sandbox import Fault
from tests.site import Site, eventually


def told(place: Site, *words: str) -> tuple[int, dict[str, Any]]:
    result = place.dropcap("status", "--json", *words)
    return result.returncode, json.loads(result.stdout)


def test_all_well(place: Site) -> None:
    daemon = place.start()
    place.put("101_V1_consent.pdf")
    daemon.wait_for("done")
    code, status = told(place)
    assert code == 0
    assert (status["ok"], status["running"], status["answers"], status["alive"]) == (True, True, True, True)
    folder = status["folders"]["consents"]
    assert (folder.pop("done_today"), folder.pop("path")) == (1, str(place.drop))
    assert folder.pop("copies_in") == str(place.kept)
    assert folder.pop("last_walk").startswith(time.strftime("%Y-", time.gmtime()))
    assert folder == {
        **dict.fromkeys(("waiting", "sending", "held", "failed", "arriving"), 0),
        **dict.fromkeys(("away", "cannot_file", "mistake", "mistake_since", "overdue"), None),
        "full": False,
        "not_taken": [],
        "settling": [],
        "left": {"count": 0, "first": [], "message": "", "remedy": ""},
        "strays": {"count": 0, "first": [], "message": "", "remedy": ""},
    }
    text = place.dropcap("status")
    assert text.returncode == 0
    verdict, as_of = text.stdout.splitlines()[-2:]
    assert verdict == "ALL WELL  1 file was stored today. Nothing waits for somebody."
    assert status["verdict"] == verdict.replace("  ", ": ")
    assert "running since" in as_of
    assert "\x1b" not in text.stdout


def test_what_is_wrong_is_told_with_what_to_do(place: Site) -> None:
    place.once()  # what lies there at first and matches no rule is left
    place.config["folders"]["waits"] = {**place.folder, "path": str(place.root / "waits"), "missing_record": "wait"}
    place.config["folders"]["gone"] = {**place.folder, "path": str(place.root / "gone")}
    place.write_config()
    (place.root / "waits").mkdir()
    place.put("[bold]\x1b[31mholiday\udcff.jpg")
    place.put("../waits/888_V1_consent.pdf")
    (place.drop / "link.pdf").symlink_to("nothing")
    daemon = place.start()
    daemon.wait_for("failed")
    daemon.wait_for("retrying", reason="no_record")
    daemon.wait_for("entry_ignored")
    daemon.wait_for("folder_away")

    code, status = told(place)
    assert code == 1
    assert not status["ok"]
    (failed,) = status["failed"]
    assert failed["file"] == "[bold]\\x1b[31mholiday\\xff.jpg"
    assert (failed["reason"], failed["lies_in"]) == ("no_rule", f"failed/{failed['file']}")
    (waiting,) = status["put_off"]
    assert (waiting["file"], waiting["reason"], waiting["record"]) == ("888_V1_consent.pdf", "no_record", "888")
    claimed, ends = waiting["claimed"], waiting["waits_until"]
    assert (date.fromisoformat(ends[:10]) - date.fromisoformat(claimed[:10])).days == 7
    assert claimed < waiting["next_try"] < ends
    assert status["folders"]["consents"]["not_taken"][0]["file"] == "link.pdf"
    assert str(place.root / "gone") in status["folders"]["gone"]["away"]

    text = place.dropcap("status").stdout
    assert "\x1b" not in text
    assert "[bold]\\x1b[31mholiday\\xff.jpg" in text
    for expected in (
        "no rule matches",
        "what to do: create the record",
        "not taken: it is a link",
        "gone is away",
        "looked up until",
    ):
        assert expected in text
    assert "NOT WELL  1 file waits for somebody. 1 folder needs a look." in text
    assert text.index("Goes on by itself") < text.index("Left alone") < text.index("Waits for somebody") < text.index("NOT WELL")
    assert text.index("gone is away") < text.index("no rule matches"), "the worst first"

    code, status = told(place, "--folder", "gone")
    assert list(status["folders"]) == ["gone"]
    assert (status["failed"], status["put_off"]) == ([], [])
    wrong = place.dropcap("status", "--folder", "consent")
    assert wrong.returncode == 2
    assert "did you mean `consents`?" in wrong.stderr


def test_a_server_that_cannot_be_reached(place: Site) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))  # bound and not listening: every connection is refused
        port = nobody.getsockname()[1]
        place.project["url"] = f"http://127.0.0.1:{port}/api/"
        place.write_config()
        daemon = place.start()
        place.put("101_V1_consent.pdf")
        daemon.wait_for("paused")
        code, status = told(place)
        assert code == 3
        (pause,) = status["pauses"]
        assert (pause["scope"], pause["name"], pause["reason"]) == ("server", f"127.0.0.1:{port}", "unreachable")
        assert pause["until_resume"] is False
        text = place.dropcap("status").stdout
        assert f"1 file  server 127.0.0.1:{port}, since" in text
        assert "It is asked again" in text
        assert "101_V1_consent.pdf" in text, "what waits is named"
        assert pause["next_try"] is not None
        assert "SERVER AWAY  1 server does not take files now." in text
        daemon.kill()
    assert told(place)[0] == 1, "that no dropcap runs is worse"


def test_no_dropcap_runs(place: Site) -> None:
    never = place.dropcap("status")
    assert never.returncode == 1
    assert "has not run" in never.stderr
    place.once()
    place.put("101_V1_consent.pdf")
    place.put("holiday.jpg")
    place.once()
    code, status = told(place)
    assert code == 1
    assert (status["running"], status["answers"], status["alive"], status["started"]) == (False, False, None, None)
    folder = status["folders"]["consents"]
    assert (folder["done_today"], folder["failed"], folder["arriving"], folder["not_taken"]) == (1, 1, None, None)
    text = place.dropcap("status").stdout
    assert "dropcap does not run" in text
    assert "holiday.jpg" in text
    with only_one(place.state):  # as `run --once` does
        code, status = told(place)
        assert (code, status["running"], status["answers"]) == (1, True, False)
        assert "does not answer" in place.dropcap("status").stdout


def test_a_folder_that_left_the_configuration_and_one_with_a_problem(place: Site) -> None:
    place.once()  # what lies there at first and matches no rule is left
    place.put("holiday.jpg")
    place.once()
    place.config["folders"] = {"others": {**place.folder, "path": str(place.root / "others"), "project": "trail"}}
    place.write_config()
    code, status = told(place)
    assert code == 1
    assert status["folders"]["consents"]["path"] is None
    assert any("folders.others" in problem or "trail" in problem for problem in status["config_problems"])
    text = place.dropcap("status").stdout
    assert "not in the configuration" in text
    assert "trail" in text


def test_an_answer_of_many_files(place: Site) -> None:
    place.once()  # what lies there at first and matches no rule is left
    place.folder["settle_closed"] = place.folder["settle_quiet"] = "1h"
    place.write_config()
    for number in range(5500):
        (place.drop / f"{number:0200}.pdf").touch()
    place.start()
    eventually(lambda: told(place)[1]["folders"]["consents"]["arriving"] == 5500)


def test_files_that_wait_behind_a_held_one_say_so(place: Site) -> None:
    place.once()
    assert place.dropcap("pause", "--project", "trial").returncode == 0
    place.put("101_V1_consent.pdf", b"a whole consent")
    daemon = place.start()
    daemon.wait_for("claimed")
    place.put("101_V1_CONSENT.pdf", b"another for the same field")
    daemon.wait_for("claimed", 2)
    (place.drop / "in_progress" / "101_V1_consent.pdf").write_bytes(b"half")
    assert place.dropcap("resume", "--project", "trial").returncode == 0
    daemon.wait_for("held", file="101_V1_consent.pdf")
    _, status = told(place)
    assert status["behind_held"] == [{"job": 2, "waits_for": 1}]
    text = place.dropcap("status").stdout
    assert "1 file  behind job 1, 101_V1_consent.pdf, which is held" in text
    assert text.count("101_V1_CONSENT.pdf") == 1, "told once"
    place.put("102_V1_consent.pdf", b"of another")
    daemon.wait_for("done", file="102_V1_consent.pdf")
    page = place.drop / "_STATUS.html"
    eventually(lambda: page.exists() and "goes to the same place as 101_V1_consent.pdf, which is held" in page.read_text())
    assert [h.record for h in place.box.holdings()] == ["102"]


def test_today_begins_at_midnight_also_on_the_day_that_the_clocks_change(place: Site) -> None:
    place.put("101_V1_consent.pdf")
    place.put("102_V1_consent.pdf")
    place.once()
    now = datetime.now(UTC)
    ahead = 12 - now.hour  # it is about noon there, and at one o'clock the clocks were put forward by an hour
    there = now + timedelta(hours=ahead)
    day = there.timetuple().tm_yday
    zone = f"AAA{-ahead:+d}BBB{-ahead - 1:+d},{day - 1}/1,{(day + 100) % 365}/1"
    midnight = there.replace(hour=0, minute=0, second=0).timestamp() - ahead * 3600
    ledger = sqlite3.connect(place.state / "ledger.db")
    with ledger:
        ledger.execute("update job set ended_at = ? where id = 1", (midnight - 600,))
        ledger.execute("update job set ended_at = ? where id = 2", (midnight + 600,))
    ledger.close()
    status = json.loads(place.dropcap("status", "--json", TZ=zone).stdout)
    assert status["folders"]["consents"]["done_today"] == 1


def test_like_files_are_one_line_and_every_one_is_to_be_had(place: Site) -> None:
    place.once()
    for number in range(25):
        place.put(f"holiday {number}.jpg")
    place.put("999_V1_consent.pdf")
    place.once()
    code, status = told(place)
    assert [(one["files"], len(one["first"])) for one in status["waits_for_somebody"][1:]] == [(25, 3), (1, 0)]
    text = place.dropcap("status")
    assert code == text.returncode == 1
    assert text.stdout.count("the name matches no rule") == 1
    assert "25 files  consents, since" in text.stdout
    assert "and 22 more" in text.stdout
    assert "dropcap status --failed --folder consents" in text.stdout, "the command below"
    every = place.dropcap("status", "--failed", "--folder", "consents").stdout
    assert all(f"holiday {number}.jpg" in every for number in range(25))
    assert every.count("what to do:") == 2, "what is the same for all stands once"
    assert len(told(place, "--failed")[1]["failed"]) == 26
    assert place.dropcap("status", "--held").stdout == "no file is held\n"


def test_while_the_request_limit_is_used_up_it_says_when_it_goes_on(place: Site) -> None:
    place.project["requests_per_minute"] = 2
    place.write_config()
    daemon = place.start()
    for number in range(101, 106):
        place.put(f"{number}_V1_consent.pdf")
    daemon.wait_for("claimed", 5)
    (limited,) = eventually(lambda: told(place)[1]["limited"])
    assert limited["requests_per_minute"] == 2
    text = place.dropcap("status").stdout
    at = datetime.fromisoformat(limited["goes_on"]).astimezone()
    assert re.search(r"5 files  request limit: goes on at \d\d:\d\d:\d\d \(2 requests a minute to 127\.0\.0\.1:", text), text
    assert any(f"{at + timedelta(seconds=s):%H:%M:%S}" in text for s in (0, 1))
    assert "101_V1_consent.pdf, 102_V1_consent.pdf, 103_V1_consent.pdf and 2 more" in text
    assert "ALL WELL" in text


def test_how_far_a_large_file_has_come(place: Site) -> None:
    daemon = place.start()
    place.box.ill(Fault("slow_read", bytes_per_second=400_000, match={"action": "import"}))
    place.put("101_V1_consent.pdf", b"%PDF" + bytes(24 * 1024 * 1024))
    daemon.wait_for("sending")
    (sending,) = eventually(lambda: [one for one in told(place)[1]["sending"] if one["sent"]])
    assert (sending["job"], sending["file"], sending["size"]) == (1, "101_V1_consent.pdf", 24 * 1024 * 1024 + 4)
    assert eventually(lambda: [one for one in told(place)[1]["sending"] if one["sent"] > sending["sent"]])
    page = place.drop / "_STATUS.html"
    assert eventually(lambda: page.exists() and re.search(r"<progress value=.*of 24 MB\.", page.read_text()))
    text = place.dropcap("status").stdout
    assert re.search(r"Being sent\n +\d+ % +[\d.]+ of +24 MB  .*  consents/101_V1_consent\.pdf\n", text), text
    assert "their turn" not in text, "told once"
    daemon.kill()


def test_a_command_below_can_be_copied_into_a_shell(place: Site) -> None:
    place.config["folders"] = {"ward 7": place.folder}
    place.write_config()
    place.once()
    place.put("holiday 1.jpg")
    place.put("holiday 2.jpg")
    place.once()
    text = place.dropcap("status").stdout
    (command,) = [line.strip() for line in text.splitlines() if "--failed" in line]
    listed = place.dropcap(*shlex.split(command)[1:])
    assert "holiday 1.jpg" in listed.stdout
    assert place.dropcap("pause", "--folder", "ward 7").stdout.endswith("dropcap resume --folder 'ward 7'\n")
    assert "dropcap resume --folder 'ward 7'" in place.dropcap("status").stdout


def test_many_mistakes_and_many_folders_away_are_a_few_lines(place: Site) -> None:
    place.once()
    rule = place.folder["rules"][0]
    for number in range(20):
        place.config["folders"][f"ward {number:02}"] = {**place.folder, "path": str(place.root / f"w{number}"), "rules": [rule]}
    place.write_config()
    daemon = place.start()
    daemon.wait_for("folder_away", 20)
    text = place.dropcap("status").stdout
    assert "20 folders  ward 00, ward 01, ward 02 and 17 more are away; the first: " in text
    assert text.count("is mounted") == 1
    assert "NOT WELL  20 folders need a look." in text
    for one in place.config["folders"].values():
        one["colour"] = "red"
    place.write_config()
    text = place.dropcap("status").stdout
    assert text.count("unknown key") == 3
    assert "… and 18 mistakes more" in text
    assert text.count("dropcap check --offline") == 1


def test_every_arriving_file_is_named_on_request(place: Site) -> None:
    place.folder["settle_closed"] = place.folder["settle_quiet"] = "1h"
    place.write_config()
    for number in range(30):
        place.put(f"{number}_V1_consent.pdf")
    place.start()
    eventually(lambda: told(place)[1]["folders"]["consents"]["arriving"] == 30)
    text = place.dropcap("status").stdout
    assert "20 files  consents: not taken yet: rests" in text
    assert "10 files  consents: more that are not taken yet" in text
    every = place.dropcap("status", "--waiting").stdout
    assert all(f"  {number}_V1_consent.pdf" in every for number in range(30))


def test_a_ledger_of_another_version_is_told(place: Site) -> None:
    place.once()
    for change, said in (
        (-1, "an earlier dropcap's ledger: restart dropcap"),
        (2, "a newer dropcap's ledger: install the newer"),
    ):
        with sqlite3.connect(place.state / "ledger.db") as ledger:
            version = int(ledger.execute("pragma user_version").fetchone()[0])
            ledger.execute(f"pragma user_version = {version + change}")
        ledger.close()
        for command in (["status"], ["history"], ["retry", "1"]):
            result = place.dropcap(*command)
            assert (result.returncode, said in result.stderr) == (1, True), result.stderr
        assert said in place.dropcap("check", "--offline").stdout


def test_how_far_a_file_has_come_is_told_in_a_unit_that_fits() -> None:
    assert progress_of(9, 9) == "9 of 9 bytes"
    assert progress_of(1536, 20 * 1024) == "1.5 of 20 KB"
    assert progress_of(1024**2, 1200 * 1024**2) == "1.0 of 1,200 MB"


# `dropcap status --nagios`: 0 to 3, and one line that its kin can read


LINE = re.compile(r"DROPCAP (OK|WARNING|CRITICAL|UNKNOWN) - [^|\n]+(?: \| (?:\w+=\d+s?(?:;\d*){0,3} ?)+)?\n")


def asked(place: Site, *words: str) -> tuple[int, str]:
    result = place.dropcap("status", "--nagios", *words)
    assert LINE.fullmatch(result.stdout), result.stdout
    return result.returncode, result.stdout


def test_every_level(place: Site) -> None:
    code, line = asked(place)
    assert (code, "UNKNOWN" in line) == (3, True)
    daemon = place.start()
    assert asked(place) == (
        0,
        "DROPCAP OK - 0 files wait, all goes on by itself | waiting=0;1000;10000;0 held=0;1;;0 failed=0;1;;0\n",
    )
    code, line = asked(place, "--warning", "many")
    assert (code, line.startswith("DROPCAP UNKNOWN - Invalid value for '--warning'")) == (3, True), "2 would be critical"
    place.put("oops.pdf")
    daemon.wait_for("failed")
    code, line = asked(place)
    assert (code, line[:37]) == (1, "DROPCAP WARNING - 1 file has failed |")
    place.dropcap("pause", "--folder", "consents")
    place.put("101_V1_consent.pdf")
    daemon.wait_for("claimed", file="101_V1_consent.pdf")
    code, line = asked(place, "--warning", "1")
    assert (code, "1 file waits" in line, "oldest=" in line) == (1, True, True)
    code, line = asked(place, "--critical", "1")
    assert (code, line.startswith("DROPCAP CRITICAL - 1 file waits, ")) == (2, True)
    daemon.stop()
    code, line = asked(place)
    assert (code, "dropcap does not run" in line) == (2, True)
    place.config_file.write_text("oops: [")
    code, line = asked(place)
    assert (code, line) == (3, "DROPCAP UNKNOWN - the state cannot be told; run dropcap status\n")
