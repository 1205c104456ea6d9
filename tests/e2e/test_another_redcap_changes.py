"""Before another server: people and projects that change under way, and entries, rules and rows in other arrangements."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.other_redcap import TOKEN, Asked, Other, Said, in_json, other_site
from tests.e2e.test_another_redcap import FIRST, is_export, kept
from tests.heavy import heavy
from tests.site import Site, eventually

LATER = "tag_30_arm_1"
TO_THE_POINT = {"existing_file": "replace", "confirm": "none"}


@pytest.fixture
def there(tmp_path: Path) -> Iterator[tuple[Site, Other]]:
    with other_site(tmp_path) as made:
        yield made


def lab(number: str, **settings: Any) -> dict[str, Any]:
    """A rule for files that take or name an instance of the repeating form."""
    return {"pattern": "{record:word}__nr_{n:digits}.pdf", "field": "befund", "event": FIRST, "instance": number, **settings}


def test_somebody_who_takes_each_instance_that_is_chosen(there: tuple[Site, Other]) -> None:
    place, other = there
    taken: list[tuple[str, str, int, str]] = []

    def take(asked: Asked) -> Said | None:
        if is_export(asked) and asked["record"] == "P-5":
            at = ("P-5", FIRST, int(asked["repeat_instance"]), "befund")
            if at not in other.files:
                other.put(at, b"kollegin %d" % at[2])
                taken.append(at)
        return None

    other.before = take
    daemon = place.start()
    place.put("P-5__befund_1.pdf", b"unser")
    place.put("P-6__befund_1.pdf", b"anders")
    daemon.wait_for("done", file="P-6__befund_1.pdf")
    daemon.wait_for("retrying", 4, reason="file_exists", patience=40)
    assert len(other.asked) < 40
    other.before = lambda _: None
    place.retry(1)
    daemon.wait_for("done", 2)
    assert [content for at, content in other.ever if at[0] == "P-5"] == [b"unser"]
    assert all(other.held(*at) == b"kollegin %d" % at[2] for at in taken)


def test_a_record_of_whose_fields_no_row_tells_is_not_missing(there: tuple[Site, Other]) -> None:
    """A server that leaves out each row in which none of the fields has a value, but names the record if asked for that alone."""
    place, other = there
    other.row = lambda row: (
        row if list(row)[1:2] == ["redcap_event_name"] or any(row.get(n) for n in ("brief", "kuerzel")) else None
    )
    daemon = place.start()
    place.put("P-1__brief.pdf", b"eins")
    (held,) = daemon.wait_for("held")
    assert held["reason"] == "rights"
    assert not other.ever
    other.row = dict
    assert place.dropcap("retry", "--held").returncode == 0
    daemon.wait_for("done")


def test_numbers_where_others_write_text(tmp_path: Path) -> None:
    records = {str(n): {"kuerzel": f"K{n}"} for n in range(1, 20)}
    with other_site(tmp_path, records=records) as (place, other):
        by_value = {"pattern": "w_{k:word}_{n:digits}.pdf", "record_where": {"kuerzel": "{k}"}}
        place.folder["rules"].append(lab("next", **by_value))
        place.folder["confirm"] = "listed"
        place.write_config()
        documents = iter(range(100, 100_000))
        other.shows = lambda _: next(documents)
        other.row = lambda row: {k: int(v) if isinstance(v, str) and v.isdecimal() else v for k, v in row.items()}
        daemon = place.start()
        for n in range(8):
            place.put(f"7__befund_{n}.pdf", b"a %d" % n)
            place.put(f"w_K7_{n}.pdf", b"b %d" % n)
        place.put("8__brief.pdf", b"brief")
        daemon.wait_for("done", 17, patience=60)
        assert len(other.files) == len(other.ever) == 17


@pytest.mark.parametrize("kind", ["import only", "the url in another spelling"])
def test_two_entries_for_one_project(there: tuple[Site, Other], kind: str) -> None:
    place, other = there
    second = place.root / "zwei"
    second.mkdir()
    token, again = place.root / "token2", dict(place.project)
    if kind == "import only":
        other.tokens["A" * 32] = 4711
        other.importers.add("A" * 32)
        place.project["project_id"] = again["project_id"] = 4711
    else:
        place.project["url"] = other.url.replace("127.0.0.1", "localhost")
        again["url"] = other.url.replace("127.0.0.1", "LOCALHOST")
    token.write_text("A" * 32 if kind == "import only" else TOKEN)
    token.chmod(0o600)
    place.config["projects"]["zweit"] = {**again, "token_file": str(token)}
    rule = lab("{n}") if kind == "import only" else lab("next")
    plain = TO_THE_POINT if kind == "import only" else {}
    place.config["folders"]["zweiter"] = {**place.folder, "path": str(second), "project": "zweit", "rules": [rule], **plain}
    place.config["uploads_at_once"] = 8
    place.write_config()
    other.before = lambda _: time.sleep(0.01)
    daemon = place.start()
    for n in range(1, 16):
        place.put(f"P-3__befund_{n}.pdf", b"a %d" % n)
        (second / f"P-3__nr_{100 + n * 3}.pdf").write_bytes(b"b %d" % n)
    daemon.wait_for("done", 30, patience=60)
    assert len(other.files) == len(other.ever) == 30
    assert not daemon.events("paused")


def test_an_event_that_repeats_shares_its_instances_among_its_forms(there: tuple[Site, Other]) -> None:
    place, other = there
    place.folder["rules"] = [
        lab("next", event=LATER, pattern="{record:word}__a_{n:digits}.pdf"),
        lab("next", event=LATER, pattern="{record:word}__b_{n:digits}.pdf", field="bild"),
        lab("{n}", event=LATER, pattern="{record:word}__c_{n:digits}.pdf"),
        lab("{n}", event=LATER, pattern="{record:word}__d_{n:digits}.pdf", field="brief"),
    ]
    place.config["uploads_at_once"] = 8
    place.write_config()
    other.before = lambda _: time.sleep(0.01)
    daemon = place.start()
    for n in range(1, 9):
        for kind in "abcd":
            place.put(f"P-1__{kind}_{n}.pdf", b"%s %d" % (kind.encode(), n))
    daemon.wait_for("done", 32, patience=90)
    everything = [content for _, content in other.files.values()] + kept(place)
    assert sorted(everything) == sorted(content for _, content in other.ever)
    assert len(other.ever) == 32


FILES = {"a field gets another name": "brief", "an event is taken away": "spaet", "a form repeats no more": "befund_1"}


@pytest.mark.parametrize("settings", [{}, pytest.param(TO_THE_POINT, marks=heavy)])
@pytest.mark.parametrize("what", ["a field gets another name", "an event is taken away", "a form repeats no more"])
def test_a_project_that_changes_while_fifty_files_wait(there: tuple[Site, Other], what: str, settings: dict[str, str]) -> None:
    """Its words for that are known to nobody, and what was read a moment ago says that all is well."""
    place, other = there
    place.folder.update(settings)
    place.folder["rules"] += [
        {"name": "later", "pattern": "{record:word}__spaet.pdf", "field": "brief", "event": LATER, "instance": "next"},
        {"name": "bild", "pattern": "{record:word}__bild.pdf", "field": "bild", "event": FIRST},
    ]
    place.write_config()
    daemon = place.start()
    place.put("P-60__brief.pdf", b"x")
    daemon.wait_for("done")
    assert place.dropcap("pause", "--folder", "consents").returncode == 0
    for n in range(1, 51):
        place.put(f"P-{n}__{FILES[what]}.pdf", b"nr %d" % n)
    daemon.wait_for("claimed", 51)
    with other.lock:
        if what == "a field gets another name":
            other.fields[2] = ("brief_neu", "arztbrief", "file")
        elif what == "a form repeats no more":
            other.repeats = {(LATER, "")}
            other.before = lambda asked: (
                in_json("kzt brx") if asked.get("field") == "befund" and "repeat_instance" in asked else None
            )
        else:
            other.events[1] = "tag_31_arm_1"
            other.repeats = {(FIRST, "befunde"), ("tag_31_arm_1", "")}
        asked = len(other.asked)
    assert place.dropcap("resume", "--folder", "consents").returncode == 0
    place.put("P-51__bild.pdf", b"bild")
    daemon.wait_for("done", file="P-51__bild.pdf")
    daemon.wait_for("held", 50)
    assert not daemon.events("failed")
    assert len(other.ever) == 2
    assert len(other.asked) - asked < 500
    eventually(lambda: len(place.names("in_progress")) == 50)


def test_lost_imports_whose_instances_somebody_takes_pause_nobody(there: tuple[Site, Other]) -> None:
    place, other = there

    def lose(asked: Asked) -> Said | None:
        if asked.get("action") != "import" or asked["record"] > "P-4":
            return None
        other.put((asked["record"], FIRST, 1, "befund"), b"kollegin")
        return 0, "", b""

    other.before = lose
    daemon = place.start()
    for n in range(1, 5):
        place.put(f"P-{n}__befund_1.pdf", b"unser %d" % n)
    daemon.wait_for("retrying", 4, reason="unreachable")
    daemon.wait_for("retrying", 12, reason="not_confirmed", patience=60)
    assert {line["scope"] for line in daemon.events("retrying", reason="not_confirmed")} == {"file"}
    assert not [line for line in daemon.events("paused") if line["reason"] == "not_confirmed"]
    assert all(other.held(f"P-{n}", FIRST, 1, "befund") == b"kollegin" for n in range(1, 5))
    place.put("P-5__befund_1.pdf", b"gut")
    daemon.wait_for("done", file="P-5__befund_1.pdf")
