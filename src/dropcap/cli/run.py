"""`dropcap run`: the daemon, or once through what is there."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import NoReturn

import click

from dropcap.cli.complaint import cannot_start
from dropcap.cli.configured import config_option, stop, unusable, usable
from dropcap.config.load import load
from dropcap.config.model import Config
from dropcap.daemon.service import Service
from dropcap.daemon.state import AlreadyRunning, NeedsSomebody, StateError
from dropcap.display import shown
from dropcap.ledger.errors import LedgerError, NewerLedger
from dropcap.threads import NoThread

#: The exit code of a daemon that could not start for what may pass by itself: systemd tries again.
_MAY_PASS = 5


@click.command("run")
@config_option
@click.option("--once", is_flag=True, help="Take and deliver what is there, then end.")
@click.option(
    "--wait",
    metavar="T",
    help="--once: how long to wait for files that are not settled, and for a server that is not well (default: 30s).",
)
def run_command(config_path: Path, once: bool, wait: str | None) -> None:
    """Watch the folders and deliver what is dropped, until SIGTERM. SIGHUP reads the configuration anew."""
    if wait is not None and not once:
        raise click.UsageError("--wait goes with --once; the daemon waits for as long as it takes")
    path = config_path.absolute()
    config = usable(path) if once else _startable(path)
    stop_ = stop if once else _stop
    try:
        if once:
            from dropcap.cli.once import run_once

            sys.exit(run_once(config, wait))
        sys.exit(Service(config).run())
    except AlreadyRunning as error:
        stop_(f"{error}: stop that one first, or give this one its own state_dir", 4)
    except NoThread as error:
        stop_(f"{error.strerror}: raise TasksMax= of the unit or the limit on processes (`ulimit -u`), then start it again", 1)
    except PermissionError as error:
        place = shown(str(error.filename or config.state_dir))
        stop_(f"{place} cannot be used ({error.strerror}): run this as dropcap's user, or as root", 2)
    except (NewerLedger, NeedsSomebody) as error:
        stop_(str(error), 2)
    except (StateError, LedgerError) as error:
        stop_(str(error), 2 if once else _MAY_PASS)


def _startable(path: Path) -> Config:
    """The configuration, or the end with exit code 2, which systemd is told of: its problems are told in the log otherwise."""
    config = load(path)
    if config.fatal:
        cannot_start(unusable(path), config.told)
        sys.exit(2)
    return config


def _stop(message: str, code: int) -> NoReturn:
    cannot_start(message)
    sys.exit(code)
