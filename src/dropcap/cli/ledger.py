"""`dropcap ledger`: `backup` and `restore`; `export` and `import` have a module of their own."""

from __future__ import annotations

from pathlib import Path

import click

from dropcap.cli import screen
from dropcap.cli.configured import config_option, prepared, query, stop, usable
from dropcap.cli.ledger_moving import export_command, import_command
from dropcap.cli.outside import outside_of_all_folders
from dropcap.config.ledger_at import PostgresLedger
from dropcap.config.model import Config
from dropcap.daemon import witness
from dropcap.daemon.state import LEDGER, AlreadyRunning, StateError, give_to_owner, installation, only_one
from dropcap.display import shown
from dropcap.ledger.act import Who
from dropcap.ledger.errors import DatabaseError, LedgerError
from dropcap.ledger.sqlite.backup import backup, heads_of, restore

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
    query(config).close()
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
            aside = restore(file, ledger, installation(config.state_dir), Who.me(), witness.known(config.state_dir))
            give_to_owner(config.state_dir, ledger)
            if told := heads_of(ledger):  # else the next start would take for a surprise what is entered as an act
                witness.keep(config.state_dir, told)
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
