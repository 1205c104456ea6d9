from __future__ import annotations

import base64
import hashlib
import os
import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dropcap.config.model import Folder
from dropcap.files.tree import Tree
from dropcap.filing.page import StatusPage, is_ours, render
from dropcap.filing.status_view import BeingSent, Line, Rest, StatusView, Still, WhyLeft
from dropcap.filing.why import Failure, StoredTwin
from dropcap.language import Language
from dropcap.naming.doctor import diagnose
from dropcap.reasons import Reason
from tests.naming.test_doctor import RULES

NOW = datetime(2026, 11, 24, 14, 32, 7, tzinfo=UTC)
EMPTY = StatusView(folder="consents", generated=NOW, contact="Study desk, ext. 4711", version="1.0")


def failed(name: str, reason: str = "no_rule", twin: StoredTwin | None = None) -> Failure:
    diagnosis = diagnose(RULES, "consents", name) if reason == "no_rule" else None
    return Failure(name, 7, reason, NOW - timedelta(minutes=20), record="101", diagnosis=diagnosis, twin=twin)


#: Something of each kind.
FULL = replace(
    EMPTY,
    test=True,
    old_rules=True,
    full=True,
    examples=["SN001_consent_v1.0_2026-11-25.pdf"],
    still=[Still(Reason.MAINTENANCE, NOW - timedelta(minutes=27)), Still(Reason.RATE_LIMITED, until=NOW + timedelta(minutes=1))],
    sending=[BeingSent("large.edf", NOW - timedelta(minutes=50), 450 * 2**20, 279 * 2**20, NOW + timedelta(minutes=3))],
    arriving=[Line("new.pdf", NOW, rest=Rest.OPEN)],
    waiting=[
        Line("w1.pdf", NOW - timedelta(days=1)),
        Line("w2.pdf", NOW, reason=Reason.NO_RECORD),
        Line("w3.pdf", NOW, behind="held.pdf"),
    ],
    held=[Line("held.pdf", NOW, reason=Reason.TOO_LARGE)],
    failed=[
        failed("SN011_consnet_v1.0_2026-11-04.pdf"),
        failed("SN0O7_consent_v1.0_2026-11-04.pdf"),
        failed("scan0001.pdf"),
        failed("101.pdf", Reason.NO_RECORD),
        failed("SN003_consent_v1.0_2026-11-03 (1).pdf", twin=StoredTwin(NOW - timedelta(hours=5), False)),
    ],
    not_taken=[("signed forms", WhyLeft.LINK)],
    strays=["done/stray.pdf"],
    stray_count=1,
    lay_here=["old.pdf"],
    lay_here_count=1,
    done_today=12,
    done_last=[Line("SN002_consent_v1.0_2026-11-03.pdf", NOW, to="002 · consent_pdf")],
)


