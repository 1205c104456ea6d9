"""`dropcap run` and `dropcap reload`: the daemon, and a changed configuration for it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import NoReturn

import click

from dropcap.cli import screen
from dropcap.cli.configured import asked, config_option, stop, unusable, usable
from dropcap.cli.screen import cannot_start, complain
from dropcap.config.load import load
from dropcap.config.model import Config
from dropcap.daemon.service import Service
from dropcap.daemon.state import AlreadyRunning, NeedsSomebody, StateError, running
from dropcap.display import shown
from dropcap.ledger.database import LedgerError, NewerLedger
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
        stop_(str(error), error.code)
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
        cannot_start(unusable(path), config.reported)
        sys.exit(2)
    return config


def _stop(message: str, code: int) -> NoReturn:
    cannot_start(message)
    sys.exit(code)


@click.command("reload")
@config_option
def reload_command(config_path: Path) -> None:
    """Have the running dropcap take up the configuration, and tell what was not taken up.

    A folder whose new rules have a mistake goes on by its last good ones; a new folder with a mistake is not started.

    Exit code: 0 all was taken up; 1 something was not, or not yet, or no dropcap runs; 2 the configuration cannot be used.
    """
    path = config_path.absolute()
    config = load(path)
    # One that cannot be used is asked for as well: the daemon tells its trouble in the log and in `systemctl status`.
    told = asked(config, {"do": "reload", "config": str(path)} if config.fatal else {"do": "reload"})
    if config.fatal:
        for problem in config.reported:
            complain(shown(str(problem)))
        stop(unusable(path) + ("" if told is None else "; what was in force goes on"), 2)
    if told is None and running(config.state_dir):
        stop("dropcap runs and does not answer: it starts, stops, is halted or runs with --once. Nothing was taken up", 1)
    if told is None:
        stop("no dropcap runs with this state_dir: it takes up the configuration when it starts", 1)
    for line in told["not_taken_up"]:
        complain(shown(line))
    screen.line("the configuration was taken up" + (", but for what is said above" if told["not_taken_up"] else ""))
    sys.exit(1 if told["not_taken_up"] else 0)
