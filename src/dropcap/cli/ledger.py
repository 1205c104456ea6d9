"""`dropcap ledger`: `backup`, `restore`, `export`, `import`."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import click

from dropcap.cli import screen
from dropcap.cli.configured import config_option, not_ours, outside_of_all_folders, prepared, query, readable, stop, usable
from dropcap.config.model import Config, PostgresLedger
from dropcap.daemon.log import keep, known
from dropcap.daemon.opening import need_psycopg
from dropcap.daemon.state import INSTALLATION, LEDGER, AlreadyRunning, StateError, give_to_owner, installation, only_one, replace
from dropcap.display import shown
from dropcap.ledger.backup import (
    Header,
    MovingEngine,
    NotAnExport,
    NotTheSame,
    OddRow,
    backup,
    bring_in,
    checked,
    enter_export,
    export,
    heads_of,
    restore,
    somebody_works,
    whole,
)
from dropcap.ledger.chain import AuditActor, heads_in
from dropcap.ledger.database import Database, DatabaseError, LedgerError, Writer
from dropcap.ledger.proof import prove
from dropcap.ledger.query import Query
from dropcap.ledger.sqlite import SqliteDatabase, SqliteMoving

_SEE = "see whether its disk is full, or its database can be reached"


def _named(context: click.Context, parameter: click.Parameter, file: Path) -> Path:
    if str(file) == "-":
        raise click.BadParameter("a ledger goes into a file and out of one: name it", context, parameter)
    return file


_FILE = click.Path(path_type=Path)


@click.command("export")
@click.argument("file", metavar="FILE", type=_FILE, callback=_named)
@config_option
def export_command(config_path: Path, file: Path) -> None:
    """Write the whole ledger into FILE, for `ledger import` with another engine or on another machine, while no dropcap runs.

    FILE must not be there; it is for this user. Work with one of the two ledgers only from then on.

    Exit codes: 0 it is on the disk; 1 it could not be made, or the ledger's chains are not whole; 2 usage, or the ledger is not
    ours to read; 4 a dropcap runs.
    """
    config = usable(config_path.absolute(), tell=False)
    target = outside_of_all_folders(config, file)
    if os.path.lexists(target):
        _there_already(file)
    try:
        _there_is_one(config)
        with _alone(config, "export"):
            header = _exported(config, target)
    except FileExistsError:
        _there_already(file)
    except OddRow as error:
        stop(f"nothing was exported: {error}", 1)
    except OSError as error:
        stop(f"{shown(str(file))} cannot be written ({error.strerror}): make room, or name another place", 1)
    except DatabaseError as error:
        stop(f"nothing was exported: the ledger cannot be read or written ({error}); {_SEE}", 1)
    _tell(header)
    screen.line(f"{shown(str(file))} is the ledger; bring it into an empty one with: dropcap ledger import {shown(str(file))}")


@click.command("import")
@click.argument("file", metavar="FILE", type=_FILE, callback=_named)
@config_option
def import_command(config_path: Path, file: Path) -> None:
    """Bring what `ledger export` has written into an empty ledger, while no dropcap runs: all of it, compared row by row, or
    nothing at all.

    Exit codes: 0 it is in the ledger; 1 it could not be written, or was not the same there; 2 FILE is no whole export, or that of
    another installation or version, or the ledger is not empty; 4 a dropcap runs.
    """
    config = usable(config_path.absolute(), tell=False)
    try:
        with _opened(file) as content:
            header = checked(content)
            prepared(config)
            with _alone(config, "import"):
                _imported(config, content, header)
    except NotAnExport as error:
        stop(f"{shown(str(file))} cannot be imported: {error}", 2)
    except NotTheSame as error:
        stop(str(error), 1)
    except OSError as error:
        stop(f"nothing was imported ({error.strerror}: {shown(str(error.filename or file))}): name a file that can be read", 2)
    except DatabaseError as error:
        stop(f"nothing was imported: the ledger cannot be written ({error}); {_SEE}", 1)
    _tell(header)
    screen.line(f"the ledger is that of {shown(str(file))}, compared row by row; do not start dropcap with the other one again")


def _exported(config: Config, target: Path) -> Header:
    database, engine = _place(config)
    broken = prove(database).broken
    if broken:
        raise OddRow(f"its chains are not whole ({broken[0]}): see dropcap verify --chain, and restore a backup")
    with contextlib.closing(database.writer()) as writer:
        with whole(writer, engine):
            _nobody_works(config, writer, "export")
            enter_export(writer, AuditActor.me())
        _give_to_owner(config)
    with database.snapshot() as connection:
        return export(connection, target)


def _imported(config: Config, content: IO[bytes], header: Header) -> None:
    if isinstance(config.ledger, PostgresLedger):
        database, engine = _place(config)
        with contextlib.closing(database.writer()) as writer:
            _nobody_works(config, writer, "import")
            bring_in(writer, engine, content, header, AuditActor.me())
        return
    ledger, known = config.state_dir / LEDGER, installation(config.state_dir)
    new = not ledger.exists()
    if new and known is not None and known != header.installation:
        _anothers()
    try:
        heads = _into_sqlite(config, known, content, header)
    except BaseException:
        if new:
            for suffix in ("-wal", "-shm", ""):
                Path(f"{ledger}{suffix}").unlink(missing_ok=True)
        raise
    replace(config.state_dir, INSTALLATION, header.installation + "\n")
    keep(config.state_dir, [head for told in heads for head in heads_in(told)])


def _into_sqlite(config: Config, known: str | None, content: IO[bytes], header: Header) -> list[str]:
    database, engine = _place(config)
    with contextlib.closing(database.writer()) as writer:
        _give_to_owner(config)
        words = dict(writer.execute("select key, value from meta where key in ('installation', 'rebuilt')").fetchall())
        if known not in (None, header.installation):
            if "rebuilt" in words or words.get("installation") != known:
                _anothers()  # it stands for one that is lost
            (config.state_dir / INSTALLATION).unlink()  # no folder has ever been marked with it
        return bring_in(writer, engine, content, header, AuditActor.me())


def _place(config: Config) -> tuple[Database, MovingEngine]:
    """Where the ledger is, or the end with exit code 2 if this dropcap cannot reach it."""
    if not isinstance(config.ledger, PostgresLedger):
        return SqliteDatabase(config.state_dir / LEDGER), SqliteMoving()
    try:
        need_psycopg()
    except LedgerError as error:
        stop(str(error), 2)
    from dropcap.ledger.postgres.connection import LedgerConnector
    from dropcap.ledger.postgres.database import PostgresDatabase, PostgresMoving

    return PostgresDatabase(LedgerConnector(config.ledger, "dropcap ledger")), PostgresMoving()


def _nobody_works(config: Config, writer: Writer, what: str) -> None:
    """Or the end. A lock in state_dir tells of dropcaps that work with SQLite."""
    if isinstance(config.ledger, PostgresLedger) and (who := somebody_works(writer)) is not None:
        stop(f"dropcap works with this ledger on {shown(who)}: stop it on all hosts (systemctl stop dropcap), then {what}", 4)


def _there_is_one(config: Config) -> None:
    """A ledger of this version, or the end."""
    if not isinstance(config.ledger, PostgresLedger):
        query(config).close()
        return
    database, _ = _place(config)
    with contextlib.closing(Query(database)) as ledger:
        version = ledger.version()
    if not version:
        stop(f"there is no ledger in {shown(str(config.ledger))} yet: dropcap has not run with this configuration", 1)


def _give_to_owner(config: Config) -> None:
    if not isinstance(config.ledger, PostgresLedger):
        ledger = config.state_dir / LEDGER
        give_to_owner(config.state_dir, ledger, Path(f"{ledger}-wal"), Path(f"{ledger}-shm"))


def _anothers() -> None:
    raise NotAnExport("it is the ledger of another installation: its folders are not those of this state_dir")


@contextlib.contextmanager
def _alone(config: Config, what: str) -> Iterator[None]:
    """While no dropcap works with the ledger; or the end."""
    try:
        with only_one(config.state_dir):
            yield
    except AlreadyRunning as error:
        stop(f"{error}: stop it first (systemctl stop dropcap), then {what}", 4)
    except (OddRow, NotAnExport, NotTheSame):
        raise
    except (LedgerError, StateError) as error:
        stop(str(error), 2)
    except PermissionError as error:
        if str(error.filename).startswith(str(config.state_dir)):
            not_ours(config.state_dir, error.strerror or str(error))
        raise


def _opened(file: Path) -> IO[bytes]:
    fd = os.open(file, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise NotAnExport("it is not a file: name one that `dropcap ledger export` has made")
    return open(fd, "rb")


def _there_already(file: Path) -> None:
    stop(f"{shown(str(file))} is there already and is not written over: move it away, or put the day into the name", 2)


def _tell(header: Header) -> None:
    for name, count in header.rows.items():
        if count:
            screen.line(f"{count:>11,}  {name}")


_PATH = click.Path(path_type=Path)


@click.group("ledger")
def ledger_command() -> None:
    """Copy the ledger while dropcap runs, and put a copy back; or move it to another engine or machine."""


ledger_command.add_command(export_command)
ledger_command.add_command(import_command)


@ledger_command.command("backup")
@click.argument("file", metavar="FILE", type=_PATH)
@config_option
def backup_command(config_path: Path, file: Path) -> None:
    """Copy the ledger to FILE, whole as of one moment, whether dropcap runs or not. FILE must not be there; it is for this user.

    One on PostgreSQL is copied with pg_dump.

    Exit codes: 0 the copy is on the disk, and sound; 1 it could not be made; 2 usage, or the ledger is not ours to read.
    """
    config = usable(config_path.absolute(), tell=False)
    _of_sqlite_alone(config)
    target = outside_of_all_folders(config, file)
    readable(config, older=True).close()
    try:
        backup(config.state_dir / LEDGER, target)
    except FileExistsError:
        stop(f"{shown(str(file))} is there already and is not written over: move it away, or put the day into the name", 2)
    except OSError as error:
        stop(f"{shown(str(file))} cannot be written ({error.strerror}): make room, or name another place", 1)
    except DatabaseError as error:
        stop(f"no copy was made: the ledger cannot be read ({error}); restart dropcap, which sets a damaged one aside", 1)
    screen.line(f"{shown(str(file))} is a copy of the ledger; put it back with: dropcap ledger restore {shown(str(file))}")


@ledger_command.command("restore")
@click.argument("file", metavar="FILE", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@config_option
def restore_command(config_path: Path, file: Path) -> None:
    """Put a copy in the ledger's place, while no dropcap runs. The ledger that is there is kept beside it.

    What was on its way when the copy was made is read back in REDCap before anything is sent again.

    Exit codes: 0 it is in place; 2 it is no ledger, or that of another installation; 4 a dropcap runs.
    """
    config = usable(config_path.absolute(), tell=False)
    _of_sqlite_alone(config)
    prepared(config)
    ledger = config.state_dir / LEDGER
    try:
        with only_one(config.state_dir):
            aside = restore(file, ledger, installation(config.state_dir), AuditActor.me(), known(config.state_dir))
            give_to_owner(config.state_dir, ledger)
            if told := heads_of(ledger):  # else the next start would take for a surprise what is entered as an act
                keep(config.state_dir, told)
    except AlreadyRunning as error:
        stop(f"{error}: stop it first (systemctl stop dropcap), then restore", 4)
    except (LedgerError, StateError) as error:
        stop(str(error), 2)
    except OSError as error:
        stop(f"{shown(str(file))} could not be put in place ({error.strerror}): the ledger is as it was", 2)
    if aside is not None:
        screen.line(f"the ledger that was there is kept: {shown(str(aside))}")
    screen.line(f"{shown(str(ledger))} is the copy now; start dropcap: files that it does not know are taken up from the folders")


def _of_sqlite_alone(config: Config) -> None:
    """Or the end with exit code 2: a database has ways of its own."""
    if isinstance(config.ledger, PostgresLedger):
        stop(
            f"the ledger is in {config.ledger}: copy it with pg_dump, and put it back with pg_restore while no dropcap runs; "
            "dropcap ledger export writes it into a file that dropcap ledger import reads",
            2,
        )
