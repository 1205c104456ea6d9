"""A ledger that is open for writing: one connection, and many threads' writes in one commit.

A commit costs an fsync whatever stands in it. Threads write one after the other, each by itself and undone by itself, in one
transaction.
"""

from __future__ import annotations

import contextlib
import copy
import functools
import hashlib
import math
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, Self, TypeVar

import structlog

from dropcap.ledger import chain
from dropcap.ledger.chain import AuditAction, AuditActor, Sealer
from dropcap.ledger.database import Damaged, Database, DatabaseError, LeaseLost, Unavailable, Writer
from dropcap.ledger.query import Query
from dropcap.ledger.sqlite import SqliteDatabase

log = structlog.get_logger()

#: How soon a write is tried again that the disk or the server did not take (seconds).
AGAIN = 1.0
#: For so long (seconds) after a good answer what a question met is no news: it may have been asked before that.
_LATE = 2.0


class Trouble:
    """What is wrong with the ledger: not writable, or damaged. Told in the log once each. Safe for threads."""

    def __init__(self, message: str, remedy: str) -> None:
        """What is told when it cannot be written: why stands for `{why}`."""
        self._message, self._remedy = message, remedy
        self._lock = threading.Lock()
        self._damaged = False
        self._unwritable = ""  # since a write was refused
        self._unanswered = ""  # since a question was
        self._well = -math.inf  # when the last trouble was over (monotonic)

    @property
    def damaged(self) -> bool:
        """Whether an answer came that no sound ledger gives."""
        return self._damaged

    @property
    def unwritable(self) -> str:
        """Why nothing can be written for now, empty if all is well."""
        return self._unwritable or self._unanswered

    @property
    def remedy(self) -> str:
        """What to do where it cannot be written."""
        return self._remedy

    def said(self, error: object = None) -> str:
        """That nothing is written, why (for now, or for `error`), and what to do: one sentence without its full stop."""
        return f"{self._message.format(why=error or self.unwritable)}; {self._remedy}"

    def met(self, error: DatabaseError) -> None:
        """Who writes met `error` at the ledger."""
        if isinstance(error, Damaged):
            self._damaged = True
        elif isinstance(error, Unavailable):
            self._now(unwritable=str(error))

    def met_asking(self, error: DatabaseError) -> None:
        """Who asks met `error` at the ledger; until `answers`."""
        if isinstance(error, Unavailable):
            self._now(unanswered=str(error))
        else:
            self.met(error)

    def written(self) -> None:
        """A write went well."""
        if self.unwritable:
            self._now(unwritable="", unanswered="")

    def answers(self) -> None:
        """A question was answered."""
        if self._unanswered:
            self._now(unanswered="")

    def _now(self, *, unwritable: str | None = None, unanswered: str | None = None) -> None:
        """What is so now; None: as before. A question that failed in a trouble that has just ended tells of that one."""
        with self._lock:
            if unanswered and time.monotonic() - self._well <= _LATE:
                return
            before = self.unwritable
            self._unwritable = self._unwritable if unwritable is None else unwritable
            self._unanswered = self._unanswered if unanswered is None else unanswered
            now = self.unwritable
            if before and not now:
                self._well = time.monotonic()
        if now and not before:
            log.error("ledger_unwritable", message=self._message.format(why=now), remedy=self._remedy)
        elif before and not now:
            log.info("ledger_writable")


@dataclass(slots=True, eq=False)
class _Part:
    """What one thread writes of a transaction, for a folder or for that of some jobs; `error`: why nothing of it stands."""

    folder: str | None
    jobs: Sequence[int]
    error: BaseException | None = None
    _asleep: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self._asleep.acquire()

    def wake(self) -> None:
        """Its turn has come, or the transaction has ended."""
        self._asleep.release()

    def wait(self) -> None:
        """Until then."""
        self._asleep.acquire()


