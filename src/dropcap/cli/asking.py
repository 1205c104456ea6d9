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
from dropcap.daemon.opening import database_of
from dropcap.daemon.state import LEDGER
from dropcap.delivery.clients import line_to
from dropcap.delivery.line import ProjectLine
from dropcap.display import shown
from dropcap.ledger.errors import DatabaseError, LedgerError
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
        found = {project.name: line_to(config, project) for project in config.projects.values()}
        for line in found.values():
            stack.callback(line.client.close)
        yield found


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
