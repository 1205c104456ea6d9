"""`dropcap sandbox`: the sandbox's own command, and what an installation may lack for it."""

from __future__ import annotations

import shlex
import sys

import click

from dropcap.cli.configured import stop


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
