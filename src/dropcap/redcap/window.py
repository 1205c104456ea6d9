"""A sliding window of requests per host, shared by every process on this machine and kept across restarts."""

from __future__ import annotations

import fcntl
import os
import struct
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

#: Seconds that a window lasts. REDCap counts a minute as requests arrive; the second on top allows for their travel.
WINDOW = 61.0

_HEADER = struct.Struct("<8sII")  # magic, capacity, index of the oldest stamp
_MAGIC = b"dropcapW"
_STAMP = struct.Struct("<d")


class Stopped(Exception):  # noqa: N818 - asked for, no error
    """A stop was asked for while waiting, or while a request was under way.

    `outcome_unknown`: an import was broken off after it had begun; read back before anything is sent again. `said` is for people.
    """

    said = "dropcap was stopped"

    def __init__(self, message: str, outcome_unknown: bool = False) -> None:
        super().__init__(message)
        self.outcome_unknown = outcome_unknown


class Allowance(ABC):
    """At most `per_minute` requests of a server in any minute, by all processes. 0: no limit."""

    def __init__(self, per_minute: int) -> None:
        self.per_minute = per_minute
        self.waiting: set[int] = set()  # the threads of this process that wait for room
        self.room_at = 0.0  # when the one that waited last asks again: by then the oldest request counts no more (epoch)

    def acquire(self, stop: threading.Event | None = None) -> float:
        """Wait until a request may be made, and enter it.

        Returns the seconds waited. Raises `Stopped` if `stop` is set first, OSError if nothing can be entered.
        """
        waited = 0.0
        try:
            while (wait := self.try_acquire()) > 0:
                self.room_at = time.time() + wait
                self.waiting.add(threading.get_ident())
                if stop is None:
                    time.sleep(wait)
                elif stop.wait(wait):
                    raise Stopped("stopped while waiting for the request limit")
                waited += wait
        finally:
            self.waiting.discard(threading.get_ident())
        return waited

    @abstractmethod
    def try_acquire(self) -> float:
        """Enter a request and return 0.0, or return the seconds after which to ask again."""

    def fresh(self) -> bool:
        """Whether what the calling thread was granted last may still be used: else another request has to be entered."""
        return True

    @abstractmethod
    def used(self) -> int:
        """Requests of the last minute, by all processes; 0 where nothing is counted or can be read."""

    @abstractmethod
    def close(self) -> None:
        """Let go of what it is kept in."""


class RequestWindow(Allowance):
    """The allowance that the processes of one machine share. 0 a minute: no file.

    The file is a ring of wall-clock stamps, oldest first from the index in its header. A ring never shrinks, so that a
    lowered and raised limit forgets nothing: the limit says how far to look back.
    """

    def __init__(self, path: Path, per_minute: int) -> None:
        self._fd = -1
        super().__init__(per_minute)
        self._path = path
        self._threads = threading.Lock()  # flock knows file descriptors, not threads

    def try_acquire(self) -> float:
        """Enter a request and return 0.0, or return the seconds after which to ask again."""
        if self.per_minute <= 0:
            return 0.0
        with self._locked() as fd:
            capacity, head = self._sound_ring(fd)
            now = time.time()
            if self._stamp(fd, (head - 1) % capacity) > now:
                self._clamp(fd, capacity, now)
            wait = self._stamp(fd, (head - self.per_minute) % capacity) + WINDOW - now
            if wait > 0:
                return wait
            os.pwrite(fd, _STAMP.pack(now), self._offset(head))
            os.pwrite(fd, _HEADER.pack(_MAGIC, capacity, (head + 1) % capacity), 0)
            return 0.0

    def used(self) -> int:
        """Requests of the last minute, whichever process made them; 0 where nothing is counted or can be read."""
        if self.per_minute <= 0:
            return 0
        try:
            with self._locked() as fd:
                raw = os.pread(fd, _HEADER.size, 0)
                if len(raw) != _HEADER.size:
                    return 0
                magic, capacity, _ = _HEADER.unpack(raw)
                stamps = os.pread(fd, capacity * _STAMP.size, _HEADER.size) if magic == _MAGIC else b""
        except (OSError, struct.error):
            return 0
        since = time.time() - WINDOW
        whole = len(stamps) - len(stamps) % _STAMP.size
        return sum(stamp > since for (stamp,) in _STAMP.iter_unpack(stamps[:whole]))

    def close(self) -> None:
        """Let go of the file."""
        with self._threads:
            if self._fd >= 0:
                os.close(self._fd)
                self._fd = -1

    def __del__(self, close: Callable[[int], None] = os.close) -> None:  # `os` may be gone at the end of the process
        if self._fd >= 0:  # the client that used it went with a reload, once its last request had ended
            close(self._fd)

    @contextmanager
    def _locked(self) -> Iterator[int]:
        with self._threads:
            if self._fd < 0:
                self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
                self._fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
                if os.geteuid() == 0:  # a command run by root must not take the window from the daemon's user
                    owner = self._path.parent.stat()
                    os.fchown(self._fd, owner.st_uid, owner.st_gid)
            fcntl.flock(self._fd, fcntl.LOCK_EX)
            try:
                yield self._fd
            finally:
                fcntl.flock(self._fd, fcntl.LOCK_UN)

    def _sound_ring(self, fd: int) -> tuple[int, int]:
        """The ring's capacity (`per_minute` or more) and its oldest stamp's index; made or mended first if need be."""
        raw = os.pread(fd, _HEADER.size, 0)
        if len(raw) == _HEADER.size:
            magic, capacity, head = _HEADER.unpack(raw)
            whole = os.fstat(fd).st_size == self._offset(capacity)
            if magic == _MAGIC and 0 <= head < capacity and whole:
                if capacity >= self.per_minute:
                    return capacity, head
                ring = os.pread(fd, capacity * _STAMP.size, _HEADER.size)
                cut = head * _STAMP.size
                return self._write_ring(fd, bytes((self.per_minute - capacity) * _STAMP.size) + ring[cut:] + ring[:cut])
        # A new file knows of no requests. One that is damaged may have known of many: count the window as full.
        stamp = _STAMP.pack(time.time() if raw else 0.0)
        return self._write_ring(fd, stamp * self.per_minute)

    def _write_ring(self, fd: int, stamps: bytes) -> tuple[int, int]:
        capacity = len(stamps) // _STAMP.size
        # The header is written last: a crash in between leaves a size that does not fit, which is mended as damage.
        os.ftruncate(fd, self._offset(capacity))
        os.pwrite(fd, stamps, _HEADER.size)
        os.pwrite(fd, _HEADER.pack(_MAGIC, capacity, 0), 0)
        return capacity, 0

    def _clamp(self, fd: int, capacity: int, now: float) -> None:
        """The clock went back: stamps from the future count as made now. Never too soon, and a minute's wait at most."""
        for index in range(capacity):
            if self._stamp(fd, index) > now:
                os.pwrite(fd, _STAMP.pack(now), self._offset(index))

    @staticmethod
    def _offset(index: int) -> int:
        return _HEADER.size + index * _STAMP.size

    def _stamp(self, fd: int, index: int) -> float:
        value: float = _STAMP.unpack(os.pread(fd, _STAMP.size, self._offset(index)))[0]
        return value
