"""`dropcap sandbox`: the sandbox's own command, under dropcap's name."""

from __future__ import annotations

import sys

import click

from dropcap.cli.extra import sandbox_or_stop, what_the_sandbox_lacks


@click.command(
    "sandbox",
    context_settings={"ignore_unknown_options": True, "allow_extra_args": True, "allow_interspersed_args": False},
    add_help_option=False,
)
@click.argument("words", nargs=-1, type=click.UNPROCESSED, metavar="[OPTIONS]")
@click.pass_context
def sandbox_command(ctx: click.Context, words: tuple[str, ...]) -> None:
    """Serve a REDCap stand-in on 127.0.0.1 until Ctrl-C, or record what a real REDCap says."""
    if {"-h", "--help"} & set(words) and (missing := what_the_sandbox_lacks()):
        click.echo(f"{ctx.get_help()}\n\n  Its options cannot be shown: {missing}")
        return
    sandbox_or_stop()
    from redcap_sandbox.command import main

    sys.exit(main(words, "dropcap sandbox"))
