"""What is SQLite's own when a ledger is written as a whole (`moving.Engine`)."""

from __future__ import annotations

from typing import Any

from dropcap.ledger.database import Writer
from dropcap.ledger.moved import Kind
from dropcap.ledger.transition import digits


class SqliteMoving:
    """See `moving.Engine`."""

    def unhurried(self, writer: Writer) -> None:
        """A transaction lasts as long as it lasts."""

    def bound(self, kind: Kind, value: Any) -> Any:
        """A flag is a number."""
        return digits(value) if kind is Kind.WHOLE else int(value) if kind is Kind.FLAG else value

    def number_on(self, writer: Writer) -> None:
        """A job's number is one more than the highest, which is never pruned; that of an entry of the history is kept apart."""
        writer.newest()
