"""`dropcap report`: a period as a page and as a table, against what REDCap holds."""

from __future__ import annotations

import csv
import hashlib
import io
import re
import sqlite3
import stat
from datetime import date
from html.parser import HTMLParser
from pathlib import Path

import pytest

from dropcap.cli.report import days, span, times
from dropcap.ledger.chain import heads_in
from tests.site import Site


class Page(HTMLParser):
    """The tags, the cells and all text of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.rows: list[list[str]] = []
        self.text = ""
        self._in_cell = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag == "tr":
            self.rows.append([])
        if tag == "td":
            self.rows[-1].append("")
            self._in_cell = True

    def handle_endtag(self, tag: str) -> None:
        if tag == "td":
            self._in_cell = False

    def handle_data(self, data: str) -> None:
        self.text += data
        if self._in_cell:
            self.rows[-1][-1] += data


def test_a_report_agrees_with_redcap_and_runs_nothing(place: Site) -> None:
    evil = "<script>alert(1)</script>.pdf".replace("/", "")
    place.put("101_V1_consent.pdf", b"old")
    place.once()
    for name in ("101_V1_consent.pdf", "102_V1_consent.pdf", "101_V1_lab_1.pdf", "999_V1_consent.pdf", f"={evil}"):
        place.put(name, name.encode())
    daemon = place.start()
    daemon.wait_for("failed", 1)
    daemon.wait_for("done", 3)
    assert place.dropcap("pause", "--folder", "consents").returncode == 0
    daemon.stop()
    file = place.root / "report.html"
    result = place.dropcap("report", "--since", "1d", "--folder", "consents", "--html", str(file))
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    page = Page(file.read_text())
    assert {tag for tag, _ in page.tags}.isdisjoint({"script", "link", "img", "iframe", "object"})
    assert not [name for _, attributes in page.tags for name in attributes if name.startswith("on") or name in ("style", "src")]
    assert "default-src 'none'" in file.read_text()

    jobs = {job.id: job for job in place.jobs()}
    files = [row for row in page.rows if len(row) == 7]
    assert [int(row[6]) for row in files] == list(jobs)
    there = {row[1].replace(" ", "")[-64:] for row in files if "failed" not in row[5]}
    replaced = hashlib.sha256(b"old").hexdigest()
    assert there == {holding.sha256 for holding in place.box.holdings()} | {replaced}
    (again,) = [row for row in files if row[5].startswith("replaced")]
    assert replaced[:16] in again[5], "what was kept"
    words = " ".join(page.text.split())
    failed = sum(job.state == "failed" for job in jobs.values())
    assert f"Of {len(jobs)} files that were dropped, 4 are in REDCap" in words
    assert f"Not in REDCap{failed}" in words.replace(" ", "").replace("NotinREDCap", "Not in REDCap")
    assert "Confirmed: 4 read back, the same SHA-256" in words
    assert "The record is whole" in words
    assert any(row[2] == "pause" and "consents" in row[3] for row in page.rows if len(row) == 4), "who intervened"
    assert hashlib.sha256(place.config_file.read_bytes()).hexdigest() in words
    assert len([tag for tag, _ in page.tags if tag == "svg"]) == 3
    assert {head.chain for head in heads_in(file.read_text())} == {"", "consents"}
    assert place.dropcap("verify", "--chain", "--witness", str(file)).returncode == 0, "a report is a witness"

    table = place.root / "report.csv"
    assert place.dropcap("report", "--since", "1d", "--csv", str(table)).returncode == 0
    rows = list(csv.DictReader(io.StringIO(table.read_bytes().decode("utf-8-sig"), newline="")))
    assert [(int(row["job"]), row["sha256"]) for row in rows] == [(job.id, job.sha256 or "") for job in jobs.values()]
    assert not any(cell.startswith("=") for row in rows for cell in row.values())

    connection = sqlite3.connect(place.state / "ledger.db")
    connection.execute("update job set record = '102' where id = 1")
    connection.commit()
    connection.close()
    result = place.dropcap("report", "--since", "1d", "--html", str(file))
    assert result.returncode == 1
    assert "job 1: its record is '102' now; '101' was sealed" in Page(file.read_text()).text, "and the report says so too"
    table = place.dropcap("report", "--since", "1d", "--csv", str(place.root / "table.csv"))
    assert (table.returncode, "verify --chain" in table.stderr) == (1, True), "a table cannot say so itself"


def test_nothing_dropped_and_what_cannot_be_asked(place: Site) -> None:
    place.once()
    file = place.root / "report.html"
    assert place.dropcap("report", "--since", "2026-01-01", "--until", "2026-01-31", "--html", str(file)).returncode == 0
    assert "1 to 31 January 2026" in file.read_text()
    assert "No file was dropped." in file.read_text()
    for words in (
        ["--since", "1d", str(file)],
        ["--since", "1d", "--html", "--csv", str(file)],
        ["--since", "2026-02-01", "--until", "2026-01-31", "--html", str(file)],
        ["--since", "1d", "--folder", "none", "--html", str(file)],
        ["--since", "1d", "--project", "none", "--html", str(file)],
    ):
        assert place.dropcap("report", *words).returncode == 2, words
    nowhere = place.dropcap("report", "--since", "1d", "--csv", str(place.root / "none" / "x.csv"))
    assert (nowhere.returncode, "cannot be written" in nowhere.stderr) == (1, True)
    assert sorted(p.name for p in place.root.glob(".report*")) == [], "nothing half written is left"


def test_a_file_that_would_be_taken_as_dropped_is_not_written(place: Site) -> None:
    place.once()
    before = place.everywhere()
    (place.root / "link").symlink_to(place.drop)
    place.folder["ignore"] = "not a list: the folder goes on by its last good configuration"
    for sound in (True, False):
        for into in (place.drop, place.drop / "sub" / "..", place.drop / "done", place.root / "link"):
            for words in (["report", "--since", "1d", "--csv"], ["report", "--since", "1d", "--html"], ["ledger", "backup"]):
                result = place.dropcap(*words, str(into / "101_V1_consent.pdf"))
                assert result.returncode == 2, (sound, words)
                assert "lies in the drop folder consents, where others read and files are taken" in result.stderr
        place.write_config()
    assert place.everywhere() == before


@pytest.mark.parametrize(
    ("first", "last", "told"),
    [
        (date(2026, 11, 18), date(2026, 11, 24), "18 to 24 November 2026"),
        (date(2026, 10, 30), date(2026, 11, 2), "30 October to 2 November 2026"),
        (date(2025, 12, 31), date(2026, 1, 1), "31 December 2025 to 1 January 2026"),
        (date(2026, 1, 1), date(2026, 1, 1), "1 January 2026"),
    ],
)
def test_a_period_in_words(first: date, last: date, told: str) -> None:
    assert span(first, last) == told


def test_a_long_period_is_drawn_by_the_week_and_nothing_leaves_the_plot() -> None:
    day = date(2024, 1, 1)
    for last in (date(2024, 1, 1), date(2024, 2, 20), date(2025, 1, 1), date(2034, 1, 1)):
        drawn = days({day: 10_000, last: 3}, {last: 7}, day, last)
        height = float(re.findall(r'viewBox="0 0 660 (\d+)"', drawn)[0])
        for x, y, width, tall in re.findall(r'<rect[^>]* x="([\d.-]+)" y="([\d.-]+)" width="([\d.]+)" height="([\d.]+)"', drawn):
            assert 0 <= float(x) <= float(x) + float(width) <= 661
            assert 0 <= float(y) <= float(y) + float(tall) <= height
        assert len(drawn) < 20_000
    assert "36" in times([36, 0, 0, 0, 0, 0, 0, 0, 0])


def test_where_a_report_is_shown(tmp_path: Path) -> None:
    """The title of a page's margin is a CSS string: no name ends it."""
    from dropcap.cli.report import css_string

    assert css_string('a"}</style>\\') == '"a\\000022 \\00007d \\00003c \\00002f style\\00003e \\00005c "'