class GroupCommit:
    """The turn to write on the one writing connection, and the commits.

    Each part is atomic of its own: one that raises leaves the others of its transaction standing.
    """

    def __init__(self, database: Database, trouble: Trouble, patience: float) -> None:
        """For `patience` seconds from now, or from `keep_trying` on, it is worth trying again what cannot be written.

        Raises:
            LedgerError, DatabaseError: as `Database.writer` does.
        """
        self._connection: Writer = database.writer()
        self._trouble = trouble
        self._sealer = Sealer()
        self._waits_until = time.monotonic() + patience
        self._changed = threading.Condition()  # guards the four below, and `_waits_until`
        self._waiting: list[_Part] = []  # for the next transaction
        self._busy = False  # a transaction is under way, or somebody was told to begin one
        self._closing = False
        # Of the transaction that is under way, for the thread that has the turn.
        self._alone = False
        self._to_come: deque[_Part] = deque()
        self._done: list[_Part] = []

    @contextlib.contextmanager
    def writing(self, folder: str | None = None, jobs: Sequence[int] = ()) -> Iterator[Writer]:
        """The connection, within a transaction; what was written for `folder`, or for that of `jobs`, is durable at the end.
        Nothing else may be waited for meanwhile, least of all another write.

        Raises:
            LeaseLost: this process does not work in that folder any more.
            Unavailable: nothing can be written now; `again` tells whether to try once more.
            DatabaseError: the commit failed; nothing of it stands.
        """
        one = _Part(folder, jobs)
        with self._changed:
            if self._closing:
                raise Unavailable("the ledger is closed")  # the next start can do it
            self._waiting.append(one)
            begins, self._busy = not self._busy, True
        if not begins:
            one.wait()
        if one in self._waiting:
            self._begin()
        if one.error is not None:
            raise one.error
        self._to_come.popleft()
        try:
            if not self._connection.may_write(folder, jobs):
                raise LeaseLost("another host works in that folder by now")
            if not self._alone:  # else the transaction is its savepoint
                self._connection.execute("savepoint one")
            yield self._connection
            if not self._alone:
                self._connection.execute("release one")
        except BaseException as error:
            self._take_back(error)
            raise
        self._done.append(one)
        self._go_on()
        one.wait()
        if one.error is not None:
            raise one.error

    def again(self) -> bool:
        """Wait until it is time to try again what could not be written; False if dropcap is not to wait any longer."""
        with self._changed:
            return not self._changed.wait_for(self._given_up, AGAIN)

    def keep_trying(self) -> None:
        """From now on a write that cannot be done waits until it can: dropcap is at work."""
        with self._changed:
            self._waits_until = -math.inf if self._closing else math.inf

    def give_up(self) -> None:
        """From now on a write that cannot be done at once fails: dropcap is to end."""
        with self._changed:
            self._waits_until = -math.inf
            self._changed.notify_all()

    def close(self) -> None:
        """Finish what is pending and close the connection."""
        with self._changed:
            self._closing, self._waits_until = True, -math.inf
            self._changed.notify_all()
            while self._busy:
                self._changed.wait()
        self._connection.close()

    def _given_up(self) -> bool:
        return time.monotonic() >= self._waits_until

    def _begin(self) -> None:
        """A transaction of all that wait."""
        with self._changed:
            self._to_come, self._waiting = deque(self._waiting), []
        self._alone = len(self._to_come) == 1
        try:
            self._connection.begin([job for one in self._to_come for job in one.jobs])
            self._sealer.begin(self._connection)
        except BaseException as error:
            self._fail(error)

    def _go_on(self) -> None:
        """The next one's turn, or the commit."""
        if self._to_come:
            self._to_come[0].wake()
            return
        if not self._done:  # all were refused: there is nothing of which somebody would have to know whether it stands
            self._sealer.forget()
            self._connection.rollback()
            self._end(None)
            return
        committing = False
        try:
            self._sealer.seal(self._connection)
            committing = True
            self._connection.commit()
        except BaseException as error:
            self._fail(error, in_doubt=committing and isinstance(error, Unavailable))
        else:
            self._trouble.written()
            self._end(None)

    def _take_back(self, error: BaseException) -> None:
        """What one part has written."""
        if self._alone or isinstance(error, Unavailable):
            self._fail(error)
            return
        try:
            if not isinstance(error, LeaseLost):
                self._connection.execute("rollback to one")
                self._connection.execute("release one")
        except BaseException as worse:
            self._fail(worse)
        else:
            self._go_on()

    def _fail(self, error: BaseException, *, in_doubt: bool = False) -> None:
        """The whole transaction is taken back, unless its commit stands all the same."""
        self._sealer.forget()
        self._connection.rollback()
        if isinstance(error, DatabaseError):
            self._trouble.met(error)
        if in_doubt:
            try:
                stands = self._stands()
            except DatabaseError as worse:
                error, stands = worse, False
            if stands:
                self._trouble.written()
                self._end(None)
                return
        self._end(error)

    def _stands(self) -> bool:
        """Whether a commit stands whose answer was lost. Raises DatabaseError: nobody can tell."""
        while not self._given_up():
            try:
                self._connection.begin()
                return self._connection.was_committed()
            except Unavailable as error:
                self._trouble.met(error)
            finally:
                self._connection.rollback()
            self.again()
        return False

    def _end(self, error: BaseException | None) -> None:
        """The transaction has ended: all parts of it go on, and the next one begins."""
        group, self._done = [*self._done, *self._to_come], []
        self._to_come.clear()
        with self._changed:
            if self._waiting:
                self._waiting[0].wake()
            else:
                self._busy = False
                self._changed.notify_all()
        for one in group:
            one.error = error
            one.wake()


_META = "insert into meta values (?,?) on conflict (key) do update set value = excluded.value"
_DOCUMENT = "insert into document values (?,?) on conflict do nothing"
#: Documents that are known to be in the ledger.
_MOST_DOCUMENTS = 1000

