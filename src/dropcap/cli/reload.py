"""`dropcap reload`: have the running dropcap take up the changed configuration."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from dropcap.cli import screen
from dropcap.cli.complaint import complain
from dropcap.cli.configured import config_option, stop, unusable
from dropcap.cli.reach import asked
from dropcap.config.load import load
from dropcap.daemon.state import running
from dropcap.display import shown


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
        for problem in config.told:
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
