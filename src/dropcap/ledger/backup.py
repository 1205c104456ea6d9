"""A copy of the ledger while it is written, whole as of one moment; such a copy put back; a ledger exported and imported."""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import os
import sqlite3
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby, islice, zip_longest
from operator import itemgetter
from pathlib import Path
from typing import IO, Any, Protocol

from dropcap.files import names
from dropcap.ledger.chain import ACTS, AuditAction, AuditActor, Head, Sealer, enter, entry_of, heads, is_head
from dropcap.ledger.database import (
    OPEN_STATES,
    TABLE,
    TABLES,
    ColumnKind,
    Connection,
    Damaged,
    DatabaseError,
    LedgerError,
    MovedTable,
    Writer,
)
from dropcap.ledger.database import VERSION as SCHEMA
from dropcap.ledger.proof import prove_within
from dropcap.ledger.sqlite import CHAINED, KNOWS_ARRIVALS, MIGRATIONS, SqliteWriter, meant

_RESTORED = "the ledger was restored from a backup: this may have been sent since"


def backup(ledger: Path, target: Path) -> None:
    """Copy the ledger to `target`, which must not be there, for this user alone; durable on return. It may be in use.

    Raises:
        FileExistsError: there is something of that name.
        OSError: it cannot be written there.
        DatabaseError: the ledger cannot be read, or is damaged; nothing is left of the copy then.
    """
    if os.path.lexists(target):
        raise FileExistsError(target)
    with _beside(target) as temporary:
        with _opened(f"{ledger.absolute().as_uri()}?mode=ro") as source, _opened(temporary.absolute().as_uri()) as copy:
            # All pages in one step: in several it begins anew whenever the daemon has written between two of them.
            try:
                source.backup(copy, pages=-1)
            except sqlite3.Error as error:
                raise meant(error) from error
            copy.execute("pragma journal_mode = delete")
            _sound(copy)
        _flush(temporary)
        os.link(temporary, target)  # replaces nothing
    _flush(target.parent)


def version_of(ledger: Path) -> int:
    """The version of a ledger of SQLite's; 0 if there is none, or it cannot be read."""
    try:
        with _opened(f"{ledger.absolute().as_uri()}?mode=ro") as connection:
            return int(connection.execute("pragma user_version").fetchone()[0])
    except DatabaseError:
        return 0


def heads_of(ledger: Path) -> list[Head]:
    """The heads of a ledger's chains; none if it has none, is not there or cannot be read."""
    try:
        with _opened(f"{ledger.absolute().as_uri()}?mode=ro") as connection:
            return heads(connection)
    except DatabaseError:
        return []


def restore(copy: Path, ledger: Path, installation: str | None, actor: AuditActor, known: Sequence[Head] = ()) -> Path | None:
    """Put a copy in the ledger's place, while no dropcap runs; where the ledger was put that was there, if there was one.

    What was waiting when the copy was made may have been sent since, so it is read back before anything is sent again. That is an
    act of `actor`, with those heads that the copy lacks: of `known`, which were told last, and of the ledger that is there. A
    copy from before there were chains has no place for it: its first start enters the act.

    Raises:
        LedgerError: it is no ledger, of a newer dropcap, or of another `installation` than the folders know.
        OSError: it cannot be read, or not written into the state directory.
    """
    temporary = ledger.with_name(names.temporary())
    try:
        with open(copy, "rb") as source, open(temporary, "xb", opener=_private) as target:
            while piece := source.read(1 << 20):
                target.write(piece)
        _make_fit(temporary, copy, installation, actor, list(dict.fromkeys([*known, *heads_of(ledger)])))
        _flush(temporary)
        aside = _aside(ledger)
        os.rename(temporary, ledger)
        _flush(ledger.parent)
    finally:
        for left in (temporary, Path(f"{temporary}-journal"), Path(f"{temporary}-wal"), Path(f"{temporary}-shm")):
            left.unlink(missing_ok=True)
    return aside


def _make_fit(temporary: Path, copy: Path, installation: str | None, actor: AuditActor, old: Sequence[Head]) -> None:
    try:
        with _opened(temporary.absolute().as_uri()) as connection:
            connection.execute("pragma journal_mode = delete")
            _sound(connection)
            version = int(connection.execute("pragma user_version").fetchone()[0])
            told = connection.execute("select value from meta where key = 'installation'").fetchone()
            if version > len(MIGRATIONS):
                raise LedgerError(f"{copy} is a ledger of a newer dropcap: install that, then restore it")
            if told is None or (installation is not None and told[0] != installation):
                raise LedgerError(f"{copy} is the ledger of another installation: its folders are not those of this state_dir")
            _enter(connection, actor, version, old)
    except DatabaseError as error:
        raise LedgerError(f"{copy} cannot be used ({error}): name a file that `dropcap ledger backup` has made") from None


