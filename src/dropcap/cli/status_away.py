"""What `dropcap status` says where a database keeps the ledger and does not answer."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any, ClassVar

import click

from dropcap import __version__
from dropcap.cli import screen
from dropcap.cli.jobs import stamp
from dropcap.config.model import Config
from dropcap.daemon.state import running


@dataclass(frozen=True, slots=True)
class LedgerAway:
    """What is known without the ledger: `why` it cannot be read, and of the dropcap on this host whether it runs, and answers."""

    CODE: ClassVar[int] = 1

    why: str
    running: bool
    view: dict[str, Any] | None

    @classmethod
    def of(cls, config: Config, view: dict[str, Any] | None, why: str) -> LedgerAway:
        """`view`: what the dropcap of this host has answered."""
        return cls(why, view is not None or running(config.state_dir), view)

    @property
    def then(self) -> str:
        """What becomes of the files."""
        if self.running:
            return "The dropcap of this host waits for it: nothing is taken or sent meanwhile, and it goes on by itself."
        return "No dropcap runs on this host."


def tell_away(away: LedgerAway) -> None:
    """Print it."""
    word = "NOT WELL"
    screen.entry(word, f"{away.why[0].upper()}{away.why[1:]}. {away.then}", len(word) + 2, screen.BAD)
    here = "running" if away.running else "not running"
    click.echo(" " * (len(word) + 2) + f"As of {screen.at_second(time.time())}. dropcap {__version__}, {here} here.")


def away_json(away: LedgerAway) -> dict[str, Any]:
    """The same for programs: of the keys of `status --json` those that are known."""
    told = away.view or {}
    return {
        "ok": False,
        "exit_code": LedgerAway.CODE,
        "verdict": f"NOT WELL: {away.why}. {away.then}",
        "waits_for_somebody": [{"files": 0, "message": away.why, "first": [], "command": None}],
        "goes_on_by_itself": [],
        "running": away.running,
        "answers": away.view is not None,
        "alive": told.get("alive"),
        "version": told.get("version"),
        "started": stamp(told.get("started")),
        "under_way": told.get("under_way"),
        "ledger_unwritable": away.why,
    }
