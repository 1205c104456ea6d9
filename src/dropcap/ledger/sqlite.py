"""SQLite: the ledger in one file beside the daemon, its tables, and how an older ledger becomes a newer one."""

from __future__ import annotations

import contextlib
import errno
import os
import sqlite3
import threading
import time
import uuid
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from dropcap.ledger.chain import AuditAction, AuditActor, AuditChannel, Sealer, enter, heads
from dropcap.ledger.database import (
    OPEN_STATES,
    VERSION,
    ColumnKind,
    Conflict,
    Connection,
    Damaged,
    DatabaseError,
    ErrorLog,
    LedgerError,
    NewerLedger,
    NoDescriptor,
    RowReader,
    Unavailable,
    Writer,
)
from dropcap.ledger.job import Change, digits

# Names are blobs: a file's name is bytes, and not all of them are UTF-8.
_VERSION_1 = f"""
create table meta (key text primary key, value text not null) without rowid;
create table folder (
    folder text primary key, path text not null, marker text not null, mount text not null, first_seen real not null
) without rowid;
create table job (
    id integer primary key,
    folder text not null, name blob not null, state text not null,
    project text not null, rule text not null, record text not null, event text, field text not null, instance integer,
    key text,
    size integer not null, mtime_ns integer not null, inode integer not null, sha256 text,
    attempts integer not null default 0, faults integer not null default 0, lookups integer not null default 0,
    due real not null default 0,
    reason text, message text, remedy text, result text, confirmed text,
    filed_as blob, preserved_as blob, preserved_sha256 text,
    again_of integer references job (id), tried_again integer references job (id),
    claimed_at real not null, changed_at real not null, ended_at real, seconds real
);
create unique index job_one_open on job (folder, name) where state in {OPEN_STATES};
create unique index job_one_sending on job (key) where state in ('sending', 'unknown') and key is not null;
create index job_order on job (key, id) where state in {OPEN_STATES} and key is not null;
create index job_due on job (folder, due, id) where state in ('waiting', 'unknown');
create index job_size on job (folder, size) where state in ('waiting', 'unknown');
create index job_open on job (state, folder) where state in {OPEN_STATES};
create index job_failed on job (folder) where state = 'failed' and tried_again is null;
create index job_ended on job (ended_at) where ended_at is not null;
create index job_name on job (name);
create table history (job integer not null, at real not null, state text not null, note text not null default '');
create index history_job on history (job);
create table pause (
    scope text not null, name text not null, reason text not null, message text not null, remedy text not null,
    since real not null, until_resume integer not null,
    primary key (scope, name)
) without rowid;
create table created (
    folder text not null, day text not null, number integer not null, primary key (folder, day)
) without rowid;
"""

# What orders files to the same place; what REDCap has told that is true for longer than one file.
_VERSION_2 = f"""
alter table job add column takes_next integer not null default 0;
update job set takes_next = 1 where state in {OPEN_STATES} and substr(cast(key as blob), -5) = x'006e657874';
create index job_sent_to on job (key, id) where attempts > 0 and key is not null;
create table learned (
    project text not null, kind text not null, what text not null, until real not null, primary key (project, kind, what)
) without rowid
"""

# What was sent, so that it is known again when a person moves it back; where a copy to another file system stands.
_VERSION_3 = f"""
alter table job add column sent_sha256 text;
alter table job add column sent_ctime_ns integer;
alter table job add column may_have_arrived integer not null default 0;
alter table job add column back_of integer references job (id);
alter table job add column read_back real;
alter table job add column found text;
alter table job add column copy_temporary blob;
alter table job add column copy_final blob;
create index job_gone on job (size, ended_at)
    where (state = 'withdrawn' and may_have_arrived) or (state = 'done' and filed_as is null);
create index job_sent on job (size) where state in {OPEN_STATES} and (attempts > 0 or state = 'unknown');
create index job_back_of on job (back_of) where back_of is not null;
create index job_read_back on job (read_back) where read_back is not null;
create index job_found on job (ended_at) where found is not null;
update job set may_have_arrived = 1 where state = 'withdrawn' and 'unknown' =
    (select state from history where job = job.id and state <> 'withdrawn' order by rowid desc limit 1);
"""

#: What is known of the content of files in drop folders, see `Mark`.
_VERSION_4 = """
create table mark (
    folder text not null, name blob not null, kind text not null,
    size integer not null, mtime_ns integer not null, ctime_ns integer not null, inode integer not null, since real not null,
    primary key (folder, name, kind)
) without rowid;
"""

