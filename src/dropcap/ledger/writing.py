"""A ledger that is open for writing: how every write is done, and what concerns no single job."""

from __future__ import annotations

import copy
import functools
import hashlib
import math
import socket
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, Self, TypeVar

from dropcap.ledger import act
from dropcap.ledger.act import Deed, Who
from dropcap.ledger.commit import GroupCommit, Trouble
from dropcap.ledger.database import Database, Unavailable, Writer
from dropcap.ledger.query import Query
from dropcap.ledger.sqlite.database import SqliteDatabase

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
    def act(self, now: float, /, who: Who, what: Deed, **told: Any) -> None:
        """Enter that somebody has dropcap do something, before it is done; of several hosts, on which."""
        if self.shared:
            told["host"] = socket.gethostname()
        with self._writing() as connection:
            act.enter(connection, now, who, what, told)

    @durable
    def prune(self, now: float, jobs: Sequence[int], who: Who, folder: str | None = None) -> int:
        """Take jobs that are over out of the ledger, with their history; how many those were. An act says so. `folder`: it is
        theirs, and one in which this host works."""
        with self._writing(folder) as connection:
            return act.prune(connection, jobs, now, who)

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
