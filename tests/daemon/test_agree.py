"""What several hosts agree on every two seconds costs as many questions with many folders as with one."""

from __future__ import annotations

from pathlib import Path

import pytest

from dropcap.config.load import load
from dropcap.daemon.control import release
from dropcap.daemon.engine import Engine
from dropcap.ledger.query import Query
from dropcap.ledger.store import Ledger
from tests.site import Site


def test_which_folders_are_let_go_of_is_one_question(place: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folders = place.config["folders"]
    for number in range(6):
        (tmp_path / f"more{number}").mkdir()
        folders[f"more{number}"] = {**folders["consents"], "path": str(tmp_path / f"more{number}")}
    place.write_config()
    place.state.mkdir()
    ledger = Ledger(tmp_path / "own.db")
    engine = Engine(load(place.config_file), ledger)
    asked: list[str] = []
    rows = Query._rows
    monkeypatch.setattr(Query, "_rows", lambda self, sql, *values: (asked.append(sql), rows(self, sql, *values))[1])
    try:
        for folder, released in (("more1", True), ("more4", True), ("gone", True), ("more1", False)):
            release(ledger, folder, released)
        asked.clear()
        engine.agree(asked=False)
        assert engine.released == {"more4"}, "one that is not in the configuration is nobody's here"
        assert len(asked) == 2, "what is paused, and what is let go of"
    finally:
        engine.stop(0.0)
        ledger.close()
