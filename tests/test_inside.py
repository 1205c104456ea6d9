"""docs/inside.md names locks, threads and modules that there are; other pages the keys, reasons and commands."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from dropcap.config import rules, sections
from dropcap.reasons import Actor, Reason, explained

ROOT = Path(__file__).parent.parent
SOURCE = ROOT / "src" / "dropcap"
DOCS = ROOT / "docs"
INSIDE = (DOCS / "inside.md").read_text()


def test_locks_that_it_names_are_there() -> None:
    section = INSIDE.partition("\n## Locks\n")[2].partition("\n## ")[0]
    rows = [row.split("|")[1] for row in section.splitlines() if row.startswith("| `")]
    named = [name.split(".") for row in rows for name in re.findall(r"`(\w+\.\w+)`", row)]
    texts = [(path.stem, path.read_text()) for path in SOURCE.rglob("*.py")]
    assert len(named) > 10
    gone = [
        f"{owner}.{lock}"
        for owner, lock in named
        if not any(
            (stem == owner or re.search(rf"^class {owner}\b", text, re.M)) and re.search(rf"\b{lock}\b.*threading\.", text)
            for stem, text in texts
        )
    ]
    assert gone == []


def test_modules_that_it_names_are_there() -> None:
    named = re.findall(
        r"`((?:cli|config|content|daemon|delivery|files|filing|hosts|intake|ledger|preflight|redcap|routing)/\w+(?:/\w+)?)(?![/\w])",
        INSIDE,
    )
    assert len(named) > 50
    assert sorted({name for name in named if not (SOURCE / f"{name}.py").exists()} - {"cli/NAME", "content/FORMAT"}) == []


@pytest.mark.parametrize(
    "package", ["daemon", "delivery", "files", "filing", "hosts", "intake", "ledger", "ledger/postgres", "redcap", "routing"]
)
def test_every_module_of_the_way_is_named(package: str) -> None:
    """By its whole name, so that a search from the code leads there."""
    there = {f"{package}/{path.stem}" for path in (SOURCE / package).glob("*.py")} - {f"{package}/__init__"}
    assert {name for name in there if not re.search(rf"`{name}[`.]", INSIDE)} == set()


def test_every_module_that_begins_a_thread_is_in_its_table() -> None:
    begins = re.compile(r"(?<![\w.])(?<!def )(?:begin|spare|threading\.Thread)\(")
    paths = [path for path in SOURCE.glob("*/*.py") if path.parent.name != "cli"]
    there = {f"{path.parent.name}/{path.stem}" for path in paths if begins.search(path.read_text())}
    section = INSIDE.partition("\n## Threads\n")[2].partition("\n## ")[0]
    cells = "".join(row.split("|")[1] for row in section.splitlines() if row.startswith("| "))
    own = {"intake/watch"}  # a library's
    assert set(re.findall(r"`(\w+/\w+)`", cells)) - own - {"delivery/work"} == there


def test_every_key_stands_in_the_contract_and_in_the_example() -> None:
    keys = {*rules._KEYS, *sections._FOLDER_VALUES, *sections._PROJECT_VALUES}
    for page in (DOCS / "design.md", ROOT / "config.example.yaml"):
        text = page.read_text()
        assert {key for key in keys if not re.search(rf"\b{key}\b", text)} == set(), page.name


OWN = {Reason.NONE, Reason.NO_FILE, Reason.STOPPED, Reason.FILING}


def test_troubleshooting_says_of_every_reason_what_the_table_says() -> None:
    section = (DOCS / "troubleshooting.md").read_text().partition("\n## Reasons\n")[2].partition("\n## ")[0]
    rows = [row.strip("|").split(" | ") for row in section.splitlines() if row.startswith("| `")]
    told = {Reason(row[0].strip(" `")): row for row in rows}
    assert set(told) == set(Reason) - OWN
    for reason, (_, happened, _, who, do) in told.items():
        of = explained(reason)
        assert happened.startswith(of.within), reason
        assert (who, do.startswith(of.remedy)) == (of.actor.value, True), reason


def test_those_who_must_act_are_told_what_to_do() -> None:
    """For all other reasons a text beside the file says that nothing is wrong with it, and whom to ask."""
    assert {reason for reason in Reason if explained(reason).actor is Actor.DROPPER} == {
        reason for reason in Reason if explained(reason).do != explained("of another version").do
    }
