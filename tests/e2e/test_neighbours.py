"""What one who may drop can find out by dropping: of records whose values he guesses, and of other folders' files."""

from __future__ import annotations

import html
import json
import re
from pathlib import Path
from typing import Any

import pytest

from redcap_sandbox import Fault, RowKey
from tests.site import Daemon, Site, eventually, site

BASELINE = RowKey("baseline_arm_1")
PATTERN = "{record:digits}_{ini:letters}_{n:digits}.pdf"


def guessing(place: Site) -> str:
    """A rule that compares initials, and one that does not; the right initials of 101."""
    place.folder["rules"] = [
        {"name": "compared", "pattern": PATTERN, "field": "lab_report", "event": "baseline_arm_1",
         "instance": "{n}", "must_match": {"initials": "{ini}"}},
        {"name": "plain", "pattern": "{record:digits}_scan.pdf", "field": "scan", "event": "baseline_arm_1"},
    ]  # fmt: skip
    place.write_config()
    return initials(place, "101")


def initials(place: Site, record: str) -> str:
    row = place.box.project.store.row(record, BASELINE)
    assert row is not None
    return row.values["initials"]


def ends(daemon: Daemon) -> dict[str, Any]:
    """What became of each file, as far as a dropper is told."""
    keys = ("reason", "message", "remedy")
    told = [line for line in list(daemon.lines) if line["event"] in ("done", "failed", "held")]
    return {line["file"]: (line["event"], *(line.get(key) for key in keys)) for line in told}


def test_nobody_finds_out_a_value_by_guessing(place: Site) -> None:
    right = guessing(place)
    # A burst whose right guess comes last, one that another attempt of the day would be, and those whom it must not touch.
    guesses = [f"Q{chr(65 + number)}" for number in range(12)]
    for number, guess in enumerate([*guesses, right], 1):
        place.put(f"101_{guess}_{number}.pdf", b"%d" % number)
    daemon = place.start()
    eventually(lambda: len(ends(daemon)) == 13)
    became = ends(daemon)
    assert sorted(end[0] for end in became.values()) == ["failed"] * 3 + ["held"] * 10
    assert became[f"101_{right}_13.pdf"] in [became[f"101_{guess}_{n}.pdf"] for n, guess in enumerate(guesses, 1)], (
        "like a wrong one"
    )
    assert len({end for end in became.values() if end[0] == "held"}) == 1
    assert place.box.holdings() == []
    place.put("101_scan.pdf")
    place.put(f"102_{initials(place, '102')}_1.pdf")
    daemon.wait_for("done", 2)
    # It is remembered over a restart, and a reload does not count anew; the page tells of it.
    place.dropcap("reload")
    daemon.stop()
    daemon = place.start()
    place.put(f"101_{right}_99.pdf", b"again")
    daemon.wait_for("held", file=f"101_{right}_99.pdf", reason="too_many_mismatches")
    page = place.drop / "_STATUS.html"
    eventually(lambda: page.exists() and "Several files for this record did not agree" in page.read_text())
    assert len(place.failed()) == 3
    # Somebody has had a look: it begins to be counted anew.
    assert place.dropcap("retry", "--held").returncode == 0
    eventually(lambda: len(place.failed()) == 6)
    eventually(lambda: sum(job.state == "held" for job in place.jobs()) == 8)
    assert [one.record for one in place.box.holdings()].count("101") == 1, "the scan"


def test_an_honest_desk_with_three_typos_goes_on_when_somebody_has_looked(place: Site) -> None:
    right = guessing(place)
    for number, typo in enumerate(("ZZ", "QQ", "QZ"), 1):
        place.put(f"101_{typo}_{number}.pdf")
    daemon = place.start()
    daemon.wait_for("failed", 3)
    place.put(f"101_{right}_1.pdf", b"corrected")
    (held,) = daemon.wait_for("held")
    assert "retry --held" in held["remedy"]
    status = place.dropcap("status")
    assert "whether they agree or not" in re.sub(r"\s+", " ", status.stdout)
    assert place.dropcap("retry", str(held["job"])).returncode == 0
    daemon.wait_for("done")
    assert place.box.content("101", "lab_report", "baseline_arm_1", 1) == b"corrected"
    place.put("101_ZZ_7.pdf")
    daemon.wait_for("failed", 4)
    place.put(f"101_{right}_2.pdf", b"one typo later")
    daemon.wait_for("done", 2)


