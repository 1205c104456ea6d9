"""The thread that renews this host's leases, and what the host may believe of each."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Collection
from dataclasses import dataclass
from typing import Protocol

from dropcap.hosts.placement import Sightings
from dropcap.ledger.database import Unavailable
from dropcap.ledger.postgres import leases
from dropcap.ledger.postgres.leases import HostsLook, ThisHost
from dropcap.ledger.postgres.wire import PATIENCE, Connector, Wire
from dropcap.threads import start


def boot_time() -> float:
    """Seconds since the machine was started, by a clock that nobody sets and that goes on while the machine is suspended."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class Grip:
    """The lease of one folder as its holder knows it. Read by any thread: a field is replaced whole, there is no lock.

    Past `trusted_until` (`boot_time`) nothing is claimed, renamed or sent: somebody else may have taken the folder by then. A
    later beat may still find that nobody has. Once `lost`, it stays lost: whoever gets the folder again has a new grip.
    """

    def __init__(self, folder: str, fence: int, trusted_until: float) -> None:
        self.folder = folder
        self.fence = fence
        self.trusted_until = trusted_until
        self.lost = False

    @classmethod
    def taken(cls, folder: str, fence: int, asked: float, lease: float) -> Grip:
        """A lease of `lease` seconds that was asked for at `asked` (`boot_time`, from before the request)."""
        return cls(folder, fence, trusted_until(asked, lease))

    @classmethod
    def alone(cls, folder: str) -> Grip:
        """The grip of a host that shares its ledger with nobody: it always holds."""
        return cls(folder, 0, math.inf)

    def holds(self) -> bool:
        """Whether the folder is ours beyond doubt."""
        return not self.lost and boot_time() < self.trusted_until

    def left(self) -> float:
        """For how many seconds it holds if it is not renewed; 0 if it does not."""
        return 0.0 if self.lost else max(0.0, self.trusted_until - boot_time())

    def renew(self, until: float) -> None:
        """A beat was answered: trusted until then (`boot_time`), or as long as before if that is later."""
        self.trusted_until = max(self.trusted_until, until)

    def lose(self) -> None:
        """It belongs to somebody else, or was handed back."""
        self.lost = True


def trusted_until(asked: float, lease: float) -> float:
    """Until when a lease is trusted that was asked for at `asked`: two thirds, for those who act on a look at it."""
    return asked + lease * 2 / 3


#: Beats in the time that a lease lasts.
BEATS = 4
#: Seconds from one look to the next, and until the next try where the database does not answer.
LOOK_EVERY = 2.0
_TRY_EVERY = 1.0


class Holder(Protocol):
    """Who works by leases; told in the heart's thread. Each method returns at once, and raises nothing."""

    def lost(self, grip: Grip) -> None:
        """A folder has been lost to another host; told once."""

    def may_take(self, folder: str, beat: int | None) -> None:
        """A folder is this host's to take, by `leases.take` with this beat; told at each look for as long as it is true."""

    def must_release(self, grip: Grip) -> None:
        """Another host is to have a folder: retire its channel, then `Heart.release`; told at each look as well."""

    def answers(self, why: str) -> None:
        """The database answers (empty), or does not the second time in a row, and why."""


@dataclass(frozen=True)
class Others:
    """All hosts and leases as they were seen at a time (`boot_time`); `trouble`: why they have not been seen since, if so."""

    look: HostsLook
    at: float
    trouble: str = ""


