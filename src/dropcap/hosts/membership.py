"""A host among those that share a ledger: its heartbeat and leases, which folders it works, and the request limit of all."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from dropcap.ledger.database import Unavailable
from dropcap.ledger.postgres import leases
from dropcap.ledger.postgres.leases import ENDED, HostsLook, LeaseRow, ThisHost
from dropcap.ledger.postgres.wire import PATIENCE, Connector, Wire, WireConnection
from dropcap.redcap.window import WINDOW, Allowance
from dropcap.threads import start

#: So many looks at a folder that may be taken are left to the host that it is planned for. One that has not taken it by then
#: counts as one that lacks it, and the next host that sees it free after that takes it.
PATIENT_LOOKS = 2


@dataclass(frozen=True)
class Member:
    """A living host: since when (seconds since the epoch), and which folders are away for it."""

    id: str
    started: float
    lacks: frozenset[str] = frozenset()


#: Folders that may be taken: the host that each is planned for, and in how many looks in a row that was so.
Waited = Mapping[str, tuple[str, int]]


@dataclass(frozen=True)
class Moves:
    """What one host is to do, in the order of names: folders to take, to end with and hand back, and what it has not taken."""

    take: tuple[str, ...] = ()
    release: tuple[str, ...] = ()
    missed: tuple[str, ...] = ()
    waited: Waited = field(default_factory=dict)  #: for the next look


def plan(members: Iterable[Member], holders: Mapping[str, str]) -> dict[str, str]:
    """The host of each folder of `holders`, which tells who holds it now ("", or one that is not living: nobody).

    A host that lacks a folder gets it only if all lack it. Of two hosts that may both work a folder, the one that gets it has
    one folder more than the other at most. As few as possible that are held go to another host.
    """
    hosts = sorted(members, key=lambda member: (member.started, member.id))
    if not hosts:
        return {}
    able = {folder: _able(hosts, folder) for folder in holders}
    planned = {folder: holder for folder, holder in holders.items() if holder in able[folder]}
    load = {host.id: 0 for host in hosts}
    for holder in planned.values():
        load[holder] += 1
    free = [folder for folder in holders if folder not in planned]
    for folder in sorted(free, key=lambda folder: (len(able[folder]), folder)):
        planned[folder] = min(able[folder], key=load.__getitem__)
        load[planned[folder]] += 1
    _level(planned, able, load, frozenset(free))
    return planned


def moves(me: str, members: Collection[Member], holders: Mapping[str, str], takeable: Collection[str], waited: Waited) -> Moves:
    """What the host `me` is to do. `takeable`: folders whose lease may be taken now; `waited`: what the look before came to."""
    lacking = {member.id: member.lacks for member in members}
    if me not in lacking:
        return Moves()
    planned = plan(members, holders)
    looks = {folder: _looks(planned[folder], waited.get(folder)) for folder in sorted(takeable)}
    mine = [folder for folder in looks if planned[folder] == me]
    others = [
        folder
        for folder, number in looks.items()
        if planned[folder] != me and number > PATIENT_LOOKS + 1 and not _for_others(folder, me, lacking)
    ]
    return Moves(
        take=(*mine, *others),
        release=tuple(sorted(folder for folder, holder in holders.items() if holder == me != planned[folder])),
        missed=tuple(folder for folder in mine if looks[folder] > PATIENT_LOOKS),
        waited={folder: (planned[folder], number) for folder, number in looks.items()},
    )


def _looks(host: str, before: tuple[str, int] | None) -> int:
    """In how many looks in a row a folder was planned for this host, with this one."""
    return before[1] + 1 if before is not None and before[0] == host else 1


def _for_others(folder: str, me: str, lacking: Mapping[str, frozenset[str]]) -> bool:
    """Whether this host lacks a folder that another one does not lack."""
    return folder in lacking[me] and any(folder not in lacks for lacks in lacking.values())


def _able(hosts: list[Member], folder: str) -> tuple[str, ...]:
    """Who may work a folder, in the order of hosts."""
    return tuple(host.id for host in hosts if folder not in host.lacks) or tuple(host.id for host in hosts)


def _level(planned: dict[str, str], able: Mapping[str, tuple[str, ...]], load: dict[str, int], free: frozenset[str]) -> None:
    """Move folders from hosts with two or more than another to that one, those that nobody holds first."""
    rank = {host: number for number, host in enumerate(load)}
    alike: dict[tuple[str, tuple[str, ...]], list[str]] = {}  # folders of one host that the same others may work
    for folder in sorted(planned, key=lambda folder: (folder not in free, folder), reverse=True):
        alike.setdefault((planned[folder], able[folder]), []).append(folder)
    while True:
        steps = []
        for (holder, others), folders in alike.items():
            other = min(others, key=lambda host: (load[host], rank[host]))
            if folders and load[holder] - load[other] >= 2:
                free_first = folders[-1] not in free
                steps.append((load[other] - load[holder], rank[holder], rank[other], free_first, folders[-1], other, others))
        if not steps:
            return
        *_, folder, other, others = min(steps)
        holder = planned[folder]
        alike[holder, others].pop()
        alike.setdefault((other, others), []).append(folder)
        planned[folder] = other
        load[holder] -= 1
        load[other] += 1


#: For so long (seconds) a host that did not take a folder which was its to take leaves all that it does not hold to others;
#: twice as long each time that this happens again before it has taken any, up to an hour.
MISSED = 60.0
_MISSED_MOST = 3600.0


class _Sign(NamedTuple):
    """What changes with each sign of life."""

    beat: int
    fence: int = 0
    holder: str = ""


@dataclass(frozen=True)
class _Pulse:
    """The last sign: when it was first seen (own clock), and whether there was another one before."""

    sign: _Sign
    since: float
    moved: bool


class Membership:
    """The looks of one host, `me`. Times are those of `heartbeat.boot_time`; `lease` and `look_every` are in seconds. For one
    thread.

    A look may come early, after one of its own acts. It does not count for the patience with others, who are not asked to hurry.
    """

    def __init__(self, me: str, lease: float, look_every: float) -> None:
        self._me = me
        self._lease = lease
        self._look_every = look_every
        self._hosts: dict[str, _Pulse] = {}
        self._leases: dict[str, _Pulse] = {}
        self._counts_from = -math.inf
        self._waited_before: Waited = {}
        self._waited: Waited = {}
        self._missed: dict[str, float] = {}  # until when
        self._missed_for = MISSED
        self._mine: frozenset[str] = frozenset()
        self._answered = 0.0

    def lacking(self, look: HostsLook, folders: Collection[str], away: Collection[str], now: float) -> frozenset[str]:
        """What this host cannot work: folders that are `away` for it, those of others that its configuration (`folders`) does not
        name, and all that it does not hold, if it has not taken one that it should have: nobody knows why, so more is no use.
        """
        mine = frozenset(row.folder for row in look.leases if row.holder == self._me)
        if mine - self._mine:
            self._missed_for = MISSED
        self._mine = mine
        foreign = {row.folder for row in look.leases if row.holder and row.folder not in folders}
        self._missed = {folder: until for folder, until in self._missed.items() if now < until and folder not in mine}
        return frozenset(away) | foreign | (set(folders) - mine if self._missed else set())

    def next_moves(
        self, look: HostsLook, folders: Collection[str], lacking: Collection[str], asked: float, answered: float
    ) -> Moves:
        """What to do after a look that was asked for and answered at these times. `lacking`: as that tells."""
        if asked - self._answered > self._lease / 2:
            # Hosts that could not beat either while the database was away get the time to do so.
            self._hosts, self._leases = {}, {}
        self._answered = answered
        # A sign may be as young as the answer when it is new, and is as old as the question when it is not.
        self._hosts = _seen(self._hosts, {row.id: _Sign(row.beat) for row in look.hosts}, answered)
        signs = {row.folder: _Sign(row.beat, row.fence, row.holder) for row in look.leases}
        self._leases = _seen(self._leases, signs, answered)
        living = {row.id: row for row in look.hosts if row.alive or self._moves_yet(row.id, asked)}
        members = [
            Member(row.id, row.started, frozenset(lacking if row.id == self._me else row.lacks)) for row in living.values()
        ]
        rows = {row.folder: row for row in look.leases if row.folder in folders or row.holder in living}
        free = {folder for folder in {*folders, *rows} if self._takeable(rows.get(folder), asked)}
        holders = {folder: "" if folder in free else rows[folder].holder for folder in {*folders, *rows}}
        early = asked < self._counts_from
        waited = self._waited_before if early else self._waited
        found = moves(self._me, members, holders, free.intersection(folders), waited)
        if early:
            return found
        self._counts_from = asked + self._look_every
        self._waited_before, self._waited = self._waited, found.waited
        if found.missed:
            self._missed |= dict.fromkeys(found.missed, asked + self._missed_for)
            self._missed_for = min(_MISSED_MOST, 2 * self._missed_for)
        return found

    def beat_of(self, folder: str) -> int | None:
        """The beat at which a folder's lease was seen last; None if there was none."""
        pulse = self._leases.get(folder)
        return None if pulse is None else pulse.sign.beat

    def _takeable(self, row: LeaseRow | None, now: float) -> bool:
        if row is None or row.released:
            return True
        return row.lapsed and now - self._leases[row.folder].since >= self._lease

    def _moves_yet(self, host: str, now: float) -> bool:
        """Whether a host that is gone by the database's clock was seen to beat: that clock was set, then."""
        pulse = self._hosts[host]
        return pulse.moved and pulse.sign.beat != ENDED and now - pulse.since < self._lease


