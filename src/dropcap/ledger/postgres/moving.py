"""What is PostgreSQL's own when a ledger is written as a whole (`moving.MovingEngine`)."""

from __future__ import annotations

from typing import Any

from dropcap.ledger.database import Writer
from dropcap.ledger.moved import ColumnKind


class PostgresMoving:
    """See `moving.MovingEngine`."""

    def unhurried(self, writer: Writer) -> None:
        """The bounds of everyday writes are not those of a whole ledger."""
        for setting in ("statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout"):
            writer.execute(f"set local {setting} = 0")

    def bound(self, kind: ColumnKind, value: Any) -> Any:
        """As it is: psycopg knows what is meant."""
        return value

    def number_on(self, writer: Writer) -> None:
        """Numbers are given out by sequences of their own, which know nothing of rows that bring theirs."""
        for table, highest in (("job", "max(id)"), ("chain", "max(id)")):
            self._behind(writer, table, f"(select {highest} from {table})")
        last = "greatest((select coalesce(max(id), 0) from history), (select coalesce(max(entry), 0) from seal))"
        self._behind(writer, "history", f"nullif({last}, 0)")

    def _behind(self, writer: Writer, table: str, highest: str) -> None:
        sequence = f"pg_get_serial_sequence('{table}', 'id')"
        writer.execute(f"select setval({sequence}, greatest({highest}, 1), {highest} is not null)")
