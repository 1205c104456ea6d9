"""The worker threads, and an upload under way: how far it has come, and how it is cancelled."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from io import FileIO
from typing import Protocol

import structlog

from dropcap.filing.loop import DropFolder
from dropcap.ledger.job import Job
from dropcap.threads import begin

log = structlog.get_logger()

#: Seconds that one look at a file may take before the slot is given to another turn.
HANGS = 30.0


@dataclass(slots=True)
class Slot:
    """One thread's present turn."""

    label: str = ""  # the folder it works for
    large: bool = False
    in_file_since: float | None = None
    hung: bool = False
    thread: int = 0

    @contextmanager
    def in_file(self) -> Iterator[None]:
        """While a file system is waited for: one that hangs is noticed."""
        self.in_file_since = time.monotonic()
        try:
            yield
        finally:
            self.in_file_since = None


class WatchedFile(FileIO):
    """A file whose reads are seen by the slot, so that one that hangs is noticed."""

    slot: Slot | None = None

    def readinto(self, buffer: object, /) -> int:
        assert self.slot is not None
        self.slot.in_file_since = time.monotonic()
        try:
            return super().readinto(buffer)  # type: ignore[arg-type]
        finally:
            self.slot.in_file_since = None

    def read(self, size: int | None = -1, /) -> bytes:
        """Read, seen by the slot."""
        assert self.slot is not None
        with self.slot.in_file():
            return super().read(-1 if size is None else size)


