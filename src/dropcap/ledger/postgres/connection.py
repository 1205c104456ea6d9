"""PostgreSQL's connections: SQL and values in its dialect, steps in few statements, long answers in pieces."""

from __future__ import annotations

import contextlib
import itertools
import logging
import re
import socket
from collections.abc import Iterable, Iterator, Mapping, Sequence
from enum import Enum
from functools import lru_cache
from typing import Any, cast

import psycopg
from psycopg import errors
from psycopg.adapt import Loader
from psycopg.conninfo import make_conninfo

from dropcap.config.model import PostgresLedger
from dropcap.config.secrets import SecretError
from dropcap.ledger.database import Conflict, Damaged, DatabaseError, Unavailable
from dropcap.ledger.job import ENDS, TRANSITIONS, Change, State, bound, utf8
from dropcap.ledger.postgres.wire import ANY, WATCHDOG, Connector, Patience, in_words

_TOKEN = re.compile(r"('(?:[^']|'')*')|\?(\d*)|\bis (not )?(?!not |null\b|true\b|false\b|distinct\b)|(%)|\b(in \(\))")
#: PostgreSQL's text has no NUL. It is kept as two other characters, of which the first is doubled where a text has it.
_ESCAPE, _NUL, _ITSELF = "\x1e", "\x1e0", "\x1e1"


@lru_cache(maxsize=1024)
def translated(sql: str) -> str:
    """`?` and `?1` as psycopg's places for values, `is` between two values as the comparison that knows null, and of what is in
    nothing that it is not."""

    def of(found: re.Match[str]) -> str:
        text, number, negated, percent, nothing = found.groups()
        if text is not None:
            return text.replace("%", "%%")
        if percent is not None:
            return "%%"
        if nothing is not None:
            return "= any('{}')"
        if number is None:
            return "is distinct from " if negated else "is not distinct from "
        return f"%(v{number})s" if number else "%s"

    return _TOKEN.sub(of, sql)


def adapted(sql: str, values: Sequence[Any]) -> Sequence[Any] | Mapping[str, Any]:
    """The values for the translated statement."""
    kept = [value if type(value) in _AS_THEY_ARE else as_kept(value) for value in values]
    return {f"v{number}": value for number, value in enumerate(kept, 1)} if "%(v" in sql else kept


_AS_THEY_ARE = frozenset({int, float, bytes, bool, type(None)})


def as_kept(value: Any) -> Any:
    """A value as PostgreSQL keeps it."""
    if isinstance(value, Enum):
        value = value.value
    if isinstance(value, str):
        if "\0" in value or _ESCAPE in value:
            return value.replace(_ESCAPE, _ITSELF).replace("\0", _NUL)
        return str(value)
    return int(value) if isinstance(value, int) and not isinstance(value, bool) else value


def as_was(text: str) -> str:
    """A text that PostgreSQL has kept, as it was."""
    return text.replace(_NUL, "\0").replace(_ITSELF, _ESCAPE) if _ESCAPE in text else text


#: The types of a job's columns that a step may set; the others are text.
_TYPES = {
    **dict.fromkeys(("instance", "attempts", "faults", "lookups", "sent_over", "again_of", "tried_again", "back_of"), "bigint"),
    **dict.fromkeys(("due", "ended_at", "seconds", "read_back", "claimed_at"), "double precision"),
    **dict.fromkeys(("name", "filed_as", "preserved_as", "copy_temporary", "copy_final"), "bytea"),
    **dict.fromkeys(("may_have_arrived", "takes_next"), "boolean"),
    **dict.fromkeys(("sent_ctime_ns", "mtime_ns", "inode"), "numeric"),
    "size": "bigint",
}

#: Whether a job may go there depends on others.
_ALONE = frozenset({State.SENDING, State.UNKNOWN})
#: Another one is on its way to its place.
_ANOTHER_GOES = (
    "exists (select 1 from job other where other.key = job.key and other.id <> job.id"
    " and other.state || '' in ('sending', 'unknown'))"
)
_WENT = (
    "newer.id > greatest(job.id, job.sent_over) and newer.field = job.field"
    " and coalesce(newer.instance, 1) = coalesce(job.instance, 1) and newer.attempts > 0"
    " and (newer.state in ('sending', 'unknown', 'held', 'stored', 'done')"
    " or (newer.state = 'withdrawn' and newer.may_have_arrived and coalesce(newer.found, 'yes') = 'yes'))"
)
#: A newer one has gone to its place: `passing.NEWER_WENT`, of the job's own columns.
_OVERTAKEN = (
    "(job.state = 'waiting' and not (job.takes_next and job.instance is null) and ("
    f"exists (select 1 from job newer where newer.key = job.key and {_WENT})"
    f" or exists (select 1 from job newer where newer.record = job.record and newer.record <> '' and newer.project = job.project"
    f" and newer.event is not distinct from job.event and {_WENT})))"
)


