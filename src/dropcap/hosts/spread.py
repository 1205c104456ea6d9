"""Which host works which folder. Pure: every host computes the same from the same rows, and acts on its own part alone."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

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