def _seen(before: Mapping[str, _Pulse], signs: Mapping[str, _Sign], now: float) -> dict[str, _Pulse]:
    """The pulses after another look."""
    return {
        name: before[name] if name in before and before[name].sign == sign else _Pulse(sign, now, moved=name in before)
        for name, sign in signs.items()
    }


def boot_time() -> float:
    """Seconds since the machine was started, by a clock that nobody sets and that goes on while the machine is suspended."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class LeaseHandle:
    """The lease of one folder as its holder knows it. Read by any thread: a field is replaced whole, there is no lock.

    Past `trusted_until` (`boot_time`) nothing is claimed, renamed or sent: somebody else may have taken the folder by then. A
    later beat may still find that nobody has. Once `lost`, it stays lost: a host that gets the folder again has a new handle.
    """

    def __init__(self, folder: str, fence: int, trusted_until: float) -> None:
        self.folder = folder
        self.fence = fence
        self.trusted_until = trusted_until
        self.lost = False

    @classmethod
    def taken(cls, folder: str, fence: int, asked: float, lease: float) -> LeaseHandle:
        """A lease of `lease` seconds that was asked for at `asked` (`boot_time`, from before the request)."""
        return cls(folder, fence, trusted_until(asked, lease))

    @classmethod
    def alone(cls, folder: str) -> LeaseHandle:
        """The handle of a host that shares its ledger with nobody: it always holds."""
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
    """Who works by leases; told in the heartbeat's thread. Each method returns at once, and raises nothing."""

    def lost(self, handle: LeaseHandle) -> None:
        """A folder has been lost to another host; told once."""

    def may_take(self, folder: str, beat: int | None) -> None:
        """A folder is this host's to take, by `leases.take` with this beat; told at each look for as long as it is true."""

    def must_release(self, handle: LeaseHandle) -> None:
        """Another host is to have a folder: retire its channel, then `Heartbeat.release`; told at each look as well."""

    def answers(self, why: str) -> None:
        """The database answers (empty), or does not the second time in a row, and why."""