def take(wire: psycopg.Connection[Any], changes: Sequence[Change], now: float) -> set[int] | None:
    """Take jobs to their next states, each with an entry in its history, within a transaction; those that could go.

    None if it may matter which of them goes first, or if one cannot be entered at all: nothing was changed, and they are to be
    taken one after the other.
    """
    asked = []
    try:
        with wire.pipeline():
            wire.execute(b"savepoint steps")
            for some in _rounds(changes):
                asked += [wire.execute(*_statement(alike, now)) for alike in _alike(some)]
        went = [cursor.fetchall() for cursor in asked]
    except (psycopg.IntegrityError, psycopg.DataError, psycopg.ProgrammingError, ValueError, TypeError):
        went = None
    if went is None or any(_meet(together) for together in went):
        wire.execute("rollback to savepoint steps")
        return None
    return {int(job) for together in went for _, _, job, *_ in together}


def _meet(together: Sequence[Any]) -> bool:
    """Whether of jobs that went in one statement to where only one may be, some have, or had, the same place."""
    places: set[tuple[Any, ...]] = set()
    if together and len(together[0]) == 3:
        return False
    for _, _, _, moved, project, event, field, before, after in together:
        its = {(project, event, field, record) for record in (before, after) if record}
        if its & places or (moved and len(together) > 1):
            return True
        places |= its
    return False


def _rounds(changes: Sequence[Change]) -> list[list[Change]]:
    """Steps in their order: no job and no key twice in a round, and what depends on others' states stands apart from what makes
    them."""
    rounds: list[list[Change]] = [[]]
    seen: set[int | str] = set()
    kind: State | None = None
    for one in changes:
        its = one.state if one.state in _ALONE else None
        key = one.target[0] if its and one.target else None
        named: set[int | str] = {one.job} if key is None else {one.job, key}
        if not seen.isdisjoint(named) or its is not kind:
            rounds.append([])
            seen.clear()
        kind = its
        seen |= named
        rounds[-1].append(one)
    return rounds


def _alike(changes: Sequence[Change]) -> list[list[Change]]:
    """The steps of a round by their ways; of those that depend on others only what stands together."""
    ways: list[tuple[tuple[Any, ...], list[Change]]] = []
    for one in changes:
        way = (one.state, tuple(one.columns), one.target is not None)
        known = ways[-1:] if one.state in _ALONE else ways
        its = next((those for other, those in known if other == way), None)
        if its is None:
            ways.append((way, [one]))
        else:
            its.append(one)
    return [those for _, those in ways]


def _statement(changes: Sequence[Change], now: float) -> tuple[bytes, dict[str, Any]]:
    first = changes[0]
    columns = list(first.columns)
    values: dict[str, Any] = {
        "now": now,
        "jobs": [one.job for one in changes],
        "notes": [as_kept(utf8(one.note)) for one in changes],
    }
    given = ["%(jobs)s::bigint[]", "%(notes)s::text[]"]
    names = ["job", "note"]
    for number, column in enumerate(columns):
        kind = _TYPES.get(column, "text")
        values[f"c{number}"] = [_as(kind, as_kept(bound(column, one.columns[column]))) for one in changes]
        given.append(f"%(c{number})s::{kind}[]")
        names.append(f"c{number}")
    where = ["job.id = given.job", f"job.state in ({_before(first.state)})"]
    if first.target is not None:
        values["keys"] = [as_kept(one.target[0]) if one.target else None for one in changes]
        values["fields"] = [as_kept(one.target[1]) if one.target else None for one in changes]
        given += ["%(keys)s::text[]", "%(fields)s::text[]"]
        names += ["key", "field"]
        where.append("job.key is not distinct from given.key and job.field = given.field")
    if first.state in (State.SENDING, State.UNKNOWN):
        where.append(f"not {_ANOTHER_GOES}")
    if first.state is State.SENDING:
        where.append(f"not {_OVERTAKEN}")
    sets = "".join(f", {column} = given.c{number}" for number, column in enumerate(columns))
    ended = ", ended_at = %(now)s" if first.state in ENDS else ""
    source = f"unnest({', '.join(given)}) with ordinality as given ({', '.join(names)}, nth)"
    told = "job.id"
    if first.state in _ALONE:
        source += " join job before on before.id = given.job"
        told += (
            ", before.state = 'unknown' and (before.record, before.instance) is distinct from (job.record, job.instance),"
            " job.project, job.event, job.field, before.record, job.record"
        )
    # The entries are numbered in the order of the steps.
    text = (
        f"with gone as (update job set state = '{first.state.value}', changed_at = %(now)s{ended}{sets} from {source}"
        f" where {' and '.join(where)} returning given.note, given.nth, {told}),"
        " entered as (insert into history (job, at, state, note)"
        f" select id, %(now)s, '{first.state.value}', note from gone order by nth)"
        " select * from gone"
    )
    return text.encode(), values


