"""What the ledger asks of a database engine: every table and column, what is done with them, and what an engine raises."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Protocol

from dropcap.ledger.job import Change, MarkKind

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


#: What the ledger itself logs: callers try again, and log nothing.
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
        """A reader met `error`."""


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


#: The open states as SQL. The indexes of open jobs are used only by a query that says this, word for word.
OPEN_STATES = "('waiting', 'held', 'sending', 'unknown', 'stored', 'refused')"

#: That a fail-over of the database has put a job aside, as SQL.
PUT_ASIDE = (
    f"state in {OPEN_STATES} and state = 'held' and may_have_arrived and coalesce(reason, '') in ('not_confirmed', 'newer_went')"
)


def open_by_key(job: str) -> str:
    """That a job is open, as SQL, where it is looked for by its key. In PostgreSQL the index of keys is used only by a query that
    says the second half; see `postgres.migrations`."""
    return f"{job}.state in {OPEN_STATES} and {job}.state || '' in {OPEN_STATES}"


def gives_way(job: str) -> str:
    """Of a held job, as SQL: nobody waits for it, since what came after it has gone."""
    return f"{job}.reason is 'newer_went'"


#: The schema that this dropcap reads and writes: its tables are the same in both engines.
VERSION = 8


class ColumnKind(StrEnum):
    """What a column holds, in whatever way an engine keeps it."""

    TEXT = "text"
    WHOLE = "whole"  # of any size: an inode has all of 64 bits, a time in nanoseconds may lie beyond 2262
    REAL = "real"
    BYTES = "bytes"
    FLAG = "flag"


@dataclass(frozen=True, slots=True)
class MovedTable:
    """`number` is the column by which its rows are read in order; without one they are few, and sorted as lines of the file."""

    name: str
    number: str | None
    columns: tuple[tuple[str, ColumnKind], ...]

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(name for name, _ in self.columns)


def _table(name: str, number: str | None, **kinds: str) -> MovedTable:
    """`kinds`: kind -> the columns of a run, in their order; a number at its end tells runs of a kind apart."""
    found = tuple(
        (column, ColumnKind(kind.rstrip("0123456789"))) for kind, columns in kinds.items() for column in columns.split()
    )
    return MovedTable(name, number, found)


TABLES = (
    _table("meta", None, text="key value"),
    _table("folder", None, text="folder path marker mount", real="first_seen"),
    _table("document", None, text="sha256 what"),
    _table(
        "job",
        "id",
        whole="id",
        text="folder",
        bytes="name",
        text2="state project rule record event field",
        whole2="instance",
        flag="takes_next",
        text3="key",
        whole3="size mtime_ns inode",
        text4="sha256",
        whole4="attempts faults lookups",
        real="due",
        text5="reason message remedy result confirmed",
        bytes2="filed_as preserved_as",
        text6="preserved_sha256",
        whole5="again_of tried_again",
        real2="claimed_at changed_at ended_at seconds",
        text7="sent_sha256",
        whole6="sent_ctime_ns",
        flag2="may_have_arrived",
        whole7="back_of",
        real3="read_back",
        text8="found",
        bytes3="copy_temporary copy_final",
        text9="create_asked created",
        whole8="sent_over dropped_by",
        text10="dropped_by_name origin",
    ),
    _table("history", "id", whole="id job", real="at", text="state note"),
    _table("chain", "id", whole="id", text="name", whole2="n", bytes="head"),
    _table("seal", "entry", whole="entry chain n", text="established", bytes="hash", whole2="pruned"),
    _table("act", "n", whole="n", real="at", whole2="uid login", text="name way what told", bytes="hash"),
    _table("pause", None, text="scope name reason message remedy", real="since", flag="until_resume"),
    _table("created", None, text="folder day", whole="number"),
    _table("learned", None, text="project kind what", real="until"),
    _table("mark", None, text="folder", bytes="name", text2="kind", whole="size mtime_ns ctime_ns inode", real="since"),
    _table("mismatch", None, text="folder record", real="at"),
)
#: By their names.
TABLE = {table.name: table for table in TABLES}


def forget_marks(connection: Connection, folder: str, names: Iterable[str], kinds: Iterable[MarkKind] = tuple(MarkKind)) -> None:
    """The files of these names have left the folder, or are others now."""
    wanted = [kind.value for kind in kinds]
    sql = f"delete from mark where folder = ? and name = ? and kind in ({','.join('?' * len(wanted))})"
    # Right before the commit, in the order in which it was asked for: marks are made in it too.
    connection.later(sql, [(folder, os.fsencode(name), *wanted) for name in names])
