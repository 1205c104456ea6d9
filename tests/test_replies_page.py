"""docs/redcap-replies.md names a test for each row: they are there."""

from __future__ import annotations

import re
from pathlib import Path

TESTS = Path(__file__).parent
PAGE = TESTS.parent / "docs" / "redcap-replies.md"
#: `folder/test_file: part_of_a_name`; without a folder it is in e2e/. A row goes on with `part_of_a_name` of the same file.
_NAMED = re.compile(r"`((?:\w+/)?test_\w+)(?:: (\w+))?`|`([a-z0-9]+(?:_[a-z0-9]+)+)`")


def test_every_test_that_is_named_is_there() -> None:
    missing, named = [], 0
    for line in PAGE.read_text().splitlines():
        cell = line.rstrip("| ").rpartition("|")[2] if line.startswith("|") else line
        source = ""
        for file, part, more in _NAMED.findall(cell):
            if file:
                path = TESTS / (f"{file}.py" if "/" in file else f"e2e/{file}.py")
                source = path.read_text() if path.is_file() else ""
                if not source:
                    missing.append(file)
            wanted = part or (more if line.startswith("|") and source else "")
            named += bool(wanted)
            if wanted and not re.search(rf"^def test_\w*{wanted}\w*\(", source, re.MULTILINE):
                missing.append(f"{file}: {wanted}")
    assert missing == []
    assert named > 40
