"""`dropcap demo`: the main job on a sandbox REDCap, with the real daemon, in a temporary folder."""

from __future__ import annotations

import shutil
import signal
import sys
import tempfile
from pathlib import Path
from types import FrameType
from typing import NoReturn

import click

from dropcap.cli.configured import stop
from dropcap.cli.demo_database import NoDatabase, what_two_hosts_lack
from dropcap.cli.extra import sandbox_or_stop
from dropcap.filing.keep import FOR_THE_LEDGER


@click.command("demo")
@click.option("--keep", is_flag=True, help="Keep the temporary folder, with its configuration and log, and say where it is.")
@click.option("--ill", is_flag=True, help="Let REDCap lose a reply and go into maintenance on the way.")
@click.option(
    "--stay", "stays", is_flag=True, help="Then keep sandbox, daemon and page running until Ctrl-C, and say what to try."
)
@click.option(
    "--hosts",
    type=click.IntRange(1, 2),
    default=1,
    help="2: show how one host takes over from another that is killed (needs PostgreSQL on this machine).",
)
def demo_command(keep: bool, ill: bool, stays: bool, hosts: int) -> None:
    """Show the main job: files dropped one by one, a real daemon, a sandbox REDCap on 127.0.0.1.

    Nothing outside a temporary folder is touched. Exit code 0 only if every outcome is as it should be.
    """
    if hosts == 2 and (ill or stays):
        raise click.UsageError("--hosts 2 goes with --keep alone")
    sandbox_or_stop()
    if hosts == 2 and (missing := what_two_hosts_lack()):
        stop(missing, 2)
    from dropcap.cli.demo_hosts import show_hosts
    from dropcap.cli.demo_show import show_demo

    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="replace")  # a terminal without UTF-8 must not end the show
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupted)  # the daemon and the folder are cleaned up then as well
    root = Path(tempfile.mkdtemp(prefix="dropcap-demo-"))
    if shutil.disk_usage(root).free < FOR_THE_LEDGER:
        root.rmdir()
        stop(
            f"less than 1 GiB is free in {root.parent}, and so much stays free for the ledger: set TMPDIR to another directory", 2
        )
    try:
        wrong = show_hosts(root) if hosts == 2 else show_demo(root, ill, stays)
    except NoDatabase as error:
        stop(str(error), 2)
    finally:
        if keep:
            click.echo(f"Kept: {root}")
        else:
            shutil.rmtree(root, ignore_errors=True)
    sys.exit(1 if wrong else 0)


def _interrupted(_: int, __: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt
