"""The file in which a ledger moves: JSON lines, the same bytes whichever engine they come from. Pure, but for reading the file.

The first line says what it is and how much of what follows; then come the rows, table by table, a line each: its table and its
columns (`moved.TABLES`). Bytes are hex digits, numbers have all their digits, times are as Python's `repr` writes them. The last
line is the SHA-256 of all before.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import IO, Any

from dropcap.ledger.errors import LedgerError
from dropcap.ledger.moved import TABLE, TABLES, ColumnKind, MovedTable
from dropcap.ledger.schema import VERSION as SCHEMA

FORMAT, VERSION = "dropcap ledger", 1
_ENCODE = json.JSONEncoder(ensure_ascii=True, allow_nan=False, separators=(",", ":")).encode
_INFINITE = {"inf": math.inf, "-inf": -math.inf}
_LONGEST_LINE = 1 << 28
_MADE_BY = "name a file that `dropcap ledger export` has made"


class NotAnExport(LedgerError):  # noqa: N818 - a state, not a fault
    """The file is no export of a ledger, not a whole one, or none that this dropcap can take; nothing was written."""


class OddRow(LedgerError):  # noqa: N818 - a state, not a fault
    """A row of the ledger holds what no dropcap writes."""


@dataclass(frozen=True, slots=True)
class Header:
    """What the first line says. `heads` are those of the chains, `rows` how many there are of each table."""

    installation: str
    heads: tuple[str, ...]
    rows: dict[str, int]

    def line(self) -> bytes:
        """As it stands in the file."""
        told = {"format": FORMAT, "version": VERSION, "schema": SCHEMA, "installation": self.installation}
        columns = {table.name: table.names for table in TABLES}
        return _line({**told, "heads": self.heads, "rows": self.rows, "columns": columns})


def row_line(table: MovedTable, row: Sequence[Any]) -> bytes:
    """One row, as an engine has read it. Raises OddRow."""
    values: list[Any] = [table.name]
    for (column, kind), value in zip(table.columns, row, strict=True):
        try:
            values.append(None if value is None else _told(kind, value))
        except (TypeError, ValueError, OverflowError):
            where = f"{table.name} {row[0]}" if table.number else table.name
            raise OddRow(
                f"{column} of {where} holds what no dropcap writes: see `dropcap verify --chain`, and restore a backup"
            ) from None
    return _line(values)


def last_line(digest: str) -> bytes:
    """The end of the file."""
    return _line({"sha256": digest})


def _line(told: Any) -> bytes:
    return _ENCODE(told).encode("ascii") + b"\n"


def _told(kind: ColumnKind, value: Any) -> Any:
    """A value as an engine has it -> as it stands in the file."""
    match kind:
        case ColumnKind.TEXT:
            if not isinstance(value, str):
                raise TypeError(value)
            return value
        case ColumnKind.WHOLE:
            whole = int(value)  # digits in bytes, a decimal number
            if not isinstance(value, bytes) and whole != value:
                raise ValueError(value)
            return whole
        case ColumnKind.REAL:
            number = float(value)
            return number if math.isfinite(number) else f"{number}"
        case ColumnKind.BYTES:
            if isinstance(value, str | int):
                raise TypeError(value)
            return bytes(value).hex()
        case ColumnKind.FLAG:
            if value not in (0, 1):
                raise ValueError(value)
            return bool(value)


def _meant(kind: ColumnKind, told: Any) -> Any:
    """The other way: text, a whole number, a float, bytes or a bool. Raises TypeError, ValueError or KeyError."""
    if kind is ColumnKind.BYTES:
        return bytes.fromhex(told)
    if kind is ColumnKind.REAL:
        return _INFINITE[told] if isinstance(told, str) else float(told) if type(told) is float else _not(told)
    if kind is ColumnKind.TEXT:
        if type(told) is str:
            told.encode()  # half a surrogate is no text
            return told
        return _not(told)
    return told if type(told) is (bool if kind is ColumnKind.FLAG else int) else _not(told)


def _not(told: Any) -> Any:
    raise TypeError(told)


def checked(file: IO[bytes]) -> Header:
    """Go through the whole file and say what it holds; nothing of it is kept.

    Raises:
        NotAnExport: it cannot be imported.
    """
    file.seek(0)
    digest = hashlib.sha256()
    header: Header | None = None
    counted = dict.fromkeys(TABLE, 0)
    table = -1
    last: bytes | None = None
    for number, line in enumerate(_lines(file), 1):
        if last is not None:
            digest.update(last)
        last = line
        if header is None:
            header = _header(line)
        elif not line.startswith(b'{"sha256":'):
            name, _ = _row(line, number)
            at = [one.name for one in TABLES].index(name)
            if at < table:
                raise NotAnExport(f"line {number} is out of its order: {_MADE_BY}")
            table = at
            counted[name] += 1
    if header is None or last is None:
        raise NotAnExport(f"it is empty: {_MADE_BY}")
    if last != last_line(digest.hexdigest()):
        raise NotAnExport("its end is missing, or it was changed since it was made: copy it again, or export again")
    if counted != header.rows:
        raise NotAnExport(f"it does not hold what its first line says: {_MADE_BY}")
    return header


def rows(file: IO[bytes]) -> Iterator[tuple[MovedTable, tuple[Any, ...]]]:
    """All rows of a file that was `checked`."""
    for number, line in enumerate(every_line(file), 1):
        if number > 1 and not line.startswith(b'{"sha256":'):
            name, values = _row(line, number)
            yield TABLE[name], values


def every_line(file: IO[bytes]) -> Iterator[bytes]:
    """Its lines from the first one on."""
    file.seek(0)
    return _lines(file)


def _lines(file: IO[bytes]) -> Iterator[bytes]:
    while line := file.readline(_LONGEST_LINE):
        yield line


def _header(line: bytes) -> Header:
    try:
        told = json.loads(line)
        name, version, schema = told["format"], told["version"], told["schema"]
    except (ValueError, TypeError, KeyError, RecursionError):
        raise NotAnExport(f"it is no export of a ledger: {_MADE_BY}") from None
    if name != FORMAT or type(version) is not int or type(schema) is not int:
        raise NotAnExport(f"it is no export of a ledger: {_MADE_BY}")
    if version > VERSION or schema > SCHEMA:
        raise NotAnExport("a newer dropcap has made it: install that here, then import it")
    if version < VERSION or schema < SCHEMA:
        raise NotAnExport("an earlier dropcap has made it: install this one there, run it once, and export again")
    try:
        heads = tuple(str(head) for head in told["heads"])
        header = Header(str(told["installation"]), heads, {str(key): int(number) for key, number in told["rows"].items()})
    except (TypeError, KeyError, ValueError, AttributeError):
        raise NotAnExport(f"its first line is not as it was made: {_MADE_BY}") from None
    if header.line() != line:
        raise NotAnExport(f"its first line is not as it was made: {_MADE_BY}")
    return header


def _row(line: bytes, number: int) -> tuple[str, tuple[Any, ...]]:
    try:
        name, *told = json.loads(line)
        columns = TABLE[name].columns
        pairs = zip(columns, told, strict=True)
        values = tuple(None if value is None else _meant(kind, value) for (_, kind), value in pairs)
        whole = _line([name, *told]) == line
    except (ValueError, TypeError, KeyError, RecursionError):
        whole = False
    if not whole:
        raise NotAnExport(f"line {number} cannot be read: copy the file again, or export again")
    return name, values
