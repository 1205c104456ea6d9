"""Records to create: one file asks for each, and each counts once towards its folder's limit of the day."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime

from dropcap.delivery.lookup import spelled_alike
from dropcap.display import shown
from dropcap.ledger.job import Job, Reserved, State
from dropcap.ledger.outcome import Held, Later
from dropcap.ledger.store import Ledger
from dropcap.reasons import Reason

#: Seconds for which nobody else creates a record of almost the same name: longer than a look-up that began before stays known,
#: and than an import takes whose reply was lost. Each host counts them from when it has seen that name first, or asked for anew,
#: since hosts' clocks need not agree.
_RESERVED = 900.0
#: Seconds after which a file looks whether the record was created under the other name.
_LOOK = 5.0


class Creation:
    """What the threads that create records agree upon."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._changed = threading.Condition()
        self._under_way: set[tuple[str, str]] = set()  # project and record
        self._counted: set[tuple[str, str]] = set()  # folder and record
        self._seen: dict[tuple[str, Reserved], float] = {}  # names in whose way another one is, by project, and since when

    @contextmanager
    def one_at_a_time(self, project: str, record: str) -> Iterator[bool]:
        """Keep others from creating the same record; False if somebody did so while this one waited."""
        key = (project, record)
        with self._changed:
            first = key not in self._under_way
            self._changed.wait_for(lambda: key not in self._under_way)
            self._under_way.add(key)
        try:
            yield first
        finally:
            with self._changed:
                self._under_way.discard(key)
                self._changed.notify_all()

    def elsewhere(self, job: Job, project: str, record: str) -> Later | None:
        """None once `record` is reserved in one of REDCap's projects; else what its file waits for.

        Two files that look a record up at once, in two folders or on two hosts, find neither `0900` nor `900`: only one of these
        may come to be.
        """
        now = time.monotonic()
        with self._changed:
            over = {one for (of, one), since in self._seen.items() if of == project and now - since > _RESERVED}
        other = self._ledger.reserve(project, record, spelled_alike, over)
        with self._changed:
            if other is not None:
                self._seen.setdefault((project, other), now)
            self._seen = {key: since for key, since in self._seen.items() if key[1] not in over}
        if other is None:
            return None
        message = f"another file has just asked for a record whose name is written almost like `{shown(record)}`"
        return Later(Reason.NO_RECORD, message, sent=job.state is State.UNKNOWN, seconds=_LOOK)

    def within_limit(self, job: Job, record: str, limit: int) -> bool:
        """Whether the folder may create this record today; neither a try that failed nor another file of the record takes
        from the limit again."""
        key = (job.folder, record)
        with self._changed:
            counted = key in self._counted
        if counted or job.create_asked == record:
            return True
        if not self._ledger.count_created(job.folder, datetime.now().astimezone().date().isoformat(), limit):
            return False
        self._ledger.note(job.id, f"asks REDCap to create record {shown(record)}", {"record": record, "create_asked": record})
        with self._changed:
            self._counted.add(key)
        return True


def not_in_its_group(record: str, group: str) -> Held:
    """Why a record is not created that REDCap does not show to somebody who is in a data access group."""
    message = (
        f"REDCap shows no record `{shown(record)}` to the token's user, who is in the data access group `{shown(group)}`: "
        "another group may have it"
    )
    remedy = "look for the record in REDCap; create it there, or take the token's user out of the group, then `dropcap retry`"
    return Held(Reason.RIGHTS, message, remedy)
