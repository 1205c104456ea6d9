"""One thread a folder: it waits for hints, walks, claims. A share that does not answer stops its own thread alone."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterable

import structlog

from dropcap.display import shown
from dropcap.files.tree import Tree
from dropcap.intake import owner
from dropcap.intake.folder import OpenedFolder, WorkingDirectory, why_away
from dropcap.intake.opened import IntakeContext
from dropcap.intake.owner import Away, StalenessCheck
from dropcap.intake.strays import LeftFiles, StrayFiles
from dropcap.ledger.database import DatabaseError, Unavailable
from dropcap.reasons import Reason
from dropcap.threads import start

#: How often a folder that is away is looked for (seconds).
AWAY_LOOK = 5.0
#: How often a folder is walked that the kernel does not watch for us, if a walk is quick (seconds).
UNWATCHED_WALK = 3.0
#: What waits is told to others before a rest; so often at least where there is none (seconds).
_TELL = 0.5
#: How long the thread sleeps at most, so that `alive` can tell a sleeping from a dead one (seconds).
_NAP = 2.0
#: A folder that does not answer for so long is called away (seconds).
_STUCK = 30.0
#: How soon the ledger is asked again where it did not answer (seconds).
LEDGER_LOOK = 1.0
#: What is said of a folder whose lease could not be renewed, and that nobody else may have taken.
UNRENEWED = "the ledger's database does not answer, and another host may work there by now; dropcap goes on by itself"
#: More hints than this and a walk is cheaper.
_HINTS = 20_000


class Intake:
    """Watches one drop folder and claims what settles there.

    The properties may be read from any thread at any time; none of them blocks.
    """

    def __init__(self, context: IntakeContext, *, watched: bool = True, after: Intake | None = None) -> None:
        """`watched=False` does without events: the folder is walked at its `rescan` only. `after` worked there before and is to
        end: this one begins when it has."""
        self.folder = context.folder
        self._context = context
        self._staleness = StalenessCheck()
        self._watched = watched
        self._after = after
        self._log = structlog.get_logger(folder=self.folder.name)
        self._wake = threading.Condition()
        self._hints: set[str] = set()
        self._walk_wanted = True
        self._answered = False
        self._noted: frozenset[tuple[str, str]] = frozenset()
        self._stopping = False
        self._opened: OpenedFolder | None = None
        self._away: str | None = None
        self.directory = WorkingDirectory(context)
        self._was_watched = False
        self._told_limit = False
        self._walk_at = 0.0
        self._retry_at = 0.0
        self._working_since: float | None = None
        self._last_round = time.monotonic()
        self._unsettled: dict[str, tuple[float, str]] = {}
        self._told = True  # `_unsettled` and what goes with it are as the folder is
        self._told_at = 0.0
        self._next = 0.0
        self.resting = 0  # how many of the unsettled, and of those behind them, wait for the end of their rest alone
        self._thread = threading.Thread(target=self._run, name=f"intake-{self.folder.name}", daemon=True)
        self.idle = threading.Event()
        self.last_walk: float | None = None

    # For the daemon -----------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Begin, unless it has."""
        if self._thread.ident is None:
            self._last_round = time.monotonic()
            start(self._thread)

    def stop(self, timeout: float = 5.0) -> bool:
        """End after the batch in hand; whether it did within `timeout` seconds (a dead share may hold it)."""
        with self._wake:
            self._stopping = True
            self._wake.notify()
        if self._thread.ident is not None:
            self._thread.join(timeout)
        return not self._thread.is_alive()

    @property
    def running(self) -> bool:
        """Whether its thread has not ended."""
        return self._thread.is_alive()

    def leave(self, within: float) -> None:
        """Say in the marker that nobody works there any more, after `stop`. Waits for the share so long at most (seconds)."""
        if not self._thread.is_alive():
            self.directory.leave(within)

    def over(self) -> bool:
        """Whether it has ended, and nothing that it took is under way."""
        return not self._thread.is_alive() and self._context.idle()

    def look_now(self) -> None:
        """Look at once, also where the folder was away a moment ago: a person has let go of it, or wants it taken up again."""
        with self._wake:
            self._retry_at, self._walk_wanted = 0.0, True
            self._wake.notify()

    def wake(self, names: Iterable[str] | None = None) -> None:
        """Look at these names (relative to the folder) soon, or walk the whole folder."""
        with self._wake:
            told = self._walk_wanted or bool(self._hints)
            if names is not None:
                self._hints.update(names)
            if names is None or len(self._hints) > _HINTS:
                self._walk_wanted = True
            if (self._walk_wanted or self._hints) and not told:
                self.idle.clear()
                self._wake.notify()

    def freed(self, names: Iterable[str]) -> None:
        """Files of these names have left in_progress/: one that has waited for that is looked at."""
        opened = self._opened
        if opened is not None and (waiting := [name for name in names if opened.waits_for(name)]):
            self.wake(waiting)

    def alive(self, within: float = 60.0) -> bool:
        """Whether the thread works: it went round `within` so many seconds, or is inside a system call that does not return."""
        if not self._thread.is_alive():
            return False
        return self._working_since is not None or time.monotonic() - self._last_round < within

    @property
    def away(self) -> str | None:
        """Why nothing is taken from the folder and what to do, None if all is well."""
        working, last = self._working_since, self._last_round
        silent = time.monotonic() - max(last, working or 0.0)
        if working is not None and silent > _STUCK:
            if (trouble := self._context.ledger.trouble).unwritable:
                return f"nothing is taken from it: {trouble.said()}"
            return f"it has not answered for {silent:.0f} s: its server or disk hangs; mend it, or unmount it"
        return self._away

    @property
    def shared_tree(self) -> Tree | None:
        """The folder for others to work in, None while it is away. Closed when nobody holds it any more."""
        return None if self._away is not None else self.directory.shared_tree

    @property
    def full(self) -> bool:
        """Whether less than `min_free` is left, so that nothing is taken."""
        opened = self._opened
        return opened is not None and opened.full

    @property
    def not_taken(self) -> dict[str, str]:
        """What lies in the folder and cannot be taken, and why."""
        opened = self._opened
        return opened.not_taken.all.copy() if opened is not None else {}

    @property
    def unsettled(self) -> dict[str, float]:
        """What is not settled yet, and since when it is known (seconds since the epoch)."""
        return {name: since for name, (since, _) in self._unsettled.items()}

    @property
    def behind(self) -> int:
        """How many more files wait than those that `unsettled` names."""
        opened = self._opened
        return 0 if opened is None else opened.behind

    @property
    def notes(self) -> dict[str, str]:
        """What each unsettled file waits for."""
        return {name: note for name, (_, note) in self._unsettled.items()}

    @property
    def left(self) -> LeftFiles:
        """The files that lay there when the folder was first watched, and are left."""
        opened = self._opened
        return LeftFiles() if opened is None else opened.left

    @property
    def strays(self) -> StrayFiles:
        """The files that somebody put into done/ or failed/."""
        opened = self._opened
        return StrayFiles() if opened is None else opened.strays.files

    @property
    def at_work(self) -> bool:
        """Whether something is being taken or looked at, or is due for it: what waits now waits for its time."""
        opened = self._opened
        asks = opened is not None and opened.asks
        return self._working_since is not None or self._walk_wanted or bool(self._hints) or asks or self._next <= time.monotonic()

    # The thread ---------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        if self._after is not None:
            self._working_since = self.tick()
            if self._after._thread.ident is not None:
                self._after._thread.join()  # what hangs there would hang here
            self._after = None
        while not self._stopping:
            self._working_since = self.tick()
            try:
                self._round()
            except Unavailable as error:
                self._wait_for_the_ledger(error)
            except Exception as error:
                self._leave(error)
                self._walk_wanted = True
            self.tick()
            self._working_since = None
            self._sleep()
        self.directory.confirm()  # so that the next run there finds the marker, should somebody just have removed it
        self._close()  # but for the shared tree: intake ends before the uploads under way do, which are still to be filed

    def _wait_for_the_ledger(self, error: Unavailable) -> None:
        """It tells of itself. A folder that is open stays so, for what is under way there, and for its page."""
        if self._opened is None:
            self._leave(error)
        self._walk_wanted = True
        self._retry_at = time.monotonic() + LEDGER_LOOK

    def _round(self) -> None:
        if time.monotonic() < self._retry_at:
            return
        try:
            if self._context.released():
                raise Away(f"it was let go of by hand; end that with: dropcap resume --folder {shown(self.folder.name)}")
            if not self._context.holds():
                raise Away(UNRENEWED)
            if self._opened is None:
                self._opened = self._open()
                self.directory.begin(self._opened.shared_tree, self._opened.heartbeat)
            self._opened.heartbeat.keep()
            looked = self._look(self._opened)
            self._answered = False
            worked = self._opened.work()
            self._opened.strays.step()
        except (Away, OSError) as error:
            self._leave(error)
            return
        self._next = min(self._opened.next(), self._walk_at)
        self._told = self._told and not (looked or worked)
        now = time.monotonic()
        if not self._told and (self._next > now or now - self._told_at > _TELL):  # with many waiting files it takes its time
            self._tell(self._opened)
            self._told_at = now
        with self._wake:
            if self._hints or self._walk_wanted or self._opened.waits:
                self.idle.clear()
            else:
                self.idle.set()

    def _tell(self, opened: OpenedFolder) -> None:
        self._told = True
        self._unsettled, self.resting = opened.unsettled(), opened.resting()
        noted = frozenset(self.notes.items()) | {("", self.strays.message)}
        if noted != self._noted:
            self._noted = noted
            self._context.changed()

    def _open(self) -> OpenedFolder:
        self._walk_wanted = True
        if why := self._context.unsafe():
            raise Away(why)
        self.directory.restore()
        return OpenedFolder(self._context, self, self._staleness, self._watched)

    def happened(self, name: str) -> None:
        """Something happened to the file or directory of that name."""
        if name != owner.NAME:  # what is written there for others to see is read whenever it matters
            self.wake((name,))

    def has_answer(self) -> None:
        """There is something to do: content was looked into, or the folder is lost."""
        with self._wake:
            self._answered = True
            self._wake.notify()

    def _look(self, opened: OpenedFolder) -> bool:
        """Walk, or look at what was hinted at; whether there was either."""
        with self._wake:
            hints, self._hints = self._hints, set()
            walk, self._walk_wanted = self._walk_wanted, False
        if walk or time.monotonic() >= self._walk_at or (opened.watch is not None and opened.watch.lost):
            started = time.monotonic()
            opened.walk()
            self.last_walk = time.time()
            self._walk_at = time.monotonic() + self._rescan(opened, time.monotonic() - started)
            self._here(opened)
            walk = True
        for name in hints:
            opened.look(name)
        return walk or bool(hints)

    def _rescan(self, opened: OpenedFolder, took: float) -> float:
        if opened.watch is None or not (opened.watch.limited or not opened.watch.alive):
            return self.folder.rescan
        if not self._told_limit:
            self._told_limit = True
            why = "the kernel watches no more directories for dropcap"
            remedy = "raise fs.inotify.max_user_watches and fs.inotify.max_user_instances (sysctl)"
            message = f"{why}: it is walked every few seconds instead"
            self._log.warning("check_problem", message=message, remedy=remedy)
        return min(self.folder.rescan, max(UNWATCHED_WALK, 10 * took))

    def _here(self, opened: OpenedFolder) -> None:
        if not self._was_watched:
            self._was_watched = True
            self._log.info("folder_watched", path=shown(str(self.folder.path)), mount=str(opened.mount))
        elif self._away is not None:
            self._log.info("folder_back", path=shown(str(self.folder.path)), mount=str(opened.mount))
        self._away = None

    def _leave(self, error: Exception) -> None:
        """The folder is not to be had now: let go of it and try again later."""
        path = shown(str(self.folder.path))
        why = why_away(path, error)
        if self._away != why and not isinstance(error, Away | OSError | DatabaseError):
            self._log.error("internal_error", where="intake", exc_info=error)
        if self._away != why:
            self._log.warning("folder_away", path=path, message=why, reason=Reason.AWAY)
        self.directory.end(error)
        self._close()
        self._away = why
        self._retry_at = time.monotonic() + min(AWAY_LOOK, self.folder.rescan)
        with self._wake:
            self._hints.clear()
            self.idle.set()

    def _close(self) -> None:
        opened, self._opened = self._opened, None
        self._unsettled, self.resting = {}, 0
        if opened is not None:
            with contextlib.suppress(OSError):
                opened.close()

    def _sleep(self) -> None:
        now = time.monotonic()
        until = self._retry_at
        if self._opened is not None:
            until = max(until, min(self._walk_at, self._opened.next(), self._opened.strays.next_step()))
        with self._wake:
            if self._stopping or (self._retry_at <= now and (self._hints or self._walk_wanted or self._answered)):
                return
            if until > now:
                self._wake.wait(min(until - now, _NAP))

    def tick(self) -> float:
        """It goes round; the time (monotonic)."""
        self._last_round = time.monotonic()
        return self._last_round