class Reader(HTMLParser):
    """What a browser would see: tags with their attributes, and the text of the body."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(page.replace("<style>", "<style>\n"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def verdict(view: StatusView) -> str:
    found = re.search(r'<svg class="(\w+)".*<h1>(.*?)</h1>', render(view), re.DOTALL)
    return f"{found[1]}: {re.sub('<.*?>', '', found[2])}"


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def page(tree: Tree, folder: Folder, clock: Clock) -> StatusPage:
    return StatusPage(tree, folder, clock)


class TestRender:
    def test_all_that_it_is_for(self) -> None:
        text = Reader(render(FULL)).text
        for part in (
            "Drop folder consents", "7 files need you.", "12 others were stored in REDCap today.", "TEST",
            "As of 14:32, Tuesday, 24 November 2026. Good until 14:40.", "tell Study desk, ext. 4711",
            "REDCap is under maintenance.", "Since: 14:05.", "It goes on at 14:33:07 by itself.", "The share is full.",
            "A typing error: this should be “consent”.", "SN011_consent_v1.0_2026-11-04.pdf",
            "First check on the paper that “007” is right. Rename to: SN007_consent_v1.0_2026-11-04.pdf",
            "REDCap has no record “101”.", "Its content is another one.", "A link, not a file.", "done/stray.pdf",
            "REDCap does not have its record yet.", "same place as held.pdf", "The file is perhaps too large",
            "62 % sent: 279 MB of 450 MB. Done at about 14:35.", "Open in another program.", "dropped: 23 November 2026, 14:32",
            "002 · consent_pdf", "SN001_consent_v1.0_2026-11-25.pdf", "old.pdf", "The old ones go on.", "dropcap 1.0",
        ):  # fmt: skip
            assert part in text, part
        for word in ("rule x", "dropcap retry", "no_record"):
            assert word not in text

    def test_it_begins_with_what_matters_most(self) -> None:
        line = Line("a.pdf", NOW)
        down = Still(Reason.UNREACHABLE, NOW)
        assert verdict(EMPTY) == "good: All is well. Nothing has been dropped today."
        assert verdict(replace(EMPTY, done_today=381)) == "good: All is well. 381 files are in REDCap today."
        assert verdict(replace(EMPTY, waiting=[line])) == "good: All is well. 1 file is on its way to REDCap."
        held = replace(EMPTY, held=[line], waiting=[line])
        assert verdict(held) == "wait: 1 file waits for Study desk, ext. 4711. "[:-1]
        away = replace(held, still=[down], waiting_count=40)
        assert verdict(away) == "wait: REDCap does not answer. 40 files wait here and are safe."
        assert verdict(replace(away, still=[], full=True)) == "wait: The share is full. 40 files wait here and are safe."
        assert verdict(replace(away, failed=[failed("x")], done_today=1)) == (
            "bad: 1 file needs you. 1 other was stored in REDCap today."
        )
        told = render(replace(away, failed=[failed("x")], unrecorded=True))
        assert "dropcap cannot get at its records." in told, "though something else is more in need of being said"
        assert "REDCap does not answer." not in told, "which is not asked meanwhile"
        assert verdict(replace(away, stopped=True)) == "wait: dropcap was stopped at 14:32. 40 files wait here and are safe."
        assert "Good until" not in render(replace(away, stopped=True))

    def test_the_wrong_part_is_marked(self) -> None:
        made = render(FULL)
        assert "SN0<mark>O</mark>7_consent" in made
        assert '2026-11-03<mark class="sp"> </mark><mark>(1)</mark>.pdf' in made

    def test_as_of_and_good_until(self) -> None:
        """Later than any page that is not replaced can be looked at: by the longest gap, the browser's and a minute."""
        for view, refresh, until in (
            (EMPTY, "60", "14:36"),
            (replace(EMPTY, failed=[failed("x")]), "300", "14:40"),
            (replace(EMPTY, refresh=3600.0), "3600", "15:35"),
        ):
            made = render(view)
            assert f'<meta http-equiv="refresh" content="{refresh}">' in made
            assert f"Good until <b>{until}</b>" in made

    def test_ten_thousand_of_each_are_cut_and_counted(self) -> None:
        lines = [Line(f"{'w' * 250}{number}.pdf", NOW) for number in range(50)]
        names = [f"SN{number:03}-consent v1,0_{'x' * 200}.pdf" for number in range(50)]
        many = replace(
            FULL, waiting=lines, waiting_count=10_000, arriving=lines, arriving_count=10_000, held=lines, held_count=10_000,
            failed=[failed(name) for name in names], failed_count=10_000, done_last=lines,
        )  # fmt: skip
        made = render(many)
        assert len(made.encode()) < 100_000
        assert Reader(made).text.count("and 9980 more") == 4, "names as long as these"
        short = [Line(f"{number}.pdf", NOW) for number in range(50)]
        few = replace(many, waiting=short, arriving=short, held=short, done_last=short, failed=[failed("x")] * 50)
        assert Reader(render(few)).text.count("and 9950 more") == 4
        assert Reader(render(replace(few, language=Language.DE))).text.count("und 9950 weitere") == 4
        hostile = [Line("&" * 255, NOW, Reason.NO_RECORD) for _ in range(50)]
        worst = replace(
            many, waiting=hostile, arriving=hostile, held=hostile, done_last=hostile, failed=[failed("\x1b&" * 99)] * 50
        )
        assert len(render(worst).encode()) < 100_000

    def test_it_needs_nothing_from_elsewhere_and_its_policy_takes_its_one_style_alone(self) -> None:
        made = render(FULL)
        reader = Reader(made)
        assert not {tag for tag, _ in reader.tags} & {"script", "link", "img", "iframe", "object", "details"}
        assert not any(key in {"style", "href", "src"} or key.startswith("on") for _, attrs in reader.tags for key in attrs)
        assert "url(" not in made
        (style,) = re.findall(r"<style>(.*?)</style>", made, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
        policy = next(a["content"] for t, a in reader.tags if a.get("http-equiv") == "Content-Security-Policy")
        assert policy == f"default-src 'none'; style-src 'sha256-{digest}'; form-action 'none'; base-uri 'none'"

    @pytest.mark.parametrize("language", Language)
    def test_in_every_language(self, language: Language) -> None:
        made = render(replace(FULL, language=language))
        assert f'<html lang="{language}">' in made
        assert is_ours(made.encode())
        text = Reader(made).text.partition("}}")[2]
        assert not re.search(r"\{\w+\}|\0", text)
        if language is not Language.EN:
            assert not re.search(r"\b(the|is|are|file|files|Rename|dropped)\b", text)

    @settings(max_examples=30, deadline=None)
    @given(st.text())
    def test_no_name_becomes_markup(self, text: str) -> None:
        def with_(name: str) -> StatusView:
            line = Line(name, NOW, "", name, None, name)
            return replace(
                FULL, folder=name, contact=name, version=name, examples=[name], sending=[BeingSent(name, NOW, 9, 3)],
                arriving=[line], waiting=[line], held=[line], not_taken=[(name, WhyLeft.LINK)], strays=[name], lay_here=[name],
                done_last=[line], failed=[failed("x.pdf", Reason.NO_RECORD)],
            )  # fmt: skip

        made = render(with_(f"</li><script>{text or 'x'}"))
        assert Reader(made).tags == Reader(render(with_("x"))).tags
        made.encode()
        wrong = render(replace(EMPTY, failed=[failed(f"<script>{text}".replace("/", "")), failed("</li>\0".replace("/", "x"))]))
        assert "<script" not in wrong

    def test_only_a_page_of_ours_is_ours(self) -> None:
        made = render(EMPTY).encode()
        assert is_ours(made)
        assert is_ours(render(replace(EMPTY, language=Language.FR)).encode())
        assert not is_ours(b"<!-- saved by somebody -->" + made)
        assert not is_ours(b'<html><body>&lt;meta name="generator" content="dropcap"&gt;')


class TestKeeping:
    def test_changes_at_most_every_5_seconds_and_at_least_every_60(self, page: StatusPage, clock: Clock, root: Path) -> None:
        assert page.due(clock.now) <= clock.now
        assert page.offer(EMPTY)
        assert not page.offer(replace(EMPTY, done_today=1))
        assert page.due(clock.now) == clock.now + 5
        clock.now += 5
        assert page.offer(replace(EMPTY, done_today=1))
        assert "1 file is in REDCap today" in (root / "_STATUS.html").read_text()
        for _ in range(11):
            clock.now += 5
            assert not page.offer(replace(EMPTY, done_today=1, generated=NOW + timedelta(seconds=clock.now)))
        assert page.due(clock.now) == clock.now + 5
        clock.now += 5
        assert page.offer(replace(EMPTY, done_today=1))
        assert page.offer(replace(EMPTY, done_today=1, stopped=True)), "the last page waits for nothing"
        assert "dropcap was stopped at 14:32" in (root / "_STATUS.html").read_text()

    def test_a_page_of_an_earlier_run_is_replaced(self, tree: Tree, folder: Folder, clock: Clock, root: Path) -> None:
        for number in (1, 2):
            assert StatusPage(tree, folder, clock).offer(replace(EMPTY, done_today=number))
        assert os.listdir(root / "in_progress") == []
        assert sorted(os.listdir(root)) == ["_STATUS.html", "in_progress"]

    def test_somebody_elses_page_is_left_alone(self, page: StatusPage, root: Path) -> None:
        (root / "_STATUS.html").write_text("<p>mine")
        assert page.offer(EMPTY)
        assert (root / "_STATUS.html").read_text() == "<p>mine"
        assert is_ours((root / "_STATUS (dropcap).html").read_bytes())

    def test_a_link_is_not_written_through(self, page: StatusPage, root: Path, tmp_path: Path) -> None:
        target = tmp_path / "target.html"
        target.write_text(render(EMPTY))
        (root / "_STATUS.html").symlink_to(target)
        before = target.read_bytes()
        assert page.offer(replace(EMPTY, done_today=99))
        assert target.read_bytes() == before
        assert (root / "_STATUS.html").is_symlink()
        assert is_ours((root / "_STATUS (dropcap).html").read_bytes())

    def test_trouble_is_no_error_and_it_tries_again(self, page: StatusPage, clock: Clock, root: Path) -> None:
        for name in ("_STATUS.html", "_STATUS (dropcap).html"):
            (root / name).mkdir()
        assert not page.offer(EMPTY)
        (root / "_STATUS.html").rmdir()
        assert not page.offer(EMPTY)
        clock.now += 5
        assert page.offer(EMPTY)
