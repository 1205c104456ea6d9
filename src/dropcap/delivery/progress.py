"""How far each upload has come."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

from dropcap.ledger.job import Job


@dataclass(frozen=True, slots=True)
class Uploading:
    """A file whose turn to be sent is under way.

    `sent` counts the bytes of the file that have been handed to the network (of `size`). `began` is when the first of them went
    (seconds since the epoch); None while what the field holds is looked at, or the request limit is waited for.
    """

    job: int
    folder: str
    file: str
    size: int
    sent: int = 0
    began: float | None = None

    def seconds_left(self, now: float) -> float | None:
        """How long it still takes at the pace so far; None while that cannot be told."""
        if self.began is None or not 0 < self.sent <= self.size or now <= self.began:
            return None
        return (self.size - self.sent) * (now - self.began) / self.sent


class Progress:
    """The uploads under way, each told of by the thread that sends it. Safe for threads; a report replaces one entry."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._uploads: dict[int, Uploading] = {}

    @contextmanager
    def of(self, job: Job) -> Iterator[Callable[[int], None]]:
        """While a job's file has its turn; what is given is to be told the number of its bytes that have been sent."""
        upload = Uploading(job.id, job.folder, job.name, job.size)
        self._put(upload)

        def sent(position: int) -> None:
            nonlocal upload
            anew = upload.began is None or position < upload.sent  # the same request, made again
            upload = replace(upload, sent=position, began=self._clock() if anew else upload.began)
            self._put(upload)

        try:
            yield sent
        finally:
            with self._lock:
                self._uploads.pop(job.id, None)

    def _put(self, upload: Uploading) -> None:
        with self._lock:
            self._uploads[upload.job] = upload

    def uploads(self, folder: str | None = None) -> list[Uploading]:
        """Those of a folder, or all, the largest rest first."""
        with self._lock:
            uploads = list(self._uploads.values())
        chosen = [one for one in uploads if folder in (None, one.folder)]
        return sorted(chosen, key=lambda one: (one.sent - one.size, one.job))
