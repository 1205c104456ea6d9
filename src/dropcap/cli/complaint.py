"""What keeps a command from doing what it should: for people on standard error, for systemd where it is told of it.

Where standard error is the journal, each line has its priority there (`dropcap.daemon.journal`); what `dropcap run` says is a
line of the log then, like all that comes after a start that goes well.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

import click
import structlog

from dropcap.cli import screen
from dropcap.config.model import Problem
from dropcap.daemon import journal, log, systemd

#: What to do about a wrong word in the command of a unit.
_UNIT = "correct ExecStart= in the unit (`systemctl edit dropcap`); `dropcap run --help` tells what there is"


def complain(message: str) -> None:
    """Say on standard error that something could not be done; `message` says what to do."""
    text = f"dropcap: {message}"
    if journal.reads(sys.stderr):
        click.echo(journal.with_priority(text, "error"), err=True)
    else:
        screen.line(text, err=True)


def cannot_start(message: str, problems: Sequence[Problem] = ()) -> None:
    """Say why the daemon does not start, also to systemd, where `systemctl status` shows it until the next start."""
    first = f": {problems[0]}" + (f" (and {len(problems) - 1} more)" if len(problems) > 1 else "") if problems else ""
    systemd.status(f"cannot start: {message}{first}")
    if journal.reads(sys.stderr):
        log.set_up()
        for problem in problems:
            structlog.get_logger().error("config_problem", message=str(problem), disables="everything")
        structlog.get_logger().error("cannot_start", message=message)
        return
    for problem in problems:
        screen.line(str(problem), err=True)
    complain(message)


def misused(error: click.ClickException) -> None:
    """Say what is wrong with the words of the command."""
    if journal.reads(sys.stderr):
        cannot_start(f"{error.format_message()}; {_UNIT}")
    else:
        error.show()
