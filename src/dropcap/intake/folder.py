"""One drop folder, opened: found to be ours, walked, and lent to those who send and file."""

from __future__ import annotations

import contextlib
import errno
import math
import os
import stat as modes
import time
from collections.abc import Callable

import structlog

from dropcap.config.model import Folder
from dropcap.content.examiner import Examiner
from dropcap.display import shown
from dropcap.files.durable import REMEDY
from dropcap.files.tree import Tree
from dropcap.intake import owner, walk
from dropcap.intake.claim import SHARE_GONE, Claimer
from dropcap.intake.content import ContentJudge
from dropcap.intake.mounts import Mounts, open_tree
from dropcap.intake.owner import Away, NoMarker, Run, Vigil
from dropcap.intake.people import IntakeHooks, NotTaken, OwnDirectories
from dropcap.intake.presence import Presence
from dropcap.intake.settle import Backlog, Pending, RestTime, Sight
from dropcap.intake.strays import Left, LeftFiles, Strays
from dropcap.intake.take import IntakeLedger, reason
from dropcap.intake.walk import OWN, top
from dropcap.intake.watch import Watch
from dropcap.ledger.database import TOO_MANY_OPEN, DatabaseError, NoDescriptor, Unavailable

#: Files that are looked at closely at a time; those that wait behind them cost nothing but their names.
IN_MEMORY = 1000
#: The same of those that rest, whose rest may begin with our look: so many at least, or for each second of `settle_quiet`.
RESTING, RESTED_A_SECOND = 4000, 200

#: Why something is left where it lies.
LINK = "it is a link; put the file itself here; it is left where it is"
NO_FILE = "it is not a file; it is left where it is"
OTHER_FOLDER = f"it has a {owner.NAME} and so is another drop folder, or a copy of one; it is left alone"


