"""`dropcap verify --files`: does what lies in done/, and in the places for copies, have the SHA-256 that the ledger says?"""

from __future__ import annotations

import json
import signal
import sys
import threading
from collections import Counter
from functools import partial
from typing import NoReturn

import click

from dropcap.cli import screen
from dropcap.cli.configured import query, stop
from dropcap.cli.jobs import kept_at
from dropcap.config.model import Config
from dropcap.display import shown
from dropcap.ledger.errors import DatabaseError
from dropcap.preflight.filed import FiledLook, Interrupted, Lies, filed

_BAD = frozenset({Lies.CHANGED, Lies.UNREADABLE, Lies.NOT_LOOKED})


def run(config: Config, since: float, folder: str | None, after: int, every: bool, as_json: bool) -> NoReturn:
    """Look at them, tell, end: 0 all that lie there are as they were, 1 some are not."""
    ledger = query(config)
    stopped = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda _number, _frame: stopped.set())
    counts: Counter[Lies] = Counter()
    told: list[FiledLook] = []
    last, code = after, 0
    try:
        for looked in filed(ledger, config, since, folder, after, stopped, partial(kept_at, config)):
            counts[looked.outcome] += 1
            if every or looked.outcome in _BAD:
                told.append(looked)
                if not as_json:
                    screen.line(_line(looked), hang=4)
            last = looked.job.id
            if stopped.is_set():
                raise Interrupted
    except Interrupted:
        code = 130
    except DatabaseError as error:
        stop(f"the ledger cannot be read ({error})", 1)
    finally:
        ledger.close()
    go_on = f"interrupted; go on with: dropcap verify --files --after {max(last - 1, 0)}" if code else None
    if as_json:
        outcomes = {word.value: number for word, number in counts.items()}
        click.echo(
            json.dumps({"files": counts.total(), "outcomes": outcomes, "ended": go_on, "told": [_as_json(one) for one in told]})
        )
    else:
        said = ", ".join(f"{counts[word]} {word.replace('_', ' ')}" for word in Lies if counts[word] or word is Lies.SAME)
        screen.line(f"{counts.total()} files looked at: {said}")
        if go_on:
            screen.line(go_on, err=True)
    sys.exit(code or int(any(counts[word] for word in _BAD)))


def _line(looked: FiledLook) -> str:
    job = looked.job
    kind = "copy of what REDCap held" if looked.copy else "done"
    place = looked.place if looked.copy else f"{job.folder}/{looked.place}"
    return shown(f"{looked.outcome}: {place} (job {job.id}, {kind})" + (f": {looked.message}" if looked.message else ""))


def _as_json(looked: FiledLook) -> dict[str, object]:
    job = looked.job
    return {
        "outcome": looked.outcome,
        "job": job.id,
        "folder": job.folder,
        "file": shown(job.name),
        "lies_in": shown(looked.place),
        "copy": looked.copy,
        "sha256": job.preserved_sha256 if looked.copy else job.sha256,
        "message": looked.message or None,
    }