@dataclass(frozen=True)
class Others:
    """All hosts and leases as they were seen at a time (`boot_time`); `trouble`: why they have not been seen since, if so."""

    look: HostsLook
    at: float
    trouble: str = ""


class Heartbeat:
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
        self._membership = Membership(me.id, lease, look_every)
        self._lock = threading.Lock()  # the four below
        self._folders = frozenset(folders)
        self._away = me.lacks
        self._handles: dict[str, LeaseHandle] = {}
        self._releasing: list[LeaseHandle] = []
        self._told_lacking: frozenset[str] | None = None
        self._known = False
        self._next_beat = self._next_look = 0.0
        self._failed = 0  # times in a row
        self._ending = False
        self._woken = threading.Event()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)

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
        """Whether its thread runs: without it all handles end by themselves."""
        return self._thread.is_alive()

    def took(self, folder: str, fence: int, asked: float) -> LeaseHandle:
        """A folder was taken, which is committed; `asked` is `boot_time` from before that. It is beaten for from now on."""
        handle = LeaseHandle.taken(folder, fence, asked, self._lease)
        with self._lock:
            self._handles[folder] = handle
            self._away -= {folder}
        return handle

    def release(self, handle: LeaseHandle) -> None:
        """Hand a folder back, in which nothing is under way any more; as soon as the database answers."""
        handle.lose()
        with self._lock:
            if self._handles.get(handle.folder) is handle:
                del self._handles[handle.folder]
            self._releasing.append(handle)
        self._woken.set()

    def let_lapse(self, handle: LeaseHandle) -> None:
        """Something hangs in a folder that is to be handed over: it is beaten for no more. By the end of its lease nothing that
        looks at its handle has done anything there for a third of it."""
        handle.lose()
        with self._lock:
            if self._handles.get(handle.folder) is handle:
                del self._handles[handle.folder]

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
        if boot_time() >= self._next_beat:
            self._beat()
        self._release_all()
        if boot_time() >= self._next_look:
            self._look()

    def _beat(self) -> None:
        with self._lock:
            handles = dict(self._handles)
        asked = boot_time()
        fences = {folder: handle.fence for folder, handle in handles.items()}
        with self._wire.asking() as connection:
            renewed = leases.beat(connection, self._me.id, fences, self._lease)
        if renewed is None:  # a fail-over has lost our row: the leases are looked at with the next beat, at once
            self._known = False
            return
        self._next_beat = asked + self._lease / BEATS
        for folder, handle in handles.items():
            if folder in renewed:
                handle.renew(trusted_until(asked, self._lease))
            elif not handle.lost:
                self._lose(handle)

    def _lose(self, handle: LeaseHandle) -> None:
        handle.lose()
        with self._lock:
            if self._handles.get(handle.folder) is handle:
                del self._handles[handle.folder]
        self._holder.lost(handle)

    def _look(self) -> None:
        asked = boot_time()
        with self._wire.asking() as connection:
            look = leases.look(connection)
        answered = boot_time()
        self._failed = 0
        self._holder.answers("")
        with self._lock:
            folders, away, handles = self._folders, self._away, dict(self._handles)
        lacks = self._membership.lacking(look, folders, away, asked)
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
        moves = self._membership.next_moves(look, folders, lacks, asked, answered)
        for folder in moves.take:
            if folder not in handles:
                self._holder.may_take(folder, self._membership.beat_of(folder))
        for folder in moves.release:
            if folder in handles:
                self._holder.must_release(handles[folder])

    def _release_all(self) -> None:
        with self._lock:
            handles = list(self._releasing)
        if not handles:
            return
        with self._wire.asking() as connection:
            leases.release(connection, self._me.id, {handle.folder: handle.fence for handle in handles})
        with self._lock:
            del self._releasing[: len(handles)]
        self._next_look = 0.0

    def _in_trouble(self, why: str) -> None:
        self.others = Others(self.others.look, self.others.at, why)
        self._failed += 1
        if self._failed > 1:
            self._holder.answers(why)


