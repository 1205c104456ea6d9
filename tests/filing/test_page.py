from __future__ import annotations

import os
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dropcap.config.model import Folder
from dropcap.files.tree import Tree
from dropcap.filing.page import Line, StatusPage, StatusView, is_ours, render

NOW = datetime(2026, 11, 24, 13, 5, 7, tzinfo=UTC)
EMPTY = StatusView(folder="consents", generated=NOW, contact="Data desk, ext. 4711", version="1.0")


class Reader(HTMLParser):
    """What a browser would see: tags with their attributes, and the text of the body."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def page(tree: Tree, folder: Folder, clock: Clock) -> StatusPage:
    return StatusPage(tree, folder, clock)


class TestRender:
    def test_all_that_it_is_for(self) -> None:
        view = replace(
            EMPTY,
            waiting=[Line("101_V1.pdf", NOW, note="the server pauses")],
            held=[Line("102.pdf", NOW, reason="rights", message="No right to import", remedy="Give the right")],
            failed=[Line("103.pdf", NOW, reason="no_record", message="No record 103", remedy="Create it")],
            done_today=12,
            done_last=[Line("100.pdf", NOW)],
            not_taken=[("pipe", "This is a FIFO")],
            pauses=["The server redcap.example.org does not answer; tried again at 13:06"],
        )
        text = Reader(render(view)).text
        for part in (
            "consents", "alive at 2026-11-24 13:05:07 UTC", "more than 2 minutes", "tell Data desk, ext. 4711",
            "101_V1.pdf", "the server pauses", "No right to import", "Give the right", "No record 103", "Create it",
            "12", "100.pdf", "pipe", "This is a FIFO", "does not answer", "1.0",
        ):  # fmt: skip
            assert part in text

    def test_an_empty_folder(self) -> None:
        text = Reader(render(EMPTY)).text
        assert "Waiting" in text
        assert "What to do" not in text

    def test_long_lists_are_cut_and_counted(self) -> None:
        lines = [Line(f"w{number}.pdf", NOW) for number in range(150)]
        text = Reader(render(replace(EMPTY, waiting=lines, waiting_count=5000))).text
        assert "w99.pdf" in text
        assert "w100.pdf" not in text
        assert "and 4900 more" in text
        assert "and 50 more" in Reader(render(replace(EMPTY, waiting=lines))).text

    def test_it_refreshes_itself_and_needs_nothing_from_elsewhere(self) -> None:
        reader = Reader(render(EMPTY))
        assert ("meta", {"http-equiv": "refresh", "content": "30"}) in reader.tags
        assert not {tag for tag, _ in reader.tags} & {"script", "link", "img", "iframe", "object"}
        assert "url(" not in render(EMPTY)

    @given(st.text())
    def test_no_name_becomes_markup(self, text: str) -> None:
        hostile = f"</li><script>{text}"
        line = Line(hostile, NOW, hostile, "", hostile, hostile)
        made = render(
            StatusView(hostile, NOW, hostile, [line], [line], [line], 1, [line], [(hostile, hostile)], [hostile], hostile)
        )
        plain = Line("x", NOW, "x", "", "x", "x")
        expected = render(StatusView("x", NOW, "x", [plain], [plain], [plain], 1, [plain], [("x", "x")], ["x"], "x"))
        assert Reader(made).tags == Reader(expected).tags
        made.encode()

    def test_only_a_page_of_ours_is_ours(self) -> None:
        made = render(EMPTY).encode()
        assert is_ours(made)
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
        assert '<dd class="good">1</dd>' in (root / "_STATUS.html").read_text()
        for _ in range(11):
            clock.now += 5
            assert not page.offer(replace(EMPTY, done_today=1, generated=NOW + timedelta(seconds=clock.now)))
        assert page.due(clock.now) == clock.now + 5
        clock.now += 5
        assert page.offer(replace(EMPTY, done_today=1))

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