def _as(kind: str, value: Any) -> Any:
    """A value of a column: all that go together have one type."""
    return float(value) if kind == "double precision" and value is not None else value


def _before(state: State) -> str:
    return ", ".join(f"'{before.value}'" for before, after in TRANSITIONS.items() if state in after)


#: What passes by itself, by the first two characters of its SQLSTATE: the connection, an operator's word, a lack of room, the
#: state of a transaction that another one has ended.
_PASSES = ("08", "57", "53", "58", "55", "40", "25")
#: What a statement may take (seconds), if the server itself has not ended it by then.
_PATIENCE = 11.0

logging.getLogger("psycopg").setLevel(logging.CRITICAL)  # all that it warns of is raised as well


class _Text(Loader):
    def load(self, data: Any) -> str:
        return as_was(bytes(data).decode())


class _Number(Loader):
    """`numeric` is used for whole numbers: of more than 64 bits, and for sums. What a hand has made of one stays no number."""

    def load(self, data: Any) -> int | float:
        text = bytes(data).decode()
        return int(text) if text.lstrip("-").isdecimal() else float(text)


class PostgresConnection:
    """A connection in autocommit, made when it is needed first and anew when it is broken."""

    def __init__(self, connector: Connector, patience: Patience = ANY) -> None:
        self._connector = connector
        self._patience = patience
        self._wire: psycopg.Connection[Any] | None = None
        self._socket: socket.socket | None = None

    @property
    def opened(self) -> bool:
        """Whether it was made already; the other end may have gone since."""
        return self._wire is not None

    @property
    def wire(self) -> psycopg.Connection[Any]:
        """For what is asked in PostgreSQL's own words. Raises DatabaseError."""
        if self._wire is None or self._wire.closed or self._wire.broken:
            self.close()
            with meant():
                self._wire = cast("psycopg.Connection[Any]", self._connector.open())
            self._wire.adapters.register_loader("text", _Text)
            self._wire.adapters.register_loader("numeric", _Number)
            self._socket = socket.socket(fileno=socket.dup(self._wire.fileno()))
            try:
                with meant(), WATCHDOG.over(self._socket, _PATIENCE, self._patience):
                    self.connected(self._wire)
            except BaseException:
                self.close()
                raise
        return self._wire

    @property
    def made(self) -> bool:
        """Whether there is a connection, even a broken one."""
        return self._wire is not None

    def connected(self, wire: psycopg.Connection[Any]) -> None:
        """A new connection was made."""

    @contextlib.contextmanager
    def asking(self, seconds: float = _PATIENCE) -> Iterator[psycopg.Connection[Any]]:
        """The connection for some statements that together take so long at most. Raises DatabaseError."""
        wire = self.wire
        try:
            with meant(), WATCHDOG.over(self._socket, seconds, self._patience):
                yield wire
        except Unavailable as error:
            if isinstance(error.__cause__, errors.ReadOnlySqlTransaction):
                self.close()  # a session stays read-only for good if the database was so when it began
            raise

    def execute(self, statement: str, values: Sequence[Any] = (), /) -> psycopg.Cursor[Any]:
        """Run a statement. Raises DatabaseError."""
        text = translated(statement)
        with self.asking() as wire:
            return wire.execute(text.encode(), adapted(text, values))

    def executemany(self, statement: str, rows: Iterable[Sequence[Any]], /) -> None:
        """Run a statement for each of these rows, on one way. Raises DatabaseError."""
        text = translated(statement)
        given = [adapted(text, row) for row in rows]
        if given:
            with self.asking() as wire, wire.cursor() as cursor:
                cursor.executemany(text.encode(), given)

    def later(self, statement: str, rows: Sequence[Sequence[Any]], /) -> None:
        """The same. Raises DatabaseError."""
        self.executemany(statement, rows)

    def attempt(self, statement: str, values: Sequence[Any], /) -> int:
        """Run a statement; how many rows it has changed, none if a rule of the ledger forbids it. Raises DatabaseError."""
        self.execute("savepoint attempt")
        try:
            changed = self.execute(statement, values).rowcount
        except Conflict:
            self.execute("rollback to attempt")
            changed = 0
        self.execute("release attempt")
        return changed

    def enter(self, table: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> list[int]:
        """Insert rows into a table that numbers them; their numbers, in order. Raises DatabaseError."""
        if not rows:
            return []
        with self.asking() as wire:
            numbers = wire.execute(
                "select nextval(pg_get_serial_sequence(%s, 'id')) from generate_series(1, %s)", (table, len(rows))
            ).fetchall()
        marks = ",".join("?" * (len(columns) + 1))
        ids = sorted(int(number) for (number,) in numbers)
        self.executemany(
            f"insert into {table} (id, {', '.join(columns)}) values ({marks})",
            [(number, *row) for number, row in zip(ids, rows, strict=True)],
        )
        return ids

    def take(self, changes: Sequence[Change], now: float) -> set[int] | None:
        """Take jobs to their next states, in as few statements as can be. Raises DatabaseError."""
        with self.asking(4 * _PATIENCE) as wire:
            return take(wire, changes, now)

    def close(self) -> None:
        """Close it; the next statement makes it anew."""
        if self._socket is not None:
            self._socket.close()
        if self._wire is not None:
            with contextlib.suppress(Exception):  # it is broken as a rule
                self._wire.close()
        self._wire = self._socket = None


@contextlib.contextmanager
def meant() -> Iterator[None]:
    """What psycopg raises, as what it means."""
    try:
        yield
    except psycopg.Error as raised:
        error = raised
        while isinstance(error.__context__, psycopg.Error):  # what came of the first one tells less
            error = error.__context__
        state = error.sqlstate or ""
        said = in_words(error)
        if isinstance(error, errors.UniqueViolation | errors.CheckViolation):
            raise Conflict(said) from error
        if isinstance(error, errors.DataCorrupted | errors.IndexCorrupted):
            raise Damaged(said) from error
        lost = isinstance(error, psycopg.OperationalError | psycopg.InterfaceError) and not state
        if lost or state.startswith(_PASSES):
            raise Unavailable(said) from error
        raise DatabaseError(said) from error
    except OSError as error:
        raise Unavailable(str(error)) from error


class LedgerConnector(Connector):
    """How to connect to a configured ledger, the password read afresh each time: a renewed one is taken up by itself."""

    def __init__(self, ledger: PostgresLedger, application: str) -> None:
        super().__init__("", application)
        self._ledger = ledger

    def conninfo(self) -> str:
        """With the password. Raises Unavailable."""
        try:
            password = self._ledger.password()
        except SecretError as error:
            raise Unavailable(str(error)) from None
        secret = {} if password is None else {"password": password.reveal()}
        return make_conninfo(**self._ledger.conninfo(), **secret)


#: Rows that travel at a time.
AT_ONCE = 2000
#: What the server may take until the first of them is there, or the next (seconds): it may have to sort all.
_PATIENCE_OF_STREAM = 3600.0
_NAMES = itertools.count()


class Stream:
    """An answer within a transaction that reads. All raise DatabaseError."""

    rowcount = -1

    def __init__(self, connection: PostgresConnection, sql: str, values: Sequence[Any]) -> None:
        text = translated(sql)
        self._connection = connection
        self._rows: list[Any] = []
        self._all = False
        with connection.asking(_PATIENCE_OF_STREAM) as wire:
            self._cursor = wire.cursor(name=f"stream{next(_NAMES)}")
            self._cursor.execute(text.encode(), adapted(text, values))
        self._more()

    def _more(self) -> None:
        with self._connection.asking(_PATIENCE_OF_STREAM):
            self._rows = self._cursor.fetchmany(AT_ONCE)
            self._rows.reverse()
            self._all = len(self._rows) < AT_ONCE
            if self._all:
                self._cursor.close()

    def fetchone(self) -> Any:
        """The next row, None if there is none."""
        if not self._rows and not self._all:
            self._more()
        return self._rows.pop() if self._rows else None

    def fetchall(self) -> list[Any]:
        """The rows that are left."""
        return list(self)

    def __iter__(self) -> Iterator[Any]:
        """The rows that are left, one after the other."""
        return iter(self.fetchone, None)


class Snapshot(PostgresConnection):
    """A transaction that sees all as of one moment. What is selected there comes as a stream."""

    def execute(self, statement: str, values: Sequence[Any] = (), /) -> Any:
        """Run a statement. Raises DatabaseError."""
        return Stream(self, statement, values) if statement.startswith("select") else super().execute(statement, values)

    def begin(self) -> None:
        """Begin, without a limit to what it may take."""
        self.execute("begin isolation level repeatable read read only")
        self.execute("set local statement_timeout = 0")
        self.execute("set local idle_in_transaction_session_timeout = 0")