def test_redcaps_words_about_a_file_stand_in_no_other_folder(place: Site) -> None:
    """A project that refuses one file, and a question for files of two folders: the log tells all, each page of its own."""
    other = place.root / "other"
    other.mkdir()
    place.config["folders"]["other"] = {**place.folder, "path": str(other)}
    place.write_config()
    daemon = place.start()
    body = json.dumps({"error": "Nothing of record '117' (Miller) can be had"})
    page = other / "_STATUS.html"
    eventually(page.exists)  # what comes after it stands on the next one
    place.box.ill(Fault("status", match={"content": "file", "action": "import"}, code=403, body=body))
    place.put("117_V1_consent.pdf")
    place.put("116_V1_consent.pdf")  # one file alone stops nobody
    daemon.wait_for("paused")
    eventually(lambda: page.exists() and "REDCap does not let dropcap in" in page.read_text(), 40.0)
    assert "Miller" not in page.read_text()
    place.box.well()
    assert place.dropcap("resume", "--project", "trial").returncode == 0
    daemon.wait_for("done")
    # Files of both are asked about at once.
    assert place.dropcap("pause", "--server", "trial").returncode == 0
    place.put("117_V1_scan.pdf")
    (other / "103_V1_scan.pdf").write_bytes(b"of the other folder")
    daemon.wait_for("claimed", 3)
    place.box.ill(Fault("status", match={"content": "record"}, times=1, code=401, body=body))
    assert place.dropcap("resume", "--server", "trial").returncode == 0
    daemon.wait_for("paused", reason="token")
    eventually(lambda: "REDCap does not let dropcap in" in page.read_text(), 40.0)
    assert "Miller" not in page.read_text()
    eventually(lambda: [job.message for job in place.jobs() if job.folder == "other"] == ["REDCap does not accept the API token"])
    assert "Miller" in place.dropcap("status").stdout, "whoever looks after dropcap is told"
    assert place.dropcap("resume", "--project", "trial").returncode == 0
    daemon.wait_for("done", 3)


# Whose a hospital number is -----------------------------------------------------------------------------------------

RECORD, NUMBER = "HX-20417", "5557001"
IMPORT = {"content": "file", "action": "import", "record": RECORD}
BY_NUMBER = {"record_where": {"mrn": "{mrn}"}, "event": "baseline_arm_1", "field": "consent_pdf"}
#: As servers quote a record: as it is, in other letters, as a part of a longer word, escaped in each way.
QUOTED = (RECORD, "hx-20417", f"scan_{RECORD}_2.pdf", "HX&#45;20417", "HX%2D20417", "hx_20417", "<b>HX</b>-20417")


def in_the_share(place: Site) -> str:
    """All that droppers can read, as letters and digits alone: names, texts, the page."""
    files = [path for path in place.drop.rglob("*") if path.is_file()]
    said = " ".join(f"{path.relative_to(place.drop)} {path.read_text('utf-8', 'replace')}" for path in files)
    plain = re.sub("<[^>]*>|&[a-z]+;|%2d", "", html.unescape(said).casefold())
    return re.sub(r"[\W_]", "", plain)


