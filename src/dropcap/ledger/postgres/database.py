"""A ledger in a PostgreSQL database that several hosts share."""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from collections.abc import Collection, Iterator, Sequence
from typing import Any

from dropcap.ledger.database import DatabaseError, ErrorLog, RowReader, Unavailable, Writer
from dropcap.ledger.postgres import leases
from dropcap.ledger.postgres.connection import AT_ONCE, PostgresConnection, Snapshot
from dropcap.ledger.postgres.leases import ThisHost
from dropcap.ledger.postgres.migrations import migrate
from dropcap.ledger.postgres.wire import ANY, Connector, Patience
from dropcap.ledger.postgres.writer import LeaseHolder, PostgresWriter
from dropcap.ledger.schema import OPEN_STATES, ColumnKind

#: Connections to read, of a process. Questions are short.
_READERS = 2
#: What an answer may take once the process is to end, where there were none lately, and where there were (seconds).
_LAST, _LAST_ANSWER = 0.5, 5.0


class PostgresDatabase:
    """The ledger that `connector` leads to. `me` is the host that writes, by the fences that `holder` believes in; None: a
    person."""

    def __init__(
        self, connector: Connector, me: ThisHost | None = None, holder: LeaseHolder | None = None, lease: float = 60.0
    ) -> None:
        self.connector = connector
        self.me = me
        self._holder = holder
        self._lease = lease
        self._writer: PostgresWriter | None = None
        self._patience = Patience()

    def writer(self) -> PostgresWriter:
        """The connection that writes. Raises LedgerError, DatabaseError."""
        writer = PostgresWriter(self.connector, self.me.id if self.me else None, self._holder, self._lease, self._patience)
        migrate(writer)
        if self.me is not None:
            with writer.asking() as wire:
                leases.register(wire, self.me, self._lease)
        self._writer = writer
        return writer

    def withdraw(self) -> None:
        """This host does not work with the ledger after all: others plan nothing for it. Raises DatabaseError."""
        if self.me is not None and self._writer is not None:
            with self._writer.asking() as wire:
                leases.withdraw(wire, self.me.id)

    @property
    def commits(self) -> int:
        """How many commits of this host were acknowledged."""
        return 0 if self._writer is None else self._writer.commits

    def commits_of(self, hosts: Collection[str]) -> dict[str, int]:
        """How many commits there are of each of these hosts, as far as they are known. Raises DatabaseError."""
        if not hosts:
            return {}
        connection = PostgresConnection(self.connector)
        try:
            with connection.asking() as wire:
                rows = wire.execute("select id, commits from host where id = any(%s)", (list(hosts),)).fetchall()
        finally:
            connection.close()
        return {host: int(commits) for host, commits in rows}

    def give_up(self, *, silent: bool) -> None:
        """This process is to end: it does not wait for long, and where nobody answers, for no answer."""
        self._patience.most = _LAST if silent else _LAST_ANSWER

    def reader(self, trouble: ErrorLog | None = None) -> PostgresReader:
        """A way to read it."""
        return PostgresReader(self.connector, trouble, self._patience)

    @contextlib.contextmanager
    def snapshot(self) -> Iterator[Snapshot]:
        """All of it as of one moment. Raises DatabaseError."""
        with contextlib.closing(Snapshot(self.connector)) as connection:
            connection.begin()
            yield connection

    def schema_version(self, reader: RowReader) -> int:
        """Which scripts have made it what it is, 0 if there is none."""
        if not reader.rows("select to_regclass('ledger_version') is not null", ())[0][0]:
            return 0
        return int(reader.rows("select version from ledger_version", ())[0][0])

    def check(self, reader: RowReader) -> None:
        """PostgreSQL looks after its own pages."""

    def gone(self) -> str:
        """What a fail-over has lost."""
        if self._writer is None or not self._writer.lost:
            return ""
        return (
            "a fail-over of the database has lost what it had acknowledged: dropcap ends, and a start settles what became of it"
        )

    def has_text(self, column: str) -> str:
        """Whether the text `?`, in small letters, stands in a column of text, as SQL."""
        return f"position(? in lower({column})) > 0"

    def name_has(self, column: str) -> str:
        """Whether the bytes `?`, in small letters, stand in a name, as SQL. No name is UTF-8 for certain, and lower() wants text:
        it gets each byte as a letter, of which only those of ASCII have capitals."""
        return f"position(convert_from(?, 'LATIN1') in lower(convert_from({column}, 'LATIN1') collate \"C\")) > 0"

    @property
    def open_by_key(self) -> str:
        """That `older` is open, where it is looked for by its key, as SQL (see `migrations`: `job_order`)."""
        return f"older.state || '' in {OPEN_STATES}"

    @property
    def sent_by_key(self) -> str:
        """That `older` is being sent, or its outcome is unknown, where it is looked for by its key, as SQL."""
        return "older.state || '' in ('sending', 'unknown')"

    @property
    def shared(self) -> bool:
        """Several hosts may."""
        return True

    @property
    def unwritable(self) -> tuple[str, str]:
        """What is told when it cannot be written."""
        return (
            "the ledger's database takes nothing in ({why}), so nothing is taken or sent meanwhile",
            "see whether PostgreSQL runs and this host reaches it; dropcap goes on by itself",
        )


