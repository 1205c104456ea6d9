"""How often the names of one folder's files have not agreed with a record (`must_match`): who may guess, may not guess on."""

from __future__ import annotations

import time
from collections.abc import Callable

from dropcap.ledger.store import Ledger

#: So many mismatches of one record in one folder within so many seconds are an honest day's; then a person has a look.
MOST, WITHIN = 3, 86400.0


class Mismatches:
    """Counts in the ledger, so that a restart does not begin anew. For the deciding thread: what is counted holds for the next
    file at once, also where a hundred were looked up together."""

    def __init__(self, ledger: Ledger, clock: Callable[[], float] = time.time) -> None:
        self._ledger = ledger
        self._clock = clock

    def too_many(self, folder: str, record: str) -> bool:
        """Whether nothing more is to be told of how the record agrees with names."""
        return self._ledger.query.mismatches(folder, record, self._clock(), WITHIN) >= MOST

    def count(self, folder: str, record: str) -> None:
        """One more name did not agree with the record."""
        self._ledger.mismatched(folder, record, WITHIN)
