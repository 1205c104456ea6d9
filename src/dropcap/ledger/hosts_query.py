"""Which hosts share the ledger, and which folders each works in, for people."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass

from dropcap.ledger.clock import Rows

#: Seconds from its start in which a host has not looked at all folders yet: what it lacks is not believed.
_LOOKS_FOR = 6
_HOSTS = (
    "select id, name, pid, version, configuration, extract(epoch from started)::float8, extract(epoch from until)::float8,"
    f" until > clock_timestamp(), case when started < clock_timestamp() - interval '{_LOOKS_FOR} s' then lacks else '{{}}' end"
    " from host where until > clock_timestamp() - interval '1 day' order by name, started, id"
)
_LEASES = (
    "select folder, fence, holder, until > clock_timestamp(),"
    " case when until > 'epoch' then extract(epoch from clock_timestamp() - until)::float8 end from lease order by folder"
)


@dataclass(frozen=True, slots=True)
class HostAtWork:
    """One run of dropcap. Times are seconds since the epoch, by the database's clock; from `until` on it is taken for gone."""

    id: str
    name: str
    pid: int
    version: str
    configuration: str
    started: float
    until: float
    alive: bool
    lacks: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class FolderHeld:
    """A folder's lease: `host` (its id) works there; None: nobody, for so many seconds (`free_for`) if that is known."""

    folder: str
    fence: int
    host: str | None
    free_for: float | None


@dataclass(frozen=True, slots=True)
class HostsNow:
    """All hosts of the last day, and all leases."""

    hosts: tuple[HostAtWork, ...] = ()
    leases: tuple[FolderHeld, ...] = ()

    @property
    def alive(self) -> tuple[HostAtWork, ...]:
        """Those that show that they live."""
        return tuple(host for host in self.hosts if host.alive)

    @property
    def gone(self) -> tuple[HostAtWork, ...]:
        """The last run of each host that has none any more."""
        there = {host.name for host in self.alive}
        last = {host.name: host for host in sorted(self.hosts, key=lambda host: host.until) if host.name not in there}
        return tuple(last.values())

    def lease(self, folder: str) -> FolderHeld | None:
        """The lease of a folder, if one was ever given."""
        return next((lease for lease in self.leases if lease.folder == folder), None)

    def holder(self, folder: str) -> HostAtWork | None:
        """Who works in a folder."""
        lease = self.lease(folder)
        return None if lease is None else next((host for host in self.hosts if host.id == lease.host), None)

    def of(self, host: HostAtWork, folders: Collection[str]) -> list[str]:
        """Those of `folders` in which a host works."""
        return [lease.folder for lease in self.leases if lease.host == host.id and lease.folder in folders]

    def free(self, folders: Iterable[str]) -> list[str]:
        """Those in which nobody works."""
        return [folder for folder in folders if self.holder(folder) is None]

    def stranded(self, folders: Iterable[str]) -> list[str]:
        """Those that no living host has, be it that one holds them all the same."""
        return [folder for folder in folders if all(folder in host.lacks for host in self.alive)]

    def untaken_for(self, folder: str, now: float) -> float:
        """For how many seconds a folder has been free while hosts were there to take it; 0 if nobody ever had it."""
        lease = self.lease(folder)
        if lease is None or lease.free_for is None or not self.alive:
            return 0.0
        return max(0.0, min(lease.free_for, now - min(host.started for host in self.alive)))

    def called(self, host: HostAtWork) -> str:
        """Its name, with the number of its process where others have that name."""
        names = Counter(one.name for one in self.alive)
        return f"{host.name} (pid {host.pid})" if names[host.name] > 1 else host.name


class HostsQuery(Rows):
    """What is asked of a ledger that several hosts may share."""

    def hosts(self) -> HostsNow | None:
        """Who is there and who works where; None where one host has its ledger for itself."""
        if not self.database.shared:
            return None
        hosts = (
            HostAtWork(id, name, pid, version, configuration, started, until, alive, tuple(lacks))
            for id, name, pid, version, configuration, started, until, alive, lacks in self._rows(_HOSTS)
        )
        leases = (
            FolderHeld(folder, int(fence), holder if held else None, None if held or free_for is None else max(free_for, 0.0))
            for folder, fence, holder, held, free_for in self._rows(_LEASES)
        )
        return HostsNow(tuple(hosts), tuple(leases))