# For which record a job has asked REDCap, and which one REDCap says that it has created. Until now only a sentence said so.
_VERSION_5 = f"""
alter table job add column create_asked text;
alter table job add column created text;
update job set create_asked = record, created = case message when 'its record was created' then record end
    where state in {OPEN_STATES}
    and exists (select 1 from history where job = job.id and note = 'asks REDCap to create record ' || record);
"""

# When names of a folder's files did not agree with a record, for as long as it counts.
_VERSION_6 = """
create table mismatch (folder text not null, record text not null, at real not null);
create index mismatch_of on mismatch (folder, record, at);
"""

# Up to which job a person has said that this one is to go over what was sent later; what was sent where, however it is ordered.
_VERSION_7 = """
alter table job add column sent_over integer not null default 0;
create index job_sent_of on job (record, id) where attempts > 0 and record <> '';
"""

# Who dropped it, under which rule and configuration; who had dropcap do what; and the chains that both are in. History's numbers
# must outlast a VACUUM and are never used again, so it is made anew.
_WITH_CHAINS = """
alter table job add column dropped_by integer;
alter table job add column dropped_by_name text;
alter table job add column origin text;
create table document (sha256 text primary key, what text not null) without rowid;
create table chain (id integer primary key, name text not null unique, n integer not null, head blob not null);
create table seal (
    entry integer primary key, chain integer not null, n integer not null, established text not null, hash blob not null,
    pruned integer
);
create table act (
    n integer primary key, at real not null, uid integer, login integer, name text not null, way text not null,
    what text not null, told text not null, hash blob not null
);
alter table history rename to history_before;
create table history (
    id integer primary key autoincrement, job integer not null, at real not null, state text not null,
    note text not null default ''
);
insert into history (id, job, at, state, note) select rowid, job, at, state, note from history_before order by rowid;
drop table history_before;
create index history_job on history (job);
"""

#: One script a version; a ledger of version N is brought up by the scripts after the Nth.
MIGRATIONS: tuple[str, ...] = (_VERSION_1, _VERSION_2, _VERSION_3, _VERSION_4, _VERSION_5, _VERSION_6, _VERSION_7, _WITH_CHAINS)
assert len(MIGRATIONS) == VERSION

#: The version from which on a job may be marked as sent by another ledger.
KNOWS_ARRIVALS = MIGRATIONS.index(_VERSION_3) + 1
#: The version that seals what it finds, and from which on every upgrade is an act.
CHAINED = MIGRATIONS.index(_WITH_CHAINS) + 1


def migrate(connection: Connection) -> None:
    """Bring the ledger to this version, all or nothing.

    Raises:
        NewerLedger: it was written by a newer dropcap.
    """
    version = int(connection.execute("pragma user_version").fetchone()[0])
    if version > len(MIGRATIONS):
        raise NewerLedger(
            f"the ledger is of version {version}, this dropcap knows up to {len(MIGRATIONS)}: "
            "install the newer dropcap again, or give state_dir another place"
        )
    for number in range(version, len(MIGRATIONS)):
        statements = [s for s in MIGRATIONS[number].split(";") if s.strip()]
        connection.execute("begin immediate")
        for statement in statements:
            connection.execute(statement)
        if number == 0:
            connection.execute("insert into meta values ('installation', ?)", (uuid.uuid4().hex,))
        if number + 1 == CHAINED:
            connection.execute("insert into meta values ('chain_seed', ?)", (uuid.uuid4().hex,))
            Sealer().seal(connection)
        if number + 1 == len(MIGRATIONS):
            _entered(connection, version, number + 1)
        connection.execute(f"pragma user_version = {number + 1}")
        connection.execute("commit")


def _entered(connection: Connection, before: int, now: int) -> None:
    """The upgrade is an act, with what every chain ends with now. The first one vouches for nothing that was there before."""
    found = {name: connection.execute(f"select count(*) from {name}").fetchone()[0] for name in ("job", "history")}
    told = {"from": before, "to": now, **found, "heads": [str(head) for head in heads(connection)]}
    enter(
        connection, time.time(), AuditActor.me(AuditChannel.ITSELF), AuditAction.MIGRATED if before else AuditAction.CREATED, told
    )


#: Pages of the write-ahead log after which it is written back into the ledger and begun anew.
_WAL_PAGES = 2000
#: What it is filled with, at a time.
_ZEROS = bytes(1 << 16)
#: Milliseconds for which the end waits for readers, to have all in the ledger's one file.
_LAST_CHECKPOINT = 2000

