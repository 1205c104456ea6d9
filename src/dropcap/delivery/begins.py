"""Who is told that jobs are about to be sent."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

from dropcap.ledger.job import Job

#: Enters on this host's own disk which jobs are about to be sent, and whither. Raises OSError: nothing of them may be sent.
Begins: TypeAlias = Callable[[Sequence[Job]], None]


def nobody(_: Sequence[Job]) -> None:
    """A host that shares its ledger with nobody: what it has entered there is never lost to it."""
