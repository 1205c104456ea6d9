"""One drop folder that is open: what all parts of its intake share."""

from __future__ import annotations

import errno
import os
from collections.abc import Collection, Iterable, Iterator
from typing import Protocol

import structlog

from dropcap.config.model import Folder
from dropcap.content.examiner import Examiner
from dropcap.display import shown
from dropcap.files.tree import Entry, Tree
from dropcap.intake import arrivals, owner
from dropcap.intake.arrivals import Fingerprint, Pending, RestTime, reason
from dropcap.intake.marker_heartbeat import MarkerHeartbeat
from dropcap.intake.mounts import Mounts, open_tree
from dropcap.intake.owner import Run, StalenessCheck
from dropcap.intake.watch import IntakeThread, Watch
from dropcap.ledger.job import Address
from dropcap.ledger.store import Ledger
from dropcap.routing.route import ignored

#: The whole share is gone, not one file.
SHARE_GONE = {errno.ESTALE, errno.ENOTCONN, errno.ENODEV, errno.EHOSTDOWN, errno.EHOSTUNREACH, errno.ETIMEDOUT}
#: Why a subfolder is left where it lies.
OTHER_FOLDER = f"it has a {owner.NAME} and so is another drop folder, or a copy of one; it is left alone"


class IntakeContext(Protocol):
    """What a folder's intake works for. Its thread calls the methods, any thread `holds` and `idle`; `unsafe` alone may hang."""

    folder: Folder
    ledger: Ledger
    run: Run
    examiner: Examiner | None  # None: no content is looked into

    def projects(self) -> Collection[str]:
        """The entries that lead where the folder's does."""

    def address(self, name: str) -> Address:
        """Where a file of a name goes."""

    def claimed(self, jobs: list[int]) -> None:
        """Jobs were entered in the ledger, or renamed there."""

    def refused(self, jobs: list[int]) -> None:
        """These were entered, and their files go to failed/ at once."""

    def place_left(self) -> None:
        """A person has renamed or taken away a job's file: those behind it in REDCap's order can be next."""

    def changed(self) -> None:
        """Other files than before wait for something."""

    def unsafe(self) -> str | None:
        """Why nothing may be taken, if so; asked each time before the folder is opened."""

    def released(self) -> bool:
        """Whether a person wants the folder let go of."""

    def holds(self) -> bool:
        """Whether no other host may work there at this moment."""

    def idle(self) -> bool:
        """Whether none of its files is being sent or filed."""


