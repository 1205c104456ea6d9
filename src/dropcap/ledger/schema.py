"""What the schemas of both engines share: every table and column."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from dropcap.ledger.database import Connection
from dropcap.ledger.job import MarkKind

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
    # Right before the commit, in the order in which it was asked for: whoever makes marks does so too.
    connection.later(sql, [(folder, os.fsencode(name), *wanted) for name in names])
