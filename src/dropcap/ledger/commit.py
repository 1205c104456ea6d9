"""One writing connection, and many threads' writes in one commit.

A commit costs an fsync whatever stands in it. Threads write one after the other, each by itself and undone by itself, in one
transaction: those that have come together while the last commit was on its way. The last of them commits for all.
"""

from __future__ import annotations

import contextlib
import math
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import structlog

from dropcap.ledger.chain import Sealer
from dropcap.ledger.database import Damaged, Database, DatabaseError, LeaseLost, Unavailable, Writer

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
