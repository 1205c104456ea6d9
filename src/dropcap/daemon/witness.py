"""The heads of the ledger's chains, told outside the ledger: in the log, and beside it, where a start compares them.

What stands beside it notices a ledger that was restored from an older copy; against somebody who may write in state_dir, only
what was told elsewhere helps (docs/audit.md).
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Sequence
from pathlib import Path

import structlog

from dropcap.daemon.state import replace
from dropcap.ledger.act import Deed, Means, Who
from dropcap.ledger.chain import Head, heads_in
from dropcap.ledger.errors import DatabaseError
from dropcap.ledger.store import Ledger

log = structlog.get_logger()

#: In state_dir: the heads as they were told last.
HEADS = "heads"
#: Seconds from one telling to the next.
DAY = 86400.0


class Daily:
    """Tells the heads at first and once a day."""

    def __init__(self, ledger: Ledger, state_dir: Path) -> None:
        self._ledger = ledger
        self._state_dir = state_dir
        self._next = 0.0  # monotonic

    def look(self) -> None:
        """Tell them if it is time."""
        if time.monotonic() >= self._next:
            self._next = time.monotonic() + DAY
            with contextlib.suppress(DatabaseError):  # the ledger itself tells
                tell(self._ledger, self._state_dir)


def stopped(ledger: Ledger, state_dir: Path) -> None:
    """The end of a run: what it has entered is told."""
    if ledger.trouble.unwritable:
        return
    with contextlib.suppress(DatabaseError):
        ledger.act(Who.me(Means.ITSELF), Deed.STOPPED)
        tell(ledger, state_dir)


def tell(ledger: Ledger, state_dir: Path) -> None:
    """Log the heads and keep them beside the ledger. Raises DatabaseError."""
    heads = ledger.query.heads()
    log.info("chain_heads", heads=[str(head) for head in heads])
    try:
        keep(state_dir, heads)
    except OSError as error:
        log.warning(
            "check_problem", message=f"{state_dir / HEADS} cannot be written ({error.strerror})", remedy="make room there"
        )


def keep(state_dir: Path, heads: Sequence[Head]) -> None:
    """Keep them beside the ledger. Raises OSError."""
    replace(state_dir, HEADS, "".join(f"{head}\n" for head in heads))


def known(state_dir: Path) -> list[Head]:
    """The heads as they were told last; none if they never were."""
    try:
        return list(heads_in((state_dir / HEADS).read_text(errors="replace")))
    except OSError:
        return []


def compare(ledger: Ledger, state_dir: Path) -> None:
    """A run begins. If the ledger lacks what was in it when its heads were told last, that becomes an act which carries them."""
    lost = [head for head in known(state_dir) if not ledger.query.has_head(head)]
    if lost:
        ledger.act(Who.me(Means.ITSELF), Deed.RESTORED, lost=[str(head) for head in lost])
        log.error(
            "ledger_restored",
            message="the ledger lacks entries that it had when its heads were told last: it is an older copy, or was changed",
            remedy="if it was not restored on purpose, compare it with its backups and with the log: dropcap verify --chain",
            heads=[str(head) for head in lost],
        )
