"""The process that examines files, and asking it. The caller goes on at once, and gets the answer later.

Descriptors go in, findings come out: nothing in a file harms the daemon.
"""

from __future__ import annotations

import contextlib
import errno
import os
import queue
import re
import resource
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Protocol

import structlog

from dropcap import child
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
from dropcap.threads import SHORTAGE, NoThread, begin

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


_log = structlog.get_logger()


class Asker(Protocol):
    """Who has files judged."""

    def answered(self, number: int, finding: Finding | None) -> None:
        """This was found in the file of that number. None: nobody knows, ask again; TAKES_LONG: it is told later.

        Called from another thread, perhaps before `Examiner.ask` returns; must be quick."""


#: Of the environment, which may hold a token, only what a Python needs to start.
_ENVIRONMENT = ("PATH", "LD_LIBRARY_PATH", "LD_PRELOAD", "PYTHONHOME", "LANG", "LC_ALL", "TZ")
#: A file of which the process says nothing for so long (seconds): it is beyond help itself.
_SILENT = LATE + 3 * STUCK
#: A process that could not be started is started anew after so long (seconds); meanwhile all is undecided.
_AGAIN = 60.0
#: The same after so many that ended within so long (seconds).
_MOST_SHORT, _SHORT = 3, 10.0


class Examiner:
    """Has files judged by a process of its own, which is started when it is first needed. For all threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._numbers = count(1)
        self._folders: dict[str, int] = {}
        self._process: _Process | None = None
        self._retry_at = 0.0
        self._short = 0  # processes, one after the other, that soon ended
        self._closed = False

    def ask(self, folder: str, fds: Sequence[int], asker: Asker) -> list[int]:
        """Have files judged that are open for reading; the numbers under which `asker` is told what was found.

        It takes as many as it can now, the first ones. A `folder` that hangs keeps no other's files waiting. The
        descriptors stay the caller's.
        """
        with self._lock:
            numbers = [next(self._numbers) for _ in fds]
            process = self._running()
            if process is not None:
                return process.ask(self._folders.setdefault(folder, len(self._folders)), numbers, fds, asker)
        for number in numbers:
            asker.answered(number, UNDECIDED)
        return numbers

    def close(self) -> None:
        """End the process."""
        with self._lock:
            self._closed = True
            process, self._process = self._process, None
        if process is not None:
            process.end()

    def _running(self) -> _Process | None:
        before, now = self._process, time.monotonic()
        if before is not None and before.alive:
            return before
        if before is not None:
            self._process = None
            self._short = self._short + 1 if now - before.began < _SHORT else 0
            if self._short >= _MOST_SHORT:
                self._short, self._retry_at = 0, now + _AGAIN
        if self._closed or now < self._retry_at:
            return None
        try:
            self._process = _Process()
        except OSError as error:
            self._retry_at = time.monotonic() + _AGAIN
            _log.warning(
                "check_problem",
                message=f"the process that looks for files cut off cannot be started ({error.strerror or error}): all are taken",
                remedy="look for a limit on processes or memory; dropcap tries again by itself",
            )
            return None
        return self._process


class _Process:
    """The process, and who is to be told what. Ended or dead, it tells all that waits to ask again."""

    def __init__(self) -> None:
        """Raises OSError: there is no process to be had."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            try:
                self._child = child.start(
                    "dropcap.content.examiner",
                    str(theirs.fileno()),
                    pass_fds=(theirs.fileno(),),
                    env={key: os.environ[key] for key in _ENVIRONMENT if key in os.environ},
                )
            except BaseException:
                ours.close()
                raise
        self._socket = ours
        self._lock = threading.Lock()
        self._waiting: dict[int, tuple[Asker, float]] = {}
        self.alive = True
        self.began = time.monotonic()
        self._ending = False
        begin(self._run, "examiner")

    def ask(self, folder: int, numbers: Sequence[int], fds: Sequence[int], asker: Asker) -> list[int]:
        taken: list[int] = []
        for start in range(0, len(fds), TOGETHER):
            some = numbers[start : start + TOGETHER]
            now = time.monotonic()
            with self._lock:
                if not self.alive:
                    break
                self._waiting.update((number, (asker, now)) for number in some)
            try:
                message = asked([(number, folder) for number in some])
                socket.send_fds(self._socket, [message], list(fds[start : start + TOGETHER]), socket.MSG_DONTWAIT)
            except OSError as error:
                with self._lock:
                    for number in some:
                        self._waiting.pop(number, None)
                if error.errno not in (errno.EAGAIN, errno.ETOOMANYREFS, errno.ENOBUFS):
                    self._hang_up()
                break
            taken += some
        return taken

    def end(self) -> None:
        """It ends by itself once nobody is at the other end."""
        self._ending = True
        self._hang_up()

    def _hang_up(self) -> None:
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)

    def _run(self) -> None:
        self._socket.settimeout(10.0)
        while True:
            try:
                message = self._socket.recv(65536)
            except TimeoutError:
                with self._lock:
                    oldest = min((since for _, since in self._waiting.values()), default=time.monotonic())
                if time.monotonic() - oldest < _SILENT:
                    continue
                break
            except OSError:
                break
            if not message:
                break
            number, finding = decoded(message)
            with self._lock:
                asker, _ = self._waiting.get(number, (None, 0.0))
                if finding != TAKES_LONG:
                    self._waiting.pop(number, None)
            if asker is not None:
                asker.answered(number, finding)
        self._over()

    def _over(self) -> None:
        with self._lock:
            self.alive = False
            waiting, self._waiting = self._waiting, {}
        try:
            self._child.wait(5.0)
            ended = f"has ended {child.why(self._child)}"
        except subprocess.TimeoutExpired:
            self._child.kill()  # one that hangs in a dead share goes when that lets go of it
            ended = "does not answer"
        if self._child.returncode == NoThread.code:
            SHORTAGE.set()
        elif not self._ending:
            _log.warning(
                "check_problem",
                message=f"the process that looks for files cut off {ended}; {len(waiting)} files are looked into again",
                remedy="dropcap starts it anew; look for a lack of memory, or report it if it happens often",
            )
        for number, (asker, _) in waiting.items():
            asker.answered(number, None)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._child.wait(5.0)
        child.close(self._child)
        self._socket.close()
