"""One drop folder, opened: found to be ours, walked, and shared with those who send and file."""

from __future__ import annotations

import contextlib
import errno
import math
import os
import stat as modes
import time

from dropcap.display import shown
from dropcap.files.regular import REMEDY
from dropcap.files.tree import Tree
from dropcap.intake import arrivals, owner
from dropcap.intake.arrivals import OWN, Backlog, top
from dropcap.intake.claim import Claimer
from dropcap.intake.content import ContentJudge
from dropcap.intake.marker_heartbeat import MarkerHeartbeat
from dropcap.intake.opened import DropDirectory, IntakeContext
from dropcap.intake.owner import Away, NoMarker, StalenessCheck
from dropcap.intake.people import OwnDirectories
from dropcap.intake.strays import Left, LeftFiles, Strays
from dropcap.intake.watch import IntakeThread
from dropcap.ledger.database import TOO_MANY_OPEN, DatabaseError, NoDescriptor, Unavailable

#: Files that are looked at closely at a time; those that wait behind them cost nothing but their names.
IN_MEMORY = 1000
#: The same of those that rest, whose rest may begin with our look: so many at least, or for each second of `settle_quiet`.
RESTING, RESTED_A_SECOND = 4000, 200

#: Why something is left where it lies.
LINK = "it is a link; put the file itself here; it is left where it is"
NO_FILE = "it is not a file; it is left where it is"


