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
from dropcap.cli.sandbox import sandbox_or_stop
from dropcap.filing.preserve import FOR_THE_LEDGER


@click.command("demo")
@click.option("--keep", is_flag=True, help="Keep the temporary folder, with its configuration and log, and say where it is.")
@click.option(
    "--stay", "stays", is_flag=True, help="Then keep sandbox, daemon and page running until Ctrl-C, and say what to try."
)
def demo_command(keep: bool, stays: bool) -> None:
    """Show the main job: files dropped one by one, a real daemon, a sandbox REDCap on 127.0.0.1.

    Nothing outside a temporary folder is touched. Exit code 0 only if every outcome is as it should be.
    """
    sandbox_or_stop()
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
        wrong = show_demo(root, stays)
    finally:
        if keep:
            click.echo(f"Kept: {root}")
        else:
            shutil.rmtree(root, ignore_errors=True)
    sys.exit(1 if wrong else 0)


def _interrupted(_: int, __: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt
