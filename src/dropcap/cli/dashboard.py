"""`dropcap dashboard`: where the operator's page is, and a link that signs in once."""

from __future__ import annotations

from pathlib import Path

import click

from dropcap.cli.configured import asked, config_option, stop, usable


@click.command("dashboard")
@config_option
@click.option("--link", is_flag=True, help="Print a link that signs you in, once, within a minute.")
def dashboard_command(config_path: Path, link: bool) -> None:
    """Tell where the operator's page is; with --link, an address that needs no secret, once, for a minute.

    Exit code: 0; 1 if no dropcap with a page runs; 2 if the configuration has no `dashboard`.
    """
    config = usable(config_path.absolute(), tell=False)
    if config.dashboard is None:
        stop(f"{config_path} has no `dashboard`: see config.example.yaml", 2)
    if not link:
        click.echo(config.dashboard.address)
        return
    told = asked(config, {"do": "dashboard"})
    if told is None:
        stop("no dropcap runs: start it, then ask again", 1)
    if told["link"] is None:
        stop("the running dropcap has no page: its log says why, or it needs `dropcap reload`", 1)
    click.echo(told["link"])