class OpenedFolder(DropDirectory):
    """An open folder with all that is done in it: walked, looked into, claimed, reconciled."""

    def __init__(self, context: IntakeContext, thread: IntakeThread, staleness: StalenessCheck, watched: bool = True) -> None:
        """As a `DropDirectory`."""
        super().__init__(context, thread, staleness, watched)
        self._names = self.pending.names
        self._backlog = Backlog()
        self._left = Left(self.folder, self.ledger, self.log)
        self.strays = Strays(self)
        self._contents = ContentJudge(self)
        self._own_directories = OwnDirectories(self)
        self._claims = Claimer(self, self._contents, self._own_directories)

    # Looking ----------------------------------------------------------------------------------------------------------

    def walk(self) -> None:
        """Look at everything.

        Raises:
            owner.Away: it is not the folder any more, or not ours.
            OSError: it does not answer as it should.
        """
        self.stay()
        self.look_at_mounts()
        self.heartbeat.confirm()
        self._directories, self._others = set(), set()
        if self.watch is not None:
            self.watch.begin()
        gone = set(self.pending) | self.not_taken.all.keys()
        self._backlog = Backlog()
        self._left.begin(self.marker.since_ns)
        self._look_beneath("", gone)
        self._left.end()
        for name in gone:
            if arrivals.top(name) not in arrivals.OWN:
                self.pending.drop(name)
        # What is wrong in dropcap's own directories is found anew below.
        self.not_taken.keep(self.not_taken.all.keys() - gone | self._others)
        self._own_directories.look(not self._backlog)
        self.strays.want()
        self._contents.keep(self.pending.names)
        self._contents.save()
        if self.watch is not None:
            self.watch.keep(self._directories)

    def look(self, name: str) -> None:
        """Something happened to `name`: a file or a directory, there or not."""
        if arrivals.top(name) == arrivals.FAILED:
            self._own_directories.hint()
            return
        if not arrivals.is_dropped(name, self.folder):
            return
        if "/" in name and (not self.folder.subfolders or owner.lies_above(self.tree, name)):
            return
        try:
            status = self.tree.lstat(name)
        except (FileNotFoundError, NotADirectoryError):
            self.pending.drop(name)
            if name in self._directories:
                self.pending.drop_beneath(name, ())
            self.not_taken.drop(name)
            return
        except OSError as error:
            self.trouble(name, error)
            return
        if modes.S_ISDIR(status.st_mode):
            self._look_into(name)
            return
        kind = "file" if modes.S_ISREG(status.st_mode) else "link" if modes.S_ISLNK(status.st_mode) else "other"
        if kind == "file" and name not in self.pending.names and self._left.has(name, status):
            return
        in_line = bool(self._backlog) or len(self.pending) >= RESTING
        if kind == "file" and in_line and name not in self.pending.names:
            self._backlog.add(name, status.st_ctime_ns)  # later files go behind those that wait
        else:
            self._see(name, kind, status, hinted=True)

    def _look_into(self, name: str) -> None:
        """Something happened to the subfolder `name`."""
        gone = {other for other in self.pending if other.startswith(f"{name}/")}
        try:
            self._look_beneath(name, gone)
        except (FileNotFoundError, NotADirectoryError):
            pass  # it is gone again, and all that lay in it
        except OSError as error:
            self.trouble(name, error)
            return
        for other in gone:
            self.pending.drop(other)

    def _look_beneath(self, start: str, gone: set[str]) -> None:
        """Look at all files beneath `start`. Those that are there are taken out of `gone`, those that are new wait in line."""
        pending, stable, backlog = self.pending, self.tree.stable_inodes, self._backlog
        for entry in self.dropped(start, pending.names):
            name = entry.name
            try:
                if entry.error is not None:
                    raise entry.error
                status = entry.stat
            except OSError as error:
                self.trouble(name, error)
                gone.discard(name)
                continue
            if entry.kind == "dir" or status is None:
                continue
            gone.discard(name)
            if entry.kind != "file" or name in pending.names:
                if entry.kind != "file" or not pending.unchanged(name, status, stable):
                    self._see(name, entry.kind, status, hinted=False)
            elif not self._left.has(name, status):
                backlog.add(name, status.st_ctime_ns)
        backlog.sort()
        self._refill()

    def _refill(self) -> None:
        """Look closely at the next in line, unless there is enough to do."""
        if time.monotonic() >= self._next_in_line():
            for name in self._backlog.take(IN_MEMORY):
                try:
                    status = self.tree.lstat(name)
                except (FileNotFoundError, NotADirectoryError):
                    continue
                except OSError as error:
                    self.trouble(name, error)
                    continue
                if modes.S_ISREG(status.st_mode):
                    self._see(name, "file", status, hinted=False)

    def _next_in_line(self) -> float:
        """When to look at the next in line (monotonic): when it can have settled, and there is not enough to do before."""
        if not self._backlog:
            return math.inf
        if len(self.pending) < IN_MEMORY:
            return 0.0
        now = time.monotonic()
        ready, resting = self.pending.moving(now)
        if ready >= IN_MEMORY or resting >= max(RESTING, RESTED_A_SECOND * self.folder.settle_quiet):
            return math.inf
        age = (time.time_ns() - self._backlog.first_changed_ns()) / 1e9
        young = self.mount.local and 0 <= age < self.folder.settle_closed
        return now + self.folder.settle_closed - age if young else 0.0

    def _see(self, name: str, kind: str, status: os.stat_result, *, hinted: bool) -> None:
        if kind != "file":
            self.not_taken.put(name, LINK if kind == "link" else NO_FILE)
        else:
            fingerprint, pace = self.fingerprint(status), self.pace(name, status.st_dev)
            self.pending.see(name, fingerprint, pace, hinted=hinted)
            self._contents.saw(name, fingerprint, pace, closely=hinted)

    # For its thread ---------------------------------------------------------------------------------------------------

    def work(self) -> bool:
        """Claim what is due; whether there was anything.

        Raises:
            owner.Away, OSError: as `walk`.
        """
        self._contents.take_answers()
        now = time.monotonic()
        was_due = now >= self.next()
        if not was_due and not self.full:
            self._contents.save()  # what a look saw just now must outlive a crash before the file is due
            return False
        self._own_directories.look_if_due(not self._backlog)
        self._refill()
        self._claims.work()
        self._contents.save()
        return was_due

    @property
    def asks(self) -> bool:
        """Whether the content of some file is being looked into. For any thread."""
        return self._contents.asks

    def next(self) -> float:
        """When there is something to do again (monotonic)."""
        in_line = math.inf if self.full else self._next_in_line()
        return min(in_line, self.pending.next(), self._own_directories.next(), self._contents.next())

    # For everybody ----------------------------------------------------------------------------------------------------

    def waits_for(self, name: str) -> bool:
        """Whether a file of this name waits to be taken."""
        return name in self._names

    @property
    def waits(self) -> bool:
        """Whether anything is there that may still be claimed or has to be looked at again."""
        return self._own_directories.next() < math.inf or (self.behind + len(self.pending) > 0 and not self.full)

    @property
    def full(self) -> bool:
        """Whether too little space is left to take anything."""
        return self._claims.full

    @property
    def behind(self) -> int:
        """How many files wait behind those that `unsettled` knows."""
        return len(self._backlog)

    @property
    def left(self) -> LeftFiles:
        """The files that lay there at first and are left."""
        return self._left.files

    def resting(self) -> int:
        """How many files wait for the end of their rest alone. For its own thread."""
        return self.pending.resting() + self.behind

    def unsettled(self) -> dict[str, tuple[float, str]]:
        """What waits, since when (seconds since the epoch), and for what. For its own thread."""
        return self.pending.since()


