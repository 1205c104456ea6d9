"""Which host is to work which folder, by what each has observed of the others."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from dropcap.ledger.postgres.leases import ENDED, HostsLook, LeaseRow

#: So many looks at a folder that may be taken are left to the host that it is planned for. One that has not taken it by then
#: counts as one that lacks it, and whoever sees it free once more after that takes it.
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


class Sightings:
    """The looks of one host, `me`. Times are those of `grip.boot_time`; `lease` and `look_every` are in seconds. For one thread.

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

    def judge(self, look: HostsLook, folders: Collection[str], lacking: Collection[str], asked: float, answered: float) -> Moves:
        """What to do after a look that was asked for and answered at these times. `lacking`: as that tells."""
        if asked - self._answered > self._lease / 2:
            # Whoever could not beat either while the database was away has the time to do so.
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
