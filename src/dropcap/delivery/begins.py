"""Who is told that jobs are about to be sent."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

from dropcap.ledger.job import Job

#: Enters on this host's own disk which jobs are about to be sent, and whither. Raises OSError: nothing of them may be sent.
Begins: TypeAlias = Callable[[Sequence[Job]], None]


class NotEntered(Exception):  # noqa: N818 - a state of the disk more than an error
    """What is about to be sent cannot be entered on this host's own disk, be it for a lack of room or a right: nothing of it is
    sent meanwhile."""

    def __init__(self, error: OSError) -> None:
        super().__init__(error.strerror)
        self.message = f"what is about to be sent cannot be entered in state_dir ({error.strerror}): nothing is sent meanwhile"
        self.remedy = "make room on the disk of state_dir, or let dropcap's user write there"


def nobody(_: Sequence[Job]) -> None:
    """A host that shares its ledger with nobody: what it has entered there is never lost to it."""