_DAMAGED = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}
#: What SQLite says, by no code of its own, of a header that was written over (sqlite3InitOne in its prepare.c).
_DAMAGED_HEADER = {"unsupported file format", "attached databases must use the same text encoding as main database"}
_UNWRITABLE = {
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_PERM,
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_LOCKED,
    sqlite3.SQLITE_PROTOCOL,
}


class SqliteConnection(sqlite3.Connection):
    """A connection that raises the errors of `ledger.errors`."""

    def execute(self, sql: str, values: Any = (), /) -> sqlite3.Cursor:
        """Run a statement. Raises DatabaseError."""
        try:
            return super().execute(sql, values)
        except sqlite3.Error as error:
            raise meant(error) from error

    def executemany(self, sql: str, rows: Iterable[Any], /) -> sqlite3.Cursor:
        """Run a statement for each of these rows. Raises DatabaseError."""
        try:
            return super().executemany(sql, rows)
        except sqlite3.Error as error:
            raise meant(error) from error

    def later(self, sql: str, rows: Sequence[Sequence[Any]], /) -> None:
        """The same. Raises DatabaseError."""
        self.executemany(sql, rows)

    def attempt(self, sql: str, values: Any, /) -> int:
        """Run a statement; how many rows it has changed, none if a rule of the ledger forbids it. Raises DatabaseError."""
        with contextlib.suppress(Conflict):
            return self.execute(sql, values).rowcount
        return 0

    def enter(self, table: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> list[int]:
        """Insert rows into a table that numbers them; their numbers, in order. Raises DatabaseError."""
        sql = f"insert into {table} ({', '.join(columns)}) values ({','.join('?' * len(columns))})"
        return [int(self.execute(sql, row).lastrowid or 0) for row in rows]

    def take(self, changes: Sequence[Change], now: float) -> set[int] | None:
        """SQLite is asked within this process: one after the other is as quick."""
        return None


class SqliteWriter(SqliteConnection):
    """The one that writes the ledger."""

    def begin(self, jobs: Sequence[int] = ()) -> None:
        """Begin to write; no other process does until the end."""
        self.execute("begin immediate")

    def version(self) -> int:
        """Another number than before if another connection has committed since."""
        return int(self.execute("pragma data_version").fetchone()[0])

    def newest(self) -> tuple[int, int]:
        """The numbers of the last entry and of the newest job. An entry that somebody has removed leaves its seal: its number is
        not used again."""
        (last,) = self.execute("select coalesce(max(id), 0) from history").fetchone()
        (sealed,) = self.execute("select coalesce(max(entry), 0) from seal").fetchone()
        if sealed > last:
            self.execute("delete from sqlite_sequence where name = 'history'")
            self.execute("insert into sqlite_sequence values ('history', ?)", (sealed,))
        (job,) = self.execute("select coalesce(max(job), 0) from history").fetchone()
        return int(max(last, sealed)), int(job)

    def may_write(self, folder: str | None, jobs: Sequence[int]) -> bool:
        """One process has the ledger, and so all folders."""
        return True

    def take_lease(self, folder: str, beat: int | None) -> int | None:
        """There is nobody to take it from."""
        return 0

    def commit(self) -> None:
        """Make it durable."""
        self.execute("commit")

    def rollback(self) -> None:
        """Take all back, unless SQLite has done it already, or its disk is gone."""
        if self.in_transaction:
            with contextlib.suppress(DatabaseError):
                self.execute("rollback")

    def was_committed(self) -> bool:
        """A commit that SQLite has not reported does not stand."""
        return False

    def close(self) -> None:
        """Close it; all of the ledger is in its one file then, unless somebody reads it at this moment."""
        with contextlib.suppress(DatabaseError):  # somebody reads, or the disk is full: the next start has all in any case
            self.execute(f"pragma busy_timeout = {_LAST_CHECKPOINT}")
            self.execute("pragma wal_checkpoint(truncate)")
        super().close()


def open_for_writing(path: Path) -> SqliteWriter:
    """The one connection that writes the ledger at `path`, which is made or migrated if need be.

    Raises:
        LedgerError: it cannot be opened; the message says what to do.
        Damaged: the file is damaged.
    """
    try:
        connection = sqlite3.connect(
            path, isolation_level=None, check_same_thread=False, cached_statements=256, factory=SqliteWriter
        )
    except sqlite3.OperationalError as error:
        raise LedgerError(f"{path} cannot be opened ({meant(error)}): state_dir must be writable for dropcap") from None
    connection.execute("pragma journal_mode = wal")
    connection.execute("pragma synchronous = full")
    connection.execute("pragma busy_timeout = 30000")
    connection.execute(f"pragma wal_autocheckpoint = {_WAL_PAGES}")
    migrate(connection)
    _grow_wal(connection, path)
    return connection


def _grow_wal(connection: SqliteConnection, path: Path) -> None:
    """Give the write-ahead log its full length at once.

    A commit that makes the file longer also has to write the file system's journal, which takes twice as long and holds up
    whoever creates or renames a file on that disk meanwhile. SQLite takes zeros for the end of the log. Not on a small disk,
    of which this would be a good part.
    """
    connection.execute("begin immediate")  # nobody else may be writing at its end
    try:
        with contextlib.suppress(OSError), open(f"{path}-wal", "r+b", buffering=0) as wal:
            more = _WAL_PAGES * 4200 - wal.seek(0, os.SEEK_END)
            disk = os.fstatvfs(wal.fileno())
            if 0 < more < disk.f_bavail * disk.f_frsize / 16:
                for piece in range(0, more, len(_ZEROS)):
                    wal.write(_ZEROS[: more - piece])
                os.fsync(wal.fileno())
    finally:
        connection.execute("rollback")


def open_for_reading(path: Path, *, patience: float = 30.0) -> SqliteConnection:
    """A connection that only reads; a writer is waited for so many seconds.

    After an orderly end, SQLite reads nothing where it may not make its files beside: a directory of others, a read-only disk.
    Nobody writes then, so it is told that the one file does not change. Raises DatabaseError.
    """
    uri = f"{path.absolute().as_uri()}?mode=ro"
    connection = _connect(uri)
    connection.execute(f"pragma busy_timeout = {int(patience * 1000)}")
    try:
        connection.execute("select 1 from sqlite_master limit 1")
    except DatabaseError as error:
        if not isinstance(error.__cause__, sqlite3.OperationalError):
            return connection  # it tells its reason when it is asked
        if os.path.exists(f"{path}-wal") or not os.access(path, os.R_OK):
            return connection
        connection.close()
        connection = _connect(f"{uri}&immutable=1")
    return connection


def _connect(uri: str) -> SqliteConnection:
    try:
        return sqlite3.connect(uri, uri=True, isolation_level=None, check_same_thread=False, factory=SqliteConnection)
    except sqlite3.Error as error:
        raise meant(error) from error


def meant(error: sqlite3.Error) -> DatabaseError:
    """What an error of SQLite's means."""
    code = getattr(error, "sqlite_errorcode", None)  # errors that Python itself raises have none
    primary = -1 if code is None else code & 0xFF
    if primary in _DAMAGED or (primary == sqlite3.SQLITE_ERROR and str(error) in _DAMAGED_HEADER):
        return Damaged(str(error))
    if primary == sqlite3.SQLITE_CANTOPEN and _no_descriptor():
        return NoDescriptor()
    if primary in _UNWRITABLE:
        return Unavailable(str(error))
    return (Conflict if isinstance(error, sqlite3.IntegrityError) else DatabaseError)(str(error))


def _no_descriptor() -> bool:
    """Whether there are fewer than a connection needs, for the ledger and its two files beside: SQLite does not tell."""
    with contextlib.ExitStack() as opened:
        try:
            for _ in range(3):
                opened.callback(os.close, os.open("/", os.O_RDONLY | os.O_CLOEXEC))
        except OSError as error:
            return error.errno in (errno.EMFILE, errno.ENFILE)
    return False


class SqliteDatabase:
    """The ledger at a path."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._files: dict[str, tuple[int, int]] = {}

    def writer(self) -> SqliteWriter:
        """The connection that writes. Raises LedgerError, DatabaseError."""
        connection = open_for_writing(self.path)
        self._files = _identities(self.path)
        return connection

    def reader(self, trouble: ErrorLog | None = None) -> SqliteReader:
        """A way to read it."""
        return SqliteReader(self.path, trouble)

    @contextlib.contextmanager
    def snapshot(self) -> Iterator[SqliteConnection]:
        """All of it as of one moment. Raises DatabaseError."""
        with contextlib.closing(open_for_reading(self.path)) as connection:
            connection.text_factory = _as_text
            connection.execute("begin")
            yield connection

    def schema_version(self, reader: RowReader) -> int:
        """Which scripts of `MIGRATIONS` have made it what it is."""
        return int(reader.rows("pragma user_version", ())[0][0])

    def check(self, reader: RowReader) -> None:
        """Look at the whole ledger. Raises Damaged."""
        said = reader.rows("pragma quick_check(1)", ())[0][0]
        if said != "ok":
            raise Damaged(" ".join(str(said).split()))

    @property
    def commits(self) -> int:
        """Nobody counts them."""
        return 0

    def gone(self) -> str:
        """That its files were removed or replaced under its writer."""
        try:
            gone = not self._files.items() <= _identities(self.path).items()
        except OSError:
            gone = False  # it cannot be told
        return "the ledger's files were removed or replaced: dropcap ends, and a start begins a new one" if gone else ""

    def has_text(self, column: str) -> str:
        """Whether the text `?`, in small letters, stands in a column of text, as SQL."""
        return f"instr(lower({column}), ?)"

    def name_has(self, column: str) -> str:
        """Whether the bytes `?`, in small letters, stand in a name, as SQL."""
        return f"instr(lower(cast({column} as text)), cast(? as text))"

    @property
    def open_by_key(self) -> str:
        """That `older` is open, where it is looked for by its key, as SQL."""
        return f"older.state in {OPEN_STATES}"

    @property
    def sent_by_key(self) -> str:
        """That `older` is being sent, or its outcome is unknown, where it is looked for by its key, as SQL."""
        return "older.state in ('sending', 'unknown')"

    @property
    def shared(self) -> bool:
        """One process has it."""
        return False

    def give_up(self, *, silent: bool) -> None:
        """It always answers."""

    @property
    def unwritable(self) -> tuple[str, str]:
        """What is told when it cannot be written."""
        return (
            "the ledger in state_dir cannot be written ({why}), so nothing is taken or sent meanwhile",
            "make room on the disk of state_dir, or let dropcap's user write there; dropcap goes on by itself",
        )


def _as_text(kept: bytes) -> str:
    """Whatever somebody wrote there."""
    return kept.decode("utf-8", "backslashreplace")


class SqliteReader:
    """A connection for each thread, closed some time after its end."""

    def __init__(self, path: Path, trouble: ErrorLog | None) -> None:
        self._path = path
        self._trouble = trouble
        self._local = threading.local()
        self._all: dict[threading.Thread, SqliteConnection] = {}
        self._lock = threading.Lock()

    def _connection(self) -> SqliteConnection:
        connection: SqliteConnection | None = getattr(self._local, "connection", None)
        if connection is None:
            connection = open_for_reading(self._path)
            self._local.connection = connection
            with self._lock:
                for thread in [thread for thread in self._all if not thread.is_alive()]:
                    self._all.pop(thread).close()
                self._all[threading.current_thread()] = connection
        return connection

    def close(self) -> None:
        """Close the connections of all threads."""
        with self._lock:
            for connection in self._all.values():
                connection.close()
            self._all.clear()

    def rows(self, sql: str, values: Sequence[Any]) -> list[Any]:
        """All rows of an answer. Raises DatabaseError."""
        with self._telling():
            return self._connection().execute(sql, values).fetchall()

    def each(self, sql: str, values: Sequence[Any]) -> Iterator[Any]:
        """The rows of an answer, not all in memory at once. Raises DatabaseError."""
        with self._telling():
            yield from self._connection().execute(sql, values)

    def changes(self) -> int:
        """Another number than before, on the same thread, if anything was written meanwhile."""
        return int(self.rows("pragma data_version", ())[0][0])

    @contextlib.contextmanager
    def _telling(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            told = meant(error)
            self._tell(told)
            raise told from error
        except Damaged as error:
            self._tell(error)
            raise

    def _tell(self, error: DatabaseError) -> None:
        if self._trouble is not None and isinstance(error, Damaged):
            self._trouble.met_asking(error)


def _identities(path: Path) -> dict[str, tuple[int, int]]:
    """What tells the ledger's files from others in their place; SQLite removes neither while it is open. Raises OSError."""
    found = {}
    for file in (str(path), f"{path}-wal"):
        with contextlib.suppress(FileNotFoundError):
            status = os.stat(file)
            found[file] = (status.st_dev, status.st_ino)
    return found


class SqliteMoving:
    """See `moving.MovingEngine`."""

    def unhurried(self, writer: Writer) -> None:
        """A transaction lasts as long as it lasts."""

    def bound(self, kind: ColumnKind, value: Any) -> Any:
        """A flag is a number."""
        return digits(value) if kind is ColumnKind.WHOLE else int(value) if kind is ColumnKind.FLAG else value

    def number_on(self, writer: Writer) -> None:
        """A job's number is one more than the highest, which is never pruned; that of an entry of the history is kept apart."""
        writer.newest()