def _enter(connection: SqliteWriter, actor: AuditActor, version: int, old: Sequence[Head]) -> None:
    """What was open may have been sent since, to whatever instance."""
    now, sealer = time.time(), Sealer()
    connection.execute("begin immediate")
    if version >= CHAINED:
        sealer.begin(connection)
    connection.execute(
        f"update or ignore job set state = 'unknown', due = 0, changed_at = ? where state in {OPEN_STATES}"
        " and state in ('waiting', 'sending')",
        (now,),
    )
    if version >= KNOWS_ARRIVALS:
        connection.execute(
            "update job set may_have_arrived = 1, attempts = max(attempts, 1), changed_at = ?"
            f" where state in {OPEN_STATES} and state in ('waiting', 'held', 'unknown')",
            (now,),
        )
    connection.execute(
        "insert into history (job, at, state, note)"
        f" select id, ?, state, ? from job where state in {OPEN_STATES} and changed_at = ?",
        (now, _RESTORED, now),
    )
    if version >= CHAINED:
        sealer.seal(connection)
        lost = [str(head) for head in old if not is_head(head, connection.execute(*entry_of(head)).fetchall())]
        enter(connection, now, actor, AuditAction.RESTORED, {"copy": True, "lost": lost})
    connection.execute("commit")


def _aside(ledger: Path) -> Path | None:
    """The ledger that is there is kept, with what belongs to it."""
    if not ledger.exists():
        return None
    aside = ledger.with_name(f"ledger.before-restore-{time.strftime('%Y%m%d-%H%M%S')}.db")
    for suffix in ("", "-wal", "-shm"):
        with contextlib.suppress(FileNotFoundError):
            os.rename(f"{ledger}{suffix}", f"{aside}{suffix}")
    return aside


def _sound(connection: SqliteWriter) -> None:
    said = connection.execute("pragma quick_check(1)").fetchone()[0]
    if said != "ok":
        raise Damaged(f"it is damaged: {said}")


@contextlib.contextmanager
def _opened(uri: str) -> Iterator[SqliteWriter]:
    try:
        connection = sqlite3.connect(uri, uri=True, isolation_level=None, factory=SqliteWriter)
    except sqlite3.Error as error:
        raise meant(error) from error
    try:
        connection.execute("pragma busy_timeout = 30000")
        yield connection
    finally:
        sqlite3.Connection.close(connection)


@contextlib.contextmanager
def _beside(target: Path) -> Iterator[Path]:
    temporary = target.with_name(names.temporary())
    os.close(_private(str(temporary), os.O_WRONLY | os.O_CREAT | os.O_EXCL))
    try:
        yield temporary
    finally:
        temporary.unlink(missing_ok=True)


def _private(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)


