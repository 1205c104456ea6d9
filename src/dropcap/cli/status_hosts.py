"""What `dropcap status` says of the hosts that share a ledger."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

from dropcap import __version__
from dropcap.cli.jobs import stamp
from dropcap.cli.screen import many, typed, when
from dropcap.cli.status_gathered import Status
from dropcap.cli.status_line import Level, StatusLine
from dropcap.config.model import Config
from dropcap.display import shown
from dropcap.ledger.hosts_query import HostAtWork, HostsNow

#: Seconds, beyond a lease, after which a folder that a host could have is one that somebody should look after.
_LONG = 60.0
#: Names that are told of many.
_FEW = 3


def hosts_told(status: Status) -> list[StatusLine]:
    """A line for each host that is alive, and for each that is gone since not long ago."""
    if status.hosts is None:
        return []
    return [*(_alive(status, status.hosts, host) for host in status.hosts.alive), *_gone(status.hosts), *_elsewhere(status)]


def _alive(status: Status, hosts: HostsNow, host: HostAtWork) -> StatusLine:
    here = ", here" if host.id == status.here else ""
    version = f", dropcap {host.version}" if host.version != __version__ else ""
    lacks = sorted(set(host.lacks) & set(status.configured))
    missing = f"; it lacks {_names(lacks)}" if lacks else ""
    text = f"{shown(hosts.called(host))}{here}, since {when(host.started)}{version}{missing}"
    works = len(hosts.of(host, status.configured))
    return StatusLine(Level.WAIT if lacks or not works else Level.WELL, many(works, "folder"), text)


def _gone(hosts: HostsNow) -> Iterator[StatusLine]:
    for host in hosts.gone:
        yield StatusLine(Level.WAIT, "gone", f"{shown(host.name)}, since {when(host.until)}")


def _elsewhere(status: Status) -> Iterator[StatusLine]:
    if any(one.host is not None and one.arriving is None for one in status.folders):
        yield StatusLine(Level.WELL, "", "what arrives in a folder, and whether its disk has room, is told on its own host")


def not_here(status: Status) -> str:
    """That no dropcap runs on this host, though some do elsewhere."""
    alive = () if status.hosts is None else status.hosts.alive
    names = _names([status.hosts.called(host) for host in alive]) if status.hosts is not None else ""
    return f"no dropcap runs on this host; {many(len(alive), 'other')} {'does' if len(alive) == 1 else 'do'}: {names}"


def stranded(status: Status) -> Iterator[StatusLine]:
    """Folders in which nobody works and will."""
    told = {one.name for one in status.folders if one.away}  # by the host that was asked, and why
    for name in status.stranded:
        if name in told:
            continue
        text = f"{shown(name)} is away for every host, so nothing is taken from it; mount it on one"
        yield StatusLine(Level.BAD, "folder", text, f"dropcap check --folder {typed(name)}")
    for name in status.free:
        if _untaken_for(status, name) > _LONG + status.lease:
            text = f"{shown(name)}: no host has taken it for {_untaken_for(status, name) / 60:.0f} min; look into their logs"
            yield StatusLine(Level.BAD, "folder", text, "journalctl -u dropcap")


def free(status: Status) -> Iterator[StatusLine]:
    """Folders that a host is about to take."""
    for name in status.free:
        if _untaken_for(status, name) <= _LONG + status.lease:
            yield StatusLine(Level.WAIT, "folder", f"{shown(name)}: no host works in it just now; one takes it by itself")


def _untaken_for(status: Status, folder: str) -> float:
    return 0.0 if status.hosts is None else status.hosts.untaken_for(folder, time.time())


def as_json(config: Config, status: Status) -> list[dict[str, Any]]:
    """All hosts of the last day."""
    hosts = status.hosts or HostsNow()
    return [
        {
            "host": shown(host.name),
            "pid": host.pid,
            "id": host.id,
            "here": host.id == status.here,
            "alive": host.alive,
            "version": host.version,
            "same_configuration": host.configuration == config.digest,
            "started": stamp(host.started),
            "until": stamp(host.until),
            "folders": hosts.of(host, status.configured),
            "lacks": list(host.lacks),
        }
        for host in hosts.hosts
    ]


def _names(names: list[str]) -> str:
    more = f" and {len(names) - _FEW} more" if len(names) > _FEW else ""
    return ", ".join(shown(name) for name in names[:_FEW]) + more
