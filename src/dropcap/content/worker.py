"""The process that examines files: descriptors in, findings out. Nothing in a file harms the daemon, and it imports little."""

from __future__ import annotations

import contextlib
import os
import queue
import re
import resource
import signal
import socket
import struct
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from dropcap.child import silence_stderr
from dropcap.content import media
from dropcap.content.documents import (
    BZIP2,
    GZIP,
    OLE,
    RTF,
    SEVEN,
    XZ,
    ZIP,
    examine_7z,
    examine_bzip2,
    examine_gzip,
    examine_ole,
    examine_pdf,
    examine_rtf,
    examine_xz,
    examine_zip,
    is_pdf,
)
from dropcap.content.media import GIF, HEADS, JPEG, PNG, examine_gif, examine_jpeg, examine_png, examine_tiff
from dropcap.content.reader import FULL, QUICK, UNDECIDED, BeyondBoundsError, Bounds, Finding, Reader, Wholeness
from dropcap.threads import SHORTAGE, NoThread, begin, spare

Examination = Callable[[Reader], Finding]

#: As much of the beginning as tells the format.
_HEAD = 1024
#: Parts of what is too large for one file: each is whole, and none of them looks so.
_VOLUME = re.compile(r"\.(?:[0-9]{3}|z[0-9]{2}|r[0-9]{2}|part[0-9]+(?:\.[a-z0-9]{1,4})?)\Z", re.IGNORECASE)

_BEGINNINGS: tuple[tuple[bytes | tuple[bytes, ...], Examination], ...] = (
    (ZIP, examine_zip),
    (PNG, examine_png),
    (JPEG, examine_jpeg),
    (GIF, examine_gif),
    (HEADS, examine_tiff),
    (XZ, examine_xz),
    (SEVEN, examine_7z),
    (OLE, examine_ole),
    (RTF, examine_rtf),
    (media.WAVE, media.examine_wave),
)


def is_volume(name: str) -> bool:
    """Whether a file of this name is a part of several, of which nothing can be told."""
    return _VOLUME.search(name) is not None


def examine(fd: int, bounds: Bounds = FULL) -> Finding:
    """Whether the regular file open as `fd` looks cut off.

    Raises:
        BeyondBoundsError: it cannot be told within these bounds.
    """
    try:
        file = Reader(fd, bounds)
        look = _examination_for(file.at(0, _HEAD))
        return look(file) if look is not None else UNDECIDED
    except BeyondBoundsError:
        raise
    except Exception:
        return UNDECIDED  # what an examination does not expect proves nothing


def judged(fd: int, bounds: Bounds = FULL) -> Finding:
    """As `examine`; what is beyond the bounds is undecided."""
    try:
        return examine(fd, bounds)
    except BeyondBoundsError:
        return UNDECIDED


def _examination_for(head: bytes) -> Examination | None:
    if media.recognised(head):  # first: many begin like a TIFF
        return media.examine
    for beginning, look in _BEGINNINGS:
        if head.startswith(beginning):
            return look
    if head.startswith(GZIP) and len(head) > 3 and not head[3] & 0xE0:
        return examine_gzip
    if head.startswith(BZIP2) and head[4:10] in (b"1AY&SY", b"\x17\x72\x45\x38\x50\x90"):
        return examine_bzip2
    if media.is_edf(head):
        return media.examine_edf
    if head[4:8] in media.BOXES:
        return media.examine_boxes
    return examine_pdf if is_pdf(head) else None


#: Descriptors in one message.
TOGETHER = 64
#: A file of which nothing is known after so long is undecided: its file system hangs, or too much else is before it (seconds).
STUCK = 30.0
LATE = 60.0
#: Told at once of a file whose answer takes long; it comes later.
TAKES_LONG = Finding(Wholeness.UNDECIDED, "it takes long")
#: Files of one folder that may wait for a long look; more are undecided. Each is held open.
_MOST_LATE = 512

#: Seconds after which a thread that was refused is asked for once more.
_TRIED = 0.3
#: Threads of one queue that may hang at a time.
_MOST_HUNG = 4

_ASKED = struct.Struct("<QI")  # number, folder
_TOLD = struct.Struct("<QB")  # number, place in _VERDICTS; the reason follows
_VERDICTS = tuple(Wholeness)


def asked(files: list[tuple[int, int]]) -> bytes:
    """A message: numbers and folders of the files whose descriptors come with it."""
    return b"".join(_ASKED.pack(number, folder) for number, folder in files)


def encoded(number: int, finding: Finding) -> bytes:
    """An answer."""
    return _TOLD.pack(number, _VERDICTS.index(finding.verdict)) + finding.why.encode()


def decoded(message: bytes) -> tuple[int, Finding]:
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
    worker: _Worker
    slow: _Queue | None = None  # takes over what is beyond the bounds, which is undecided else
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
                self.shift = _Shift()
                if spare(self._run, None, self.shift) is None:
                    time.sleep(_TRIED)  # perhaps the daemon tries how many it may have
                    begin(self._run, None, self.shift)

    def relieve(self, now: float) -> None:
        """Go on with another thread if the one at work hangs in its file system."""
        shift = self.shift
        if shift is not None and (file := shift.file) is not None and now - shift.since > STUCK:
            shift.left, self.shift = True, None
            self.hung += 1
            self.worker.answer(file.number, UNDECIDED)
        if self.files.empty():
            return
        self._staff()
        while self.shift is None and not self.files.empty():
            file = self.files.get()
            os.close(file.fd)
            self.worker.answer(file.number, UNDECIDED)

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
                    self.worker.put_later(file, self.slow)
                    continue
            os.close(file.fd)  # first: some shares move no file that is open
            if finding is not None and not shift.left:
                self.worker.answer(file.number, finding)
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
        while not SHORTAGE.is_set():  # one of its threads may have been refused another
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
            slow = _Queue(FULL, self, nice=10)
            self._queues[number] = _Queue(QUICK, self, slow), slow
        return self._queues[number]

    def put_later(self, file: _File, slow: _Queue | None) -> None:
        """A file is beyond the bounds of its queue."""
        if slow is None or slow.files.qsize() >= _MOST_LATE:
            os.close(file.fd)
            self.answer(file.number, UNDECIDED)
        else:
            self.answer(file.number, TAKES_LONG)
            slow.put(file)

    def answer(self, number: int, finding: Finding) -> None:
        try:
            self._connection.sendall(encoded(number, finding))
        except OSError:
            os._exit(0)  # the daemon has ended


def main() -> None:
    """Work for the process at the other end of the socket whose descriptor is the first argument."""
    silence_stderr()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # it ends with the daemon, which may still need it
    for limit in (resource.RLIMIT_FSIZE, resource.RLIMIT_CORE):
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(limit, (0, 0))  # it writes no file
    sys.setswitchinterval(0.0005)  # an examination that calculates must not keep those waiting that are soon done
    with contextlib.suppress(NoThread):
        _Worker(socket.socket(fileno=int(sys.argv[1]))).run()
    os._exit(NoThread.code if SHORTAGE.is_set() else 0)  # threads that hang in a dead share are not waited for
