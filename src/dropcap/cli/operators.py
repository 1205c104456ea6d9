"""`dropcap notify` and `dropcap dashboard`: what reaches operators, by a message or on their page."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from pathlib import Path

import click

from dropcap.cli.configured import asked, config_option, known, stop, usable
from dropcap.config.load import load
from dropcap.config.model import Config, Notify, Recipient
from dropcap.display import shown
from dropcap.notify.notifier import Carrier
from dropcap.reasons import NoticeKind

#: A unit that is started again and again is told of once in so many seconds.
_ONCE_IN = 3600.0
_MARK = "notices-ended"


@click.command("notify")
@config_option
@click.option("--test", "tries", is_flag=True, help="Send everybody a test message.")
@click.option("--to", "name", metavar="NAME", help="This recipient only.")
@click.option("--ended", "unit", metavar="UNIT", help="Tell that this unit of systemd's has failed; once an hour at most.")
def notify_command(config_path: Path, tries: bool, name: str | None, unit: str | None) -> None:
    """Try the notifications that the configuration names, or (for OnFailure=) tell that dropcap has ended.

    Exit code: 0 sent; 1 somebody could not be told; 2 usage or configuration.
    """
    if tries == (unit is not None):
        raise click.UsageError("name one of --test and --ended")
    config = load(config_path.absolute())  # one that cannot be used as a whole may say whom to tell so
    if config.notify is None or not config.notify.recipients:
        stop(f"{config_path} names nobody to tell: see `notify` in config.example.yaml", 2)
    if unit is not None:
        sys.exit(_ended(config, config.notify, unit))
    names = {one.name: one for one in config.notify.recipients}
    chosen = list(names.values()) if name is None else [names[known("recipient", name, names)]]
    where = os.uname().nodename
    body = f"This is a test of dropcap's notifications on {where}. Nothing has happened, and there is nothing to do."
    sys.exit(0 if _told(chosen, "dropcap: a test", body) else 1)


def _ended(config: Config, notify: Notify, unit: str) -> int:
    mark = config.state_dir / _MARK
    with contextlib.suppress(OSError):
        if 0 <= time.time() - mark.stat().st_mtime < _ONCE_IN:
            click.echo("this was told within the last hour")
            return 0
    if config.fatal:
        why = "Its configuration cannot be used. Run: dropcap check"
    else:
        why = f"Run: journalctl -u {shown(unit)} -n 50"
    everybody = [one for one in notify.recipients if one.of_all] or list(notify.recipients)
    to = [one for one in everybody if NoticeKind.ENDED in one.events]
    what = f"{shown(unit)} on {os.uname().nodename} has ended with a failure."
    body = f"{what} {why} Files may be dropped all the same; they are safe."
    if not _told(to, "dropcap: it has ended", body):
        return 1
    with contextlib.suppress(OSError):
        mark.touch()
        os.utime(mark)
    return 0


def _told(recipients: list[Recipient], title: str, body: str) -> bool:
    carrier, well = Carrier(), True
    for one in recipients:
        carried = carrier.carry(one, title, body, good=False)
        if carried.well:
            click.echo(f"sent to {one.name}")
        else:
            well = False
            click.echo(f"not sent to {one.name}: {carried.message}\n  what to do: {carried.remedy}", err=True)
    return well


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
