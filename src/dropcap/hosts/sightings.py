"""What one host remembers of its looks at hosts and leases, and what it is to do by them. Asks nobody and no clock itself.

The database's clock may be set forward, by which the leases of all lapse at once, though their holders are well. So who is gone
is told by an own clock as well: a lease is taken only where its `beat` has stood still for as long as it lasts.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from dropcap.hosts.spread import Member, Moves, Waited, moves
from dropcap.ledger.postgres.leases import ENDED, HostsLook, LeaseRow

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
