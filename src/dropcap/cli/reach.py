"""How commands reach dropcap: through the socket of the one that runs, else its state directory alone."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from typing import Any

from dropcap.cli.configured import not_ours, query, stop
from dropcap.config.ledger_at import PostgresLedger
from dropcap.config.model import Config
from dropcap.daemon.asked import ASKED
from dropcap.daemon.control import PATIENCE, SOCKET, ask
from dropcap.daemon.opening import open_for_people
from dropcap.daemon.state import LEDGER, AlreadyRunning, close_ledger, only_one, open_ledger
from dropcap.ledger.errors import DatabaseError, LedgerError
from dropcap.ledger.store import Ledger

#: What takes longer, and how long it is waited for (seconds): a retry of thousands moves thousands of files before it answers,
#: and a step of a prune may hash large ones.
_LASTS = {"retry": 600.0, "prune": 600.0, "reload": 30.0, "release": 30.0}


def asked(config: Config, question: dict[str, Any]) -> dict[str, Any] | None:
    """What the running dropcap answers, None if none answers, or the end if it may or will not."""
    try:
        told = ask(config.state_dir, question, _LASTS.get(question["do"], PATIENCE))
    except PermissionError as error:
        not_ours(config.state_dir / SOCKET, error.strerror or str(error))
    if told is not None and "error" in told:
        stop(f"the running dropcap could not do it: {told['error']}", 1)
    return told


@contextlib.contextmanager
def _beside_hosts(config: Config) -> Iterator[Ledger]:
    """A ledger on PostgreSQL, whoever else works with it; the hosts see soon that something was asked."""
    try:
        ledger = open_for_people(config)
        try:
            yield ledger
            ledger.set_meta(ASKED, str(time.time()))
        finally:
            ledger.close()
    except LedgerError as error:
        stop(str(error), 2)
    except DatabaseError as error:
        stop(f"the ledger {config.ledger} cannot be written ({error}): see whether PostgreSQL runs", 2)


@contextlib.contextmanager
def alone(config: Config) -> Iterator[Ledger]:
    """The ledger to write, while no dropcap runs; or the end, if one does or there is no ledger yet."""
    query(config).close()
    if isinstance(config.ledger, PostgresLedger):
        with _beside_hosts(config) as ledger:
            yield ledger
        return
    try:
        with only_one(config.state_dir):
            ledger = open_ledger(config.state_dir)
            try:
                yield ledger
            finally:
                close_ledger(ledger, config.state_dir)
    except AlreadyRunning as error:
        stop(
            f"{error} and does not answer: it is starting, stopping, halted or running with --once. "
            "Nothing was done; try again in a moment",
            4,
        )
    except LedgerError as error:
        stop(str(error), 2)
    except PermissionError as error:
        not_ours(config.state_dir, error.strerror or str(error))
    except DatabaseError as error:
        stop(
            f"{config.state_dir / LEDGER} cannot be written ({error}): run this as dropcap's user; see whether its disk is full",
            2,
        )
