"""Every scheme of docs/cookbook.md: its rules load, and each name goes where the page says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from dropcap.naming.doctor import examples
from dropcap.routing.route import Route, route
from tests.naming.cookbook import loaded, told

PAGE = Path(__file__).parents[2] / "docs" / "cookbook.md"
_SCHEME = re.compile(
    r"^## (\d+\. [^\n]*)\n.*?```yaml\n(.*?)```\n\n\| name \| goes to \|\n\| --- \| --- \|\n((?:\|[^\n]*\n)+)",
    re.DOTALL | re.MULTILINE,
)
SCHEMES = _SCHEME.findall(PAGE.read_text())


def test_there_are_fifteen() -> None:
    assert [title.partition(".")[0] for title, *_ in SCHEMES] == [str(number) for number in range(1, 16)]


@pytest.mark.parametrize(("snippet", "rows"), [(s, r) for _, s, r in SCHEMES], ids=[title for title, *_ in SCHEMES])
def test_it_is_as_the_page_says(snippet: str, rows: str, tmp_path: Path) -> None:
    folder = loaded(snippet, tmp_path)
    lines = re.findall(r"^\| `(.*?)` \| (.*) \|$", rows, re.M)
    assert len(lines) > 1
    for name, says in lines:
        assert told(folder, name) == says, name
    assert any(says.startswith("nowhere") for _, says in lines)
    shown = examples(folder.rules, folder.name)
    assert len(shown) == len(folder.rules), "every scheme has names to show"
    assert all(isinstance(route(folder.rules, folder.name, name), Route) for name in shown)