class Heart:
    """Beats and looks by a connection of its own, whatever becomes of it. No method waits for the database but `stop`."""

    def __init__(
        self,
        connector: Connector,
        me: ThisHost,
        holder: Holder,
        folders: Collection[str],
        *,
        lease: float,
        look_every: float = LOOK_EVERY,
    ) -> None:
        self.others = Others(HostsLook(), boot_time())  # replaced whole
        self._wire = Wire(connector, min(PATIENCE, lease / BEATS))
        self._me = me
        self._holder = holder
        self._lease = lease
        self._look_every = look_every
        self._sightings = Sightings(me.id, lease, look_every)
        self._lock = threading.Lock()  # the four below
        self._folders = frozenset(folders)
        self._away = me.lacks
        self._grips: dict[str, Grip] = {}
        self._releasing: list[Grip] = []
        self._told_lacking: frozenset[str] | None = None
        self._known = False
        self._next_beat = self._next_look = 0.0
        self._failed = 0  # times in a row
        self._ending = False
        self._woken = threading.Event()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="heart", daemon=True)

    def start(self) -> None:
        """Begin; once."""
        start(self._thread)

    def end(self) -> None:
        """This host is to end: it tells the others that it lacks every folder, so that they plan without it, at once."""
        self._ending = True
        self._next_look = 0.0
        self._woken.set()

    def stop(self, within: float) -> None:
        """Hand back what is to be released, say that this host is gone, and end; waits so many seconds at most."""
        self._stopping = True
        self._woken.set()
        if self._thread.ident is not None:
            self._thread.join(within)

    def is_alive(self) -> bool:
        """Whether its thread runs: without it all grips end by themselves."""
        return self._thread.is_alive()

    def took(self, folder: str, fence: int, asked: float) -> Grip:
        """A folder was taken, which is committed; `asked` is `boot_time` from before that. It is beaten for from now on."""
        grip = Grip.taken(folder, fence, asked, self._lease)
        with self._lock:
            self._grips[folder] = grip
            self._away -= {folder}
        return grip

    def release(self, grip: Grip) -> None:
        """Hand a folder back, in which nothing is under way any more; as soon as the database answers."""
        grip.lose()
        with self._lock:
            if self._grips.get(grip.folder) is grip:
                del self._grips[grip.folder]
            self._releasing.append(grip)
        self._woken.set()

    def let_lapse(self, grip: Grip) -> None:
        """Something hangs in a folder that is to be handed over: it is beaten for no more. By the end of its lease nothing that
        looks at its grip has done anything there for a third of it."""
        grip.lose()
        with self._lock:
            if self._grips.get(grip.folder) is grip:
                del self._grips[grip.folder]

    def away(self, folders: Collection[str]) -> None:
        """These folders, and no others, are away for this host now, or must not be taken by it for another reason."""
        away = frozenset(folders)
        with self._lock:
            changed, self._away = away != self._away, away
        if changed:
            self._next_look = 0.0
            self._woken.set()

    def configured(self, folders: Collection[str]) -> None:
        """The configuration names these folders now."""
        with self._lock:
            self._folders = frozenset(folders)

    def _run(self) -> None:
        while not self._stopping:
            try:
                self._work()
                due = min(self._next_beat, self._next_look) - boot_time()
            except (Unavailable, OSError) as error:
                self._in_trouble(str(error))
                due = _TRY_EVERY
            self._woken.wait(max(due, 0.0))
            self._woken.clear()
        try:
            self._release_all()
            with self._wire.asking() as connection:
                leases.leave(connection, self._me.id)
        except (Unavailable, OSError) as error:
            self._in_trouble(str(error))
        self._wire.close()

    def _work(self) -> None:
        """What is due. Raises Unavailable: it stays due."""
        if not self._known:
            with self._wire.asking() as connection:
                leases.register(connection, self._me, self._lease)
            self._known, self._told_lacking = True, None
        self._release_all()
        if boot_time() >= self._next_beat:
            self._beat()
        if boot_time() >= self._next_look:
            self._look()

    def _beat(self) -> None:
        with self._lock:
            grips = dict(self._grips)
        asked = boot_time()
        fences = {folder: grip.fence for folder, grip in grips.items()}
        with self._wire.asking() as connection:
            renewed = leases.beat(connection, self._me.id, fences, self._lease)
        if renewed is None:  # a fail-over has lost our row: the leases are looked at with the next beat, at once
            self._known = False
            return
        self._next_beat = asked + self._lease / BEATS
        for folder, grip in grips.items():
            if folder in renewed:
                grip.renew(trusted_until(asked, self._lease))
            elif not grip.lost:
                self._lose(grip)

    def _lose(self, grip: Grip) -> None:
        grip.lose()
        with self._lock:
            if self._grips.get(grip.folder) is grip:
                del self._grips[grip.folder]
        self._holder.lost(grip)

    def _look(self) -> None:
        asked = boot_time()
        with self._wire.asking() as connection:
            look = leases.look(connection)
        answered = boot_time()
        self._failed = 0
        self._holder.answers("")
        with self._lock:
            folders, away, grips = self._folders, self._away, dict(self._grips)
        lacks = self._sightings.lacking(look, folders, away, asked)
        if self._ending:
            lacks = frozenset({*lacks, *folders, *(row.folder for row in look.leases)})
        if lacks != self._told_lacking:
            with self._wire.asking() as connection:
                leases.lacks(connection, self._me.id, lacks)
            self._told_lacking = lacks
        self._next_look = asked + self._look_every
        self.others = Others(look, answered)
        if self._ending:  # who hands over all that it has takes its time about nothing else
            return
        moves = self._sightings.judge(look, folders, lacks, asked, answered)
        for folder in moves.take:
            if folder not in grips:
                self._holder.may_take(folder, self._sightings.beat_of(folder))
        for folder in moves.release:
            if folder in grips:
                self._holder.must_release(grips[folder])

    def _release_all(self) -> None:
        while self._releasing:
            with self._lock:
                grip = self._releasing[0]
            with self._wire.asking() as connection:
                leases.release(connection, grip.folder, self._me.id, grip.fence)
            with self._lock:
                self._releasing.remove(grip)
            self._next_look = 0.0

    def _in_trouble(self, why: str) -> None:
        self.others = Others(self.others.look, self.others.at, why)
        self._failed += 1
        if self._failed > 1:
            self._holder.answers(why)