class OpenedFolder:
    """One folder from its opening until it goes away. For one thread; the public attributes may be read by others.

    Raises:
        owner.Away: it is not ours to work in.
        OSError: it cannot be opened.
    """

    def __init__(
        self,
        folder: Folder,
        ledger: IntakeLedger,
        hooks: IntakeHooks,
        watch: Watch | None,
        run: Run,
        vigil: Vigil,
        examiner: Examiner | None,
        on_answer: Callable[[], None],
    ) -> None:
        """Without `examiner` no content is looked into; `on_answer` is called from another thread when `work` has to do.
        `vigil` is the same at every opening of the folder."""
        self._folder = folder
        self._ledger = ledger
        self.watch = watch
        self._log = structlog.get_logger(folder=folder.name)
        self._pending = Pending()
        self._backlog = Backlog()
        self._paces: dict[int, RestTime] = {}  # by device; one object for all files, of which there may be many
        self._directories: set[str] = set()
        self._others: set[str] = set()  # drop folders within this one
        self._not_taken = NotTaken(self._log)
        self._left = Left(folder, ledger, self._log)
        self.tree = open_tree(folder.path)
        self.tree.holds = hooks.holds
        try:
            self._occupy(run, vigil, on_answer)
        except BaseException:
            self.close()
            raise
        self.strays = Strays(self.tree, folder.name, ledger, self._marker.since_ns, self._trouble)
        self._contents = ContentJudge(self.tree, folder, ledger, examiner, on_answer)
        self._own_directories = OwnDirectories(
            self.tree,
            folder.name,
            ledger,
            self._pending,
            hooks,
            pace=self._pace,
            trouble=self._trouble,
            stay=self._stay,
            on_directory=self._on_directory,
        )
        self._claims = Claimer(
            self.tree,
            folder,
            ledger,
            self._pending,
            self._not_taken,
            self._contents,
            hooks,
            pace=self._pace,
            on_missing=self._own_directories.hint_missing,
            copies=lambda: self._mounts.divides(self._path),
        )

    def _occupy(self, run: Run, vigil: Vigil, on_answer: Callable[[], None]) -> None:
        """See that it is ours, and say that we work there."""
        folder = self._folder
        # Delivery's own descriptor, opened here because this thread alone may hang on a dead share.
        self.lent = Tree(folder.path, stable_inodes=self.tree.stable_inodes)
        self.lent.holds = self.tree.holds
        if self.lent.identity != self.tree.identity:
            raise OSError(errno.ESTALE, "The folder was replaced while it was opened", str(folder.path))
        self._look_at_mounts()
        self._marker = owner.own(self.lent, folder.name, str(folder.path), self.mount, self._ledger, run, vigil)
        self.presence = Presence(self.lent, self._marker, run, on_answer)
        if self.tree.exists(walk.IN_PROGRESS):
            self.tree.remove_temporaries(walk.IN_PROGRESS)  # of a copy that a crash cut off
        self.presence.start()

    def _look_at_mounts(self) -> None:
        path = os.path.realpath(self._folder.path)
        self._mounts = Mounts.now()
        self._paces.clear()
        self._path = path
        self.mount = self._mounts.of(path, self.tree.identity[0])
        self.tree.stable_inodes = self.lent.stable_inodes = self._mounts.stable_inodes(path)

    def _stay(self) -> None:
        """Raise Away if the path leads to another directory than the one that is open."""
        same = self.tree.still_there()
        if same and not self.tree.stable_inodes:
            # The number of the directory itself tells nothing either; its marker does.
            there = Tree(self._folder.path)
            try:
                same = owner.read(there) == self._marker
            finally:
                there.close()
        if not same:
            raise owner.Away(f"another directory now lies at {shown(str(self._folder.path))}")

    def close(self) -> None:
        """Let go of it, but for `lent` and `presence`, of which others may still make use."""
        if self.watch is not None:
            self.watch.close()
        self.tree.close()
        # Those others have them. This one refers to itself: what it has stays open until Python looks for such, which is seldom.
        for name in ("lent", "presence"):
            self.__dict__.pop(name, None)

    # Looking ----------------------------------------------------------------------------------------------------------

    def walk(self) -> None:
        """Look at everything.

        Raises:
            owner.Away: it is not the folder any more, or not ours.
            OSError: it does not answer as it should.
        """
        self._stay()
        self._look_at_mounts()
        self.presence.confirm()
        self._directories, self._others = set(), set()
        if self.watch is not None:
            self.watch.begin()
        gone = set(self._pending) | self._not_taken.all.keys()
        self._backlog = Backlog()
        self._left.begin(self._marker.since_ns)
        self._look_beneath("", gone)
        self._left.end()
        for name in gone:
            if walk.top(name) not in walk.OWN:
                self._pending.drop(name)
        # What is wrong in dropcap's own directories is found anew below.
        self._not_taken.keep(self._not_taken.all.keys() - gone | self._others)
        self._own_directories.look(not self._backlog)
        self.strays.want()
        self._contents.keep(self._pending.names)
        self._contents.save()
        if self.watch is not None:
            self.watch.keep(self._directories)

    def look(self, name: str) -> None:
        """Something happened to `name`: a file or a directory, there or not."""
        if walk.top(name) == walk.FAILED:
            self._own_directories.hint()
            return
        if not walk.is_dropped(name, self._folder):
            return
        if "/" in name and (not self._folder.subfolders or owner.lies_above(self.tree, name)):
            return
        try:
            status = self.tree.lstat(name)
        except (FileNotFoundError, NotADirectoryError):
            self._pending.drop(name)
            if name in self._directories:
                self._pending.drop_beneath(name, ())
            self._not_taken.drop(name)
            return
        except OSError as error:
            self._trouble(name, error)
            return
        if modes.S_ISDIR(status.st_mode):
            self._look_into(name)
            return
        kind = "file" if modes.S_ISREG(status.st_mode) else "link" if modes.S_ISLNK(status.st_mode) else "other"
        if kind == "file" and name not in self._pending.names and self._left.has(name, status):
            return
        in_line = bool(self._backlog) or len(self._pending) >= RESTING
        if kind == "file" and in_line and name not in self._pending.names:
            self._backlog.add(name, status.st_ctime_ns)  # whoever comes later goes behind those who wait
        else:
            self._see(name, kind, status, hinted=True)

    def _look_into(self, name: str) -> None:
        """Something happened to the subfolder `name`."""
        gone = {other for other in self._pending if other.startswith(f"{name}/")}
        try:
            self._look_beneath(name, gone)
        except (FileNotFoundError, NotADirectoryError):
            pass  # it is gone again, and all that lay in it
        except OSError as error:
            self._trouble(name, error)
            return
        for other in gone:
            self._pending.drop(other)

    def _look_beneath(self, start: str, gone: set[str]) -> None:
        """Look at all files beneath `start`. Those that are there are taken out of `gone`, those that are new wait in line."""
        pending, stable, backlog = self._pending, self.tree.stable_inodes, self._backlog
        for entry in walk.dropped(self.tree, self._folder, self._on_directory, start, pending.names):
            name = entry.name
            try:
                if entry.error is not None:
                    raise entry.error
                status = entry.stat
            except OSError as error:
                self._trouble(name, error)
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
                    self._trouble(name, error)
                    continue
                if modes.S_ISREG(status.st_mode):
                    self._see(name, "file", status, hinted=False)

    def _next_in_line(self) -> float:
        """When to look at the next in line (monotonic): when it can have settled, and there is not enough to do before."""
        if not self._backlog:
            return math.inf
        if len(self._pending) < IN_MEMORY:
            return 0.0
        now = time.monotonic()
        ready, resting = self._pending.moving(now)
        if ready >= IN_MEMORY or resting >= max(RESTING, RESTED_A_SECOND * self._folder.settle_quiet):
            return math.inf
        age = (time.time_ns() - self._backlog.first_changed_ns()) / 1e9
        young = self.mount.local and 0 <= age < self._folder.settle_closed
        return now + self._folder.settle_closed - age if young else 0.0

    def _trouble(self, name: str, error: OSError) -> None:
        """One file or subfolder that cannot be looked at must not stop the others; a share that is gone is another matter."""
        if error.errno in SHARE_GONE:
            raise error
        self._not_taken.put(name, reason(error))

    def _see(self, name: str, kind: str, status: os.stat_result, *, hinted: bool) -> None:
        if kind != "file":
            self._not_taken.put(name, LINK if kind == "link" else NO_FILE)
        else:
            sight, pace = self._sight(status), self._pace(name, status.st_dev)
            self._pending.see(name, sight, pace, hinted=hinted)
            self._contents.saw(name, sight, pace, closely=hinted)

    def _sight(self, status: os.stat_result) -> Sight:
        return Sight.of(status, self.tree.stable_inodes)

    def _on_directory(self, name: str, fd: int) -> bool:
        if name and walk.top(name) not in walk.OWN and owner.lies_in(fd):
            self._others.add(name)
            self._not_taken.put(name, OTHER_FOLDER)
            return False
        self._directories.add(name)
        if self.watch is not None:
            self.watch.add(name, fd, self.tree.stable_inodes)
        return True

    def _pace(self, name: str, device: int) -> RestTime:
        pace = self._paces.get(device)
        if pace is None:
            local = self._mounts.of(f"{self._path}/{name}", device).local
            pace = self._paces[device] = RestTime(self._folder.settle_closed, self._folder.settle_quiet, local)
        return pace

    # For its thread ---------------------------------------------------------------------------------------------------

    def work(self, beat: Callable[[], object]) -> bool:
        """Claim what is due; whether there was anything. `beat` is called between batches.

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

        def before_batch() -> None:
            beat()
            self.presence.confirm()

        self._claims.work(before_batch)
        self._contents.save()
        return was_due

    @property
    def asks(self) -> bool:
        """Whether the content of some file is being looked into. For any thread."""
        return self._contents.asks

    def next(self) -> float:
        """When there is something to do again (monotonic)."""
        in_line = math.inf if self.full else self._next_in_line()
        return min(in_line, self._pending.next(), self._own_directories.next(), self._contents.next())

    # For everybody ----------------------------------------------------------------------------------------------------

    def waits_for(self, name: str) -> bool:
        """Whether a file of this name waits to be taken."""
        return name in self._pending.names

    @property
    def waits(self) -> bool:
        """Whether anything is there that may still be claimed or has to be looked at again."""
        return self._own_directories.next() < math.inf or (self.behind + len(self._pending) > 0 and not self.full)

    @property
    def full(self) -> bool:
        """Whether too little space is left to take anything."""
        return self._claims.full

    @property
    def not_taken(self) -> dict[str, str]:
        """What cannot be taken, and why."""
        return self._not_taken.all.copy()

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
        return self._pending.resting() + self.behind

    def unsettled(self) -> dict[str, tuple[float, str]]:
        """What waits, since when (seconds since the epoch), and for what. For its own thread."""
        return self._pending.since()


class Tenure:
    """The directory in which a channel works now, if it is there and ours. Safe for threads."""

    def __init__(self, holds: Callable[[], bool] = lambda: True) -> None:
        """`holds`: whether no other host may work there at this moment."""
        self._holds = holds
        self._held: tuple[Tree, Presence] | None = None
        self._covered: Presence | None = None  # somebody has put something else over its marker

    def begin(self, tree: Tree, presence: Presence) -> None:
        """The folder was opened."""
        self._held, self._covered = (tree, presence), None

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
    def lent(self) -> Tree | None:
        """The directory, None if it is not known to be ours at this moment. Touches no file system."""
        held = self._held
        return held[0] if held is not None and held[1].sure() and self._holds() else None

    def confirm(self) -> bool:
        """Read in the marker whether the folder is still ours, which may hang."""
        held = self._held
        if held is None or not self._holds():
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
        """Whether the marker is still kept."""
        held = self._held
        return held is not None and held[1].goes_on

    def leave_once(self, idle: Callable[[], bool] | None) -> None:
        """The same, once `idle` tells that nothing is under way; not at all, if it is None."""
        held = self._held
        if held is not None:
            held[1].end_once(idle)


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
