"""What the ledger asks of a database engine, and what an engine raises."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

from dropcap.ledger.job import Change

#: What is told where the system opens no more files for dropcap.
TOO_MANY_OPEN = "too many files are open: raise LimitNOFILE= of the unit, or `ulimit -n`"


class DatabaseError(Exception):
    """The ledger could not be asked or written; the message is the engine's."""


class Unavailable(DatabaseError):  # noqa: N818 - a state
    """The same can go well later: once there is room on the disk, or the server is back."""


class NoDescriptor(Unavailable):
    """This process has as many files open as it may."""

    def __init__(self) -> None:
        super().__init__(TOO_MANY_OPEN)


class Conflict(DatabaseError):  # noqa: N818 - an answer
    """A rule of the ledger forbids it: an open job has that name, another one is being sent to that place."""


class Damaged(DatabaseError):  # noqa: N818 - a state
    """An answer that no sound ledger gives."""


class LeaseLost(DatabaseError):  # noqa: N818 - a state
    """Another host works in the folder by now: nothing of the write stands."""


class CommitsLost(DatabaseError):  # noqa: N818 - a state
    """The database has gone back behind what it had acknowledged: a fail-over has lost commits."""


#: What the ledger itself tells of: whoever meets it tries again, and logs nothing.
TOLD = (Unavailable, Damaged, LeaseLost, CommitsLost)


class LedgerError(Exception):
    """The ledger cannot be used; the message says why and what to do."""


class NewerLedger(LedgerError):  # noqa: N818 - a state, not a fault
    """A newer dropcap has written the ledger."""


class Cursor(Protocol):
    """The answer to one statement."""

    @property
    def rowcount(self) -> int:
        """How many rows were changed."""

    def fetchone(self) -> Any:
        """The next row, None if there is none."""

    def fetchall(self) -> list[Any]:
        """The rows that are left."""

    def __iter__(self) -> Iterator[Any]:
        """The rows that are left, one after the other."""


class Connection(Protocol):
    """One connection. All raise `DatabaseError`."""

    def execute(self, sql: str, values: Sequence[Any] = (), /) -> Cursor:
        """Run a statement."""

    def executemany(self, sql: str, rows: Iterable[Sequence[Any]], /) -> object:
        """Run a statement for each of these rows."""

    def later(self, sql: str, rows: Sequence[Sequence[Any]], /) -> None:
        """The same, but nobody looks at what it has made before the transaction is committed."""

    def attempt(self, sql: str, values: Sequence[Any], /) -> int:
        """Run a statement within a transaction; how many rows it has changed: none if a rule of the ledger forbids it."""

    def enter(self, table: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> list[int]:
        """Insert rows into a table that numbers them; their numbers, in order."""

    def take(self, changes: Sequence[Change], now: float) -> set[int] | None:
        """Take jobs to their next states in as few statements as can be, each with its entry; those that could go. None: this
        engine knows nothing better than one after the other."""


class Writer(Connection, Protocol):
    """The one connection that writes, one transaction after the other."""

    def begin(self, jobs: Sequence[int] = ()) -> None:
        """Begin to write; no other process writes until `commit` or `rollback`. `jobs` are those of which `folders` is asked."""

    def version(self) -> int:
        """Another number than at the last `begin` if anybody else has written since."""

    def newest(self) -> tuple[int, int]:
        """The highest number that an entry of a history has, or ever had, and that of the newest job that has entries."""

    def may_write(self, folder: str | None, jobs: Sequence[int]) -> bool:
        """Whether this process may write for a folder, or for that of these jobs, within the transaction."""

    def take_lease(self, folder: str, beat: int | None) -> int | None:
        """Within the transaction: take the lease of a folder whose `beat` was seen to stand still; its fence, None if not."""

    def commit(self) -> None:
        """Make it durable."""

    def rollback(self) -> None:
        """Take all back that was written since `begin`, if anything was. Raises nothing."""

    def was_committed(self) -> bool:
        """Within the transaction after one whose `commit` raised `Unavailable`: whether that stands all the same."""

    def close(self) -> None:
        """Close it. Raises nothing."""


class RowReader(Protocol):
    """Connections to read, for any thread. Both raise `DatabaseError`."""

    def rows(self, sql: str, values: Sequence[Any]) -> list[Any]:
        """All rows of an answer."""

    def each(self, sql: str, values: Sequence[Any]) -> Iterator[Any]:
        """The rows of an answer, one after the other: there can be very many."""

    def changes(self) -> int:
        """Another number than before, on the same thread, if anything was written meanwhile."""

    def close(self) -> None:
        """Close all connections."""


class ErrorLog(Protocol):
    """Who is told what those met who asked the ledger."""

    def met_asking(self, error: DatabaseError) -> None:
        """Whoever asks met `error`."""


class Database(Protocol):
    """Where a ledger is."""

    def writer(self) -> Writer:
        """The connection that writes; the ledger is made, or brought up to this version, if need be.

        Raises:
            LedgerError: it cannot be opened; the message says what to do.
            DatabaseError: it cannot be used.
        """

    def reader(self, trouble: ErrorLog | None = None) -> RowReader:
        """A way to read it; `trouble` is told what was met."""

    def snapshot(self) -> AbstractContextManager[Connection]:
        """All of it as of one moment, to be gone through. Raises DatabaseError."""

    def schema_version(self, reader: RowReader) -> int:
        """Which scripts have made it what it is."""

    def check(self, reader: RowReader) -> None:
        """Look at the whole ledger. Raises Damaged."""

    @property
    def commits(self) -> int:
        """How many commits of this process were acknowledged, where that is counted."""

    def gone(self) -> str:
        """What is told if it is not the one any more that was opened, so that what is written now would be lost; else empty."""

    def give_up(self, *, silent: bool) -> None:
        """This process is to end; `silent`: the ledger has not answered lately."""

    def has_text(self, column: str) -> str:
        """Whether the text `?`, in small letters, stands in a column of text, as SQL."""

    def name_has(self, column: str) -> str:
        """Whether the bytes `?`, in small letters and without a zero, stand in a name, as SQL."""

    @property
    def open_by_key(self) -> str:
        """That `older` is open, where it is looked for by its key, as SQL."""

    @property
    def sent_by_key(self) -> str:
        """That `older` is being sent, or its outcome is unknown, where it is looked for by its key, as SQL."""

    @property
    def shared(self) -> bool:
        """Whether several hosts write it, each for the folders that it works in."""

    @property
    def unwritable(self) -> tuple[str, str]:
        """What is told when it cannot be written, with `{why}`, and what to do."""
