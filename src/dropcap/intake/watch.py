"""inotify, by way of watchdog: hints that something happened, never the truth about it.

One inotify instance a folder: adding a watch on a dead share blocks, and must block that folder's thread alone.
watchdog's observers pair moves, for which they hold back every event behind a moved-from one for half a second, and need
a thread a directory. Hints need neither, so this stands on the layer below them (`InotifyFD`).
"""

from __future__ import annotations

import errno
import os
import threading
from typing import ClassVar, Protocol

import structlog
from watchdog.observers.inotify_c import (
    CallbackId,
    InotifyConstants,
    InotifyEvent,
    InotifyFD,
    Mask,
    WatchDescriptor,
)

from dropcap.threads import start

_log = structlog.get_logger()

_MASK = Mask(
    InotifyConstants.IN_CLOSE_WRITE
    | InotifyConstants.IN_CREATE
    | InotifyConstants.IN_MOVED_TO
    | InotifyConstants.IN_DELETE_SELF
    | InotifyConstants.IN_MOVE_SELF
    | InotifyConstants.IN_ONLYDIR
    | InotifyConstants.IN_EXCL_UNLINK
)
_LIMITS = {errno.ENOSPC, errno.EMFILE, errno.ENFILE, errno.ENOMEM}


class _Inotify(InotifyFD):
    """Reads events and tells of them in one thread. watchdog 7.1 has a second one, behind a queue without a bound: what listens
    here returns at once, so the kernel's own queue will do, whose overflow is noticed."""

    def run(self) -> None:
        while self.should_keep_running():
            for event in self.read_events():
                self.handle_event(event)


class IntakeThread(Protocol):
    """A folder's intake, for those who have news for it. For any thread; none of it blocks."""

    def happened(self, name: str) -> None:
        """Something happened to the file or directory of that name."""

    def wake(self) -> None:
        """Walk the whole folder."""

    def has_answer(self) -> None:
        """There is something to do: content was looked into, or the folder is lost."""

    def tick(self) -> float:
        """It goes round; the time (monotonic)."""

    def over(self) -> bool:
        """Whether it has ended, and nothing that it took is under way."""


class Watch:
    """Watches single directories of one folder; tells intake of relative names.

    `happened` is told the name of a file or directory that was written, made or moved there; `wake` is called when events
    were or may have been lost, so that only a walk tells.
    """

    _id: ClassVar[CallbackId] = CallbackId(1)

    def __init__(self, intake: IntakeThread) -> None:
        self._intake = intake
        self._lock = threading.Lock()
        self._names: dict[WatchDescriptor, str] = {}
        self._watched: dict[tuple[int, int] | str, WatchDescriptor] = {}  # by st_dev and st_ino: a renamed one stays watched
        self._inotify: InotifyFD | None = None
        self.limited = False  # the kernel grants no more watches: some directories are not watched

    @property
    def alive(self) -> bool:
        """Whether events arrive at all."""
        return self._inotify is not None and self._inotify.is_alive()

    @property
    def lost(self) -> bool:
        """Whether events did arrive and do not any more."""
        return self._inotify is not None and not self._inotify.is_alive()

    def begin(self) -> None:
        """A walk begins: `add` will be called for every directory. What has died is made anew."""
        self.limited = False
        if self.lost:
            self.close()

    def add(self, relative: str, fd: int, stable_inodes: bool = True) -> None:
        """Watch the directory open as `fd`, called `relative` ("" for the folder itself). Blocks while its file system does.

        Without stable inodes a directory is known again by its name; one that has taken its place is not noticed.
        Never raises: a directory that cannot be watched is walked, and `limited` says so if it is the kernel's limit.
        """
        status = os.fstat(fd)
        identity = (status.st_dev, status.st_ino) if stable_inodes else relative
        with self._lock:
            known = self._watched.get(identity)
            if known is not None:
                self._names[known] = relative
                return
        try:
            inotify = self._started()
            # By descriptor: a path could have become a link since it was opened.
            wd = inotify.add_callback(b"/proc/self/fd/%d" % fd, _MASK, self, self._id)
        except OSError as error:
            self.limited = self.limited or error.errno in _LIMITS
            return
        if wd < 0:  # watchdog keeps silent about a directory that may not be read, and remembers it
            inotify.remove_callbacks([(wd, self._id)])
            return
        with self._lock:
            self._names[wd] = relative
            self._watched[identity] = wd

    def keep(self, relatives: set[str]) -> None:
        """A walk has ended: forget every directory but these."""
        with self._lock:
            gone = {wd for wd, relative in self._names.items() if relative not in relatives}
            self._names = {wd: relative for wd, relative in self._names.items() if wd not in gone}
            self._watched = {identity: wd for identity, wd in self._watched.items() if wd not in gone}
            inotify = self._inotify
        if inotify is not None and inotify.is_alive():
            inotify.remove_callbacks([(wd, self._id) for wd in gone])

    def close(self) -> None:
        """End all watches."""
        with self._lock:
            inotify, self._inotify = self._inotify, None
            self._names.clear()
            self._watched.clear()
        if inotify is not None:
            inotify.stop()

    def _started(self) -> InotifyFD:
        if self._inotify is None:
            made = _Inotify()
            start(made)
            self._inotify = made
        return self._inotify

    # Called by watchdog, in its thread, which an exception would end. ------------------------------------------------

    def on_event(self, event: InotifyEvent) -> None:
        """Something happened in a watched directory."""
        try:
            with self._lock:
                directory = self._names.get(event.wd)
            if directory is None:
                return
            if event.name:
                name = os.fsdecode(event.name)
                self._intake.happened(f"{directory}/{name}" if directory else name)
                return
            self._intake.wake()  # the directory itself was moved or deleted
        except Exception:
            _log.exception("internal_error", where="watch")

    def on_watch_deleted(self, wd: WatchDescriptor) -> None:
        """A watched directory was deleted or unmounted."""
        try:
            with self._lock:
                if self._names.pop(wd, None) is None:
                    return
                self._watched = {identity: other for identity, other in self._watched.items() if other != wd}
            self._intake.wake()
        except Exception:
            _log.exception("internal_error", where="watch")

    def on_queue_overflow(self) -> None:
        """Events came faster than they were read, and some are lost."""
        try:
            self._intake.wake()
        except Exception:
            _log.exception("internal_error", where="watch")

    def on_events_lost(self) -> None:
        """Said after `on_queue_overflow`, by watchdog 7.1 and later."""
