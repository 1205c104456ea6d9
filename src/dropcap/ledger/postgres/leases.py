"""The tables of hosts, their leases, and the request slots that they share."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from dropcap.ledger.postgres.wire import WireConnection

#: The beat of a host that has said so: whatever the clock says, it is not there.
ENDED = -1

#: How long the row of a host that is gone is kept: what its successor began to send is compared with it.
_KEPT = "30 days"


@dataclass(frozen=True)
class ThisHost:
    """A process as a host: `id` is new at each start, `configuration` a digest of what it works by.

    `lacks`: the folders of which it cannot know at first whether they are there; else others hand them over to it too early, and
    have to take them back.
    """

    id: str
    name: str
    pid: int
    version: str
    configuration: str
    lacks: frozenset[str] = frozenset()


class HostRow(NamedTuple):
    """A host as the database knows it; `alive` by the database's clock, `started` in seconds since the epoch. `beat` is `ENDED`
    for one that has ended in order."""

    id: str
    name: str
    pid: int
    version: str
    configuration: str
    started: float
    alive: bool
    beat: int
    commits: int
    lacks: tuple[str, ...]


class LeaseRow(NamedTuple):
    """A folder's lease. `lapsed`: by the database's clock; `released`: handed back, so that it needs no second look."""

    folder: str
    fence: int
    holder: str
    lapsed: bool
    released: bool
    beat: int


@dataclass(frozen=True)
class HostsLook:
    """All hosts and leases at one moment."""

    hosts: tuple[HostRow, ...] = ()
    leases: tuple[LeaseRow, ...] = ()


def register(connection: WireConnection, me: ThisHost, lease: float) -> None:
    """Enter a host that has begun; one that is known already is left as it is. `lease` in seconds."""
    connection.execute(
        "insert into host (id, name, pid, version, configuration, lacks, until)"
        " values (%s, %s, %s, %s, %s, %s, clock_timestamp() + make_interval(secs => %s)) on conflict (id) do nothing",
        (me.id, me.name, me.pid, me.version, me.configuration, sorted(me.lacks), lease),
    )
    connection.execute(f"delete from host where until < clock_timestamp() - interval '{_KEPT}'")


def leave(connection: WireConnection, me: str) -> None:
    """This host ends: others see it at once. Its leases are released before."""
    connection.execute("update host set until = clock_timestamp(), beat = %s where id = %s", (ENDED, me))


def withdraw(connection: WireConnection, me: str) -> None:
    """Take this host out again, which has done nothing yet."""
    connection.execute("delete from host where id = %s", (me,))


def lacks(connection: WireConnection, me: str, folders: Collection[str]) -> None:
    """Enter which folders are away for this host."""
    connection.execute("update host set lacks = %s where id = %s", (sorted(folders), me))


def works_by(connection: WireConnection, me: str, configuration: str) -> None:
    """Enter by which configuration this host works now."""
    connection.execute("update host set configuration = %s where id = %s", (configuration, me))


def beat(connection: WireConnection, me: str, fences: Mapping[str, int], lease: float) -> frozenset[str] | None:
    """Renew this host and the leases that it believes to hold, `lease` seconds from now on; returns the folders renewed.

    One that is not among them belongs to somebody else. None: the host itself is not known (any more), and nothing was renewed.
    Takes no turn, so it waits for no writer, whose transaction has this host's row for as long as it lasts: then only the leases
    are renewed. Rows are locked in the order of folders, to avoid deadlocks.
    """
    known = connection.execute(
        "with free as (select id from host where id = %s for no key update skip locked)"
        " update host set until = clock_timestamp() + make_interval(secs => %s), beat = beat + 1 from free"
        " where host.id = free.id",
        (me, lease),
    )
    if known.rowcount == 0 and connection.execute("select 1 from host where id = %s", (me,)).fetchone() is None:
        return None
    if not fences:
        return frozenset()
    rows = connection.execute(
        "with mine as (select lease.folder from lease join unnest(%s::text[], %s::bigint[]) as held (folder, fence)"
        "   on lease.folder = held.folder and lease.fence = held.fence"
        "   where lease.holder = %s order by lease.folder for no key update of lease)"
        " update lease set until = clock_timestamp() + make_interval(secs => %s), beat = beat + 1"
        " from mine where lease.folder = mine.folder returning lease.folder",
        ([*fences], [*fences.values()], me, lease),
    )
    return frozenset(folder for (folder,) in rows.fetchall())


def look(connection: WireConnection) -> HostsLook:
    """Who is there, and who holds what. Changes nothing."""
    hosts = connection.execute(
        "select id, name, pid, version, configuration, extract(epoch from started)::float8, until > clock_timestamp(),"
        " beat, commits, lacks from host where until > clock_timestamp() - interval '1 day' order by started, id"
    ).fetchall()
    leases = connection.execute(
        "select folder, fence, coalesce(holder, ''), until < clock_timestamp(), until = 'epoch', beat from lease order by folder"
    ).fetchall()
    return HostsLook(
        tuple(HostRow._make((*row[:-1], tuple(row[-1]))) for row in hosts),
        tuple(map(LeaseRow._make, leases)),
    )


def take(connection: WireConnection, folder: str, me: str, lease: float, beat: int | None = None) -> int | None:
    """Take a folder whose lease has lapsed, was released or was never given: its new fence, None if somebody else has it.

    For a transaction of the ledger's writer that has the turn, in which the folder's jobs in sending become unknown *after*
    this: no earlier holder's write can be committed any more. `beat`: the one that was seen unmoved (None: nobody held it);
    a holder that has shown a sign of life since then keeps the folder. Trust the lease from before this was asked.
    """
    row = connection.execute(
        "update lease set fence = fence + 1, holder = %s, until = clock_timestamp() + make_interval(secs => %s), beat = beat + 1"
        " where folder = %s and until < clock_timestamp() and (until = 'epoch' or %s::bigint is null or beat = %s)"
        " returning fence",
        (me, lease, folder, beat, beat),
    ).fetchone()
    if row is None:
        row = connection.execute(
            "insert into lease (folder, fence, holder, until) values (%s, 1, %s, clock_timestamp() + make_interval(secs => %s))"
            " on conflict (folder) do nothing returning fence",
            (folder, me, lease),
        ).fetchone()
    return None if row is None else int(row[0])


def release(connection: WireConnection, me: str, fences: Mapping[str, int]) -> frozenset[str]:
    """Hand folders back, in which nothing is under way any more; returns those that were this host's still.

    One statement, however many they are: the heartbeat waits for it. Rows are locked in the order of folders, as by `beat`.
    """
    rows = connection.execute(
        "with mine as (select lease.folder from lease join unnest(%s::text[], %s::bigint[]) as held (folder, fence)"
        "   on lease.folder = held.folder and lease.fence = held.fence"
        "   where lease.holder = %s order by lease.folder for no key update of lease)"
        " update lease set until = 'epoch', holder = null, beat = beat + 1"
        " from mine where lease.folder = mine.folder returning lease.folder",
        ([*fences], [*fences.values()], me),
    )
    return frozenset(folder for (folder,) in rows.fetchall())


#: A row may be used again when it is older than the window, and if those behind it leave room for it: with a lowered limit the
#: younger ones behind it count as well. Hosts that ask at the same time lock different rows, all of which have room.
_GRANT = """
with room as materialized (
  select n, count(*) filter (where at > clock_timestamp() - make_interval(secs => %(window)s))
    over (order by n desc rows between unbounded preceding and 1 preceding) as behind
  from slot where server = %(server)s
)
update slot set at = clock_timestamp() where (server, n) = (
  select slot.server, slot.n from slot join room using (n)
  where slot.server = %(server)s and slot.at <= clock_timestamp() - make_interval(secs => %(window)s)
    and slot.n + room.behind < %(most)s
  order by slot.at limit 1 for update of slot skip locked
) returning n
"""
_MAKE = """
insert into slot (server, n, at) select %(server)s, n, 'epoch' from generate_series(0, %(most)s - 1) as n
where (select count(*) from slot where server = %(server)s) < %(most)s
on conflict do nothing
"""
#: The clock went back: what was made in its future counts as made now. A window's wait at most, and never too soon.
_CLAMP = "update slot set at = clock_timestamp() where server = %s and at > clock_timestamp() + interval '1 second'"
_WAIT = """
select extract(epoch from at + make_interval(secs => %s) - clock_timestamp())::float8
from slot where server = %s order by at desc offset %s limit 1
"""


def grant(connection: WireConnection, server: str, most: int, window: float) -> bool:
    """Enter one request of at most `most` within any `window` seconds; whether there was room for it."""
    words = {"server": server, "most": most, "window": window}
    if connection.execute(_GRANT, words).fetchone() is not None:
        return True
    made = connection.execute(_MAKE, words)
    return made.rowcount > 0 and connection.execute(_GRANT, words).fetchone() is not None


def wait(connection: WireConnection, server: str, most: int, window: float) -> float:
    """After how many seconds there is room for another one; 0 or less: ask again."""
    connection.execute(_CLAMP, (server,))
    row = connection.execute(_WAIT, (window, server, most - 1)).fetchone()
    return 0.0 if row is None else float(row[0])


def used(connection: WireConnection, server: str, window: float) -> int:
    """The requests within the last `window` seconds, whichever host has made them."""
    row = connection.execute(
        "select count(*) from slot where server = %s and at > clock_timestamp() - make_interval(secs => %s)", (server, window)
    ).fetchone()
    return int(row[0])


#: `turn`: its one row is locked by the host that writes the ledger; `timeline` is the database's, as the last writer has found
#: it. `host.commits`: how many of a host's writes there are, by which it finds that a fail-over has lost some. `lease`: the host
#: that works a folder; `until` is the epoch where nobody does, and stands in no index, so that a beat touches none. (folder,
#: fence) is unique so that a take-over waits for writers that have locked the lease `for key share`. `slot`: when requests were
#: made of a server. `late_send`: jobs that another host was sending when it was lost, and when their places are looked at once
#: more.
HOSTS = """
create table turn (
  one boolean primary key default true check (one),
  n bigint not null,
  timeline text
);
insert into turn (n) values (0);

create table host (
  id text primary key,
  name text not null,
  pid integer not null,
  version text not null,
  configuration text not null,
  started timestamptz not null default clock_timestamp(),
  until timestamptz not null,
  beat bigint not null default 0,
  commits bigint not null default 0,
  lacks text[] not null default '{}'
);

create table lease (
  folder text primary key,
  fence bigint not null,
  holder text,
  until timestamptz not null,
  beat bigint not null default 0,
  unique (folder, fence)
);

create table late_send (
  job bigint primary key,
  folder text not null,
  due double precision not null
);

create table slot (
  server text,
  n integer,
  at timestamptz not null,
  primary key (server, n)
);
"""
