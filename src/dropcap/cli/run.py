"""`dropcap run`: the daemon, or once through what is there."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from dropcap.cli.configured import config_option, stop, usable
from dropcap.daemon import log
from dropcap.daemon.service import Service
from dropcap.daemon.state import AlreadyRunning, StateError
from dropcap.ledger.schema import LedgerError


@click.command("run")
@config_option
@click.option("--once", is_flag=True, help="Take and deliver what is there, then end.")
@click.option(
    "--wait", metavar="T", default="30s", show_default=True, help="--once: how long to wait for a server that is not well."
)
def run_command(config_path: Path, once: bool, wait: str) -> None:
    """Watch the folders and deliver what is dropped, until SIGTERM. SIGHUP reads the configuration anew."""
    config = usable(config_path.absolute(), tell=once)
    try:
        if once:
            from dropcap.cli.once import run_once

            sys.exit(run_once(config, wait))
        log.set_up(config.log.format, config.log.level, background=True)
        sys.exit(Service(config).run())
    except AlreadyRunning as error:
        stop(f"{error}: stop that one first, or give this one its own state_dir", 4)
    except (StateError, LedgerError) as error:
        stop(str(error), 2)