class DropDirectory:
    """One folder from its opening until it goes away. For one thread; the public attributes may be read by others.

    Raises:
        owner.Away: it is not ours to work in.
        OSError: it cannot be opened.
    """

    def __init__(self, context: IntakeContext, thread: IntakeThread, staleness: StalenessCheck, watched: bool = True) -> None:
        """`staleness` is the same at every opening of the folder. `watched=False` does without events."""
        self.context = context
        self.thread = thread
        self.folder = context.folder
        self.ledger = context.ledger
        self.log = structlog.get_logger(folder=self.folder.name)
        self.watch = Watch(thread) if watched else None
        self.pending = Pending()
        self.not_taken = NotTaken(self.log)
        self._paces: dict[int, RestTime] = {}  # by device; one object for all files, of which there may be many
        self._directories: set[str] = set()
        self._others: set[str] = set()  # drop folders within this one
        self.tree = open_tree(self.folder.path)
        self.tree.holds = context.holds
        try:
            self._occupy(staleness)
        except BaseException:
            self.close()
            raise

    def _occupy(self, staleness: StalenessCheck) -> None:
        """See that it is ours, and say that we work there."""
        folder, run = self.folder, self.context.run
        # Delivery's own descriptor, opened here because this thread alone may hang on a dead share.
        self.shared_tree = Tree(folder.path, stable_inodes=self.tree.stable_inodes)
        self.shared_tree.holds = self.tree.holds
        if self.shared_tree.identity != self.tree.identity:
            raise OSError(errno.ESTALE, "The folder was replaced while it was opened", str(folder.path))
        self.look_at_mounts()
        self.marker = owner.own(self.shared_tree, folder.name, str(folder.path), self.mount, self.ledger, run, staleness)
        self.heartbeat = MarkerHeartbeat(self.shared_tree, self.marker, run, self.thread)
        if self.tree.exists(arrivals.IN_PROGRESS):
            self.tree.remove_temporaries(arrivals.IN_PROGRESS)  # of a copy that a crash cut off
        self.heartbeat.start()

    def close(self) -> None:
        """Let go of it, but for `shared_tree` and `heartbeat`, of which others may still make use."""
        if self.watch is not None:
            self.watch.close()
        self.tree.close()
        # Those others have them. This one refers to itself: what it has stays open until Python looks for such, which is seldom.
        for name in ("shared_tree", "heartbeat"):
            self.__dict__.pop(name, None)

    # Where it lies ----------------------------------------------------------------------------------------------------

    def look_at_mounts(self) -> None:
        """Look anew at what is mounted, here and beneath."""
        path = os.path.realpath(self.folder.path)
        self._mounts = Mounts.now()
        self._paces.clear()
        self._path = path
        self.mount = self._mounts.of(path, self.tree.identity[0])
        self.tree.stable_inodes = self.shared_tree.stable_inodes = self._mounts.stable_inodes(path)

    def divided(self) -> bool:
        """Whether something is mounted beneath, so that a claim may be a copy to another file system."""
        return self._mounts.divides(self._path)

    def stay(self) -> None:
        """Raise Away if the path leads to another directory than the one that is open."""
        same = self.tree.still_there()
        if same and not self.tree.stable_inodes:
            # The number of the directory itself tells nothing either; its marker does.
            there = Tree(self.folder.path)
            try:
                same = owner.read(there) == self.marker
            finally:
                there.close()
        if not same:
            raise owner.Away(f"another directory now lies at {shown(str(self.folder.path))}")

    def before_batch(self) -> None:
        """Before files are taken: see that the folder is ours. Raises Away and OSError."""
        self.thread.tick()
        self.heartbeat.confirm()

    # Its files --------------------------------------------------------------------------------------------------------

    def pace(self, name: str, device: int) -> RestTime:
        """How long a file there must rest; `device` is its st_dev."""
        pace = self._paces.get(device)
        if pace is None:
            local = self._mounts.of(f"{self._path}/{name}", device).local
            pace = self._paces[device] = RestTime(self.folder.settle_closed, self.folder.settle_quiet, local)
        return pace

    def fingerprint(self, status: os.stat_result) -> Fingerprint:
        """A file by what lstat(2) says of it."""
        return Fingerprint.of(status, self.tree.stable_inodes)

    def trouble(self, name: str, error: OSError) -> None:
        """One file or subfolder that cannot be looked at must not stop the others; a share that is gone is another matter."""
        if error.errno in SHARE_GONE:
            raise error
        self.not_taken.put(name, reason(error))

    # Its directories --------------------------------------------------------------------------------------------------

    def dropped(self, start: str = "", known: Collection[str] = ()) -> Iterator[Entry]:
        """Everything in the folder, or beneath its subfolder `start`, that is not dropcap's own or ignored.

        Directories are watched before they are listed, so that nothing slips in between unseen. The names in `known` are none of
        dropcap's, so that a folder of many files is walked in half the time.

        Raises:
            OSError: the folder (or `start`) cannot be listed; of a subfolder beneath, its entry says so.
        """
        if not start or self._enters_dropped(start):
            if not start:
                self._enters(start)
            for entry in self.tree.scan(start):
                if entry.name in known or arrivals.is_dropped(entry.name, self.folder):
                    yield entry
                entry.enter = entry.kind == "dir" and self._enters_dropped(entry.name)

    def kept(self, own: str) -> Iterator[Entry]:
        """Everything in one of dropcap's own directories, nothing if it is not there; failed/ is watched."""
        watched = own == arrivals.FAILED
        try:
            if watched:
                self._enters(own)
            for entry in self.tree.scan(own):
                if ignored(entry.name.partition("/")[2], ()) is None:
                    yield entry
                if watched and entry.kind == "dir":
                    entry.enter = self._enters(entry.name)
        except FileNotFoundError:
            return

    def _enters_dropped(self, name: str) -> bool:
        return self.folder.subfolders and arrivals.is_dropped(name, self.folder) and self._enters(name)

    def _enters(self, name: str) -> bool:
        """Watch a directory; whether it is to be listed."""
        try:
            with self.tree.directory(name) as fd:
                if name and arrivals.top(name) not in arrivals.OWN and owner.lies_in(fd):
                    self._others.add(name)
                    self.not_taken.put(name, OTHER_FOLDER)
                    return False
                self._directories.add(name)
                if self.watch is not None:
                    self.watch.add(name, fd, self.tree.stable_inodes)
        except OSError:
            pass  # listing it meets the same and says so
        return True


class NotTaken:
    """What cannot be taken, and why; each reason is logged once. Other threads may copy `all`, but not go through it."""

    def __init__(self, log: structlog.stdlib.BoundLogger) -> None:
        self._log = log
        self.all: dict[str, str] = {}

    def put(self, name: str, why: str) -> None:
        """`name` cannot be taken."""
        if self.all.get(name) != why:
            self.all[name] = why
            self._log.warning("entry_ignored", file=shown(name), message=why)

    def drop(self, name: str) -> None:
        """`name` is gone or taken after all."""
        self.all.pop(name, None)

    def keep(self, names: Iterable[str]) -> None:
        """Nothing but these is there."""
        if not self.all:
            return
        for name in self.all.keys() - set(names):
            del self.all[name]