class PostgresReader:
    """A few connections for the threads of a process, one question after the other."""

    def __init__(self, connector: Connector, trouble: ErrorLog | None, patience: Patience = ANY) -> None:
        self._connector = connector
        self._patience = patience
        self._trouble = trouble
        self._free: queue.LifoQueue[PostgresConnection] = queue.LifoQueue()
        self._made = 0
        self._lock = threading.Lock()
        self._silent = ""  # why the last question was not answered, which ended at that time
        self._silent_at = 0.0
        self._closed = False

    def rows(self, sql: str, values: Sequence[Any]) -> list[Any]:
        """All rows of an answer; asked once more where the connection was broken. Raises DatabaseError."""
        came = time.monotonic()
        connection = self._taken()
        try:
            if self._silent and (self._silent_at > came or self._patience.most < _LAST_ANSWER):
                raise Unavailable(self._silent)  # as was found while this question waited for a connection
            return self._answer(connection, sql, values)
        except DatabaseError as error:
            if self._trouble is not None:
                self._trouble.met_asking(error)
            raise
        finally:
            self._give_back(connection)

    def _answer(self, connection: PostgresConnection, sql: str, values: Sequence[Any]) -> list[Any]:
        made_before = connection.made  # it may be broken while the server is well
        for again in (made_before, False):
            try:
                found = connection.execute(sql, values).fetchall()
                self._silent = ""
                return found
            except Unavailable as error:
                connection.close()
                if not again:
                    self._silent, self._silent_at = str(error), time.monotonic()
                    raise
        raise AssertionError

    def each(self, sql: str, values: Sequence[Any]) -> Iterator[Any]:
        """The rows of an answer, not all in memory at once: more than a few have a connection of their own for as long as they
        come. Raises DatabaseError."""
        few = self.rows(f"select * from ({sql}) few limit {AT_ONCE + 1}", values)
        if len(few) <= AT_ONCE:
            yield from few
            return
        with contextlib.closing(Snapshot(self._connector)) as connection:
            connection.begin()
            yield from connection.execute(sql, values)

    def changes(self) -> int:
        """Another number than before if anything was written meanwhile."""
        return int(self.rows("select n from turn", ())[0][0])

    def close(self) -> None:
        """Close all connections that nobody uses; the others, when they are given back."""
        self._closed = True
        with contextlib.suppress(queue.Empty):
            while True:
                self._free.get_nowait().close()

    def _taken(self) -> PostgresConnection:
        with self._lock:
            make = self._free.empty() and self._made < _READERS
            self._made += make
        return PostgresConnection(self._connector, self._patience) if make else self._free.get()

    def _give_back(self, connection: PostgresConnection) -> None:
        if self._closed:
            connection.close()
        self._free.put(connection)


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
