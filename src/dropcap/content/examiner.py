"""Asking the process that examines files. The caller goes on at once, and gets the answer later."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import subprocess
import threading
import time
from collections.abc import Sequence
from itertools import count
from typing import Protocol

import structlog

from dropcap import child
from dropcap.content.reader import UNDECIDED, Finding
from dropcap.content.worker import LATE, STUCK, TAKES_LONG, TOGETHER, asked, decoded
from dropcap.threads import SHORTAGE, NoThread, begin

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
                    "dropcap.content.worker",
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
