"""Files that are filed to another file system: copied, with a journal in the ledger, so that a crash leaves exactly one."""

from __future__ import annotations

import errno
from collections.abc import Sequence
from functools import partial
from typing import Protocol, TypeVar

from dropcap.files.move import Crossing
from dropcap.filing.place import Filed, Filing
from dropcap.ledger.job import Job
from dropcap.ledger.outcome import Refused, Stored
from dropcap.ledger.store import Ledger


class Over(Protocol):
    """A job that is over but for its file's move."""

    @property
    def job(self) -> Job: ...

    @property
    def outcome(self) -> Stored | Refused: ...


Ended = TypeVar("Ended", bound=Over)


def crossing(ledger: Ledger, ending: Over) -> Crossing:
    """How its file is copied, should it go to another file system: what was begun is found again after a crash."""
    sha256 = ending.outcome.sha256 if isinstance(ending.outcome, Stored) else None
    return Crossing(partial(ledger.copying, ending.job.id), sha256 or None)


def finish_copies(
    ledger: Ledger, filing: Filing, folder: str, batch: Sequence[Ended]
) -> tuple[list[tuple[Ended, Filed | OSError]], list[Ended]]:
    """What came of those whose copy had been begun; and those that are still to be moved."""
    copies = ledger.query.copying(folder)
    results: list[tuple[Ended, Filed | OSError]] = []
    others: list[Ended] = []
    for ending in batch:
        if ending.job.id not in copies:
            others.append(ending)
            continue
        temporary, final = copies[ending.job.id]
        sha256 = ending.outcome.sha256 if isinstance(ending.outcome, Stored) else None
        try:
            if filing.finish_copy(ending.job.name, temporary, final, sha256 or None):
                results.append((ending, Filed(final)))
            else:
                others.append(ending)
        except FileNotFoundError:  # a person is at work there
            results.append((ending, OSError(errno.EBUSY, "it is being moved")))
        except OSError as error:
            results.append((ending, error))
    return results, others
