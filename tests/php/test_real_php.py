"""The real command against real PHP: what it parses, refuses and loses is what dropcap says."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from dropcap.display import shown
from tests import needs
from tests.faults.proxy import proxy
from tests.php.server import RealPhp, php_site
from tests.site import Site

pytestmark = needs.every_test_needs("php")

FIELD = "consent_pdf"
#: Dropped files, by what follows the record in their names, and what they are to be called in REDCap.
NAMES = {
    "_plain.pdf": "plain.pdf",
    '_quo"te"s.pdf': "quo_te_s.pdf",
    "_it's; filename=x.pdf": "it_s; filename=x.pdf",
    "-drive C:a.pdf": "104-drive C_a.pdf",
    "_new%0aline.pdf": "new%0aline.pdf",
    "_bidi\u202efdp.exe.pdf": "bidi_fdp.exe.pdf",
    "_%22 %00 %5c +&=.pdf": "%22 %00 %5c +&=.pdf",
    "_Röntgen 肺 🫁.pdf": "Röntgen 肺 🫁.pdf",
    "_decomposed u\u0308.pdf": "decomposed ü.pdf",
    "_.leading.pdf": "_leading.pdf",
    "_..": "_.",
    "_trailing dots...": "trailing dots...",
    "_" + "a" * 247 + ".pdf": "a" * 96 + ".pdf",
    "_" + "ü" * 123 + ".pdf": "ü" * 96 + ".pdf",
    "- leading space.pdf": "115- leading space.pdf",
    "-&lt;b&gt;<b>.pdf": "116-&lt;b&gt;<b>.pdf",
}
#: Dropped files that no name in REDCap can be made of.
REFUSED = {
    "117-new\nline\r\n--boundary.pdf": "bad_value",
    "118-tab\tdel\x7fesc\x1b[31m.pdf": "bad_value",
    "119-back\\slash.pdf": "bad_value",
    os.fsdecode(b"120-not \xff UTF-8.pdf"): "no_rule",
}


@pytest.fixture
def site(tmp_path: Path) -> Iterator[tuple[Site, RealPhp]]:
    with php_site(tmp_path) as made:
        yield made


def test_hostile_names_arrive_as_dropcap_says(site: tuple[Site, RealPhp]) -> None:
    place, php = site
    place.once()  # what lies there at first and matches no rule is left
    dropped = {str(101 + number): f"{101 + number}{name}" for number, name in enumerate(NAMES)}
    for name in (*dropped.values(), *REFUSED):
        (place.drop / name).write_bytes(os.fsencode(name))
    told = place.dropcap("explain", *dropped.values()).stdout
    result = place.once()
    assert result.returncode == 1, result.stderr
    arrived = {record: name.decode() for (record, _, _, _), name in php.held().items()}
    assert arrived == dict(zip(dropped, NAMES.values(), strict=True))
    named = [line.partition("named")[2].strip() for line in told.splitlines() if line.startswith("  named ")]
    assert named == [shown(name) for name in NAMES.values()]
    for record, name in dropped.items():
        assert php.content(record, FIELD) == name.encode()
    assert sorted(place.done()) == sorted(dropped.values())
    assert {job.name: job.reason for job in place.jobs() if job.state == "failed"} == REFUSED


def test_bytes_arrive_as_they_are(site: tuple[Site, RealPhp]) -> None:
    place, php = site
    rubbish = random.Random(7).randbytes
    contents = {
        "101": b"",
        "102": b"\0",
        "103": rubbish(64 * 1024 - 1),
        "104": rubbish(64 * 1024),
        "105": rubbish(64 * 1024 + 1),
        "106": rubbish(5 * 1024 * 1024),
        "107": b"\r\n",
        "108": b"\r\n--dropcap-\r\nContent-Disposition: form-data; name=\"record\"\r\n\r\n101\r\n--dropcap---\r\n",
        "109": b"%PDF\r\n--\r\n--",
    }  # fmt: skip
    for record, content in contents.items():
        place.put(f"{record}_a.bin", content)
    assert place.once().returncode == 1
    assert place.failed() == ["101_a.bin"]
    assert "empty" in place.why("101_a.bin")
    for record, content in list(contents.items())[1:]:
        assert php.content(record, FIELD) == content
    assert {job.confirmed for job in place.jobs() if job.state == "done"} == {"readback"}


def test_what_is_replaced_is_preserved_and_next_counts_on(site: tuple[Site, RealPhp]) -> None:
    place, php = site
    place.put("101_consent.pdf", b"the old one")
    place.put("102_lab_first.pdf", b"sample 1")
    assert place.once().returncode == 0
    place.put("101_consent.pdf", b"the new one")
    place.put("102_lab_second.pdf", b"sample 2")
    assert place.once().returncode == 0
    assert [job.result for job in place.jobs()].count("replaced") == 1
    assert php.content("101", FIELD) == b"the new one"
    (kept,) = place.copies()
    assert (place.kept / kept).read_bytes() == b"the old one"
    for number in (1, 2):
        assert php.content("102", "lab_report", form="laboratory", instance=number) == f"sample {number}".encode()
    verified = place.dropcap("verify")
    assert verified.returncode == 0, verified.stdout + verified.stderr


def test_a_project_without_events(tmp_path: Path) -> None:
    with php_site(tmp_path, longitudinal=False) as (place, php):
        place.put("101_consent.pdf", b"signed")
        place.put("102_lab_1.pdf", b"sample")
        checked = place.dropcap("check")
        assert checked.returncode == 0, checked.stdout
        assert place.once().returncode == 0
        assert php.content("101", FIELD, event="") == b"signed"
        assert php.content("102", "lab_report", event="", form="laboratory", instance=1) == b"sample"


def test_values_are_compared_as_they_are(tmp_path: Path) -> None:
    near = {"0012": "12", "a+b & c=d%20": "a b & c=d ", "Ünal 肺": "ünal 肺", "1e3": "1000"}
    with php_site(tmp_path) as (place, php):
        place.folder["rules"] = [
            {
                "name": "by number",
                "pattern": "{mrn:any}.pdf",
                "record_where": {"mrn": "{mrn}"},
                "must_match": {"initials": "{mrn}"},
                "event": "baseline_arm_1",
                "field": FIELD,
            }
        ]
        place.write_config()
        for number, (value, other) in enumerate(near.items()):
            for record, held in ((101 + number, other), (111 + number, value)):
                php.set_value(str(record), "mrn", held)
                php.set_value(str(record), "initials", held)
            place.put(f"{value}.pdf", value.encode())
        result = place.once()
        assert result.returncode == 0, result.stderr
        for number, value in enumerate(near):
            assert php.content(str(111 + number), FIELD) == value.encode()
        assert len(php.held()) == len(near)


def test_records_are_created_under_their_own_names(tmp_path: Path) -> None:
    records = ["0907", "ä 1+1&b=c", "901%20"]
    with php_site(tmp_path) as (place, php):
        place.folder["missing_record"] = "create"
        place.folder["rules"] = [
            {"pattern": f"{{record:{'|'.join(records)}}}_a.pdf", "event": "month_6_arm_1", "field": FIELD},
        ]
        place.write_config()
        for record in records:
            place.put(f"{record}_a.pdf", record.encode())
        result = place.once()
        assert result.returncode == 0, result.stderr
        assert sorted({row["record"] for row in php.rows()[20:]}) == sorted(records)
        for record in records:
            assert php.content(record, FIELD, event="month_6_arm_1") == record.encode()


def test_a_body_cut_off_in_the_middle_stores_nothing(site: tuple[Site, RealPhp]) -> None:
    place, php = site
    with proxy(php.port) as between:
        place.project["url"] = between.url
        place.write_config()
        trouble = between.trouble("reset_during_body", "import")
        place.put("101_a.bin", os.urandom(3_000_000))
        result = place.once()
    assert trouble.struck.is_set()
    assert result.returncode == 0, result.stderr
    (job,) = place.jobs()
    assert (job.state, job.attempts, job.confirmed) == ("done", 2, "readback")
    assert len(php.held()) == 1


@pytest.mark.parametrize(
    ("setting", "display_errors", "emptied"),
    [
        ("upload_max_filesize", "0", ""),
        ("post_max_size", "0", ""),
        ("post_max_size", "1", ""),
        ("post_max_size", "1", "501 kzt brx"),
        ("post_max_size", "0", "400 Kein Zugriff"),
    ],
)
def test_a_file_that_php_takes_for_too_large_fails_alone(tmp_path: Path, setting: str, display_errors: str, emptied: str) -> None:
    with php_site(tmp_path, **{setting: "2M"}, display_errors=display_errors) as (place, php):
        if emptied:
            (php.state / "emptied").write_text(emptied)
        place.put("101_small.bin", b"small")
        place.put("102_large.bin", b"z" * (2 * 1024 * 1024 + 1))
        assert place.once().returncode == 1
        assert {job.name: job.reason for job in place.jobs()} == {"101_small.bin": None, "102_large.bin": "too_large"}
        assert "The file is too large for REDCap: it has 2.0 MB." in place.why("102_large.bin")
        assert "administrator" in (place.jobs()[-1].remedy or ""), "that is for whoever runs dropcap"
        assert list(php.held()) == [("101", "baseline_arm_1", FIELD, "")]


@pytest.mark.parametrize(
    ("html", "how", "confirm"), [("0", "", "readback"), ("1", "at once", "readback"), ("1", "", "none"), ("0", "at once", "none")]
)
def test_warnings_before_the_answer_make_no_false_done(tmp_path: Path, html: str, how: str, confirm: str) -> None:
    with php_site(tmp_path, display_errors="1", html_errors=html) as (place, php):
        place.folder.update(confirm=confirm, existing_file="replace" if confirm == "none" else "preserve")
        place.write_config()
        php.noisy(how)
        place.put("101_a.pdf", b"there is such a record")
        place.put("999_a.pdf", b"there is none")
        result = place.once("--wait", "500ms")
        assert result.returncode in (1, 3), result.stderr
        assert "Traceback" not in result.stderr
        assert place.done() == []
        assert len(place.everywhere()) == 2
        (php.state / "noisy").unlink()
        place.once("--wait", "2s")
        assert place.done() == ["101_a.pdf"]
        assert php.content("101", FIELD) == b"there is such a record"
        assert {record for record, _, _, _ in php.held()} == {"101"}
        assert len(place.everywhere()) == 2


@pytest.mark.parametrize("confirm", ["readback", "listed", "none"])
def test_replies_that_do_not_tell_their_length_are_no_trouble(tmp_path: Path, confirm: str) -> None:
    with php_site(tmp_path) as (place, php):
        php.tells_no_length()
        place.folder["confirm"] = confirm
        place.write_config()
        for version in ("old", "new"):
            for record in range(101, 106):
                place.put(f"{record}_a.pdf", f"the {version} one of {record}".encode())
                place.put(f"{record}_lab_{version}.pdf", f"{version} {record}".encode())
            result = place.once()
            assert result.returncode == 0, result.stderr
            assert "retrying" not in result.stderr
        assert {(job.attempts, job.confirmed) for job in place.jobs()} == {(1, "listed" if confirm == "listed" else "readback")}
        kept = place.copies()
        assert [(place.kept / name).read_text() for name in kept] == [f"the old one of {n}" for n in range(101, 106)]
        assert len(php.held()) == 15


def test_a_present_file_that_comes_cut_off_without_a_length_is_not_replaced(tmp_path: Path) -> None:
    with php_site(tmp_path) as (place, php):
        old = os.urandom(100_000)
        place.put("101_a.pdf", old)
        assert place.once().returncode == 0
        php.tells_no_length("cut")
        place.put("101_a.pdf", b"the new one")
        place.once("--wait", "500ms")
        assert place.names("in_progress") == ["101_a.pdf"]
        assert place.copies() == []
        assert php.content("101", FIELD) == old
