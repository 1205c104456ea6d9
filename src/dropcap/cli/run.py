"""`dropcap run`: the daemon, or once through what is there."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from dropcap.cli.configured import config_option, stop, usable
from dropcap.daemon.service import Service
from dropcap.daemon.state import AlreadyRunning, StateError
from dropcap.ledger.schema import LedgerError
from dropcap.threads import NoThread


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
    config = usable(config_path.absolute(), tell=once)
    try:
        if once:
            from dropcap.cli.once import run_once

            sys.exit(run_once(config, wait))
        sys.exit(Service(config).run())
    except AlreadyRunning as error:
        stop(f"{error}: stop that one first, or give this one its own state_dir", 4)
    except NoThread as error:
        stop(f"{error.strerror}: raise TasksMax= of the unit or the limit on processes (`ulimit -u`), then start it again", 1)
    except (StateError, LedgerError) as error:
        stop(str(error), 2)
