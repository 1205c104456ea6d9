"""The status page as a browser shows it, with its policy on: no script, nothing sideways, nothing that axe finds."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dropcap.filing.page import render
from dropcap.filing.status_view import Line, StatusView
from dropcap.language import Language
from tests.filing.test_page import EMPTY, FULL, NOW, failed
from tests.heavy import heavy

HOSTILE = replace(
    FULL,
    folder="<b>" + "W" * 200,
    waiting=[Line("</title>&amp;" + "i" * 240, NOW), Line("\u0645" * 120, NOW)],
    failed=[failed("W" * 250), failed("a\u202efdp.exe\n\x1b[2J"), failed("日本" * 40), failed("-" * 255)],
)
MANY = replace(FULL, waiting=[Line(f"{number}.pdf", NOW) for number in range(50)], waiting_count=10_000)
VIEWS: dict[str, StatusView] = {
    "empty": EMPTY,
    "full": FULL,
    "german": replace(FULL, language=Language.DE),
    "many": MANY,
    "hostile": HOSTILE,
}
#: WCAG wants no page to renew itself; this one has to: whoever looks at it for hours must not believe an old one.
KNOWN = {"meta-refresh"}


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    root = tmp_path_factory.mktemp("pages")

    def written(name: str, view: StatusView) -> str:
        path = root / f"{name}.html"
        path.write_text(render(view))
        return path.as_uri()

    return {name: written(name, view) for name, view in VIEWS.items()}


def test_nothing_sideways_and_nothing_refused(chromium: Any, pages: dict[str, str]) -> None:
    for width in (320, 390, 1280):
        context = chromium.new_context(viewport={"width": width, "height": 800})
        page = context.new_page()
        said: list[str] = []
        page.on("console", lambda message, said=said: said.append(message.text))
        for name, address in pages.items():
            page.goto(address)
            assert page.evaluate("document.documentElement.scrollWidth") <= width, (name, width)
            assert said == [], "its policy lets its own style in"
            assert page.evaluate("getComputedStyle(document.querySelector('h1')).fontWeight") == "600"
        context.close()


@pytest.mark.parametrize(
    ("scheme", "name"),
    [
        ("dark", "full"),
        ("light", "german"),
        *(pytest.param(*one, marks=heavy) for one in (("light", "full"), ("dark", "german"))),
    ],
)
def test_axe_finds_nothing(chromium: Any, pages: dict[str, str], scheme: str, name: str) -> None:
    from axe_playwright_python.sync_playwright import Axe

    context = chromium.new_context(viewport={"width": 390, "height": 800}, color_scheme=scheme, bypass_csp=True)
    page = context.new_page()
    page.goto(pages[name])
    wrong = Axe().run(page).response["violations"]
    found = {one["id"]: [node["html"] for node in one["nodes"]] for one in wrong if one["id"] not in KNOWN}
    assert found == {}
    context.close()


def test_one_click_takes_the_whole_name(chromium: Any, pages: dict[str, str], tmp_path: Path) -> None:
    page = chromium.new_page()
    page.goto(pages["full"])
    page.click(".to")
    assert page.evaluate("getSelection().toString()").strip() == "SN011_consent_v1.0_2026-11-04.pdf"
    page.close()
