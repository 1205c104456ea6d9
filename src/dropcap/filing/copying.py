"""Files that are filed to another file system: copied, with a journal in the ledger, so that a crash leaves exactly one."""

from __future__ import annotations

import errno
from collections.abc import Sequence
from functools import partial

from dropcap.files.move import Crossing
from dropcap.filing.ending import Ending
from dropcap.filing.place import Filed, Filing
from dropcap.filing.same_bytes import is_file_of
from dropcap.ledger.outcome import Stored
from dropcap.ledger.store import Ledger


def crossing(ledger: Ledger, ending: Ending) -> Crossing:
    """How its file is copied, should it go to another file system: what was begun is found again after a crash."""
    sha256 = ending.outcome.sha256 if isinstance(ending.outcome, Stored) else None
    return Crossing(partial(ledger.copying, ending.job.id), sha256 or None, partial(is_file_of, ending.job))


def finish_copies(
    ledger: Ledger, filing: Filing, folder: str, batch: Sequence[Ending]
) -> tuple[list[tuple[Ending, Filed | OSError]], list[Ending]]:
    """What came of those whose copy had been begun; and those that are still to be moved."""
    copies = ledger.query.copying(folder)
    results: list[tuple[Ending, Filed | OSError]] = []
    others: list[Ending] = []
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