L = TypeVar("L", bound="Writing")
P = ParamSpec("P")
T = TypeVar("T")


def durable(write: Callable[Concatenate[L, float, P], T]) -> Callable[Concatenate[L, P], T]:
    """A method with one `_writing` block is run again for as long as the ledger takes nothing in and is waited for: what it tells
    has happened, and must not be forgotten. Its first argument is when that was (seconds since the epoch)."""

    @functools.wraps(write)
    def written(self: L, /, *args: P.args, **kwargs: P.kwargs) -> T:
        now = self._clock()
        while True:
            try:
                return write(self, now, *args, **kwargs)
            except Unavailable:
                if not self._commit.again():
                    raise

    return written


class Writing:
    """A ledger that is open for writing (see `store.Ledger`)."""

    def __init__(self, place: Database | Path, *, clock: Callable[[], float] = time.time, patience: float = math.inf) -> None:
        """A path is that of a ledger in a file. For `patience` seconds from now, or from `keep_trying` on, writes wait while the
        disk is full or may not be written, or the server is away."""
        self.database: Database = SqliteDatabase(place) if isinstance(place, Path) else place
        self._clock = clock
        self._guarded = True
        self.trouble = Trouble(*self.database.unwritable)
        self._commit = GroupCommit(self.database, self.trouble, patience)
        self.query = Query(self.database, self.trouble)
        self.installation = self.query.meta("installation") or ""
        self._documents: dict[str, str] = {}  # what is kept in any case -> its SHA-256

    @property
    def shared(self) -> bool:
        """Whether several hosts write it, each for the folders that it works in."""
        return self.database.shared

    def for_people(self) -> Self:
        """The same ledger, for what a person wants of whatever folder, also of one that another host works in."""
        theirs = copy.copy(self)
        theirs._guarded = False
        return theirs

    def _writing(self, folder: str | None = None, jobs: Sequence[int] = ()) -> AbstractContextManager[Writer]:
        """A write for a folder, or for that of some jobs, in a method that is `durable` (see `GroupCommit.writing`)."""
        return self._commit.writing(folder, jobs) if self._guarded else self._commit.writing()

    @durable
    def _execute(
        self, _now: float, sql: str, values: Sequence[Any] = (), folder: str | None = None, jobs: Sequence[int] = ()
    ) -> int:
        """One statement; how many rows it has changed."""
        with self._writing(folder, jobs) as connection:
            return connection.execute(sql, values).rowcount

    @durable
    def _executemany(self, _now: float, sql: str, rows: Iterable[Sequence[Any]], folder: str | None = None) -> None:
        """One statement for each of these rows."""
        with self._writing(folder) as connection:
            connection.executemany(sql, rows)

    def close(self) -> None:
        """Write out what is pending and close. Its one file holds all then, unless another process reads it at this moment."""
        self.query.close()  # first: who reads keeps the write-ahead log from going
        self._commit.close()

    def keep_trying(self) -> None:
        """Dropcap is at work: from now on writes wait for as long as it takes."""
        self._commit.keep_trying()

    def give_up(self) -> None:
        """Dropcap is to end: writes no longer wait for a disk that takes none."""
        self.database.give_up(silent=bool(self.trouble.unwritable))
        self._commit.give_up()

    def gone(self) -> str:
        """What is told if it is not the one any more that was opened, so that what is written now would be lost; else empty."""
        return self.database.gone()

    @durable
    def act(self, now: float, /, actor: AuditActor, what: AuditAction, **told: Any) -> None:
        """Enter that somebody has dropcap do something, before it is done; of several hosts, on which."""
        if self.shared:
            told["host"] = socket.gethostname()
        with self._writing() as connection:
            chain.enter(connection, now, actor, what, told)

    @durable
    def prune(self, now: float, jobs: Sequence[int], actor: AuditActor, folder: str | None = None) -> int:
        """Take jobs that are over out of the ledger, with their history; how many those were. An act says so. `folder`: it is
        theirs, and one in which this host works."""
        with self._writing(folder) as connection:
            return chain.prune(connection, jobs, now, actor)

    def keep_document(self, text: str) -> str | None:
        """The SHA-256 (hex) of a text that is in the ledger from then on; None of an empty one."""
        if not text:
            return None
        known = self._documents.get(text)
        if known is None:
            known = hashlib.sha256(text.encode()).hexdigest()
            self._execute(_DOCUMENT, (known, text))
            if len(self._documents) > _MOST_DOCUMENTS:
                self._documents.clear()
            self._documents[text] = known
        return known

    def rebuilt(self, installation: str | None) -> None:
        """This ledger stands for one that is lost. The folders know `installation`."""
        self.set_meta("rebuilt", str(self._clock()))
        if installation is not None:
            self.set_meta("installation", installation)
            self.installation = installation

    def set_meta(self, key: str, value: str) -> None:
        """Keep one word about the installation."""
        self._execute(_META, (key, value))
