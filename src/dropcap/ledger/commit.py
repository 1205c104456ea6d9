"""One writing connection, and many threads' writes in one commit.

A commit costs an fsync whatever stands in it. Threads hand their writes over and wait; whatever has come together while
the last commit was on its way goes into the next one.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, TypeVar

from dropcap.ledger.chain import Sealer
from dropcap.ledger.clock import Trouble
from dropcap.ledger.database import DatabaseError, LeaseLost, Unavailable, Writer
from dropcap.ledger.job import Steps
from dropcap.threads import DaemonThread

T = TypeVar("T")
Apply = Callable[[Writer], T]

#: How soon a write is tried again that the disk or the server did not take (seconds).
AGAIN = 1.0


@dataclass(frozen=True, slots=True, eq=False)
class Write:
    """What one thread wants written, for a folder or for that of some jobs. `then` is called once it is durable, before the
    thread goes on; what it raises, the thread gets. Where it is `steps` of jobs, an engine may take them with those of others.
    """

    apply: Apply[Any]
    folder: str | None
    jobs: Sequence[int]
    then: Callable[[Any], None] | None
    steps: Steps | None
    future: Future[Any] = field(default_factory=Future)


class GroupCommit:
    """Runs writes on the one writing connection, grouped into durable transactions.

    Each write is atomic of its own: one that raises leaves the others of its group standing. While the disk is full or
    may not be written, or the server is away, writes wait and are run again: what they tell has happened, and must not be
    forgotten.
    """

    def __init__(self, connect: Callable[[], Writer], trouble: Trouble, patience: float) -> None:
        """For `patience` seconds from now, or from `keep_trying` on, writes wait that cannot be done."""
        self._connect = connect
        self._trouble = trouble
        self._sealer = Sealer()
        self._waits_until = time.monotonic() + patience
        self._arrived = threading.Condition()
        self._pending: list[Write] = []
        self._closing = False
        self._in_doubt: list[tuple[Write, Any]] | None = None  # of a commit of which nobody knows whether it stands
        self._ready: Future[None] = Future()
        self._thread = DaemonThread(self._run, "ledger")
        self._thread.start()
        self._ready.result()

    def write(
        self,
        apply: Apply[T],
        *,
        folder: str | None = None,
        jobs: Sequence[int] = (),
        then: Callable[[T], None] | None = None,
        steps: Steps | None = None,
    ) -> T:
        """Run `apply` in a transaction; its result is durable on return. It is written for `folder`, or for that of `jobs`.
        `steps` are what `apply` does, where that is nothing but steps.

        Raises:
            LeaseLost: this process does not work in that folder any more.
            whatever `apply` or `then` raises, or DatabaseError if the commit failed; nothing of it stands then.
        """
        one = Write(apply, folder, jobs, then, steps)
        with self._arrived:
            if self._closing:
                raise Unavailable("the ledger is closed")  # the next start can do it
            self._pending.append(one)
            self._arrived.notify()
        result: T = one.future.result()
        return result

    def keep_trying(self) -> None:
        """From now on a write that cannot be done waits until it can: dropcap is at work."""
        with self._arrived:
            self._waits_until = -math.inf if self._closing else math.inf

    def give_up(self) -> None:
        """From now on a write that cannot be done at once fails: dropcap is to end."""
        with self._arrived:
            self._waits_until = -math.inf
            self._arrived.notify()

    def close(self) -> None:
        """Finish what is pending and close the connection."""
        with self._arrived:
            self._closing, self._waits_until = True, -math.inf
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
            while group and not self._commit(connection, group):
                self._wait()
        connection.close()

    def _wait(self) -> None:
        """Until a write is tried again. Whoever hands in more meanwhile waits as well."""
        with self._arrived:
            self._arrived.wait_for(self._given_up, AGAIN)

    def _given_up(self) -> bool:
        return time.monotonic() >= self._waits_until

    def _commit(self, connection: Writer, group: list[Write]) -> bool:
        """Run a group and answer its futures. False: it cannot be written for now, and nothing was answered."""
        failed: list[tuple[Write, Exception]] = []
        results: list[tuple[Write, Any]] = []
        committing = False
        try:
            connection.begin([job for one in group for job in one.jobs])
            if self._in_doubt is not None and connection.was_committed():
                connection.rollback()
                self._stands(self._in_doubt, [])
                self._in_doubt = None
                return True
            self._in_doubt = None
            self._sealer.begin(connection)
            results = self._run_all(connection, group, failed)
            self._sealer.seal(connection)
            committing = True
            connection.commit()
        except Exception as error:
            self._sealer.forget()
            connection.rollback()
            if isinstance(error, DatabaseError):
                self._trouble.met(error)
            if isinstance(error, Unavailable) and not self._given_up():
                if committing:
                    self._in_doubt = results or None  # nobody waits for what became of nothing
                    for one, reason in failed:  # known whatever became of the others
                        one.future.set_exception(reason)
                        group.remove(one)
                return False
            self._in_doubt = None  # nobody waits for what became of it any more
            for one in group:
                one.future.set_exception(error)
            return True
        self._stands(results, failed)
        return True

    def _run_all(self, connection: Writer, group: list[Write], failed: list[tuple[Write, Exception]]) -> list[tuple[Write, Any]]:
        """The writes that went well, with their results; the others go to `failed`."""
        allowed = [one for one in group if connection.may_write(one.folder, one.jobs)]
        failed += [(one, LeaseLost("another host works in that folder by now")) for one in group if one not in allowed]
        results = _taken_together(connection, allowed)
        done = [one for one, _ in results]
        for one in allowed:
            if one in done:
                continue
            if len(group) == 1:  # the transaction is its savepoint
                results.append((one, one.apply(connection)))
            else:
                connection.execute("savepoint one")
                try:
                    results.append((one, one.apply(connection)))
                except Exception as error:
                    if isinstance(error, Unavailable):
                        raise
                    connection.execute("rollback to one")
                    failed.append((one, error))
                connection.execute("release one")
        return results

    def _stands(self, results: list[tuple[Write, Any]], failed: list[tuple[Write, Exception]]) -> None:
        self._trouble.written()
        for one, result in results:
            try:
                if one.then is not None:
                    one.then(result)
            except Exception as error:
                one.future.set_exception(error)
            else:
                one.future.set_result(result)
        for one, reason in failed:
            one.future.set_exception(reason)


def _taken_together(connection: Writer, group: Sequence[Write]) -> list[tuple[Write, Any]]:
    """Of writes that are steps, those that the engine takes at once, with their results; none if it does not. Each is of jobs of
    its own: they come from threads that wait for each other's sake in no order."""
    taken: list[tuple[Write, Steps]] = []
    jobs: set[int] = set()
    for one in group:
        if one.steps is not None and jobs.isdisjoint(its := [change.job for change in one.steps.changes]):
            jobs.update(its)
            taken.append((one, one.steps))
    if len(taken) < 2:
        return []
    went = connection.take([change for _, steps in taken for change in steps.changes], max(steps.now for _, steps in taken))
    if went is None:
        return []
    return [(one, went.intersection(change.job for change in steps.changes)) for one, steps in taken]
