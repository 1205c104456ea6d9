"""What `check` says of a database, by what it was found to be."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from dropcap.config.model import PostgresLedger
from dropcap.ledger.database import VERSION, Unavailable
from dropcap.preflight import machine
from dropcap.preflight.machine import Survey
from tests import needs

SOUND = Survey(150004, "15.4", "UTF8", False, "", True, "public", True, (), 0.2, VERSION)
AT = PostgresLedger((("db", 5432),), "dropcap", "ledger")


def remarks(monkeypatch: pytest.MonkeyPatch, found: Survey | Exception) -> list[tuple[str, str]]:
    needs.library("psycopg")

    def looked(_: object) -> Survey:
        if isinstance(found, Exception):
            raise found
        return found

    monkeypatch.setattr(machine, "survey", looked)
    return [(one.level, one.text) for one in machine.database_remarks(AT)]


@pytest.mark.parametrize(
    ("differs", "level", "words"),
    [
        ({}, "ok", "There is no synchronous standby: a fail-over may lose the last commits"),
        ({"standbys": "ANY 1 (a, b)"}, "ok", "commits wait for a synchronous standby (ANY 1 (a, b))"),
        ({"fsync": False}, "warning", "a crash of the server may lose or damage the ledger; set fsync to on"),
        ({"number": 130011, "version": "13.11"}, "error", "the server is PostgreSQL 13.11; use 14 or newer"),
        ({"encoding": "SQL_ASCII"}, "error", "encoding is SQL_ASCII; make one with encoding UTF8"),
        ({"standby": True}, "error", "is a standby, which takes no writes; name the primary"),
        ({"clock": 4.9}, "ok", "agree within 5 s"),
        ({"clock": 61.0}, "warning", "clock is 61 s ahead of this host's"),
        ({"clock": -61.0}, "warning", "clock is 61 s behind this host's"),
        ({"tables": 0}, "ok", "it has no tables yet: dropcap makes them when it starts"),
        ({"tables": 0, "may_make": False}, "error", "may make no tables in the schema public; let it: grant create"),
        ({"tables": VERSION - 1}, "warning", f"the next start brings them to {VERSION}; stop an older dropcap"),
        ({"tables": VERSION + 1}, "error", "a newer dropcap has written the ledger"),
        ({"closed": ("history", "job"), "tables": 0}, "error", "may not read and write history, job; grant select"),
    ],
)
def test_each_is_told(monkeypatch: pytest.MonkeyPatch, differs: dict[str, Any], level: str, words: str) -> None:
    told = remarks(monkeypatch, replace(SOUND, **differs))
    assert [one for one, text in told if words in text] == [level], told
    others = {one for one, text in told if words not in text}
    assert others <= {"ok"}, "and nothing else is wrong"


def test_one_that_does_not_answer_may_answer_later(monkeypatch: pytest.MonkeyPatch) -> None:
    ((level, text),) = remarks(monkeypatch, Unavailable("no route to host"))
    assert level == "error"
    assert text.startswith(
        "ledger: the database postgresql://dropcap@db:5432/ledger does not answer, or does not let this host in"
        " (no route to host)"
    )
