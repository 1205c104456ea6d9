"""Writing to PostgreSQL: fences, lost replies, lost commits and fail-overs."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import psycopg
import structlog
from psycopg import errors

from dropcap.ledger.database import CommitsLost, DatabaseError, Unavailable
from dropcap.ledger.postgres import leases
from dropcap.ledger.postgres.connection import PostgresConnection, adapted, meant, translated
from dropcap.ledger.postgres.wire import ANY, Connector, Patience
from dropcap.reasons import Reason

log = structlog.get_logger()

#: What putting all aside may take (seconds): it grows with what waits, and a second try would take as long.
PATIENCE = 600.0
#: The timeline on which a server writes, as SQL.
_TIMELINE = "substr(pg_walfile_name(pg_current_wal_insert_lsn()), 1, 8)"
_MESSAGE = "the database has failed over: whether this was sent already is looked up in REDCap first"
_REMEDY = "nothing: dropcap goes on by itself"
_NOTE = "a fail-over of the database may have lost that this was sent"


@dataclass(frozen=True)
class FailedOver:
    """So many jobs were put aside."""

    jobs: int

    def tell(self) -> None:
        """It is durable."""
        log.warning(
            "failed_over",
            jobs=self.jobs,
            message="the database has failed over, and may have lost what it had acknowledged: REDCap is read back before"
            " files are sent that wait",
            remedy="nothing for the files; synchronous replication loses nothing (docs/several-hosts.md)",
        )


def how_to_ask(wire: psycopg.Connection[Any]) -> str:
    """How this server is asked for its timeline, as SQL; `null` if it does not tell this role. Raises psycopg.Error: it is a
    standby."""
    try:
        wire.execute(f"select {_TIMELINE}".encode())
    except (psycopg.errors.InsufficientPrivilege, psycopg.errors.UndefinedFunction, psycopg.errors.FeatureNotSupported):
        return "null"
    return _TIMELINE


def settle(wire: psycopg.Connection[Any], before: str | None, now: str | None) -> FailedOver | None:
    """Within a transaction that has the turn: if the timeline is another one than `before`, put aside what waits, which may take
    PATIENCE."""
    if now is None or now == before:
        return None
    wire.execute(b"update turn set timeline = %s", (now,))
    if before is None:
        return None
    at = time.time()
    wire.execute(b"set local statement_timeout = 0")
    wire.execute(
        b"insert into history (job, at, state, note) select id, %s, 'held', %s from job where state in ('waiting', 'held')"
        b" order by id",
        (at, _NOTE),
    )
    # One that was held already waits on for a person, whose `retry` has it read back since it counts as sent.
    wire.execute(b"update job set attempts = 1 where state = 'held' and attempts = 0")
    gone = wire.execute(
        b"update job set state = 'held', may_have_arrived = true, attempts = greatest(attempts, 1), changed_at = %s,"
        b" reason = %s, message = %s, remedy = %s where state = 'waiting'",
        (at, Reason.NOT_CONFIRMED.value, _MESSAGE, _REMEDY),
    )
    return FailedOver(gone.rowcount)


class LeaseHolder(Protocol):
    """What a host believes of its leases."""

    def fence(self, folder: str) -> int | None:
        """The fence by which it writes for a folder, None if it does not hold it."""


_TURN = "update turn set n = n + 1 returning n, pg_current_xact_id()::text, timeline, {}"
_HOST = b"update host set commits = commits + 1 where id = %s returning commits"
_HELD = b"select folder, fence from lease where holder = %s"
#: Ends the session that has the turn and has been silent for too long.
_FROZEN = (
    b"select pg_terminate_backend(session.pid) from pg_stat_activity session join pg_locks held on held.pid = session.pid"
    b" where held.relation = 'turn'::regclass and held.mode = 'RowExclusiveLock' and held.granted"
    b" and session.datname = current_database() and session.usename = current_user and session.pid <> pg_backend_pid()"
    b" and session.wait_event = 'ClientRead' and session.state_change < clock_timestamp() - interval '5 seconds'"
)
#: For so long (seconds) others are waited for that write.
_PATIENT = 7.0
#: What became of a transaction, by its number. Who is asked after a fail-over may not have got so far.
_BECAME = "select case when ?::text::xid8 < pg_snapshot_xmax(pg_current_snapshot()) then pg_xact_status(?::text::xid8) end"
#: Of a commit that stands here and whose wait for a standby was cut short, by a time-out or an operator: it may be lost yet.
_NOT_REPLICATED = "01000"
#: A commit of nothing that waits for the standbys as every other one does, and so for all before it.
_REPLICATED = b"select pg_logical_emit_message(true, 'dropcap', '')"
_FOLDERS = b"select id, folder from job where id = any(%s)"
_NEWEST = (
    b"select greatest((select coalesce(max(id), 0) from history), (select coalesce(max(entry), 0) from seal)),"
    b" (select coalesce(max(job), 0) from history), coalesce(pg_sequence_last_value('history_id_seq'), 0)"
)


class PostgresWriter(PostgresConnection):
    """Writes for one host, or (`me` is None) for a person, who may write for all folders."""

    def __init__(
        self, connector: Connector, me: str | None, holder: LeaseHolder | None, lease: float, patience: Patience = ANY
    ) -> None:
        super().__init__(connector, patience)
        self._lease = lease
        self._me = me
        self._holder = holder
        self._n = -1  # of the last turn that was ours
        self._others = 0  # turns of others that were noticed
        self.commits = 0  # of this host, as far as they were acknowledged
        self.lost = False  # a fail-over has lost some of them
        self._doubtful = False  # one more may stand
        self._warned = False  # of the last commit: no standby has it yet
        self._stands = False
        self._begun = 0, 0  # the turn and the commit that are under way
        self._timeline = ""  # how to ask for it, once that is known
        self._over: FailedOver | None = None  # what this transaction has settled
        self._number = "0"  # of the transaction, as the server counts them
        self._held: dict[str, int] = {}
        self._folder_of: dict[int, str] = {}
        self._in = False
        self._newest: tuple[int, ...] = (0, 0, 0)
        self._later: list[tuple[bytes, list[Any]]] = []

    def begin(self, jobs: Sequence[int] = ()) -> None:
        """Begin to write; no other process does until the end. Raises DatabaseError."""
        if self.lost:
            raise CommitsLost("a fail-over has lost what was acknowledged")
        wanted = list(dict.fromkeys(jobs))
        until = time.monotonic() + _PATIENT
        anew = self.made  # a connection that was there may have been broken long ago: another one is tried at once
        while True:
            try:
                return self._begin(wanted)
            except Unavailable as error:
                self.rollback()
                if not self._timeline:
                    self.close()  # a standby: the next try may come to another server
                if isinstance(error.__cause__, errors.LockNotAvailable):
                    self._end_who_is_frozen()
                    if time.monotonic() > until:
                        raise
                elif anew and (self._wire is None or self._wire.closed):
                    anew = False
                else:
                    raise

    def _end_who_is_frozen(self) -> None:
        """A process that was stopped within its turn keeps it from all others. No time-out of the server's ends that for sure:
        none runs while statements are piped, nor after a flush."""
        with self.asking() as wire:
            wire.execute(_FROZEN)

    def _begin(self, wanted: list[int]) -> None:
        with self.asking() as wire:
            self._timeline = self._timeline or how_to_ask(wire)
            if self._doubtful:
                self._warned = False
                wire.execute(_REPLICATED)
                self._must_be_replicated()
            self._in = True
            with wire.pipeline():
                wire.execute(b"begin")
                turn = wire.execute(_TURN.format(self._timeline).encode())
                host = wire.execute(_HOST, (self._me,)) if self._me is not None else None
                held = wire.execute(_HELD, (self._me,)) if self._me is not None else None
                folders = wire.execute(_FOLDERS, (wanted,)) if wanted else None
                newest = wire.execute(_NEWEST)
            ours = turn.fetchone()
            if ours is None:
                raise DatabaseError("the row of the table turn is gone, by which hosts write one after the other")
            n, number, *timelines = ours
            self._newest = newest.fetchone() or (0, 0, 0)
            commits = _first(host) if host is not None else None
            self._held = dict(held.fetchall()) if held is not None else {}
            self._folder_of = dict(folders.fetchall()) if folders is not None else {}
        if n != self._n + 1:
            self._others += 1
        acknowledged, stands = self._counted(commits)
        with self.asking(PATIENCE) as wire:
            self._over = settle(wire, *timelines)
        # Only now: a host that did not get so far has to ask anew.
        self._begun = n, commits or 0
        self.commits, self._stands = acknowledged, stands
        self._doubtful, self._number = False, number

    def connected(self, wire: psycopg.Connection[Any]) -> None:
        """A new connection was made: perhaps to another server, even one that is a standby for now."""
        self._timeline = ""
        wire.add_notice_handler(self._noticed)

    def _noticed(self, said: psycopg.errors.Diagnostic) -> None:
        self._warned = self._warned or said.sqlstate == _NOT_REPLICATED

    def _must_be_replicated(self) -> None:
        if self._warned:
            raise Unavailable("no standby has confirmed the last commit yet")

    def _counted(self, commits: int | None) -> tuple[int, bool]:
        """How many commits are acknowledged, as this is the number of the one that has begun; whether the doubtful one before it
        stands."""
        if self._me is None:  # nobody counts a person's
            return 0, self._doubtful and self.execute(_BECAME, (self._number, self._number)).fetchone() == ("committed",)
        if commits == self.commits + 1:
            return self.commits, False
        if self._doubtful and commits == self.commits + 2:
            return self.commits + 1, True
        self.lost = True
        self.rollback()
        raise CommitsLost("the database has lost what it had acknowledged, as a fail-over can")

    def was_committed(self) -> bool:
        """Whether the transaction before this one stands, whose commit was not answered."""
        return self._stands

    def version(self) -> int:
        """Another number than at the last `begin` if anybody else has written since."""
        return self._others

    def newest(self) -> tuple[int, int]:
        """The numbers of the last entry and of the newest job. An entry that somebody has removed leaves its seal: its number is
        not used again."""
        last, job, given = self._newest
        if last > given:
            self.execute("select setval('history_id_seq', ?)", (last,))
        return last, job

    def later(self, statement: str, rows: Sequence[Sequence[Any]], /) -> None:
        """Run a statement for each of these rows, right before the commit and on one way with it."""
        text = translated(statement)
        self._later.append((text.encode(), [adapted(text, row) for row in rows]))

    def may_write(self, folder: str | None, jobs: Sequence[int]) -> bool:
        """Whether this host holds the lease of the folder, or of those of the jobs, by the fence that it believes in."""
        if self._me is None:
            return True
        folders = {self._folder_of[job] for job in jobs if job in self._folder_of}
        if folder is not None:
            folders.add(folder)
        holder = self._holder
        if holder is None:
            return not folders
        return all((fence := holder.fence(one)) is not None and fence == self._held.get(one) for one in folders)

    def take_lease(self, folder: str, beat: int | None) -> int | None:
        """Within the transaction: take the lease of a folder; its fence, None if another host has it. Raises DatabaseError."""
        assert self._me is not None, "a person works in no folder"
        with self.asking() as wire:
            return leases.take(wire, folder, self._me, self._lease, beat)

    def commit(self) -> None:
        """Make it durable, on as many standbys as the server is told to wait for. Raises Unavailable if nobody knows whether it
        is."""
        self._warned = False
        try:
            with self.asking() as wire, wire.pipeline(), wire.cursor() as cursor:
                for statement, rows in self._later:
                    cursor.executemany(statement, rows)
                done = wire.execute(b"commit", prepare=False)
            self._must_be_replicated()
        except Unavailable:
            self._doubtful = True
            raise
        self._in = False
        self._later.clear()
        if done.statusmessage != "COMMIT":  # of a transaction that a statement's error had ended
            raise DatabaseError("a statement of this transaction had failed")
        self._n, self.commits = self._begun
        if self._over is not None:
            self._over.tell()

    def rollback(self) -> None:
        """Take all back that was written since `begin`. Raises nothing."""
        self._later.clear()
        if not self._in:
            return
        self._in = False
        if self._wire is not None and not self._wire.closed:
            with contextlib.suppress(DatabaseError), meant(), self.asking() as wire:
                wire.execute(b"rollback")
                return
        self.close()


def _first(cursor: psycopg.Cursor[Any]) -> Any:
    row = cursor.fetchone()
    return None if row is None else row[0]