class Workers:
    """Runs turns on threads of its own; at most `size` that make headway."""

    def __init__(self, size: int) -> None:
        self.size = size
        self._turns: queue.SimpleQueue[tuple[Slot, Callable[..., None], Sequence[object]] | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._slots: dict[int, Slot] = {}
        self._threads: list[threading.Thread] = []
        self._none = threading.Condition(self._lock)
        self._idle = 0  # threads that wait for a turn and were promised to none

    def ready(self, turns: int) -> None:
        """Have threads wait for so many turns. Raises NoThread: to be asked before anything is done for a turn that could not be
        undone."""
        with self._lock:
            while self._idle < turns:
                self._threads.append(begin(self._work, f"delivery {len(self._threads) + 1}"))
                self._idle += 1

    def run(self, slot: Slot, turn: Callable[..., None], *given: object) -> None:
        """Have one of the threads that are `ready` call `turn(slot, *given)`, which must not raise."""
        with self._lock:
            self._slots[id(slot)] = slot
            self._idle -= 1
        self._turns.put((slot, turn, given))

    def _work(self) -> None:
        while True:
            next_turn = self._turns.get()
            if next_turn is None:
                return
            slot, turn, given = next_turn
            slot.thread = threading.get_ident()
            goes_on = False
            try:
                turn(slot, *given)
                goes_on = True
            except Exception as error:  # it must not, but a thread that ends would be missed for good
                log.error("internal_error", where="delivery", error=f"{type(error).__name__}: {error}", exc_info=True)
                goes_on = True
            finally:
                with self._lock:
                    del self._slots[id(slot)]
                    self._idle += goes_on
                    if not self._slots:
                        self._none.notify_all()
                del next_turn, turn, slot, given  # they hold its folder open, and the next turn may be long in coming

    def free(self, waiting: Collection[int] = ()) -> int:
        """How many turns may be started, beside those whose threads are `waiting` for a request limit."""
        with self._lock:
            return self.size - sum(not slot.hung and slot.thread not in waiting for slot in self._slots.values())

    def running(self) -> int:
        """How many turns are under way, hung ones included."""
        with self._lock:
            return len(self._slots)

    def busy(self, label: str) -> bool:
        """Whether a turn of that label is under way, also one that hangs."""
        with self._lock:
            return any(slot.label == label for slot in self._slots.values())

    def only_wait(self, waiting: Collection[int]) -> bool:
        """Whether all turns under way are those of threads that are `waiting` for a request limit."""
        with self._lock:
            return all(slot.thread in waiting for slot in self._slots.values())

    def wait_for_none(self, within: float) -> bool:
        """Wait until no turn is under way; False if some still were after so many seconds."""
        with self._lock:
            return self._none.wait_for(lambda: not self._slots, within)

    def large(self) -> int:
        """How many turns on large files are under way."""
        with self._lock:
            return sum(slot.large and not slot.hung for slot in self._slots.values())

    def hung(self, now: float) -> dict[str, int]:
        """Folders in which turns hang, and how many; their slots are free again."""
        found: dict[str, int] = {}
        with self._lock:
            for slot in self._slots.values():
                since = slot.in_file_since
                slot.hung = since is not None and now - since > HANGS
                if slot.hung:
                    found[slot.label] = found.get(slot.label, 0) + 1
        return found

    def stop(self) -> None:
        """Let idle threads end."""
        for _ in self._threads:
            self._turns.put(None)


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
        """How long its bytes still take at the pace so far; None while that cannot be told, or all have gone."""
        if self.began is None or not 0 < self.sent < self.size or now <= self.began:
            return None
        return (self.size - self.sent) * (now - self.began) / self.sent


class Progress:
    """The uploads under way, each told of by the thread that sends it. Safe for threads; a report replaces one entry."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._uploads: dict[int, Uploading] = {}

    @contextmanager
    def of(self, job: Job) -> Iterator[None]:
        """While a job's file has its turn."""
        with self._lock:
            self._uploads[job.id] = Uploading(job.id, job.folder, job.name, job.size)
        try:
            yield
        finally:
            with self._lock:
                self._uploads.pop(job.id, None)

    def sent(self, job: int, position: int) -> None:
        """So many bytes of a job's file have gone."""
        with self._lock:
            upload = self._uploads[job]
            anew = upload.began is None or position < upload.sent  # the same request, made again
            self._uploads[job] = replace(upload, sent=position, began=time.time() if anew else upload.began)

    def uploads(self, folder: str | None = None) -> list[Uploading]:
        """Those of a folder, or all, the largest rest first."""
        with self._lock:
            uploads = list(self._uploads.values())
        chosen = [one for one in uploads if folder in (None, one.folder)]
        return sorted(chosen, key=lambda one: (one.sent - one.size, one.job))


#: How often a wait looks whether the lease still holds (seconds).
_LOOK = 0.5


class CancelToken(threading.Event):
    """Set while everything is broken off, or the upload's folder may be another host's."""

    def __init__(self, break_off: threading.Event, site: DropFolder) -> None:
        super().__init__()
        self._break_off = break_off
        self._site = site

    def is_set(self) -> bool:
        """Whether to end now."""
        return self._break_off.is_set() or not self._site.holds()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until it is set, at most so many seconds; whether it is."""
        end = None if timeout is None else time.monotonic() + timeout
        while not self.is_set():
            left = _LOOK if end is None else min(_LOOK, end - time.monotonic())
            if left <= 0:
                return False
            self._break_off.wait(left)
        return True


class Hosts(Protocol):
    """This host among those that share the ledger."""

    def before_send(self, jobs: Sequence[Job]) -> None:
        """Enter on this host's own disk which jobs are about to be sent, and where to. Raises OSError: then none may be sent."""

    def at_work_elsewhere(self) -> Collection[str]:
        """In which folders other hosts work now."""


class NotEntered(Exception):  # noqa: N818 - a state of the disk more than an error
    """This host's own disk has no room or right to enter what is about to be sent: nothing of it is sent meanwhile."""

    def __init__(self, error: OSError) -> None:
        super().__init__(error.strerror)
        self.message = f"what is about to be sent cannot be entered in state_dir ({error.strerror}): nothing is sent meanwhile"
        self.remedy = "make room on the disk of state_dir, or let dropcap's user write there"
