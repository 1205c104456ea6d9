"""What lies in in_progress/ without a job was perhaps sent: a ledger that is lost makes no second instance of a file."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from redcap_sandbox import Fault, RowKey, Sandbox, demo_project
from tests.site import TOKEN, Daemon, Site, eventually, site

IMPORT = {"content": "file", "action": "import"}
EXPORT = {"content": "file", "action": "export"}
VISIT = RowKey("baseline_arm_1")
EQUAL = b"%PDF one and the same form"


def asked(place: Site, action: str) -> int:
    return len([r for r in place.box.requests if (r.content, r.action) == ("file", action)])


def held(place: Site) -> dict[int, bytes]:
    """What record 101 holds, by instance."""
    store = place.box
    found = [h.instance for h in store.holdings() if (h.record, h.field) == ("101", "lab_report") and h.instance is not None]
    return {number: store.content("101", "lab_report", VISIT.event, number) or b"" for number in sorted(found)}


def there_already(place: Site, number: int, content: bytes = b"", name: str = "theirs.pdf") -> None:
    """Somebody else has put a file into an instance."""
    key = RowKey(VISIT.event, "laboratory", number)
    place.box.project.store.put_bytes("101", key, "lab_report", name, content or b"of instance %d" % number)


def in_progress(place: Site, name: str, content: bytes) -> Path:
    """A file as a claim leaves it whose row was never written, or is lost."""
    path = place.put(f"../{name}", content)
    target = place.drop / "in_progress" / name
    target.parent.mkdir(parents=True, exist_ok=True)
    return path.rename(target)


def sent_and_lost(place: Site, files: dict[str, bytes]) -> None:
    """REDCap has these; dropcap is killed before they leave in_progress/, and the whole state_dir is lost."""
    (place.drop / "done").write_text("in the way of whoever files")
    daemon = place.start()
    for name, content in files.items():
        place.put(name, content)
        eventually(lambda: [job for job in place.jobs() if str(job.state) == "stored" and job.name == name])  # noqa: B023
    daemon.kill()
    (place.drop / "done").unlink()
    assert len(place.names("in_progress")) == len(files)
    lose(place)


def lose(place: Site) -> None:
    shutil.rmtree(place.state)
    adopted = place.dropcap("check", "--offline", "--adopt", "--force")
    assert "adopted" in adopted.stdout, adopted.stdout + adopted.stderr


@pytest.fixture(params=["document", "name", "doc_id"])
def shown(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Site]:
    """A site whose REDCap shows files in one of the ways that there are."""
    with Sandbox(demo_project(), TOKEN) as box, site(tmp_path, box) as made:
        box.project.file_values = request.param
        yield made


def history(place: Site, name: str) -> dict[str, Any]:
    lines = place.dropcap("history", name, "--json").stdout.splitlines()
    return dict(json.loads(lines[-1]))


def ended(daemon: Daemon, count: int) -> dict[str, tuple[str, int]]:
    done = daemon.wait_for("done", count, patience=60)
    return {line["file"]: (line["result"], line["instance"]) for line in done}


def test_a_lost_state_dir_makes_no_second_instance(shown: Site) -> None:
    """Each instance accounts for one file, also where two have the same bytes."""
    place = shown
    there_already(place, 1)
    files = {"101_V1_lab_a.pdf": EQUAL, "101_V1_lab_b.pdf": b"%PDF another", "101_V1_lab_c.pdf": EQUAL}
    sent_and_lost(place, files)
    before = held(place)
    assert len(before) == 4
    daemon = place.start()
    results = ended(daemon, 3)
    assert held(place) == before
    assert asked(place, "import") == 3
    assert {result for result, _ in results.values()} == {"already_there"}
    assert {name: before[instance] for name, (_, instance) in results.items()} == files
    assert len({instance for _, instance in results.values()}) == 3
    for name, (_, instance) in results.items():
        assert history(place, name)["instance"] == instance
    assert place.done() == sorted(files)


def test_nor_does_a_ledger_that_is_put_back_from_a_backup(place: Site) -> None:
    files = {f"101_V1_lab_{letter}.pdf": letter.encode() for letter in "abc"}
    (place.drop / "done").write_text("in the way of whoever files")
    place.box.ill(Fault("status", code=503))
    daemon = place.start()
    for number, (name, content) in enumerate(files.items(), 1):
        place.put(name, content)
        daemon.wait_for("claimed", number)
    copy = str(place.root / "copy.db")
    assert place.dropcap("ledger", "backup", copy).returncode == 0
    place.box.well()
    eventually(lambda: [str(job.state) for job in place.jobs()] == ["stored"] * 3, 40)
    before = held(place)
    daemon.kill()
    (place.drop / "done").unlink()
    assert place.dropcap("ledger", "restore", copy).returncode == 0
    results = ended(place.start(), 3)
    assert held(place) == before
    assert {name: before[instance] for name, (_, instance) in results.items()} == files
    assert asked(place, "import") == 3


def test_of_two_with_the_same_bytes_the_one_that_had_not_arrived_is_sent(place: Site) -> None:
    sent_and_lost(place, {"101_V1_lab_a.pdf": EQUAL})
    in_progress(place, "101_V1_lab_b.pdf", EQUAL)
    daemon = place.start()
    results = ended(daemon, 2)
    assert held(place) == {1: EQUAL, 2: EQUAL}
    assert sorted(results.values()) == [("already_there", 1), ("stored", 2)]


@pytest.mark.parametrize("end", ["killed", "stopped", "refused"])
def test_a_search_that_is_broken_off_begins_anew(place: Site, end: str) -> None:
    for number in (1, 2, 3, 4):
        there_already(place, number, EQUAL if number == 2 else b"")
    in_progress(place, "101_V1_lab_a.pdf", EQUAL)
    place.config["stop_within"] = "1s"
    place.write_config()
    fault = Fault("status", code=503, match=EXPORT) if end == "refused" else Fault("delay", seconds=30.0, match=EXPORT, skip=1)
    place.box.ill(fault)
    daemon = place.start()
    assert place.box.illness.wait()
    if end == "killed":
        daemon.kill()
    elif end == "stopped":
        daemon.stop()
    else:
        daemon.wait_for("retrying")
    place.box.well()
    if end != "refused":
        daemon = place.start()
    assert ended(daemon, 1) == {"101_V1_lab_a.pdf": ("already_there", 2)}
    assert sorted(held(place)) == [1, 2, 3, 4]
    assert asked(place, "import") == 0


def test_more_than_can_be_looked_at_are_held_until_a_copy_is_dropped(place: Site) -> None:
    place.folder["rescan"] = "500ms"
    place.write_config()
    for number in range(1, 25):
        there_already(place, number)
    path = in_progress(place, "101_V1_lab_a.pdf", EQUAL)
    daemon = place.start()
    (told,) = daemon.wait_for("held")
    assert (told["reason"], "24 instances" in told["message"]) == ("not_confirmed", True)
    assert asked(place, "export") == 20
    place.retry(1)
    daemon.wait_for("held", 2)
    assert asked(place, "import") == 0
    assert place.dropcap("reload").returncode == 0
    shutil.copyfile(path, place.root / "copy")
    path.unlink()
    daemon.wait_for("withdrawn")
    (place.root / "copy").rename(place.drop / "101_V1_lab_a.pdf")
    assert ended(daemon, 1) == {"101_V1_lab_a.pdf": ("stored", 25)}


def test_where_names_are_shown_the_same_one_is_looked_at_first(place: Site) -> None:
    place.box.project.file_values = "name"
    for number in range(1, 31):
        there_already(place, number)
    there_already(place, 4, EQUAL, "101_V1_lab_a.pdf")
    in_progress(place, "101_V1_lab_a.pdf", EQUAL)
    assert ended(place.start(), 1) == {"101_V1_lab_a.pdf": ("already_there", 4)}
    assert asked(place, "export") == 1


def test_instances_that_the_ledger_knows_are_not_looked_at(place: Site) -> None:
    """A kill between a claim and its row, of a file whose record has many instances."""
    daemon = place.start()
    for number in range(1, 23):
        place.put(f"101_V1_lab_{number}.pdf", b"%d" % number)
    ended(daemon, 22)
    daemon.kill()
    before = asked(place, "export")
    in_progress(place, "101_V1_lab_a.pdf", EQUAL)
    assert ended(place.start(), 1) == {"101_V1_lab_a.pdf": ("stored", 23)}
    assert asked(place, "export") - before == 2, "the instance that was chosen, before and after"


def test_what_failed_before_it_was_looked_for_is_looked_for_when_it_is_tried_again(place: Site) -> None:
    sent_and_lost(place, {"101_V1_lab_a.pdf": EQUAL})
    rules, place.folder["rules"] = place.folder["rules"], place.folder["rules"][:1]
    place.write_config()
    daemon = place.start()
    daemon.wait_for("failed", reason="no_rule")
    place.folder["rules"] = rules
    place.write_config()
    assert place.dropcap("reload").returncode == 0
    place.retry(1)
    assert ended(daemon, 1) == {"101_V1_lab_a.pdf": ("already_there", 1)}
    assert held(place) == {1: EQUAL}


@pytest.mark.parametrize("name", ["101_V1_lab_a.pdf", "101_V1_lab_z.pdf"])
def test_a_person_who_moves_it_meanwhile_makes_no_second_instance(place: Site, name: str) -> None:
    place.folder["rescan"] = "500ms"
    place.write_config()
    sent_and_lost(place, {"101_V1_lab_a.pdf": EQUAL})
    place.box.ill(Fault("status", code=503))
    daemon = place.start()
    daemon.wait_for("claimed")
    (place.drop / "in_progress/101_V1_lab_a.pdf").rename(place.drop / name)
    daemon.wait_for("moved_back")
    place.box.well()
    (done,) = daemon.wait_for("done", patience=60)
    assert (done["result"], done["instance"], done["file"]) == ("already_there", 1, name)
    assert held(place) == {1: EQUAL}


def test_a_file_without_a_job_keeps_its_place_in_the_order(place: Site) -> None:
    """It is looked for when its turn comes: an older one to the same place goes first, and nothing is held."""
    daemon = place.start()
    place.put("102_V1_consent.pdf", b"by which REDCap tells the project: until then the order is provisional")
    daemon.wait_for("done")
    place.box.ill(Fault("status", code=503))
    place.put("101_V1_consent.pdf", b"the older one")
    daemon.wait_for("paused")
    daemon.kill()
    in_progress(place, "x/101_V1_consent.pdf", b"the newer one")
    place.box.well()
    daemon = place.start()
    daemon.wait_for("done", 2)
    assert place.box.content("101", "consent_pdf", VISIT.event) == b"the newer one"
    assert not daemon.events("held")


def test_who_puts_files_into_in_progress_finds_out_no_more_than_others(place: Site) -> None:
    for rule in place.folder["rules"][:2]:
        rule["pattern"] = "{record:digits}_{visit:visits}_{ini}_" + rule["name"] + "*.pdf"
        rule["must_match"] = {"initials": "{ini}"}
    place.write_config()
    daemon = place.start()
    for number, initials in enumerate(("QQ", "QX", "XQ"), 1):
        place.put(f"101_V1_{initials}_lab.pdf")
        daemon.wait_for("failed", number, reason="mismatch")
    for number, name in enumerate(("101_V1_QZ_lab.pdf", "101_V1_QZ_consent.pdf"), 1):
        in_progress(place, name, b"%PDF a guess")
        daemon.wait_for("held", number, reason="too_many_mismatches")
    assert not place.box.holdings()


# Dragged back from done/ ---------------------------------------------------------------------------------------------


def filed(place: Site) -> Path:
    return next(place.drop.glob("done/*/101_V1_lab_a*.pdf"))


@pytest.mark.parametrize("to", ["101_V1_lab_a.pdf", "ward/101_V1_lab_b.pdf", "in_progress/101_V1_lab_a.pdf"])
def test_a_file_that_is_dragged_back_from_done_is_already_there(place: Site, to: str) -> None:
    """And once more."""
    (place.drop / "ward").mkdir()
    daemon = place.start()
    for number, content in enumerate((b"another", EQUAL, EQUAL), 1):
        place.put(f"101_V1_lab_{'nam'[number - 1]}.pdf", content)
        daemon.wait_for("done", number)
    before = held(place)
    for count, name in enumerate(("101_V1_lab_a.pdf", to.removeprefix("in_progress/")), 4):
        next(place.drop.glob(f"done/*/{name}")).rename(place.drop / to)
        done = daemon.wait_for("done", count)[-1]
        assert (done["result"], done["instance"]) == ("already_there", 2)
    assert held(place) == before


@pytest.mark.parametrize("end", ["killed", "refused"])
def test_one_that_is_dragged_back_is_so_too_if_the_look_is_broken_off(place: Site, end: str) -> None:
    daemon = place.start()
    place.put("101_V1_lab_a.pdf", EQUAL)
    daemon.wait_for("done")
    kind = Fault("status", code=500, match=EXPORT) if end == "refused" else Fault("delay", seconds=30.0, match=EXPORT)
    place.box.ill(kind)
    filed(place).rename(place.drop / "101_V1_lab_b.pdf")
    assert place.box.illness.wait()
    if end == "killed":
        daemon.kill()
    else:
        daemon.wait_for("retrying")
    place.box.well()
    if end == "killed":
        daemon = place.start()
    (done,) = daemon.wait_for("done", file="101_V1_lab_b.pdf", patience=60)
    assert (done["result"], done["instance"]) == ("already_there", 1)
    assert held(place) == {1: EQUAL}


@pytest.mark.parametrize("what", ["a copy", "another file there", "no file there", "another record"])
def test_what_is_not_there_any_more_or_is_another_file_is_sent_as_ever(place: Site, what: str) -> None:
    daemon = place.start()
    place.put("101_V1_lab_a.pdf", EQUAL)
    daemon.wait_for("done")
    name = "102_V1_lab_b.pdf" if what == "another record" else "101_V1_lab_b.pdf"
    if what == "a copy":
        shutil.copy2(filed(place), place.root / "copy")
        (place.root / "copy").rename(place.drop / name)
    else:
        if what == "another file there":
            there_already(place, 1, b"corrected in REDCap")
        elif what == "no file there":
            place.box.project.store.remove_file("101", RowKey(VISIT.event, "laboratory", 1), "lab_report")
        filed(place).rename(place.drop / name)
    (done,) = daemon.wait_for("done", file=name)
    assert (done["result"], done["instance"]) == ("stored", 2 if what in ("a copy", "another file there") else 1)
