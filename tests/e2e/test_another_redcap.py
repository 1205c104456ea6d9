"""The same promises before a server that words, orders and leaves out things in other ways than the sandbox."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.other_redcap import Asked, Other, Said, in_csv, in_json, in_xml, other_site
from tests.heavy import HEAVY, heavy
from tests.site import Site

FIRST = "aufnahme_arm_1"


@pytest.fixture
def there(tmp_path: Path) -> Iterator[tuple[Site, Other]]:
    with other_site(tmp_path) as made:
        yield made


def kept(place: Site) -> list[bytes]:
    """What was preserved."""
    return sorted((place.kept / name).read_bytes() for name in place.copies())


def is_export(asked: Asked) -> bool:
    return (asked.get("content"), asked.get("action")) == ("file", "export")


def test_what_is_of_unknown_outcome_and_refused_in_unknown_words_makes_no_fast_loop(there: tuple[Site, Other]) -> None:
    place, other = there
    place.folder["existing_file"] = "replace"
    place.write_config()
    lost = threading.Event()

    def lose(asked: Asked) -> Said | None:
        if asked.get("action") == "import" and not lost.is_set():
            lost.set()
            return 0, "", b""
        return None

    other.before = lose
    daemon = place.start()
    place.put("P-7__befund_1.pdf", b"einzig")
    assert lost.wait(20)
    time.sleep(4)
    assert other.count("file", "export") < 20
    daemon.wait_for("done", patience=40)
    assert [content for _, content in other.ever] == [b"einzig"]


def test_words_learned_of_one_field_say_nothing_of_an_identifier(there: tuple[Site, Other]) -> None:
    """A server with one sentence for all: `no file` and `not for you`."""
    place, other = there
    other.identifiers = {"brief"}
    other.put(("P-3", FIRST, 0, "brief"), b"alt")
    other.no_file = lambda _: in_json("Vorgang nicht möglich", 406)
    place.folder["rules"].append({"name": "bild", "pattern": "{record:word}__bild.pdf", "field": "bild", "event": FIRST})
    place.write_config()

    def hidden(asked: Asked) -> Said | None:
        return in_json("Vorgang nicht möglich", 406) if is_export(asked) and asked["field"] == "brief" else None

    other.before = hidden
    other.row = lambda row: {**row, "brief": ""} if "brief" in row else row
    daemon = place.start()
    place.put("P-2__bild.pdf", b"ein Bild")
    daemon.wait_for("done")
    place.put("P-3__brief.pdf", b"neu")
    (held,) = daemon.wait_for("held")
    assert held["reason"] == "rights"
    assert other.held("P-3", FIRST, 0, "brief") == b"alt"


WORDS = [
    lambda a: in_xml(f"Zum Feld {a['field']} von {a['record']} liegt keine Datei vor", 406),
    lambda a: in_csv("nix da"),
    lambda a: in_json(f'Field "{a["field"]}" value not found', 400),
    lambda a: in_json("xq zzyzx 77", 200),
    lambda a: in_json("", 400),
    lambda a: in_json(f"record {a['record']} does not exist in edocs", 404),
]


@pytest.mark.parametrize("words", WORDS)
def test_other_words_and_shapes_for_no_file(there: tuple[Site, Other], words: Any) -> None:
    place, other = there
    other.no_file = words
    for n in range(1, 6):
        other.put((f"P-{n}", FIRST, 0, "brief"), b"alt %d" % n)
    daemon = place.start()
    files, instances = (24, 8) if HEAVY else (12, 4)
    for n in range(1, files + 1):
        place.put(f"P-{n}__brief.pdf", b"neu %d" % n)
    for n in range(1, instances + 1):
        place.put(f"P-9__befund_{n}.pdf", b"befund %d" % n)
    daemon.wait_for("done", files + instances, patience=60)
    assert kept(place) == [b"alt %d" % n for n in range(1, 6)]
    assert not daemon.events("paused")
    assert not daemon.events("held")
    assert sorted(c for p, c in other.ever if p[3] == "befund") == [b"befund %d" % n for n in range(1, instances + 1)]
    assert sorted(p[2] for p in other.files if p[3] == "befund") == list(range(1, instances + 1))


@pytest.mark.parametrize(
    ("kind", "times"),
    [
        ("text/html", 1),
        ("text/html no-length", 2),
        ('application/pdf; name="a.pdf"', 2),
        ('application/pdf; name="a.pdf"no-length', 1),
        pytest.param("text/html", 2, marks=heavy),
        pytest.param("text/html no-length", 1, marks=heavy),
        pytest.param('application/pdf; name="a.pdf"', 1, marks=heavy),
        pytest.param('application/pdf; name="a.pdf"no-length', 2, marks=heavy),
    ],
)
def test_an_empty_200_to_an_export_pauses_nobody(there: tuple[Site, Other], kind: str, times: int) -> None:
    place, other = there
    seen: dict[str, int] = {}
    for n in range(1, 9):
        other.put((f"P-{n}", FIRST, 0, "brief"), b"alt %d" % n)

    def empty(asked: Asked) -> Said | None:
        if is_export(asked) and seen.setdefault(asked["record"], 0) < times:
            seen[asked["record"]] += 1
            return 200, kind, b""
        return None

    other.before = empty
    daemon = place.start()
    for n in range(1, 9):
        place.put(f"P-{n}__brief.pdf", b"neu %d" % n)
    daemon.wait_for("done", 8, patience=60)
    assert not daemon.events("paused")
    assert kept(place) == [b"alt %d" % n for n in range(1, 9)]


@pytest.mark.parametrize("classic", [True, pytest.param(False, marks=heavy)])
def test_next_by_several_rules_for_one_form_of_a_classic_project(tmp_path: Path, classic: bool) -> None:
    """Rules may name events where there are none: it does not matter to REDCap."""
    repeats = {("", "befunde")} if classic else {(FIRST, "befunde")}
    with other_site(tmp_path, events=[] if classic else [FIRST], repeats=repeats) as (place, other):
        events = ["a", "b", "c"] if classic else [FIRST] * 3
        place.folder["rules"] = [
            {"name": f"r{n}", "pattern": f"{{record:word}}__{n}_*.pdf", "field": "befund", "event": event, "instance": "next"}
            for n, event in enumerate(events)
        ]
        place.config["uploads_at_once"] = 12
        place.write_config()
        other.before = lambda asked: time.sleep(0.02)
        for n in range(36):
            place.put(f"P-1__{n % 3}_{n}.pdf", b"datei %d" % n)
        daemon = place.start()
        daemon.wait_for("done", 36, patience=60)
        assert sorted(content for _, content in other.files.values()) == sorted(b"datei %d" % n for n in range(36))
        assert len(other.ever) == 36


@pytest.mark.parametrize("known", [False, True], ids=["at once", "once the project is known"])
def test_an_instance_is_named_where_nothing_repeats(there: tuple[Site, Other], known: bool) -> None:
    """Whatever the settings: REDCap would take them all for one place."""
    place, other = there
    place.folder.update(existing_file="replace", confirm="none")
    place.folder["rules"].append(
        {"name": "bild", "pattern": "{record:word}__bild_{n:digits}.pdf", "field": "bild", "event": FIRST, "instance": "{n}"}
    )
    place.write_config()
    daemon = place.start()
    if known:
        daemon.wait_for("check_problem", rule="bild")
    for n in (1, 2, 3):
        place.put(f"P-{n}__bild_{n}.pdf", b"bild %d" % n)
    place.put("P-4__brief.pdf", b"gut")
    daemon.wait_for("held", 3, reason="not_repeating")
    daemon.wait_for("done", file="P-4__brief.pdf")
    assert [content for _, content in other.ever] == [b"gut"]


@heavy
def test_a_form_that_stops_repeating_while_files_come(there: tuple[Site, Other]) -> None:
    """What was read more than a minute ago decides nothing: REDCap would take every instance for the one place."""
    place, other = there
    place.folder["rules"].append(
        {"name": "no", "pattern": "{record:word}__no_{n:digits}.pdf", "field": "befund", "event": FIRST, "instance": "{n}"}
    )
    place.write_config()
    daemon = place.start()
    place.put("P-1__no_1.pdf", b"eins")
    daemon.wait_for("done")
    time.sleep(62)
    with other.lock:
        other.repeats.discard((FIRST, "befunde"))
    for n in range(2, 6):
        place.put(f"P-{n}__no_{n}.pdf", b"nr %d" % n)
    place.put("P-7__befund_1.pdf", b"noch eins")
    daemon.wait_for("held", 5, reason="not_repeating")
    assert len(other.ever) == 1
