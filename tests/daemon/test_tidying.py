"""`keep`: what is removed once it is old enough, and what never is."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

from dropcap.ledger.seal import Sealer, enter_what_changed, facts_of
from dropcap.ledger.sqlite.connection import open_for_writing
from tests.site import Site, eventually

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

    daemon = place.start()  # nothing is removed unless asked for
    place.put("106_V1_consent.pdf", b"new")
    daemon.wait_for("done", file="106_V1_consent.pdf")
    assert not daemon.events("removed")
    before, before_removal = set(place.everywhere()), broken(place)
    place.config["keep"] = {"done": "30d", "empty_subfolders": "30d", "history": "forever"}
    place.write_config()
    assert place.dropcap("reload").returncode == 0
    daemon.wait_for("removed", what="done", count=3)
    daemon.wait_for("removed", what="subfolder", count=2)
    gone = before - set(place.everywhere())
    assert {Path(name).name for name in gone} == {f"{number}_V1_consent.pdf" for number in (101, 104, 105)}
    assert {line["subfolder"] for line in daemon.events("removed", what="subfolder")} == {"ward", "ward/deep"}
    assert (place.drop / "theirs").is_dir(), "dropcap never took anything out of it"
    assert (place.drop / "used").is_dir()
    told = place.dropcap("history", "101_V1_consent.pdf")
    assert "removed from done/" in told.stdout
    assert "keep.done is 30d" in told.stdout
    assert '"lies_in": null' in place.dropcap("history", "101_V1_consent.pdf", "--json").stdout
    assert len(daemon.events("removed", what="done")) == 3
    assert daemon.stop() == 0
    assert broken(place) == before_removal, "what dropcap removes itself is no tampering"
    looked = json.loads(place.dropcap("verify", "--files", "--json").stdout)
    assert sorted((one["outcome"], one["job"]) for one in looked["told"]) == sorted(changed(place))
    assert looked["outcomes"]["gone"] == 3

    # What happened to it goes too, once asked for: of files that are gone alone.
    aged(place, 400)
    before_removal = broken(place)
    place.config["keep"] = {"history": "365d"}
    place.write_config()
    daemon = place.start()
    (line,) = daemon.wait_for("removed", what="history")
    assert line["jobs"] == 3
    assert len(place.jobs()) == 5
    assert place.dropcap("history", "101_V1_consent.pdf").returncode == 1
    assert place.dropcap("history", "102_V1_consent.pdf").returncode == 0
    assert daemon.stop() == 0
    assert broken(place) < before_removal, "nor what it forgets"
    assert "3 jobs with" in place.dropcap("verify", "--chain").stdout, "which is an act"


def test_copies_of_what_redcap_held_go_when_asked_for(place: Site) -> None:
    for content in (b"the first", b"the second"):
        place.put("101_V1_consent.pdf", content)
        assert place.once().returncode == 0
    (copy,) = place.copies()
    told = place.kept / f"{copy}.json"
    told.write_text(told.read_text().replace('"preserved_at": "2', '"preserved_at": "1'))  # a thousand years ago
    place.config["keep"] = {"preserved": "10d"}
    place.write_config()
    daemon = place.start()
    daemon.wait_for("removed", what="preserved", job=2)
    eventually(lambda: not place.copies())
    assert not told.exists()
    assert len(place.done()) == 2, "the files stay"


def test_what_keep_may_say(place: Site) -> None:
    place.config["keep"] = {"done": "1d", "failed": "30d", "history": "soon"}
    place.write_config()
    told = place.dropcap("check", "--offline")
    assert "done" in told.stdout
    assert "out of range" in told.stdout
    assert "failed" in told.stdout
    assert "history" in told.stdout
    assert told.returncode == 2
