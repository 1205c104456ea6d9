"""Commands that ask REDCap themselves share the daemon's request limit, and leave no trace where dropcap never ran."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from dropcap.cli.configured import of_another_version, stop
from dropcap.config.ledger_at import PostgresLedger
from dropcap.config.model import Config, Folder
from dropcap.daemon.opening import database_of, has_psycopg
from dropcap.daemon.state import LEDGER
from dropcap.delivery.clients import MakeWindow, line_to, window_of
from dropcap.delivery.line import ProjectLine
from dropcap.display import shown
from dropcap.hosts.shared_window import SharedWindow
from dropcap.ledger.errors import DatabaseError, LedgerError
from dropcap.ledger.postgres.wire import Wire
from dropcap.ledger.query import Query


@contextlib.contextmanager
def lines(config: Config) -> Iterator[dict[str, ProjectLine]]:
    """A line to every project, within the limit that all dropcap processes share.

    A state directory that is not there yet is not made: it would belong to whoever checks, perhaps root, and no other
    process can be counting requests in it.
    """
    with contextlib.ExitStack() as stack:
        if not os.path.isdir(config.state_dir):
            config = replace(config, state_dir=Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="dropcap-"))))
        window = stack.enter_context(_window(config))
        found = {project.name: line_to(config, project, window) for project in config.projects.values()}
        for line in found.values():
            stack.callback(line.client.close)
        yield found


@contextlib.contextmanager
def _window(config: Config) -> Iterator[MakeWindow]:
    """The request limit that the hosts of a shared ledger have together. Where nobody can count there (the database does not
    answer, or dropcap never ran), that of this host: a check of the rest goes on."""
    if not isinstance(config.ledger, PostgresLedger) or not has_psycopg():
        yield window_of
        return
    from dropcap.ledger.postgres.way import connecting  # it needs psycopg

    wire = Wire(connecting(config.ledger, "dropcap command"))
    try:
        yield _shared_by(wire) if _counts(wire) else window_of
    finally:
        wire.close()


def _shared_by(wire: Wire) -> MakeWindow:
    return lambda config, project: SharedWindow(wire, project.host, config.limit_of(project.host))


def _counts(wire: Wire) -> bool:
    """Whether requests can be entered there."""
    try:
        wire.ask(lambda connection: connection.execute("select from slot limit 1"))
    except DatabaseError:
        return False
    return True


@contextlib.contextmanager
def remembered(config: Config) -> Iterator[Query | None]:
    """The ledger to read; None if there is none yet.

    Raises:
        DatabaseError: it cannot be read.
    """
    path = config.state_dir / LEDGER
    if not isinstance(config.ledger, PostgresLedger):
        try:
            path.stat()
        except PermissionError as error:
            raise DatabaseError(error.strerror) from None
        except OSError:
            yield None
            return
    try:
        query = Query(database_of(config))
    except LedgerError as error:
        raise DatabaseError(str(error)) from None
    try:
        if isinstance(config.ledger, PostgresLedger) and not query.version():
            yield None
            return
        query.pauses()
        if (said := of_another_version(query)) is not None:
            raise DatabaseError(said)
        yield query
    finally:
        query.close()


def chosen(config: Config, name: str | None) -> list[Folder]:
    """All folders, or the one called `name`; the end with exit code 2 if there is none."""
    if name is None:
        return list(config.folders.values())
    if name not in config.folders:
        known = ", ".join(config.folders) or "none"
        stop(f"there is no sound folder `{shown(name)}` in the configuration; there are: {known}", 2)
    return [config.folders[name]]
