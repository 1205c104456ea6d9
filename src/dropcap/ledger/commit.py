"""One writing connection, and many threads' writes in one commit.

A commit costs an fsync whatever stands in it. Threads hand their writes over and wait; whatever has come together while the last commit was on its
way goes into the next one.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

T = TypeVar("T")
Write = Callable[[sqlite3.Connection], T]


class GroupCommit:
    """Runs writes on the one writing connection, grouped into durable transactions.

    Each write is atomic of its own: one that raises leaves the others of its group standing.
    """

    def __init__(self, connect: Callable[[], sqlite3.Connection]) -> None:
        self._connect = connect
        self._arrived = threading.Condition()
        self._pending: list[tuple[Write[Any], Future[Any]]] = []
        self._closing = False
        self._ready: Future[None] = Future()
        self._thread = threading.Thread(target=self._run, name="ledger", daemon=True)
        self._thread.start()
        self._ready.result()

    def write(self, change: Write[T]) -> T:
        """Run `change` in a transaction; its result is durable on return.

        Raises:
            whatever `change` raises, or sqlite3.Error if the commit failed (a full disk, say); nothing of it stands then.
        """
        future: Future[T] = Future()
        with self._arrived:
            if self._closing:
                raise sqlite3.ProgrammingError("the ledger is closed")
            self._pending.append((change, future))
            self._arrived.notify()
        return future.result()

    def close(self) -> None:
        """Finish what is pending and close the connection."""
        with self._arrived:
            self._closing = True
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
            self._commit(connection, group)
        connection.close()

    def _commit(self, connection: sqlite3.Connection, group: list[tuple[Write[Any], Future[Any]]]) -> None:
        results: list[tuple[Future[Any], Any]] = []
        try:
            connection.execute("begin immediate")
            for change, future in group:
                connection.execute("savepoint one")
                try:
                    results.append((future, change(connection)))
                except Exception as error:
                    connection.execute("rollback to one")
                    future.set_exception(error)
                connection.execute("release one")
            connection.execute("commit")
        except Exception as error:
            if connection.in_transaction:
                connection.execute("rollback")
            for _, future in group:
                if not future.done():
                    future.set_exception(error)
            return
        for future, result in results:
            future.set_result(result)
