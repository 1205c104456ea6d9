"""A ledger whose header was written over is damaged, though SQLite has no code for it."""

from __future__ import annotations

from pathlib import Path

import pytest

from dropcap.ledger.database import Damaged
from dropcap.ledger.query import Query
from dropcap.ledger.store import Ledger

#: Fields of the header, four bytes each (the file format of SQLite, 1.3).
SCHEMA_FORMAT, TEXT_ENCODING = 44, 56


@pytest.mark.parametrize("field", [SCHEMA_FORMAT, TEXT_ENCODING])
def test_a_field_of_the_header_that_is_none(tmp_path: Path, field: int) -> None:
    path = tmp_path / "ledger.db"
    Ledger(path).close()
    with path.open("r+b") as file:
        file.seek(field)
        file.write(b"\xff" * 4)
    with pytest.raises(Damaged):
        Ledger(path)
    found = Query(path)
    with pytest.raises(Damaged):
        found.pauses()
    found.close()
