"""One writing connection, and many threads' writes in one commit.

A commit costs an fsync whatever stands in it. Threads hand their writes over and wait; whatever has come together while
the last commit was on its way goes into the next one.
"""

from __future__ import annotations

import contextlib
import sqlite3
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

from dropcap.ledger.seal import Sealer
from dropcap.ledger.trouble import Trouble, passes
from dropcap.threads import DaemonThread

T = TypeVar("T")
Write = Callable[[sqlite3.Connection], T]

#: How soon a write is tried again that the disk did not take (seconds).
AGAIN = 1.0
#: Milliseconds for which the end waits for readers, to have all in the ledger's one file.
_LAST_CHECKPOINT = 2000


class GroupCommit:
    """Runs writes on the one writing connection, grouped into durable transactions.

    Each write is atomic of its own: one that raises leaves the others of its group standing. While the disk is full or
    may not be written, writes wait and are run again: what they tell has happened, and must not be forgotten.
    """

    def __init__(self, connect: Callable[[], sqlite3.Connection], trouble: Trouble) -> None:
        self._connect = connect
        self._trouble = trouble
        self._sealer = Sealer()
        self._waits = True
        self._arrived = threading.Condition()
        self._pending: list[tuple[Write[Any], Future[Any]]] = []
        self._closing = False
        self._ready: Future[None] = Future()
        self._thread = DaemonThread(self._run, "ledger")
        self._thread.start()
        self._ready.result()

    def write(self, change: Write[T]) -> T:
        """Run `change` in a transaction; its result is durable on return.

        Raises:
            whatever `change` raises, or sqlite3.Error if the commit failed; nothing of it stands then.
        """
        future: Future[T] = Future()
        with self._arrived:
            if self._closing:
                raise sqlite3.ProgrammingError("the ledger is closed")
            self._pending.append((change, future))
            self._arrived.notify()
        return future.result()

    def give_up(self) -> None:
        """From now on a write that cannot be done at once fails: dropcap is to end."""
        with self._arrived:
            self._waits = False
            self._arrived.notify()

    def close(self) -> None:
        """Finish what is pending and close the connection."""
        with self._arrived:
            self._closing, self._waits = True, False
            self._arrived.notify()
        self._thread.join()

    def alive(self) -> bool:
        """Whether the writing thread still runs."""
        return self._thread.is_alive()

    def _run(self) -> None:
        try:
            connection = self._connect()
        except BaseException as error:
            self._ready.set_exception(error)
            return
        self._ready.set_result(None)
        while True:
            with self._arrived:
                while not self._pending and not self._closing:
                    self._arrived.wait()
                group, self._pending = self._pending, []
                if not group:
                    break
            while not self._commit(connection, group):
                self._wait()
        with contextlib.suppress(sqlite3.Error):  # somebody reads, or the disk is full: the next start has all in any case
            connection.execute(f"pragma busy_timeout = {_LAST_CHECKPOINT}")
            connection.execute("pragma wal_checkpoint(truncate)")
        connection.close()

    def _wait(self) -> None:
        """Until a write is tried again. Whoever hands in more meanwhile waits as well."""
        with self._arrived:
            self._arrived.wait_for(lambda: not self._waits, AGAIN)

    def _commit(self, connection: sqlite3.Connection, group: list[tuple[Write[Any], Future[Any]]]) -> bool:
        """Run a group and answer its futures. False: it cannot be written for now, and nothing was answered."""
        results: list[tuple[Future[Any], Any]] = []
        failed: list[tuple[Future[Any], Exception]] = []
        try:
            connection.execute("begin immediate")
            self._sealer.begin(connection)
            if len(group) == 1:  # the transaction is its savepoint
                change, future = group[0]
                results.append((future, change(connection)))
            for change, future in group if len(group) > 1 else ():
                connection.execute("savepoint one")
                try:
                    results.append((future, change(connection)))
                except Exception as error:
                    if passes(error):
                        raise
                    connection.execute("rollback to one")
                    failed.append((future, error))
                connection.execute("release one")
            self._sealer.seal(connection)
            connection.execute("commit")
        except Exception as error:
            self._sealer.forget()
            self._undo(connection)
            if isinstance(error, sqlite3.Error):
                self._trouble.met(error)
            if passes(error) and self._waits:
                return False
            for _, future in group:
                future.set_exception(error)
            return True
        self._trouble.written()
        for future, result in results:
            future.set_result(result)
        for future, reason in failed:
            future.set_exception(reason)
        return True

    @staticmethod
    def _undo(connection: sqlite3.Connection) -> None:
        if connection.in_transaction:
            with contextlib.suppress(sqlite3.Error):  # SQLite has undone it already, or its disk is gone
                connection.execute("rollback")
