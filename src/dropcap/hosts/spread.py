"""Which host works which folder. Pure: every host computes the same from the same rows, and acts on its own part alone."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

#: In so many looks a folder that may be taken waits for the host that it is planned for; then any other takes it.
PATIENT_LOOKS = 2


@dataclass(frozen=True)
class Member:
    """A living host: since when (seconds since the epoch), and which folders are away for it."""

    id: str
    started: float
    lacks: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Moves:
    """What one host is to do, in the order of names."""

    take: tuple[str, ...] = ()  #: these are planned for it
    instead: Mapping[str, str] = field(default_factory=dict)  #: to take as well: another was to, and has not; that one
    release: tuple[str, ...] = ()  #: to be ended with, and handed back


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


def moves(
    me: str,
    members: Collection[Member],
    holders: Mapping[str, str],
    *,
    takeable: Collection[str],
    waited: Mapping[str, int],
    kept: Mapping[str, str],
) -> Moves:
    """What the host `me` is to do.

    `takeable`: folders whose lease may be taken now. `waited`: in how many earlier looks in a row such a folder was takeable, and
    nobody took it. `kept`: folders that were taken instead of this other host, which does not get them for an even spread.
    """
    lacking = {member.id: member.lacks for member in members}
    if me not in lacking:
        return Moves()
    planned = plan(members, holders)
    instead = {
        folder: planned[folder]
        for folder in sorted(takeable)
        if planned[folder] != me and waited.get(folder, 0) >= PATIENT_LOOKS and not _for_others(folder, me, lacking)
    }
    release = [
        folder
        for folder, holder in holders.items()
        if holder == me != planned[folder] and (planned[folder] != kept.get(folder) or folder in lacking[me])
    ]
    return Moves(tuple(sorted(folder for folder in takeable if planned[folder] == me)), instead, tuple(sorted(release)))


def _for_others(folder: str, me: str, lacking: Mapping[str, frozenset[str]]) -> bool:
    """Whether this host lacks a folder that another one does not lack."""
    return folder in lacking[me] and any(folder not in lacks for lacks in lacking.values())


def _able(hosts: list[Member], folder: str) -> list[str]:
    """Who may work a folder, in the order of hosts."""
    return [host.id for host in hosts if folder not in host.lacks] or [host.id for host in hosts]


def _level(planned: dict[str, str], able: Mapping[str, list[str]], load: dict[str, int], free: frozenset[str]) -> None:
    """Move folders from hosts with two or more than another to that one, those that nobody holds first."""
    order = sorted(planned, key=lambda folder: (folder not in free, folder))
    rank = {host: number for number, host in enumerate(load)}
    while True:
        found: tuple[int, int, int, str, str] | None = None
        for folder in order:
            holder = planned[folder]
            other = min(able[folder], key=lambda host: (load[host], rank[host]))
            surplus = load[holder] - load[other]
            if surplus >= 2 and (found is None or (-surplus, rank[holder], rank[other]) < found[:3]):
                found = (-surplus, rank[holder], rank[other], folder, other)
        if found is None:
            return
        folder, other = found[3:]
        load[planned[folder]] -= 1
        load[other] += 1
        planned[folder] = other
