"""What is SQLite's own when a ledger is written as a whole (`moving.MovingEngine`)."""

from __future__ import annotations

from typing import Any

from dropcap.ledger.database import Writer
from dropcap.ledger.moved import ColumnKind
from dropcap.ledger.transition import digits


class SqliteMoving:
    """See `moving.MovingEngine`."""

    def unhurried(self, writer: Writer) -> None:
        """A transaction lasts as long as it lasts."""

    def bound(self, kind: ColumnKind, value: Any) -> Any:
        """A flag is a number."""
        return digits(value) if kind is ColumnKind.WHOLE else int(value) if kind is ColumnKind.FLAG else value

    def number_on(self, writer: Writer) -> None:
        """A job's number is one more than the highest, which is never pruned; that of an entry of the history is kept apart."""
        writer.newest()
