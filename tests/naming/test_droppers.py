"""docs/droppers.md, which people pin up: each of its slips is one that the text beside the file puts right as the page says."""

from __future__ import annotations

import re
from pathlib import Path

from dropcap.naming.doctor import diagnose
from dropcap.naming.finding import Kind
from tests.naming.test_doctor import rule

PAGE = Path(__file__).parents[2] / "docs" / "droppers.md"


def test_the_usual_slips() -> None:
    rules = [rule("SN{record:digits(3)}_consent.pdf"), rule("{record:date}")]
    rows = re.findall(r"^\| `(.*?)` \| (.*?) \|", PAGE.read_text().partition("## 4.")[2], re.MULTILINE)
    assert len(rows) == 9
    for wrong, right in rows:
        told = diagnose(rules, "f", wrong)
        if right.startswith("`"):
            assert told.suggestion == right.strip("`"), wrong
        else:
            assert [one.kind for one in told.findings] == [Kind.OTHER_KIND]
