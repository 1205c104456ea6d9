"""Writing the ledger: the thread that commits, documents, acts, words about the installation."""

from __future__ import annotations

import copy
import hashlib
import math
import socket
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Self, TypeVar

from dropcap.ledger import act
from dropcap.ledger.act import Deed, Who
from dropcap.ledger.commit import GroupCommit
from dropcap.ledger.database import Database, Writer
from dropcap.ledger.prune import prune
from dropcap.ledger.query import Query
from dropcap.ledger.sqlite.database import SqliteDatabase
from dropcap.ledger.transition import Steps
from dropcap.ledger.trouble import Trouble

T = TypeVar("T")
_META = "insert into meta values (?,?) on conflict (key) do update set value = excluded.value"
_DOCUMENT = "insert into document values (?,?) on conflict do nothing"
#: Documents that are known to be in the ledger.
_MOST_DOCUMENTS = 1000


class Writing:
    """A ledger that is open, and the thread that writes it (see `store.Ledger`)."""

    def __init__(self, place: Database | Path, *, clock: Callable[[], float] = time.time, patience: float = math.inf) -> None:
        """A path is that of a ledger in a file. For `patience` seconds from now, or from `keep_trying` on, writes wait while the
        disk is full or may not be written, or the server is away."""
        self.database: Database = SqliteDatabase(place) if isinstance(place, Path) else place
        self._clock = clock
        self._guarded = True
        self.trouble = Trouble(*self.database.unwritable)
        self._commit = GroupCommit(self.database.writer, self.trouble, patience)
        self.query = Query(self.database, self.trouble.met_asking)
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

    def _write(
        self,
        apply: Callable[[Writer], T],
        *,
        folder: str | None = None,
        jobs: Sequence[int] = (),
        then: Callable[[T], None] | None = None,
        steps: Steps | None = None,
    ) -> T:
        """For a folder, or for that of some jobs (see `GroupCommit.write`)."""
        if not self._guarded:
            folder, jobs = None, ()
        return self._commit.write(apply, folder=folder, jobs=jobs, then=then, steps=steps)

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

    def alive(self) -> bool:
        """Whether the writing thread still runs (for the watchdog)."""
        return self._commit.alive()

    def act(self, who: Who, what: Deed, **told: Any) -> None:
        """Enter that somebody has dropcap do something, before it is done; of several hosts, on which."""
        now = self._clock()
        if self.shared:
            told["host"] = socket.gethostname()
        self._write(lambda connection: act.enter(connection, now, who, what, told))

    def prune(self, jobs: Sequence[int], who: Who, folder: str | None = None) -> int:
        """Take jobs that are over out of the ledger, with their history; how many those were. An act says so. `folder`: it is
        theirs, and one in which this host works."""
        now = self._clock()
        return self._write(lambda connection: prune(connection, jobs, now, who), folder=folder)

    def keep_document(self, text: str) -> str | None:
        """The SHA-256 (hex) of a text that is in the ledger from then on; None of an empty one."""
        if not text:
            return None
        known = self._documents.get(text)
        if known is None:
            known = hashlib.sha256(text.encode()).hexdigest()
            row = (known, text)
            self._write(lambda connection: connection.execute("insert into document values (?,?) on conflict do nothing", row))
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
        self._write(lambda connection: connection.execute(_META, (key, value)))
