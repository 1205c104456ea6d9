"""`dropcap demo` and `dropcap sandbox`: the commands, and what an installation may lack for them."""

from __future__ import annotations

import shlex
import shutil
import signal
import sys
import tempfile
from pathlib import Path
from types import FrameType
from typing import NoReturn

import click

from dropcap.cli.configured import stop
from dropcap.filing.preserve import FOR_THE_LEDGER


def sandbox_or_stop() -> None:
    """The sandbox can be imported, or the end with exit code 2 and the command that installs it."""
    if missing := what_the_sandbox_lacks():
        stop(missing, 2)


def what_the_sandbox_lacks() -> str:
    """What to install before the sandbox can be used; empty where nothing is missing."""
    try:
        import redcap_sandbox  # noqa: F401
    except ModuleNotFoundError as error:
        python = shlex.quote(sys.executable or "python3")
        return f"the sandbox needs {error.name}; install it: {python} -m pip install 'dropcap-redcap[sandbox]'"
    return ""


@click.command(
    "sandbox",
    context_settings={"ignore_unknown_options": True, "allow_extra_args": True, "allow_interspersed_args": False},
    add_help_option=False,
)
@click.argument("words", nargs=-1, type=click.UNPROCESSED, metavar="[OPTIONS]")
@click.pass_context
def sandbox_command(ctx: click.Context, words: tuple[str, ...]) -> None:
    """Serve a REDCap stand-in on 127.0.0.1 until Ctrl-C."""
    if {"-h", "--help"} & set(words) and (missing := what_the_sandbox_lacks()):
        click.echo(f"{ctx.get_help()}\n\n  Its options cannot be shown: {missing}")
        return
    sandbox_or_stop()
    from redcap_sandbox.command import main

    sys.exit(main(words, "dropcap sandbox"))


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
