"""`dropcap prune`: what it removes once it is old enough, and what never."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from dropcap.ledger.chain import Sealer, enter_what_changed, facts_of
from dropcap.ledger.sqlite import open_for_writing
from redcap_sandbox import Fault, RowKey
from tests import needs
from tests.faults.test_clocks import Clock
from tests.site import DROPCAP, Site, eventually

DAY = 86400.0


def aged(place: Site, days: float) -> None:
    """All that has happened happened so long ago."""
    connection = open_for_writing(place.state / "ledger.db")
    sealer = Sealer()
    connection.begin()
    sealer.begin(connection)
    for (job,) in connection.execute("select id from job").fetchall():
        before = facts_of(connection, [job])
        connection.execute(
            "update job set ended_at = ended_at - ?1, claimed_at = claimed_at - ?1, changed_at = changed_at - ?1 where id = ?2",
            (days * DAY, job),
        )
        enter_what_changed(connection, before, time.time(), "older")
    sealer.seal(connection)
    connection.commit()
    connection.close()


def broken(place: Site) -> set[str]:
    """What `verify --chain` finds: that `aged` has claimed each job anew, and nothing else."""
    return {line for line in place.dropcap("verify", "--chain").stdout.splitlines() if line.startswith("broken")}


def changed(place: Site) -> list[tuple[str, int]]:
    """What `verify --files` is to tell: files that somebody has changed."""
    return [("changed", job.id) for job in place.jobs() if job.name in ("102_V1_consent.pdf", "103_V1_consent.pdf")]


def older(path: Path, days: float) -> None:
    then = time.time() - days * DAY
    os.utime(path, (then, then))


def keeps(place: Site, **keep: str) -> None:
    """What `keep` in the configuration says."""
    place.config["keep"] = keep
    place.write_config()


def stored(place: Site, name: str, days: float) -> Path:
    """A file that was stored so long ago, where it lies."""
    place.put(name, f"content of {name}".encode())
    assert place.once().returncode == 0
    aged(place, days)
    (lies,) = place.drop.glob(f"done/*/{name}")
    return lies


def test_only_what_redcap_has_and_nobody_changed_is_removed(place: Site) -> None:
    place.folder["rules"][2]["confirm"] = "listed"
    place.write_config()
    (place.drop / "ward/deep").mkdir(parents=True)
    (place.drop / "theirs").mkdir()
    (place.drop / "used").mkdir()
    for name in ("101_V1_consent.pdf", "102_V1_consent.pdf", "103_V1_consent.pdf", "ward/deep/104_V1_consent.pdf"):
        place.put(name, name.encode())
    place.put("used/105_V1_consent.pdf", b"used")
    place.put("101_V1_scan.pdf", b"listed only")
    place.put("999_V1_consent.pdf", b"refused")
    daemon = place.start()
    daemon.wait_for("done", 6)
    daemon.wait_for("failed")
    assert daemon.stop() == 0
    aged(place, 40)
    for name in ("ward/deep", "ward", "theirs", "used"):
        older(place.drop / name, 40.001)
    (day,) = (place.drop / "done").iterdir()
    (day / "102_V1_consent.pdf").write_bytes(b"changed by somebody")
    times = (day / "103_V1_consent.pdf").stat()
    (day / "103_V1_consent.pdf").write_bytes(b"103_v1_CONSENT.pdf")
    os.utime(day / "103_V1_consent.pdf", ns=(times.st_atime_ns, times.st_mtime_ns))
    (day / "theirs.pdf").write_bytes(b"put there by somebody")
    (place.drop / "used/now.txt~").write_bytes(b"somebody is at it")

    keeps(place, done="30d", empty_subfolders="30d")
    before, before_removal = set(place.everywhere()), broken(place)
    daemon = place.start()
    would = place.dropcap("prune", "--dry-run")
    assert would.returncode == 0
    assert "consents: 3 files in done/" in would.stdout
    assert "consents: 2 empty subfolders" in would.stdout
    assert "nothing was removed" in would.stdout
    assert set(place.everywhere()) == before
    assert not place.acts("prune")

    went = place.dropcap("prune", "--folder", "consents")
    assert went.returncode == 0, went.stderr
    assert would.stdout.splitlines()[:-1] == went.stdout.splitlines()[:-1], "it is told first"
    assert went.stdout.splitlines()[-1] == "removed: 3 files in done/, 0.0 MiB, 2 empty subfolders"
    gone = before - set(place.everywhere())
    assert {Path(name).name for name in gone} == {f"{number}_V1_consent.pdf" for number in (101, 104, 105)}
    told = daemon.wait_for("removed", what="subfolder", count=2)
    assert [line["subfolder"] for line in told] == ["ward/deep", "ward"]
    assert (place.drop / "theirs").is_dir(), "dropcap never took anything out of it"
    assert (place.drop / "used").is_dir()
    history = place.dropcap("history", "101_V1_consent.pdf").stdout
    assert "to be removed from done/" in history
    assert "keep.done is 30d" in history
    assert '"lies_in": null' in place.dropcap("history", "101_V1_consent.pdf", "--json").stdout
    assert len(daemon.events("removed", what="done")) == 3
    (act,) = place.acts("prune")
    assert act["told"] == {"folders": "consents", "forced": False, "keep": {"done": 30 * DAY, "subfolder": 30 * DAY}}
    assert "folders: consents, done older than 30d, subfolder older than 30d" in place.dropcap("history", "--acts").stdout
    assert daemon.stop() == 0
    assert broken(place) == before_removal, "what dropcap removes itself is no tampering"
    looked = json.loads(place.dropcap("verify", "--files", "--json").stdout)
    assert sorted((one["outcome"], one["job"]) for one in looked["told"]) == sorted(changed(place))
    assert looked["outcomes"]["gone"] == 3

    # What happened to it goes too, once asked for: of files that are gone alone. No dropcap runs.
    aged(place, 400)
    before_removal = broken(place)
    keeps(place, history="365d")
    told = json.loads(place.dropcap("prune", "--json").stdout)
    assert [(one["what"], one["removed"]) for one in told["over"]] == [("history", True)] * 3
    assert len(place.jobs()) == 4
    assert place.dropcap("history", "101_V1_consent.pdf").returncode == 1
    assert place.dropcap("history", "102_V1_consent.pdf").returncode == 0
    assert broken(place) < before_removal, "nor what it forgets"
    assert "3 jobs with" in place.dropcap("verify", "--chain").stdout, "which is an act"


def test_the_daemon_removes_nothing_by_itself(place: Site) -> None:
    stored(place, "101_V1_consent.pdf", days=400)
    keeps(place, done="7d", preserved="1d", history="7d", empty_subfolders="1h")
    daemon = place.start()
    place.put("102_V1_consent.pdf")
    daemon.wait_for("done")
    assert place.dropcap("reload").returncode == 0
    daemon.wait_for("reloaded")
    place.put("103_V1_consent.pdf")
    daemon.wait_for("done", file="103_V1_consent.pdf")
    assert daemon.stop() == 0
    assert not daemon.events("removed")
    assert len(place.done()) == 3


# Copies of what REDCap held


def kept_copy(place: Site, *contents: bytes, days: float = 40) -> Path:
    """The field has held these one after the other: the copy of the first, made and used so long ago."""
    for content in contents:
        place.put("101_V1_consent.pdf", content)
        assert place.once().returncode == 0
    aged(place, days)
    copy = place.kept / next(one for one in place.copies() if (place.kept / one).read_bytes() == contents[0])
    long_unused(copy, days)
    return copy


def long_unused(copy: Path, days: float) -> None:
    told = copy.with_name(copy.name + ".json")
    value = json.loads(told.read_text())
    then = time.time() - days * DAY
    value["preserved_at"] = time.strftime("%Y-%m-%dT%H:%M:%S.000+00:00", time.gmtime(then))
    told.write_text(json.dumps(value))
    os.utime(told, (then, then))


@pytest.mark.parametrize("runs", [True, False])
def test_copies_of_what_redcap_held_go_when_nobody_relies_on_them(place: Site, runs: bool) -> None:
    copy = kept_copy(place, b"the first", b"the second")
    copy_of_second = kept_copy(place, b"the second", b"the third", days=0.5)
    keeps(place, preserved="10d")
    daemon = place.start() if runs else None
    went = place.dropcap("prune")
    assert (went.returncode, went.stderr.count("removed")) == (0, 0 if runs else 1), went.stderr
    assert "removed: 1 copy of what REDCap held" in went.stdout
    assert not copy.exists()
    assert not copy.with_name(copy.name + ".json").exists()
    assert copy_of_second.read_bytes() == b"the second"
    assert "was removed: keep.preserved is 10d" in place.dropcap("history", "2").stdout
    if daemon is not None:
        daemon.wait_for("removed", what="preserved", job=2)
    assert len(place.done()) == 4, "the files stay"


def test_a_copy_counts_from_the_last_job_that_relied_on_it(place: Site) -> None:
    copy = kept_copy(place, b"A", b"B", b"A", days=40)
    place.put("101_V1_consent.pdf", b"C")  # which replaces A again: the same copy serves
    assert place.once().returncode == 0
    (_, _, _, last) = place.jobs()
    assert last.preserved_as == str(copy)
    keeps(place, preserved="10d")
    long_unused_ledgers_way(place, copy)
    assert place.dropcap("prune").returncode == 0
    assert copy.read_bytes() == b"A", "the last job that relied on it ended a moment ago"
    aged(place, 11)
    told = copy.with_name(copy.name + ".json")
    os.utime(told)
    assert place.dropcap("prune").returncode == 0
    assert copy.exists(), "it says itself when it was relied on last"
    os.utime(told, (0, 0))
    assert place.dropcap("prune").returncode == 0
    assert not copy.exists()


def long_unused_ledgers_way(place: Site, copy: Path) -> None:
    """As an earlier dropcap has left it: the ledger alone knows that the copy was relied on."""
    os.utime(copy.with_name(copy.name + ".json"), (0, 0))


def replaced_later(place: Site, outage: Fault) -> Path:
    """The field's file was copied, and the job that replaces it is not through; long ago."""
    place.box.project.store.put_bytes("101", RowKey("baseline_arm_1"), "consent_pdf", "old.pdf", b"what REDCap held")
    place.box.ill(outage)
    place.put("101_V1_consent.pdf", b"new")
    place.dropcap("run", "--once", "--wait", "0s")
    (copy,) = place.copies()
    (job,) = place.jobs()
    assert job.preserved_as
    assert job.ended_at is None
    long_unused(place.kept / copy, 40)
    aged(place, 40)
    return place.kept / copy


def test_a_copy_stays_while_its_job_is_open(place: Site) -> None:
    copy = replaced_later(place, Fault("reset_before_body", match={"content": "file", "action": "import"}))
    keeps(place, preserved="1d")
    assert "there is nothing to remove" in place.dropcap("prune").stdout
    assert copy.read_bytes() == b"what REDCap held"
    place.box.well()
    daemon = place.start()
    daemon.wait_for("done")
    assert copy.read_bytes() == b"what REDCap held"


def test_a_copy_that_somebody_has_taken_away_is_made_anew_before_the_field_is_replaced(place: Site) -> None:
    copy = replaced_later(place, Fault("reset_before_body", match={"content": "file", "action": "import"}))
    copy.unlink()
    place.box.well()
    assert place.once().returncode == 0
    assert [(place.kept / one).read_bytes() for one in place.copies()] == [b"what REDCap held"]


# Exactly the file that was compared


def begun(place: Site, *before: str) -> subprocess.Popen[str]:
    """A prune that has told what goes."""
    command = [*before, *DROPCAP, "prune"]
    process = subprocess.Popen(command, env=place.env(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert "1 file in done/" in process.stdout.readline()
    return process


def test_what_a_person_puts_there_while_the_file_is_compared_stays(place: Site) -> None:
    """Both of them, if the file is no more what was stored."""
    lies = stored(place, "101_V1_consent.pdf", days=40)
    keeps(place, done="30d")
    needs.right("trace", [needs.program("strace"), "-o", os.devnull, "true"])
    slow = ["strace", "-f", "-qq", "-o", str(place.root / "trace"), "-e", "trace=renameat2"]
    slow += ["-e", "inject=renameat2:delay_exit=3000000:when=1"]
    process = begun(place, *slow)
    (aside,) = eventually(lambda: [one for one in lies.parent.iterdir() if one.name != lies.name])
    with aside.open("r+b") as file:
        file.write(b"X")
    lies.write_bytes(b"a person's")
    _, err = process.communicate(timeout=30)
    assert process.returncode == 1, err
    assert "1 stayed" in err
    assert lies.read_bytes() == b"a person's"
    assert names_in(lies.parent) == ["101_V1_consent (2).pdf", lies.name]
    assert (job := place.jobs()[0]).filed_as == f"done/{lies.parent.name}/101_V1_consent (2).pdf", job


def test_a_file_that_somebody_has_open_stays(place: Site) -> None:
    lies = stored(place, "101_V1_consent.pdf", days=40)
    keeps(place, done="30d")
    with lies.open("r+b"):
        assert "there is nothing to remove" in place.dropcap("prune").stdout
    assert lies.exists()


@pytest.mark.parametrize(("call", "when"), [("renameat2", 1), ("unlinkat", 1), ("fdatasync", 2), ("fdatasync", 3)])
@pytest.mark.parametrize("then", ["prune", "start"])
def test_killed_in_the_middle(place: Site, call: str, when: int, then: str) -> None:
    """The file is there under its name, or gone with a step in its history that says why."""
    lies = stored(place, "101_V1_consent.pdf", days=40)
    content = lies.read_bytes()
    keeps(place, done="30d")
    needs.right("trace", [needs.program("strace"), "-o", os.devnull, "true"])
    kill = ["strace", "-f", "-qq", "-o", str(place.root / "trace"), "-e", f"trace={call}"]
    kill += ["-e", f"inject={call}:signal=KILL:when={when}"]
    if call in ("renameat2", "unlinkat"):
        kill += ["-P", str(lies.parent)]
    ended = subprocess.run([*kill, *DROPCAP, "prune"], env=place.env(), capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode in (-signal.SIGKILL, 128 + signal.SIGKILL), ended
    there = {one.name: one.read_bytes() for one in lies.parent.iterdir()}
    assert set(there.values()) <= {content}
    assert there or "to be removed" in place.dropcap("history", "101_V1_consent.pdf").stdout
    assert place.everywhere() == [name for name in place.everywhere() if Path(name).name in there]
    if then == "prune":
        keeps(place, done="3650d", empty_subfolders="3650d")
        assert place.dropcap("prune").returncode == 0
    else:
        daemon = place.start()
        eventually(lambda: not lies.parent.is_dir() or names_in(lies.parent) in ([], [lies.name]))
        assert not daemon.events("stray")
    assert names_in(lies.parent) == ([lies.name] if there else [])
    assert not there or lies.read_bytes() == content


def names_in(directory: Path) -> list[str]:
    return sorted(one.name for one in directory.iterdir()) if directory.is_dir() else []


# The clock


def test_a_wrong_clock_removes_nothing(place: Site, tmp_path: Path) -> None:
    clock = Clock(tmp_path)
    copy = kept_copy(place, b"the first", b"the second", days=0)
    keeps(place, done="30d", preserved="30d", history="30d")
    for days, said in ((400, "400 days ahead of"), (-400, "400 days behind")):
        clock.ahead(int(days * DAY))
        refused = place.dropcap("prune", **clock.env)
        assert (refused.returncode, refused.stdout) == (1, ""), refused
        assert said in refused.stderr
        assert "--force" in refused.stderr
    assert copy.exists()
    assert len(place.done()) == 2
    clock.ahead(int(0.9 * DAY))
    assert place.dropcap("prune", **clock.env).returncode == 0
    clock.ahead(int(400 * DAY))
    assert "removed: 2 files in done/" in place.dropcap("prune", "--force", **clock.env).stdout


def test_nothing_is_removed_where_no_redcap_tells_the_time(place: Site) -> None:
    lies = stored(place, "101_V1_consent.pdf", days=40)
    keeps(place, done="30d")
    place.box.ill(Fault("reset_before_body"))
    refused = place.dropcap("prune")
    assert refused.returncode == 3
    assert "no REDCap could be asked for the time" in refused.stderr
    place.box.well()
    place.box.ill(Fault("maintenance"))
    assert place.dropcap("prune", "--dry-run").returncode == 0, "a page tells the time as well"
    place.token_file.unlink()
    assert place.dropcap("prune").returncode == 3
    assert lies.exists()
    assert place.dropcap("prune", "--force").returncode == 0
    assert not lies.exists()


def test_a_daemon_whose_clock_jumps_removes_nothing_more(place: Site, tmp_path: Path) -> None:
    clock = Clock(tmp_path)
    clock.ahead(int(400 * DAY))
    daemon = place.start(**clock.env)
    place.put("101_V1_consent.pdf")
    daemon.wait_for("done")
    clock.ahead(0)
    keeps(place, done="30d")
    clock.ahead(int(800 * DAY))
    assert "there is nothing to remove" in place.dropcap("prune").stdout
    assert len(place.done()) == 1


def test_what_a_clock_that_was_behind_has_entered_is_not_old(place: Site, tmp_path: Path) -> None:
    place.put("101_V1_consent.pdf")
    assert place.once().returncode == 0
    clock = Clock(tmp_path)
    clock.ahead(int(-9000 * DAY))
    daemon = place.start(**clock.env)
    place.put("102_V1_consent.pdf")
    daemon.wait_for("done")
    assert daemon.stop() == 0
    keeps(place, done="30d")
    doubted = place.dropcap("prune")
    assert doubted.returncode == 1
    assert "a clock was wrong" in doubted.stderr
    assert len(place.done()) == 2
    assert place.dropcap("prune", "--force").returncode == 0
    assert place.done() == ["101_V1_consent.pdf"]


# Who may, and where


def test_a_folder_that_is_away_or_let_go_of_is_left_alone(place: Site) -> None:
    lies = stored(place, "101_V1_consent.pdf", days=40)
    keeps(place, done="30d")
    assert place.dropcap("pause", "--folder", "consents", "--release").returncode == 0
    left = place.dropcap("prune")
    assert left.returncode == 1
    assert "resume --folder consents" in left.stderr
    assert place.dropcap("resume", "--folder", "consents").returncode == 0
    marker = (place.drop / ".dropcap").read_text()
    (place.drop / ".dropcap").unlink()
    assert place.dropcap("prune").returncode == 1
    (place.drop / ".dropcap").write_text(marker.replace('"installation": "', '"installation": "0'))
    assert "another installation" in place.dropcap("prune").stderr
    assert lies.exists()
    (place.drop / ".dropcap").write_text(marker)
    assert place.dropcap("prune").returncode == 0
    assert not lies.exists()


def test_a_dropcap_that_does_not_answer(place: Site) -> None:
    lies = stored(place, "101_V1_consent.pdf", days=40)
    keeps(place, done="30d")
    daemon = place.start()
    daemon.process.send_signal(signal.SIGSTOP)
    began = time.monotonic()
    assert place.dropcap("prune").returncode == 4
    assert time.monotonic() - began < 30
    daemon.process.send_signal(signal.SIGCONT)
    assert lies.exists()
    assert place.dropcap("prune").returncode == 0
    assert not lies.exists()


# It is told where it does not run


def test_check_and_status_tell_where_nothing_is_pruned(place: Site) -> None:
    stored(place, "101_V1_consent.pdf", days=1)
    assert first_seen(place, days=7.9) == 1
    keeps(place, done="30d")
    daemon = place.start()
    assert place.dropcap("status").returncode == 0
    assert daemon.stop() == 0
    first_seen(place, days=8.1)
    daemon = place.start()
    warned(place, never=True)
    assert place.dropcap("prune", "--dry-run").returncode == 0
    warned(place, never=True)
    assert place.dropcap("prune").returncode == 0
    quiet(place)
    pruned(place, time.time() - 8.1 * DAY)
    warned(place, never=False)
    pruned(place, time.time() + 400 * DAY)
    warned(place, never=True)
    keeps(place)
    quiet(place)
    assert place.dropcap("prune").stderr.count("kept for ever") == 1


def first_seen(place: Site, days: float) -> int:
    return changed_in_ledger(place, "update folder set first_seen = ?", time.time() - days * DAY)


def pruned(place: Site, at: float) -> None:
    assert changed_in_ledger(place, "update meta set value = ? where key = 'pruned consents'", str(at)) == 1


def changed_in_ledger(place: Site, sql: str, value: Any) -> int:
    connection = sqlite3.connect(place.state / "ledger.db", timeout=10)
    try:
        with connection:
            return connection.execute(sql, (value,)).rowcount
    finally:
        connection.close()


def warned(place: Site, *, never: bool) -> None:
    said = "`dropcap prune` has not run for 8 days"
    assert said in place.dropcap("check", "--offline").stdout
    status = place.dropcap("status")
    assert status.returncode == 1
    assert said in status.stdout
    assert "NOT WELL" in status.stdout
    told = json.loads(place.dropcap("status", "--json").stdout)["not_pruned"]
    assert [(one["folder"], one["since"] is None) for one in told] == [("consents", never)]
    nagios = place.dropcap("status", "--nagios")
    assert (nagios.returncode, "WARNING" in nagios.stdout, "prune" in nagios.stdout) == (1, True, True)


def quiet(place: Site) -> None:
    assert "has not run" not in place.dropcap("check", "--offline").stdout
    assert place.dropcap("status").returncode == 0
