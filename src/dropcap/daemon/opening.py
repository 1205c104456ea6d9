"""The ledger that a configuration names: a file in `state_dir`, or a database that several hosts share."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import socket
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import structlog

from dropcap import __version__
from dropcap.config.model import Config, PostgresLedger
from dropcap.daemon.host_leases import SharedLeases, SharedPlace
from dropcap.daemon.state import (
    LEDGER,
    NeedsSomebody,
    StateError,
    close_ledger,
    installation,
    keep_installation,
    open_ledger,
    status,
    suspect,
    unusable,
)
from dropcap.hosts.send_journal import SendJournal
from dropcap.ledger.database import Damaged, Database, DatabaseError, LedgerError
from dropcap.ledger.postgres.leases import ThisHost
from dropcap.ledger.sqlite import SqliteDatabase
from dropcap.ledger.store import Ledger

log = structlog.get_logger()

#: What a host keeps of the sends that it has begun, in `state_dir`.
JOURNAL = "sending.journal"
#: Seconds for which a start tries again what the database does not take, as while another host writes.
_PATIENCE = 10.0
#: What is older (seconds) no fail-over loses: the database has forgotten its host, and not lost it.
_LOST_WITHIN = 7 * 86400.0


@dataclass(frozen=True, slots=True)
class OpenedLedger:
    """The ledger for a daemon. `leases`: where several hosts share it, who says in which folders this one works."""

    ledger: Ledger
    leases: SharedLeases | None = None

    def close(self, config: Config) -> None:
        """The orderly end. Before it, nothing is under way any more."""
        if self.leases is None:
            close_ledger(self.ledger, config.state_dir)
        else:
            self.ledger.close()


def database_of(config: Config) -> Database:
    """Where the ledger is, for readers, and for what a person has done. Raises LedgerError."""
    if not isinstance(config.ledger, PostgresLedger):
        return SqliteDatabase(config.state_dir / LEDGER)
    need_psycopg()
    from dropcap.ledger.postgres.connection import LedgerConnector
    from dropcap.ledger.postgres.database import PostgresDatabase

    return PostgresDatabase(LedgerConnector(config.ledger, "dropcap command"))


def open_for_people(config: Config) -> Ledger:
    """The ledger to write for a person, of a shared one beside its hosts. Raises LedgerError."""
    if not isinstance(config.ledger, PostgresLedger):
        return open_ledger(config.state_dir)
    try:
        return Ledger(database_of(config))
    except DatabaseError as error:
        raise _unusable(config.ledger, error) from None


def close_for_people(ledger: Ledger, config: Config) -> None:
    """The end of `open_for_people`."""
    if ledger.shared:
        ledger.close()
    else:
        close_ledger(ledger, config.state_dir)


@contextlib.contextmanager
def starting(config: Config) -> Iterator[None]:
    """What a run asks of its ledger and enters before it takes files. Raises LedgerError where that cannot be done now."""
    try:
        yield
    except DatabaseError as error:
        if isinstance(config.ledger, PostgresLedger):
            raise _unusable(config.ledger, error) from None
        path = config.state_dir / LEDGER
        if isinstance(error, Damaged):
            suspect(config.state_dir)
            raise LedgerError(f"the ledger {path} is damaged ({error}): start dropcap again, it sets it aside") from None
        raise unusable(path, error) from None


def open_for_daemon(config: Config) -> OpenedLedger:
    """The ledger for the daemon of this host. Raises LedgerError, StateError."""
    if not isinstance(config.ledger, PostgresLedger):
        status(f"starting: waiting for the ledger {config.state_dir / LEDGER}")
        with starting(config):
            return OpenedLedger(open_ledger(config.state_dir))
    status(f"starting: waiting for the ledger {config.ledger}")
    need_psycopg()
    from dropcap.ledger.postgres.connection import LedgerConnector
    from dropcap.ledger.postgres.database import PostgresDatabase

    at = config.ledger
    me = ThisHost(uuid.uuid4().hex, socket.gethostname(), os.getpid(), __version__, config.digest, frozenset(config.folders))
    connector = LedgerConnector(at, "dropcap")
    journal = SendJournal(config.state_dir / JOURNAL)
    leases = SharedLeases(config, SharedPlace(connector, me, at.lease), journal)
    database = PostgresDatabase(connector, me, leases, at.lease)
    try:
        ledger = Ledger(database, patience=_PATIENCE)
    except DatabaseError as error:
        raise _unusable(at, error) from None
    try:
        try:
            _be_of_one_installation(config, ledger)
        except StateError:
            database.withdraw()
            raise
        _settle(ledger, database, journal)
    except DatabaseError as error:
        ledger.close()
        raise _unusable(at, error) from None
    except OSError as error:
        ledger.close()
        raise LedgerError(
            f"{config.state_dir / JOURNAL} cannot be read ({error.strerror}): it tells what this host began to send;"
            " let dropcap's user read and write it"
        ) from None
    except BaseException:
        ledger.close()
        raise
    return OpenedLedger(ledger, leases)


def has_psycopg() -> bool:
    """Whether the library for PostgreSQL is installed."""
    return importlib.util.find_spec("psycopg") is not None


def need_psycopg() -> None:
    """Raises LedgerError where the library for PostgreSQL is not installed."""
    if not has_psycopg():
        raise NeedsSomebody(
            "the ledger is on PostgreSQL, and psycopg is not installed; install it:"
            " pip install 'dropcap-redcap[postgres]', or with the Debian package apt install python3-psycopg"
        )


def _unusable(at: PostgresLedger, error: DatabaseError) -> LedgerError:
    return LedgerError(f"the ledger {at} cannot be used ({error}): see whether PostgreSQL runs and lets this host in")


def _be_of_one_installation(config: Config, ledger: Ledger) -> None:
    known = installation(config.state_dir)
    if known is not None and known != ledger.installation:
        raise NeedsSomebody(
            f"state_dir {config.state_dir} belongs to another installation than the ledger {config.ledger}:"
            " bring its ledger in with `dropcap ledger export` and `import`, or give this host an empty state_dir"
        )
    keep_installation(config.state_dir, ledger.installation)


def _settle(ledger: Ledger, database: Any, journal: Any) -> None:
    """What this host began to send, and the database does not know of any more, is of unknown outcome."""
    begun = journal.all()
    counted = database.commits_of({entry.host for entry in begun})
    since = time.time() - _LOST_WITHIN
    lost = [one for one in begun if counted.get(one.host, -1) < one.commits and (one.host in counted or one.at > since)]
    unknown = missing = 0
    for entry in lost:
        job = ledger.query.job(entry.job)
        if job is None or (job.folder, job.name) != (entry.folder, entry.name):
            missing += 1
        else:
            unknown += ledger.lost(entry.job, entry.folder, entry.name, entry.instance)
    if lost:
        log.error(
            "commits_lost",
            jobs=unknown,
            missing=missing,
            message="the database has lost what this host had entered (it failed over, or was restored from an older copy): what"
            " may have been sent is read back in REDCap first",
            remedy="nothing for the files; synchronous replication loses nothing (docs/several-hosts.md)",
        )
        journal.clear()
