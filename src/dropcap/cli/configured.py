"""What commands that need the configuration share."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import click

from dropcap.cli import completion, screen
from dropcap.cli.complaint import complain
from dropcap.config.ledger_at import PostgresLedger
from dropcap.config.load import load
from dropcap.config.model import Config
from dropcap.config.values import BadValueError, did_you_mean, duration
from dropcap.daemon.opening import database_of
from dropcap.daemon.state import LEDGER, StateError, prepare
from dropcap.display import shown
from dropcap.ledger.errors import Damaged, DatabaseError, LedgerError
from dropcap.ledger.query import Query
from dropcap.ledger.schema import VERSION

DEFAULT = "/etc/dropcap/config.yaml"

F = TypeVar("F", bound=Callable[..., Any])


def config_option(command: F) -> F:
    """The `-c FILE` that every such command has."""
    option = click.option(
        "-c",
        "--config",
        "config_path",
        metavar="FILE",
        envvar="DROPCAP_CONFIG",
        default=DEFAULT,
        show_default=True,
        type=click.Path(path_type=Path),
        help="The configuration.",
    )
    return option(command)


def stop(message: str, code: int) -> NoReturn:
    """End with a message for people."""
    complain(message)
    sys.exit(code)


def usable(path: Path, *, tell: bool = True) -> Config:
    """The configuration, or the end with exit code 2 if nothing can start with it. Its problems are told on the way."""
    config = load(path)
    if tell or config.fatal:
        for problem in config.told:
            screen.line(str(problem), hang=4, err=True)
    if config.fatal:
        stop(unusable(path), 2)
    return config


def unusable(path: Path) -> str:
    """That nothing can start with a configuration whose problems have been told."""
    return f"{shown(str(path))} cannot be used: correct what is said above"


class NoLedger(Exception):  # noqa: N818 - a state
    """There is no ledger to read; the message says what to do. `away`: it is in a database that does not answer."""

    def __init__(self, message: str, code: int, *, away: bool = False) -> None:
        super().__init__(message)
        self.code = code
        self.away = away


def query(config: Config) -> Query:
    """The ledger to read, or the end: with exit code 1 if there is none yet, with 2 if it is not ours to read."""
    try:
        return readable(config)
    except NoLedger as error:
        stop(str(error), error.code)


def readable(config: Config) -> Query:
    """The ledger to read, or the end. Raises NoLedger where a database keeps it."""
    if isinstance(config.ledger, PostgresLedger):
        return _in_database(config, config.ledger)
    path = config.state_dir / LEDGER
    try:
        path.stat()
    except FileNotFoundError:
        stop(f"there is no ledger in {config.state_dir} yet: dropcap has not run with this configuration", 1)
    except OSError as error:
        not_ours(path, error.strerror or str(error))
    found = Query(path)
    try:
        found.pauses()
    except Damaged as error:
        stop(f"the ledger {path} is damaged ({error}): restart dropcap, it sets it aside and begins a new one", 1)
    except DatabaseError as error:
        not_ours(path, str(error))
    if (said := of_another_version(found)) is not None:
        stop(f"{path} is {said}", 1)
    return found


def _in_database(config: Config, at: PostgresLedger) -> Query:
    try:
        found = Query(database_of(config))
        if not found.version():
            raise NoLedger(f"there is no ledger in {at} yet: dropcap has not run with this configuration", 1)
        if (said := of_another_version(found)) is not None:
            raise NoLedger(f"{at} is {said}", 1)
    except LedgerError as error:
        raise NoLedger(str(error), 2) from None
    except DatabaseError as error:
        raise NoLedger(cannot_read(at, error), 2, away=True) from None
    return found


def cannot_read(at: PostgresLedger, error: DatabaseError) -> str:
    """That a ledger in a database cannot be read, and what to do."""
    return f"the ledger {at} cannot be read ({error}): see whether PostgreSQL runs and lets you in"


def of_another_version(ledger: Query) -> str | None:
    """What to do where an upgrade or a way back was begun and not ended: the ledger is another dropcap's."""
    version = ledger.version()
    if version < VERSION:
        return "an earlier dropcap's ledger: restart dropcap, which brings it up to this version"
    if version > VERSION:
        return "a newer dropcap's ledger: install the newer dropcap again"
    return None


def not_ours(path: Path, why: str) -> NoReturn:
    """The end with exit code 2: something in state_dir cannot be used by whoever runs the command."""
    stop(f"{path} cannot be used ({why}): run this as dropcap's user, or as root", 2)


def folder_option(command: F) -> F:
    """The `--folder F` that confines a command to one drop folder."""
    return click.option("--folder", "folder_name", metavar="F", shell_complete=completion.folders, help="This drop folder only.")(
        command
    )


def known(kind: str, name: str, names: Iterable[str]) -> str:
    """`name`, or the end with exit code 2 if it is none of `names`."""
    names = sorted(names)
    if name not in names:
        otherwise = "there are: " + ", ".join(shown(one) for one in names) if names else "the configuration has none"
        stop(f"there is no {kind} `{shown(name)}`; {did_you_mean(name, names, otherwise)}", 2)
    return name


def prepared(config: Config) -> None:
    """The state directory is there, or the end with exit code 2."""
    try:
        prepare(config.state_dir)
    except StateError as error:
        stop(str(error), 2)


def moment(text: str | None, *, end: bool = False) -> float:
    """A time in the past, as an age (`2h`, `7d`) or a day (`2026-11-24`), in seconds since the epoch.

    `end`: that of a period. No text is no end then, and a day or a minute is part of it.
    """
    if not text:
        return math.inf if end else 0.0
    for form in ("%Y-%m-%d", "%Y-%m-%dT%H:%M", "%Y-%m-%d %H:%M"):
        try:
            at = time.strptime(text, form)
        except ValueError:
            continue
        day, minute = (1, 0) if form == "%Y-%m-%d" else (0, 1)
        if not end:
            day = minute = 0
        return time.mktime((at.tm_year, at.tm_mon, at.tm_mday + day, at.tm_hour, at.tm_min + minute, 0, 0, 0, -1))
    try:
        return time.time() - duration(0, 100 * 366 * 86400.0)(text)
    except BadValueError:
        raise click.BadParameter(f"`{text}` is neither an age like 2h or 7d nor a day like 2026-11-24") from None