class WorkingDirectory:
    """The directory in which a channel works now, if it is there and ours. Safe for threads."""

    def __init__(self, context: IntakeContext) -> None:
        self._context = context
        self._held: tuple[Tree, MarkerHeartbeat] | None = None
        self._covered: MarkerHeartbeat | None = None  # somebody has put something else over its marker

    def begin(self, tree: Tree, heartbeat: MarkerHeartbeat) -> None:
        """The folder was opened."""
        self._held, self._covered = (tree, heartbeat), None

    def end(self, why: Exception | None = None) -> None:
        """The folder is away, or others work there now: the directory is closed once nobody uses it any more."""
        held, self._held = self._held, None
        if held is not None:
            held[1].end()
            self._covered = held[1] if isinstance(why, NoMarker) else None

    def restore(self) -> None:
        """The folder is to be opened again: if its marker was covered and what covered it is gone, it is written anew."""
        if self._covered is not None:
            with contextlib.suppress(Away, OSError):  # opening it tells
                self._covered.restore()

    @property
    def shared_tree(self) -> Tree | None:
        """The directory, None if it is not known to be ours at this moment. Touches no file system."""
        held = self._held
        return held[0] if held is not None and held[1].sure() and self._context.holds() else None

    def confirm(self) -> bool:
        """Read in the marker whether the folder is still ours, which may hang."""
        held = self._held
        if held is None or not self._context.holds():
            return False
        try:
            held[1].confirm()
        except (Away, OSError):
            return False
        return True

    def leave(self, within: float) -> None:
        """Say in the marker that nobody works there any more. Waits for the share so long at most (seconds)."""
        held = self._held
        if held is not None:
            held[1].end(say_so=True, within=within)

    @property
    def kept(self) -> bool:
        """Whether the sign of life in the marker still goes on, or its end is being written."""
        held = self._held
        return held is not None and held[1].goes_on

    def leave_once_over(self, wanted: bool) -> None:
        """The same, once nothing is under way any more; not by itself, if that is not `wanted`."""
        held = self._held
        if held is not None:
            held[1].end_once_over(wanted)


def why_away(path: str, error: Exception) -> str:
    """`path` is the folder as it is shown, `error` what its intake met."""
    if isinstance(error, Away):
        return f"{path} is away: {error}"
    if isinstance(error, NoDescriptor) or (isinstance(error, OSError) and error.errno in (errno.EMFILE, errno.ENFILE)):
        return f"{path} cannot be used ({TOO_MANY_OPEN})"
    if isinstance(error, Unavailable):
        return f"nothing is taken from {path}: the ledger does not answer; dropcap goes on by itself"
    if isinstance(error, DatabaseError):
        return f"nothing can be taken from {path}: the ledger cannot be used ({error}); mend that; dropcap tries again by itself"
    if not isinstance(error, OSError):
        said = f"{type(error).__name__}: {error}"
        return f"{path} met an error inside dropcap ({said}), which tries again; report it with the log"
    if error.errno in (errno.ENOTDIR, errno.ELOOP):
        if isinstance(error.filename, str) and top(error.filename) in OWN:
            return f"{shown(error.filename)} in {path} is not a directory: rename it, dropcap needs that name"
        return f"{path} is a link, or not a directory: name the directory itself as its `path`"
    if error.errno == errno.EROFS:
        return f"{path} cannot be written (it is read-only): {REMEDY}"
    return f"{path} cannot be used ({error.strerror or error}): check that it is mounted, and that dropcap may write in it"
