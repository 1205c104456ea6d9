"""`dropcap verify --chain`: is the ledger as it was sealed?"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import NoReturn

import click

from dropcap.cli import screen
from dropcap.cli.configured import query, stop
from dropcap.config.model import Config
from dropcap.daemon import witness
from dropcap.daemon.opening import database_of
from dropcap.ledger.chain import Head, heads_in
from dropcap.ledger.errors import Damaged, DatabaseError
from dropcap.ledger.proof import Proof, prove

_TOLD = 200


def run(config: Config, witnesses: Sequence[Path], as_json: bool) -> NoReturn:
    """Go through the ledger, tell, end: 0 it is whole, 1 it is not."""
    query(config).close()  # tells if there is none
    noted = set(witness.known(config.state_dir))
    for path in witnesses:
        found = list(_heads(path))
        if not found:
            stop(f"{path} has no head of a chain: name a log, a report, or what `dropcap verify --chain` has printed", 2)
        noted.update(found)
    try:
        proof = prove(database_of(config), noted)
    except Damaged as error:
        stop(f"the ledger cannot be read ({error})", 1)
    except DatabaseError as error:
        stop(f"the ledger has no chains yet, or cannot be read ({error}): the first `dropcap run` of this version makes them", 1)
    if as_json:
        click.echo(json.dumps(_as_json(proof), indent=1))
    else:
        _tell(proof)
    sys.exit(1 if proof.broken else 0)


def _heads(path: Path) -> set[Head]:
    with path.open(encoding="utf-8", errors="replace") as lines:
        return {head for line in lines for head in heads_in(line)}


def _tell(proof: Proof) -> None:
    for line in proof.told:
        screen.line(line)
    for broken in proof.broken[:_TOLD]:
        screen.entry("broken", str(broken), 8, screen.BAD)
    if len(proof.broken) > _TOLD:
        screen.line(f"and {len(proof.broken) - _TOLD} more; --json tells all")
    for head in proof.heads:
        screen.line(f"head    {head}")
    noted = "1 head" if proof.witnessed == 1 else f"{proof.witnessed} heads"
    seen = f"{proof.entries:,} entries of {proof.jobs:,} jobs and {proof.acts:,} acts, {noted} noted elsewhere"
    if proof.broken:
        screen.line(f"the ledger is NOT as it was sealed: {len(proof.broken)} findings in {seen}")
    else:
        screen.line(f"the ledger is whole: {seen}")


def _as_json(proof: Proof) -> dict[str, object]:
    return {
        "whole": not proof.broken,
        **{key: value for key, value in asdict(proof).items() if key not in ("heads", "broken")},
        "broken": [asdict(broken) for broken in proof.broken],
        "heads": [str(head) for head in proof.heads],
    }
