"""`notify`, `metrics`, `dashboard` and `expect`: what they mean, what is said of their mistakes, when a file is missing."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import pytest

from dropcap.config.load import load
from dropcap.config.model import Config, Dashboard, Expect, SecretPlace, clock_time, weekdays
from dropcap.reasons import NoticeKind

BASE = """
projects: {trial: {url: https://redcap.example.org/api/, token_file: t}}
folders:
  labs: {path: labs, project: trial, rules: [{pattern: "{record}.pdf", field: f}]%s}
"""


def read(tmp_path: Path, text: str, folder: str = "") -> Config:
    (tmp_path / "config.yaml").write_text(text + BASE % folder)
    return load(tmp_path / "config.yaml")


def test_all_of_it(tmp_path: Path) -> None:
    config = read(
        tmp_path,
        """
notify:
  digest: 5m
  to:
    desk: {url_file: desk.url}
    lab: {url_credential: lab-url, folders: [labs], events: [files, expected], names: true}
metrics: {textfile: dropcap.prom}
dashboard: {listen: "[::1]:8751", secret_file: secret, origin: https://Dropcap.example.org}
""",
        ', expect: {every: 1d, days: [mon-wed, fri], by: "18:00"}',
    )
    assert config.problems == ()
    desk, lab = config.notify.recipients
    assert (config.notify.after, config.notify.digest) == (120.0, 300.0)
    assert desk.of_all
    assert desk.events == frozenset(NoticeKind)
    assert desk.url.file == str(tmp_path / "desk.url")
    assert (lab.events, lab.names) == ({NoticeKind.FILES, NoticeKind.EXPECTED}, True)
    assert lab.concerned((), ["labs"])
    assert not lab.concerned(["trial"], ["others"])
    assert config.metrics.textfile == tmp_path / "dropcap.prom"
    assert config.dashboard.own == "http://[::1]:8751"
    assert config.dashboard.hosts >= {"[::1]:8751", "localhost:8751", "dropcap.example.org"}
    expect = config.folders["labs"].expect
    assert (expect.every, expect.days, str(expect.by)) == (86400.0, {0, 1, 2, 4}, "18:00:00")


@pytest.mark.parametrize(
    ("text", "key", "message"),
    [
        ("notify: {to: {desk: {}}}", "notify.to.desk", "does not say where the notification address is"),
        ("notify: {to: {desk: {url_file: 'mailto://u:secret@h'}}}", "notify.to.desk.url_file", "looks like an address itself"),
        ("notify: {to: {desk: {url_file: a, events: [fire]}}}", "notify.to.desk.events[1]", "`fire` is not possible"),
        ("notify: {to: {desk: {url_file: a, folders: [lab]}}}", "notify.to.desk.folders[1]", "there is no folder `lab`"),
        ("metrics: {textfile: dropcap.txt}", "metrics.textfile", "does not end with .prom"),
        ("metrics: {}", "metrics", "says no textfile"),
        ("dashboard: {}", "dashboard", "does not say where the secret is"),
        ("dashboard: {listen: '192.0.2.7:8750', secret_file: s}", "dashboard.listen", "in clear text"),
        ("dashboard: {listen: 'localhost', secret_file: s}", "dashboard.listen", "is not an address and a port"),
        ("dashboard: {origin: 'http://x.example.org', secret_file: s}", "dashboard.origin", "has no TLS"),
        ("dashboard: {listen: '0.0.0.0:443', cert_file: c, secret_file: s}", "dashboard.listen", "the address that people type"),
        ("dashboard: {key_file: k, secret_file: s}", "dashboard.key_file", "without its certificate"),
    ],
)
def test_mistakes(tmp_path: Path, text: str, key: str, message: str) -> None:
    problems = read(tmp_path, text).problems
    assert [problem.key for problem in problems] == [key]
    assert message in problems[0].message
    assert "secret@" not in str(problems[0])


def test_a_mistake_in_expect_disables_its_folder_alone(tmp_path: Path) -> None:
    (problem,) = read(tmp_path, "", ', expect: {by: "25:00"}').problems
    assert (problem.key, problem.scope) == ("folders.labs.expect.by", ("folder", "labs"))


@pytest.mark.parametrize(
    ("text", "days"),
    [("mon", {0}), ("mon-fri", {0, 1, 2, 3, 4}), ("Sat-Sun", {5, 6}), ("fri-mon", {4, 5, 6, 0}), ("mo", None), ("mon-", None)],
)
def test_weekdays(text: str, days: set[int] | None) -> None:
    assert weekdays(text) == days


@pytest.fixture(params=["Europe/Berlin", "America/New_York"])
def zone(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", request.param)
    time.tzset()
    yield
    os.environ.pop("TZ", None)
    monkeypatch.undo()
    time.tzset()


def at(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


WORKDAYS = Expect(86400.0, frozenset(range(5)), clock_time("18:00"))


@pytest.mark.usefixtures("zone")
@pytest.mark.parametrize(
    ("last", "now", "since"),
    [
        ("2026-11-24 17:00", "2026-11-25 17:59", None),  # Wednesday, not yet
        ("2026-11-24 17:00", "2026-11-25 18:01", "2026-11-25 18:00"),
        ("2026-11-24 18:30", "2026-11-25 18:01", None),  # late yesterday counts for today
        ("2026-11-25 18:30", "2026-11-25 18:31", None),  # late, but here
        ("2026-11-26 09:00", "2026-11-28 12:00", "2026-11-27 18:00"),  # on Saturday, Friday's are missing
        ("2026-11-27 09:00", "2026-11-29 23:00", None),  # nothing is expected at the weekend
        ("2026-11-27 09:00", "2026-11-30 18:01", "2026-11-30 18:00"),
        ("2026-10-23 18:30", "2026-10-26 18:01", "2026-10-26 18:00"),  # clocks went back on Sunday 25 October in Berlin
        ("2026-03-27 17:00", "2026-03-27 18:01", None),
        (None, "2026-11-25 18:01", "2026-11-25 18:00"),
    ],
)
def test_what_is_missing(last: str | None, now: str, since: str | None) -> None:
    told = WORKDAYS.overdue(at(last) if last else None, 0.0, at(now))
    assert told == (at(since) if since else None)


@pytest.mark.usefixtures("zone")
def test_a_new_folder_has_a_whole_time_to_go() -> None:
    assert WORKDAYS.overdue(None, at("2026-11-25 12:00"), at("2026-11-25 18:01")) is None
    assert WORKDAYS.overdue(None, at("2026-11-25 12:00"), at("2026-11-26 18:01")) == at("2026-11-26 18:00")


def test_without_a_time_of_day() -> None:
    often = Expect(7200.0)
    assert often.overdue(10_000.0, 0.0, 17_000.0) is None
    assert often.overdue(10_000.0, 0.0, 17_300.0) == 17_200.0


@pytest.mark.usefixtures("zone")
@pytest.mark.parametrize(
    ("every", "last", "now", "since"),
    [
        (2, "2026-11-27 17:00", "2026-11-27 19:01", "2026-11-27 19:00"),
        (2, "2026-11-27 17:00", "2026-11-28 12:00", "2026-11-27 19:00"),  # what Friday misses is missing on Saturday too
        (2, "2026-11-27 23:00", "2026-11-28 12:00", None),  # nothing is expected at the weekend
        (2, "2026-11-27 23:00", "2026-11-30 00:30", None),  # Monday has its own time to go
        (2, "2026-11-27 23:00", "2026-11-30 01:01", "2026-11-30 01:00"),
        (2, "2026-11-28 12:00", "2026-11-30 01:59", None),
        (24, "2026-11-27 17:00", "2026-11-30 16:59", None),
        (24, "2026-11-27 17:00", "2026-11-30 17:01", "2026-11-30 17:00"),
        (24, "2026-10-23 17:00", "2026-10-26 17:01", "2026-10-26 17:00"),  # clocks went back on Sunday in Berlin
    ],
)
def test_without_a_time_of_day_other_days_do_not_count(every: int, last: str, now: str, since: str | None) -> None:
    told = Expect(every * 3600.0, frozenset(range(5))).overdue(at(last), 0.0, at(now))
    assert told == (at(since) if since else None)


def test_the_dashboard_knows_its_own_addresses() -> None:
    page = Dashboard("127.0.0.1", 8750, SecretPlace("secret file", "s", None), origin="https://dropcap.example.org")
    assert page.address == "https://dropcap.example.org"
    assert "http://127.0.0.1:8750" in page.origins
    assert "dropcap.example.org:8750" not in page.hosts
    there = Dashboard("192.0.2.7", 443, SecretPlace("secret file", "s", None), cert_file=Path("c"))
    assert there.hosts == {"192.0.2.7:443", "192.0.2.7"}
    assert there.origins == {"https://192.0.2.7:443", "https://192.0.2.7"}
