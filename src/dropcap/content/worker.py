"""The process that examines: files come in as descriptors, findings go out. Nothing that a file does to it harms the daemon."""

from __future__ import annotations

import contextlib
import os
import queue
import resource
import signal
import socket
import struct
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

from dropcap.child import be_discreet
from dropcap.content.finding import UNDECIDED, Finding, Wholeness
from dropcap.content.formats import examine
from dropcap.content.reader import FULL, QUICK, BeyondBoundsError, Bounds
from dropcap.threads import NoThread, begin

#: Descriptors in one message.
TOGETHER = 64
#: A file of which nothing is known after so long is undecided: its file system hangs, or too much else is before it (seconds).
STUCK = 30.0
LATE = 60.0
#: Told at once of a file whose answer takes long; it comes later.
TAKES_LONG = Finding(Wholeness.UNDECIDED, "it takes long")
#: Files of one folder that may wait for a long look; more are undecided. Each is held open.
_MOST_LATE = 512

#: Threads of one queue that may hang at a time.
_MOST_HUNG = 4

_ASKED = struct.Struct("<QI")  # number, folder
_TOLD = struct.Struct("<QB")  # number, place in _VERDICTS; the reason follows
_VERDICTS = tuple(Wholeness)


def asked(files: list[tuple[int, int]]) -> bytes:
    """A message: numbers and folders of the files whose descriptors come with it."""
    return b"".join(_ASKED.pack(number, folder) for number, folder in files)


def telling(number: int, finding: Finding) -> bytes:
    """An answer."""
    return _TOLD.pack(number, _VERDICTS.index(finding.verdict)) + finding.why.encode()


def told(message: bytes) -> tuple[int, Finding]:
    """What an answer says."""
    number, verdict = _TOLD.unpack_from(message)
    return number, Finding(_VERDICTS[verdict], message[_TOLD.size :].decode())


@dataclass(slots=True)
class _File:
    number: int
    fd: int
    came: float


@dataclass(slots=True)
class _Shift:
    """One thread's time at a queue; `left` once another has taken its place, since it hangs."""

    file: _File | None = None
    since: float = 0.0
    left: bool = False


@dataclass(slots=True)
class _Queue:
    """The files of one folder that wait for the same kind of look, one after the other."""

    bounds: Bounds
    answer: Callable[[int, Finding], None]
    beyond: Callable[[_File], None]  # takes over what is beyond the bounds
    nice: int = 0
    files: queue.SimpleQueue[_File] = field(default_factory=queue.SimpleQueue)
    shift: _Shift | None = None
    hung: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def put(self, file: _File) -> None:
        self.files.put(file)
        self._staff()

    def _staff(self) -> None:
        """Have somebody at work, unless too many hang already."""
        with self.lock:
            if self.shift is None and self.hung < _MOST_HUNG:
                shift = _Shift()
                with contextlib.suppress(NoThread):  # `relieve` tries again
                    begin(self._run, None, shift)
                    self.shift = shift

    def relieve(self, now: float) -> None:
        """Go on with another thread if the one at work hangs in its file system."""
        shift = self.shift
        if shift is not None and (file := shift.file) is not None and now - shift.since > STUCK:
            shift.left, self.shift = True, None
            self.hung += 1
            self.answer(file.number, UNDECIDED)
        if self.files.empty():
            return
        self._staff()
        while self.shift is None and not self.files.empty():
            file = self.files.get()
            os.close(file.fd)
            self.answer(file.number, UNDECIDED)

    def _run(self, shift: _Shift) -> None:
        if self.nice:
            with contextlib.suppress(OSError):
                os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), self.nice)  # on Linux this is of one thread
        while not shift.left:
            file = self.files.get()
            shift.since, shift.file = time.monotonic(), file
            finding = self._look(file)
            if not shift.left:  # else it was answered already
                shift.file = None
                if finding is None:
                    self.beyond(file)
                    continue
            os.close(file.fd)  # first: some shares move no file that is open
            if finding is not None and not shift.left:
                self.answer(file.number, finding)
        self.hung -= 1

    def _look(self, file: _File) -> Finding | None:
        if time.monotonic() - file.came > LATE:
            return UNDECIDED
        try:
            return examine(file.fd, self.bounds)
        except BeyondBoundsError:
            return None


class _Worker:
    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._queues: dict[int, tuple[_Queue, _Queue]] = {}

    def run(self) -> None:
        self._connection.settimeout(1.0)
        while True:
            with contextlib.suppress(TimeoutError):
                message, fds, _, _ = socket.recv_fds(self._connection, TOGETHER * _ASKED.size, TOGETHER)
                if not message:
                    return  # the daemon has ended
                now = time.monotonic()
                for (number, folder), fd in zip(_ASKED.iter_unpack(message), fds, strict=True):
                    self._queue(folder)[0].put(_File(number, fd, now))
            now = time.monotonic()
            for queues in self._queues.values():
                for one in queues:
                    one.relieve(now)

    def _queue(self, number: int) -> tuple[_Queue, _Queue]:
        if number not in self._queues:
            # What takes long has a queue of its own, so that nothing else waits behind it.
            slow = _Queue(FULL, self._answer, self._undecided, nice=10)
            self._queues[number] = _Queue(QUICK, self._answer, partial(self._later, slow)), slow
        return self._queues[number]

    def _later(self, slow: _Queue, file: _File) -> None:
        if slow.files.qsize() >= _MOST_LATE:
            self._undecided(file)
        else:
            self._answer(file.number, TAKES_LONG)
            slow.put(file)

    def _undecided(self, file: _File) -> None:
        os.close(file.fd)
        self._answer(file.number, UNDECIDED)

    def _answer(self, number: int, finding: Finding) -> None:
        try:
            self._connection.sendall(telling(number, finding))
        except OSError:
            os._exit(0)  # the daemon has ended


def main() -> None:
    """Work for the process at the other end of the socket whose descriptor is the first argument."""
    be_discreet()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # it ends with the daemon, which may still need it
    for limit in (resource.RLIMIT_FSIZE, resource.RLIMIT_CORE):
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(limit, (0, 0))  # it writes no file
    sys.setswitchinterval(0.0005)  # an examination that calculates must not keep those waiting that are soon done
    _Worker(socket.socket(fileno=int(sys.argv[1]))).run()
    os._exit(0)  # threads that hang in a dead share are not waited for