@pytest.mark.parametrize("language", ["en", "de", "fr", "es"])
def test_nothing_in_the_share_tells_whose_a_hospital_number_is(tmp_path: Path, language: str) -> None:
    with site(tmp_path, language=language) as place:
        store = place.box.project.store
        for name, value in {"record_id": RECORD, "mrn": NUMBER, "initials": "QZ"}.items():
            store.set_value(RECORD, BASELINE, name, value)
        for record in ("HX-20418", "HX-20419"):
            store.set_value(record, BASELINE, "record_id", record)
            store.set_value(record, BASELINE, "mrn", "5557002")
        place.config["tables"]["people"] = {"P77": RECORD, "P78": "HX-20410"}
        place.folder["rules"] = [
            {"pattern": "{who:alnum}_table.pdf", "record": "{who|people}", "event": "baseline_arm_1", "field": "scan"},
            {**BY_NUMBER, "pattern": "mrn{mrn:digits}_exists{n:digits}.pdf", "existing_file": "refuse"},
            {**BY_NUMBER, "pattern": "mrn{mrn:digits}_{ini:letters}_agrees.pdf", "must_match": {"initials": "{ini}"}},
            {**BY_NUMBER, "pattern": "mrn{mrn:digits}_quoted{n:digits}.pdf", "field": "scan", "confirm": "none"},
            {**BY_NUMBER, "pattern": "mrn{mrn:digits}_repeats.pdf", "field": "lab_report"},
            {**BY_NUMBER, "pattern": "mrn{mrn:digits}_next.pdf", "field": "lab_report", "instance": "next"},
        ]
        place.write_config()
        daemon = place.start()
        place.put(f"mrn{NUMBER}_exists1.pdf", b"the first")
        place.put(f"mrn{NUMBER}_next.pdf")
        place.put("P77_table.pdf")
        daemon.wait_for("done", 3)
        reasons = {
            f"mrn{NUMBER}_exists2.pdf": "file_exists",
            f"mrn{NUMBER}_repeats.pdf": "needs_instance",
            "mrn5557002_exists1.pdf": "several_records",
            "mrn5557003_exists1.pdf": "no_record",
            "P78_table.pdf": "no_record",
        }
        for name in reasons:
            place.put(name, b"another")
        for initials in ("AA", "AB", "AC", "AD"):
            place.put(f"mrn{NUMBER}_{initials}_agrees.pdf")
        daemon.wait_for("failed", len(reasons) + 2)
        daemon.wait_for("held", 2)
        for number, quoted in enumerate(QUOTED):  # one after the other: alike words in a row pause a project
            body = json.dumps({"error": f"word{number} of {quoted}: the file {quoted} was not taken"})
            place.box.ill(Fault("status", times=1, code=413 if number % 2 else 400, body=body, match=IMPORT))
            place.put(f"mrn{NUMBER}_quoted{number}.pdf", b"%d" % number)
            daemon.wait_for("failed", file=f"mrn{NUMBER}_quoted{number}.pdf")
        told = {job.name: job.reason for job in place.jobs()}
        assert {name: told[name] for name in reasons} == reasons
        assert [told[f"mrn{NUMBER}_{ini}_agrees.pdf"] for ini in ("AA", "AB", "AC", "AD")].count("mismatch") == 3
        assert "too_many_mismatches" in told.values()
        assert daemon.stop() == 0  # with a last page
        said = in_the_share(place)
        for name in place.failed():
            assert re.sub(r"[\W_]", "", name.casefold()) in said, "the page and the texts are read"
        assert "hx2041" not in said
        operators = place.dropcap("status", "--failed").stdout + place.dropcap("history", "--json").stdout
        assert RECORD in operators, "whoever looks after dropcap is told"


def test_nor_does_a_file_that_waits_behind_one_that_names_the_record(place: Site) -> None:
    """Which of two files is held for a place, and which waits for it, tells that both names mean one person."""
    place.box.project.store.set_value("101", BASELINE, "mrn", NUMBER)
    place.folder["rules"].append({**BY_NUMBER, "pattern": "mrn{mrn:digits}.pdf"})
    place.write_config()
    place.once()
    assert place.dropcap("pause", "--project", "trial").returncode == 0
    place.put("101_V1_consent.pdf", b"a whole consent")
    daemon = place.start()
    daemon.wait_for("claimed")
    place.put(f"mrn{NUMBER}.pdf", b"another for the same field")
    daemon.wait_for("claimed", 2)
    (place.drop / "in_progress" / "101_V1_consent.pdf").write_bytes(b"half")
    assert place.dropcap("resume", "--project", "trial").returncode == 0
    daemon.wait_for("held", file="101_V1_consent.pdf")
    status = eventually(lambda: (said := place.dropcap("status").stdout) and "behind job 1, 101_V1_consent.pdf" in said and said)
    assert f"mrn{NUMBER}.pdf" in status
    assert daemon.stop() == 0
    page = (place.drop / "_STATUS.html").read_text()
    assert f"mrn{NUMBER}.pdf" in page
    assert "same place" not in page
