"""What moves from one engine to another: every table and column of the ledger, in the order of the file. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


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