def _flush(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


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


#: Rows that are read or written at a time.
_AT_ONCE = 1000
#: The acts of a ledger that nobody has used yet.
_ITS_OWN = ("created", "migrated")
#: Tables that are not empty in a ledger that nobody has used yet.
_AT_FIRST = frozenset({"meta", "chain", "act"})


class MovingEngine(Protocol):
    """What differs between engines when a ledger is written as a whole."""

    def unhurried(self, writer: Writer) -> None:
        """The transaction that has begun may last."""

    def bound(self, kind: ColumnKind, value: Any) -> Any:
        """A value (text, a whole number of any size, a float, bytes, a bool) as this engine keeps it."""

    def number_on(self, writer: Writer) -> None:
        """Have new rows get numbers that none has had: behind the highest job, and the highest entry of history and seal."""


class NotEmpty(LedgerError):  # noqa: N818 - a state, not a fault
    """The ledger has been used: nothing is brought into it."""


class NotTheSame(LedgerError):  # noqa: N818 - a state, not a fault
    """What was brought in does not read as it stands in the file, or its chains are not whole; all was taken back."""


@contextlib.contextmanager
def whole(writer: Writer, engine: MovingEngine) -> Iterator[None]:
    """A transaction that keeps all other writers out and may last: committed at the end, taken back by any error."""
    try:
        writer.begin()
        engine.unhurried(writer)
        yield
        writer.commit()
    except BaseException:
        writer.rollback()
        raise


def header_of(connection: Connection) -> Header:
    """What the first line of an export says of the ledger as it is now."""
    (installation,) = connection.execute("select value from meta where key = 'installation'").fetchone() or ("",)
    counts = {table.name: _number(connection, f"select count(*) from {table.name}") for table in TABLES}
    told = heads(connection)
    return Header(str(installation), tuple(str(head) for head in told), counts)


def lines(connection: Connection) -> Iterator[bytes]:
    """The file of the ledger but for its last line, within one snapshot. Raises OddRow."""
    yield header_of(connection).line()
    for table in TABLES:
        yield from _numbered(connection, table) if table.number else sorted(_all(connection, table))


def _all(connection: Connection, table: MovedTable) -> Iterator[bytes]:
    for row in connection.execute(f"select {', '.join(table.names)} from {table.name}").fetchall():
        yield row_line(table, row)


def _numbered(connection: Connection, table: MovedTable) -> Iterator[bytes]:
    """In pieces, so that a large table is never in memory as a whole."""
    select = f"select {', '.join(table.names)} from {table.name}"
    end = f"order by {table.number} limit {_AT_ONCE}"
    found = connection.execute(f"{select} {end}").fetchall()
    while found:
        for row in found:
            yield row_line(table, row)
        found = connection.execute(f"{select} where {table.number} > ? {end}", (found[-1][0],)).fetchall()


def enter_export(connection: Connection, actor: AuditActor) -> None:
    """That a ledger is exported is an act of `actor`, within a transaction, before it is done."""
    header = header_of(connection)
    told = {"rows": _some(header.rows), "heads": header.heads}
    enter(connection, time.time(), actor, AuditAction.EXPORTED, told)


def export(connection: Connection, target: Path) -> Header:
    """Write the ledger into `target`, which must not be there, for this user alone; durable on return.

    `connection` reads in one snapshot.

    Raises:
        FileExistsError: there is something of that name.
        OSError: it cannot be written; nothing is left of it.
        OddRow: the ledger holds what no dropcap writes.
    """
    if os.path.lexists(target):
        raise FileExistsError(target)
    temporary = target.with_name(names.temporary())
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
    digest = hashlib.sha256()
    try:
        with open(os.open(temporary, flags, 0o600), "wb") as file:
            for line in lines(connection):
                digest.update(line)
                file.write(line)
            file.write(last_line(digest.hexdigest()))
            file.flush()
            os.fsync(file.fileno())
        os.link(temporary, target)  # replaces nothing
    finally:
        temporary.unlink(missing_ok=True)
    directory = os.open(target.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
    return header_of(connection)


def bring_in(connection: Writer, engine: MovingEngine, file: IO[bytes], header: Header, actor: AuditActor) -> list[str]:
    """Fill an empty ledger from a file that was `checked`, compare each row with it, enter that as an act of `actor`; the heads
    of the chains then. All or nothing.

    Raises:
        NotEmpty: the ledger has been used.
        NotTheSame: it does not read as it was written, or the chains are not whole.
    """
    with whole(connection, engine):
        if (used := used_by(connection)) is not None:
            raise NotEmpty(f"the ledger is not empty ({used}): name a state_dir or a database that dropcap has not used")
        for table in TABLES:
            connection.execute(f"delete from {table.name}")
        for table, found in groupby(rows(file), key=itemgetter(0)):
            _insert(connection, engine, table, (values for _, values in found))
        engine.number_on(connection)
        _compare(connection, file)
        told = {"rows": _some(header.rows), "heads": header.heads}
        enter(connection, time.time(), actor, AuditAction.IMPORTED, told)
        if broken := prove_within(connection).broken:
            raise NotTheSame(f"the chains of the file are not whole ({broken[0]}): nothing was imported; export again")
        return [str(head) for head in heads(connection)]


def used_by(connection: Connection) -> str | None:
    """What is in a ledger that somebody has used; None if it is as it was made."""
    for table in TABLES:
        if table.name not in _AT_FIRST:
            count = _number(connection, f"select count(*) from {table.name}")
            if count:
                return f"rows in the table {table.name}: {count:,}"
    acts = _number(connection, "select count(*) from act where what not in (?, ?)", *_ITS_OWN)
    chains = _number(connection, "select count(*) from chain where name <> ?", ACTS)
    return f"{acts:,} acts" if acts else f"{chains:,} chains of folders" if chains else None


def _number(connection: Connection, sql: str, *values: str) -> int:
    return int(connection.execute(sql, values).fetchone()[0])


def somebody_works(connection: Connection) -> str | None:
    """The host on which a dropcap works with this ledger on PostgreSQL, if one does. Of SQLite's a lock in `state_dir` tells."""
    sql = "select name, pid from host where until > clock_timestamp() order by started limit 1"
    row = connection.execute(sql).fetchone()
    return None if row is None else f"{row[0]} (process {row[1]})"


def _insert(connection: Writer, engine: MovingEngine, table: MovedTable, found: Iterable[Sequence[Any]]) -> None:
    kinds = [kind for _, kind in table.columns]
    marks = ", ".join("?" * len(kinds))
    sql = f"insert into {table.name} ({', '.join(table.names)}) values ({marks})"
    each = iter(found)
    while some := list(islice(each, _AT_ONCE)):
        bound = [
            tuple(None if value is None else engine.bound(kind, value) for kind, value in zip(kinds, row, strict=True))
            for row in some
        ]
        connection.executemany(sql, bound)


def _compare(connection: Connection, file: IO[bytes]) -> None:
    """Read everything back. What was written must stand there as it stands in the file, byte by byte."""
    digest = hashlib.sha256()
    last = b""
    for number, (here, there) in enumerate(zip_longest(lines(connection), every_line(file), fillvalue=b""), 1):
        if here:
            digest.update(here)
        if here != there and here:
            raise NotTheSame(f"line {number} of the file reads otherwise in the ledger: nothing was imported; {_TELL}")
        last = there
    if last != last_line(digest.hexdigest()):
        raise NotAnExport("the file was changed while it was read: nothing was imported; try again")


_TELL = "see whether the file is the export of a sound ledger, and whether the disk and the database are well"


def _some(counts: Mapping[str, int]) -> dict[str, int]:
    return {name: count for name, count in counts.items() if count}