#: Seconds after which a grant is void: the window is longer than REDCap's minute by so much.
GOOD_FOR = 1.0
#: Seconds after which the database is asked again where it does not answer.
TRY_AGAIN = 1.0
#: The least wait (seconds) where there was room that others took first.
_LEAST = 0.05


class SharedWindow(Allowance):
    """At most `per_minute` requests of `server` in any minute, of all hosts that share the ledger; the database counts.

    Where it does not answer, there is no room: who waits goes on waiting. An answer that comes too late grants nothing, and what
    it has entered counts all the same. A `wire` may serve many windows; who made it closes it. A stop is noticed within the time
    to connect and the wire's `patience`.
    """

    def __init__(self, wire: Wire, server: str, per_minute: int, window: float = WINDOW) -> None:
        super().__init__(per_minute)
        self._wire = wire
        self._server = server
        self._window = window
        self._granted = threading.local()  # when each thread asked for what it was granted last

    def try_acquire(self) -> float:
        """Enter a request and return 0.0, or return the seconds after which to ask again. Raises nothing."""
        if self.per_minute <= 0:
            return 0.0
        try:
            while True:
                asked = boot_time()
                with self._wire.asking() as connection:
                    wait = self._grant(connection)
                if wait > 0:
                    return wait
                self._granted.asked = asked
                if self.fresh():
                    return 0.0
        except (Unavailable, OSError):
            return TRY_AGAIN

    def fresh(self) -> bool:
        """Whether the calling thread's last grant may still be used: if it is not within a second, ask for another one."""
        return self.per_minute <= 0 or boot_time() - getattr(self._granted, "asked", float("-inf")) <= GOOD_FOR

    def used(self) -> int:
        """Requests of the last minute, whichever host made them; 0 where nothing is counted or the database does not answer."""
        if self.per_minute <= 0:
            return 0
        try:
            with self._wire.asking() as connection:
                return leases.used(connection, self._server, self._window)
        except (Unavailable, OSError):
            return 0

    def close(self) -> None:
        """Nothing: the wire belongs to who made it."""

    def _grant(self, connection: WireConnection) -> float:
        if leases.grant(connection, self._server, self.per_minute, self._window):
            return 0.0
        return max(_LEAST, leases.wait(connection, self._server, self.per_minute, self._window))
